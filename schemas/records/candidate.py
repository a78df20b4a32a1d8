"""An object that follow-up may want: `candidate.avsc` as a dataclass."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.avro.wire import PacketError
from schemas.records.parts import check_counts, check_finite, check_texts

OPENED, FELL, REFUTED = "opened", "fell", "refuted"
EVENTS = (OPENED, FELL, REFUTED)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A step of a candidate; every field stands in `candidate.avsc`, in the same order."""

    candidate_id: str
    event: str
    why: str
    survey: str
    object_id: str
    class_name: str
    packet_id: str
    detection_id: str
    candid: int
    programid: int
    ra: float
    dec: float
    mjd: float
    band: str
    flux: float | None
    flux_err: float | None
    probability: float
    threshold: float | None
    first_detection: float | None
    n_detections: int
    redshift: float | None
    host: str | None
    host_separation: float | None
    opened_mjd: float

    @property
    def key(self) -> bytes:
        """The object, so that its steps keep their order."""
        return self.object_id.encode()


def from_row(row: Mapping[str, Any]) -> Candidate:
    """A candidate from its plain values.

    Raises
    ------
    schemas.avro.wire.PacketError
        A value that no candidate of ours has.
    """
    check_texts(row, "candidate_id", "event", "why", "survey", "object_id", "class_name", "packet_id", "detection_id", "band")
    if row["event"] not in EVENTS:
        raise PacketError("bad_value", f"a candidate's event is one of {', '.join(EVENTS)}")
    check_counts("n_detections", (row["n_detections"],))
    check_finite(row, "ra", "dec", "mjd", "probability", "opened_mjd")
    if not abs(row["dec"]) <= 90:
        raise PacketError("bad_value", f"dec is {row['dec']}")
    for name in ("flux", "flux_err", "threshold", "first_detection", "redshift", "host_separation"):
        if row[name] is not None and not math.isfinite(row[name]):
            raise PacketError("bad_value", f"{name} is {row[name]}")
    if row["host"] is not None:
        check_texts(row, "host")
    return Candidate(**row)
