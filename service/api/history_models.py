"""What the resources of the past answer with, and what they are asked by."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from data.history.store import AlertSummary, Near, ObjectRow, PointRow
from service.api.history_access import iso, utc_of
from service.api.pages import PageQuery

MOST_POSITIONS = 1_000
MOST_IDS = 1_000
SMALLEST_RADIUS, LARGEST_RADIUS = 1e-6, 3_600.0
"""Of a cone [arcsec]."""

SurveyName = Literal["ztf", "lsst", "tess", "frames"]
Ra = Annotated[float, Field(ge=0, lt=360, description="Right ascension, ICRS [deg]", json_schema_extra={"unit": "deg"})]
Dec = Annotated[float, Field(ge=-90, le=90, description="Declination, ICRS [deg]", json_schema_extra={"unit": "deg"})]
Radius = Annotated[float, Field(ge=SMALLEST_RADIUS, le=LARGEST_RADIUS, description="Radius [arcsec]", json_schema_extra={"unit": "arcsec"})]
Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f/]+$", description="The survey's name of the object")]


class SkyObject(BaseModel):
    """An object, by the alerts that the caller may see."""

    object_id: str = Field(description="The survey's name of the object")
    survey: str = Field(description="ztf, lsst, tess or frames")
    ra: float = Field(
        description="Right ascension of the first detection, ICRS [deg]", json_schema_extra={"unit": "deg", "ucd": "pos.eq.ra"}
    )
    dec: float = Field(description="Declination of the first detection, ICRS [deg]", json_schema_extra={"unit": "deg", "ucd": "pos.eq.dec"})
    n: int = Field(description="Detections; a packet that came again counts once")
    first_mjd: float = Field(description="First detection, MJD TAI [d]", json_schema_extra={"unit": "d"})
    first_utc: str | None = Field(None, description="The same, ISO 8601 in UTC")
    last_mjd: float = Field(description="Last detection, MJD TAI [d]", json_schema_extra={"unit": "d"})
    last_utc: str | None = Field(None, description="The same, ISO 8601 in UTC")
    class_name: str = Field(serialization_alias="class", description="Class of the latest detection's decision")
    prior_probability: float = Field(description="Its probability under the stream's prior [1]")
    novelty: float = Field(description="Novelty of the latest detection, 0 to 1 [1]")


class NearObject(SkyObject):
    """An object in a cone."""

    separation: float = Field(description="From the cone's centre [arcsec]", json_schema_extra={"unit": "arcsec", "ucd": "pos.angDistance"})


class WholeObject(SkyObject):
    """An object with what belongs to it."""

    counterparts: list[NearObject] = Field([], description='Objects of other surveys within 1.5", the nearest first')


class Point(BaseModel):
    """A detection of a light curve."""

    mjd: float = Field(description="Mid-time of the exposure, MJD TAI [d]", json_schema_extra={"unit": "d", "ucd": "time.epoch"})
    utc: str | None = Field(None, description="The same, ISO 8601 in UTC")
    band: str = Field(description="Band; empty where unknown")
    flux: float | None = Field(
        None, description="Difference flux, signed, AB [uJy]; null: the packet gives none", json_schema_extra={"unit": "uJy"}
    )
    flux_err: float | None = Field(None, description="1 sigma error [uJy]; null: the packet gives none", json_schema_extra={"unit": "uJy"})
    alert: str = Field(description="survey:candid of the alert")
    ra: float = Field(description="Right ascension, ICRS [deg]", json_schema_extra={"unit": "deg"})
    dec: float = Field(description="Declination, ICRS [deg]", json_schema_extra={"unit": "deg"})
    class_name: str = Field(serialization_alias="class", description="Class of the alert's decision")
    prior_probability: float = Field(description="Its probability under the stream's prior [1]")
    novelty: float = Field(description="Novelty, 0 to 1 [1]")
    public: bool = Field(description="Whether the alert is public")


class Alert(BaseModel):
    """An alert."""

    id: str = Field(description="survey:candid")
    packet_id: str = Field(description="survey:candid:digest of the packet's record")
    survey: str = Field(description="ztf, lsst, tess or frames")
    candid: str = Field(description="The survey's number of the alert; text, as it may exceed 2^53")
    object_id: str = Field(description="The survey's name of the object")
    mjd: float = Field(description="Mid-time of the exposure, MJD TAI [d]", json_schema_extra={"unit": "d", "ucd": "time.epoch"})
    utc: str | None = Field(None, description="The same, ISO 8601 in UTC")
    arrived: str | None = Field(None, description="When the broker took the packet, ISO 8601 in UTC; null: unknown")
    class_name: str = Field(serialization_alias="class", description="Class of the decision")
    prior_probability: float = Field(description="Its probability under the stream's prior [1]")
    published: bool = Field(description="Whether the class's threshold is reached")
    novelty: float = Field(description="Novelty, 0 to 1 [1]")
    public: bool = Field(description="Whether the alert is public")


class WholeAlert(Alert):
    """An alert with its record."""

    revisions: list[str] = Field(description="Packet ids of this candid, the newest first")
    record: dict[str, Any] = Field(description="The Detection as docs/detection.md has it; integers of 64 bits are text")


class ClassShare(BaseModel):
    """A class of an alert."""

    class_name: str = Field(serialization_alias="class", description="Class")
    probability: float = Field(description="Probability if all classes were equally frequent [1]")
    prior_probability: float = Field(description="Probability under the stream's prior [1]")


class Probabilities(BaseModel):
    """What an alert was taken for."""

    alert: str = Field(description="survey:candid of the alert")
    mjd: float = Field(description="Mid-time of the exposure, MJD TAI [d]", json_schema_extra={"unit": "d"})
    scoring_id: str = Field(description="The state that scored it")
    classes: list[ClassShare] = Field(description="Every class the model knew, the most probable at balanced classes first")


class AlertPath(BaseModel):
    """Names an alert."""

    survey: SurveyName
    candid: str = Field(pattern=r"^-?[0-9]{1,19}$", description="The survey's number of the alert")


class ObjectPath(BaseModel):
    """Names an object."""

    object_id: Name


class TimeQuery(PageQuery):
    """Pages between two times."""

    since: str | None = Field(None, max_length=40, description="From this time on: MJD (TAI), or ISO 8601 in UTC")
    until: str | None = Field(None, max_length=40, description="Before this time")
    time: Literal["detected", "first_detected"] = Field(
        "detected", description="Of what since and until are: the alert, or its object's first detection"
    )


class Question(BaseModel):
    """A body: what is not described is refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


def object_json(row: ObjectRow) -> dict[str, Any]:
    """An object by the names of `SkyObject`."""
    return {
        "object_id": row.object_id, "survey": row.survey, "ra": row.ra, "dec": row.dec, "n": row.n, "first_mjd": row.first_mjd,
        "first_utc": utc_of(row.first_mjd), "last_mjd": row.last_mjd, "last_utc": utc_of(row.last_mjd), "class": row.class_name,
        "prior_probability": row.probability, "novelty": row.novelty,
    }  # fmt: skip


def near_json(near: Near) -> dict[str, Any]:
    """An object of a cone by the names of `NearObject`."""
    return {**object_json(near.object), "separation": near.separation}


def point_json(p: PointRow) -> dict[str, Any]:
    """A point by the names of `Point`."""
    return {
        "mjd": p.mjd, "utc": utc_of(p.mjd), "band": p.band, "flux": p.flux, "flux_err": p.flux_err, "alert": f"{p.survey}:{p.candid}",
        "ra": p.ra, "dec": p.dec, "class": p.class_name, "prior_probability": p.probability, "novelty": p.novelty,
        "public": p.programid == 1,
    }  # fmt: skip


def alert_json(a: AlertSummary) -> dict[str, Any]:
    """An alert by the names of `Alert`."""
    return {
        "id": f"{a.survey}:{a.candid}", "packet_id": a.packet_id, "survey": a.survey, "candid": str(a.candid), "object_id": a.object_id,
        "mjd": a.mjd, "utc": utc_of(a.mjd), "arrived": iso(a.arrived_ms), "class": a.class_name, "prior_probability": a.probability,
        "published": a.published, "novelty": a.novelty, "public": a.programid == 1,
    }  # fmt: skip
