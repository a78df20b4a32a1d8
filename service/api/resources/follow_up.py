"""`/v1/candidates`, `/v1/objects/{id}/crossmatches`: what a follow-up telescope reads."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from pydantic import BaseModel, Field

from service.api.endpoints import Answer, Call, Endpoint, need
from service.api.history_access import ask, iso, not_there, record_of
from service.api.history_models import ObjectPath
from service.api.pages import PageQuery
from service.api.problems import ProblemError


class CandidatesQuery(PageQuery):
    """Which candidates; what is left out does not matter."""

    class_name: str | None = Field(None, alias="class", max_length=64, description="Of one class")
    standing: bool = Field(False, description="Only those that neither fell nor were refuted")


class CandidateShown(BaseModel):
    """An object that follow-up may want, by its latest step."""

    candidate_id: str = Field(description="survey:object:class")
    event: Literal["opened", "fell", "refuted"] = Field(description="Its latest step")
    why: str = Field(description="Why it no longer stands; empty where it does")
    survey: str = Field(description="ztf, lsst, tess or frames")
    object_id: str = Field(description="The survey's name of the object")
    class_name: str = Field(description="Slug of the class")
    packet_id: str = Field(description="Packet of the alert that decided it")
    detection_id: str = Field(description="Its detection")
    candid: str = Field(description="The survey's number of that alert, as text")
    programid: int = Field(description="1: public")
    ra: float = Field(description="Right ascension of that alert, ICRS [deg]")
    dec: float = Field(description="Declination, ICRS [deg]")
    mjd: float = Field(description="Its time, MJD TAI [d]")
    band: str = Field(description="Its band")
    flux: float | None = Field(description="Its difference flux, AB [uJy]")
    flux_err: float | None = Field(description="1 sigma error of it [uJy]")
    probability: float = Field(description="Of the class at that alert, under the stream's frequencies [1]")
    threshold: float | None = Field(description="From which the class's topic takes an alert [1]")
    first_detection: float | None = Field(description="Of the object, MJD TAI [d]")
    n_detections: int = Field(description="In the alert's packet")
    redshift: float | None = Field(description="Of the source or its host")
    host: str | None = Field(description="Catalogue and name of the host galaxy")
    host_separation: float | None = Field(description="To its centre [arcsec]")
    opened_mjd: float = Field(description="Time of the alert that it opened with, MJD TAI [d]")
    written: str | None = Field(description="When the step was written, ISO 8601 in UTC")


class MagnitudeShown(BaseModel):
    """A brightness in a catalogue."""

    band: str = Field(description="Band as the catalogue names it")
    magnitude: float = Field(description="In the catalogue's own system [mag]")


class CrossmatchShown(BaseModel):
    """A catalogue's source near the object's latest alert."""

    catalogue: str = Field(description="Short name of the catalogue; reference_id says which release")
    name: str = Field(description="The source's name there")
    separation: float = Field(description="From the alert, proper motion applied [arcsec]")
    kind: str | None = Field(description="Type of the source in the catalogue's own words")
    redshift: float | None = Field(description="Redshift [1]")
    parallax: float | None = Field(description="Parallax [mas]")
    proper_motion: float | None = Field(description="Total proper motion [mas/yr]")
    magnitudes: list[MagnitudeShown] = Field(description="Its brightness by band")
    host: bool = Field(description="Whether it is the galaxy that the alert most likely lies in")
    reference_id: str | None = Field(description="Id of the catalogues that the alert was matched with")


async def list_candidates(call: Call) -> Answer:
    """Candidates by their latest step, the last written first."""
    known = need(call.services.candidates, "candidates cannot be read")
    if not known.complete:
        raise ProblemError(503, "the candidates are being read: ask again in a moment", headers={"Retry-After": "2"})
    q = call.query
    before = None if call.after is None else (int(call.after[0]), str(call.after[1]))
    found = known.latest(private=call.private, class_name=q.class_name, standing=q.standing, before=before, limit=q.limit + 1)
    page = found[: q.limit]
    rows: list[dict[str, Any]] = [{**asdict(e.step), "candid": str(e.step.candid), "written": iso(e.at_ms)} for e in page]
    return Answer(rows=rows, next=(page[-1].at_ms, page[-1].step.candidate_id) if len(found) > q.limit else None)


async def list_crossmatches(call: Call) -> Answer:
    """What the catalogues had near an object's latest alert."""
    name = call.path.object_id
    alerts = await ask(call, lambda store, private: store.records(name, private=private, limit=1))
    if not alerts:
        raise not_there(f"object {name}")
    record = record_of(alerts[0])
    host = None if record.host is None else (record.host.catalogue, record.host.name)
    rows = [
        {
            **match._asdict(), "magnitudes": [m._asdict() for m in match.magnitudes], "host": (match.catalogue, match.name) == host,
            "reference_id": record.reference_id,
        }
        for match in record.crossmatches
    ]  # fmt: skip
    return Answer(rows=rows)


ROWS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET", path="/v1/candidates", scope="read", summary="Candidates by their latest step, the last written first",
        handler=list_candidates, query=CandidatesQuery, answer=CandidateShown, table=True, tag="objects",
        description="Of the last thirty days. A candidate opens when its object first reaches the class's threshold, and falls or is "
        "refuted once; the same steps are on the topic `candidates`.",
    ),
    Endpoint(
        method="GET", path="/v1/objects/{object_id}/crossmatches", scope="read", summary="What the catalogues have near an object",
        handler=list_crossmatches, parameters=ObjectPath, answer=CrossmatchShown, table=True, tag="objects",
        description="As its latest alert was matched when it was scored (docs/catalogues.md); none where no catalogue was in use.",
    ),
)  # fmt: skip
