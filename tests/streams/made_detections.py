"""Detections of an object over its nights, as far as what follows them looks."""

from __future__ import annotations

from schemas.records.detection import Decision, Detection, Host
from schemas.records.parts import ClassProbability


def detection(
    object_id: str, mjd: float, *, name: str = "tde", published: bool = True, candid: int | None = None, programid: int = 1,
    asteroid: float | None = None, host: Host | None = None,
) -> Detection:  # fmt: skip
    """A detection whose decision is a class."""
    candid = int(mjd * 1000) if candid is None else candid
    packet = f"ztf:{candid}:{candid:032x}"
    decision = Decision(name, 0.75, 0.5, 10.0, published, True, "drb")
    return Detection(
        packet_id=packet, detection_id=f"{packet}:s", survey="ztf", candid=candid, object_id=object_id, programid=programid, ra=10.0,
        dec=-3.0, mjd=mjd, band="g", flux=20.0, flux_err=1.0, n_detections=4, decision=decision,
        classes=(ClassProbability(name, 0.75, 0.75), ClassProbability("other", 0.25, 0.25)), top_class=name, top_probability=0.75,
        conformal_set=(name,), novelty=0.1, nearest_prototype=name, prototype_distance=0.2, real_bogus=0.9, star_galaxy=None,
        solar_system_distance=asteroid, host=host, features=(), model="m" * 16, engine="made", scoring_id="s" * 16, taxonomy="protonova-1",
    )  # fmt: skip
