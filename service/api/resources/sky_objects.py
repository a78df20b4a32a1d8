"""`/v1/objects`: an object, its light curve, alerts, probabilities, neighbours and cut-outs; objects by what they are."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from data.history.store import HistoryStore, Near, ObjectFilter, ObjectRow, StoredAlert
from schemas.surveys.cutout_files import cutout_file
from service.api.endpoints import Answer, Call, Endpoint
from service.api.history_access import ask, in_thread, mjd_of, not_there, record_json, record_of
from service.api.history_models import (
    MOST_IDS,
    Name,
    ObjectPath,
    Point,
    Probabilities,
    Question,
    SkyObject,
    SurveyName,
    WholeAlert,
    WholeObject,
    alert_json,
    near_json,
    object_json,
    point_json,
)
from service.api.pages import PageQuery, QueryModel
from service.api.problems import ProblemError
from service.api.resources.past_alerts import packet_of
from service.api.stamp_picture import picture

COUNTERPART_DEG = 1.5 / 3600
"""Within which an object of another survey is the same [deg]."""
MOST_COUNTERPARTS = 10


class ObjectsQuestion(Question):
    """Which objects; what is left out does not matter."""

    survey: SurveyName | None = Field(None, description="Of one survey")
    class_name: str | None = Field(None, alias="class", max_length=64, description="Class of the latest detection's decision")
    min_probability: float | None = Field(None, ge=0, le=1, description="Its least prior probability [1]")
    min_novelty: float | None = Field(None, ge=0, le=1, description="Least novelty of the latest detection [1]")
    min_detections: int | None = Field(None, ge=1, le=2**31, description="Least number of detections")
    since: str | None = Field(
        None, max_length=40, description="Last (or first, see `time`) detected from this time on: MJD (TAI) as text, or ISO 8601 in UTC"
    )
    until: str | None = Field(None, max_length=40, description="And before this time")
    time: Literal["detected", "first_detected"] = Field(
        "detected", description="Of which detection since and until are: the last or the first"
    )
    object_ids: list[Name] | None = Field(None, min_length=1, max_length=MOST_IDS, description="Among these")


class NeighboursQuery(QueryModel):
    """How many."""

    limit: int = Field(10, ge=1, le=100, description="Neighbours at most")


class NeighbourObject(BaseModel):
    """An object that the network sees as like another."""

    object_id: str = Field(description="The survey's name of the object")
    survey: str = Field(description="ztf, lsst, tess or frames")
    cosine: float = Field(description="Cosine of the angle between the latest embeddings, 1: the same [1]")


class CutoutPath(ObjectPath):
    """Names a cut-out."""

    kind: Literal["science", "template", "difference"]
    form: Literal["png", "fits"]


class CutoutQuery(QueryModel):
    """Of which alert."""

    candid: str | None = Field(None, pattern=r"^-?[0-9]{1,19}$", description="Of this alert; the latest where none is named")


async def show_object(call: Call) -> Answer:
    """An object."""
    name = call.path.object_id

    def question(store: HistoryStore, private: frozenset[int]) -> tuple[ObjectRow | None, list[Near]]:
        found = store.object(name, private=private)
        if found is None:
            return None, []
        return found, store.cone(found.ra, found.dec, radius=COUNTERPART_DEG, private=private, limit=MOST_COUNTERPARTS)

    found, near = await ask(call, question)
    if found is None:
        raise not_there(f"object {name}")
    return Answer({**object_json(found), "counterparts": [near_json(n) for n in near if n.object.survey != found.survey]})


async def query_objects(call: Call) -> Answer:
    """Objects by what they are, in the order of their names."""
    q, limit = call.body, call.query.limit
    since, until = mjd_of(q.since, "since"), mjd_of(q.until, "until")
    first = q.time == "first_detected"
    wanted = ObjectFilter(
        survey=q.survey, class_name=q.class_name, least_probability=q.min_probability, least_novelty=q.min_novelty,
        least_detections=q.min_detections, since_mjd=None if first else since, until_mjd=None if first else until,
        first_since_mjd=since if first else None, first_until_mjd=until if first else None, ids=q.object_ids,
    )  # fmt: skip
    after = None if call.after is None else str(call.after[0])
    rows = await ask(call, lambda store, private: store.objects(wanted, private=private, limit=limit + 1, after=after))
    more = len(rows) > limit
    return Answer(rows=[object_json(row) for row in rows[:limit]], next=(rows[limit - 1].object_id,) if more else None)


async def show_light_curve(call: Call) -> Answer:
    """Every detection of an object, the oldest first."""
    name = call.path.object_id
    points = await ask(call, lambda store, private: store.lightcurve(name, private=private))
    if not points:
        raise not_there(f"object {name}")
    return Answer(rows=[point_json(point) for point in points])


async def list_detections(call: Call) -> Answer:
    """The alerts of an object with their records, the newest first."""
    rows, following = await _records(call)
    found = [{**alert_json(a.summary), "revisions": [a.summary.packet_id], "record": record_json(a)} for a in rows]
    return Answer(rows=found, next=following)


async def list_probabilities(call: Call) -> Answer:
    """What each alert of an object was taken for, the newest first."""
    rows, following = await _records(call)
    return Answer(rows=[_probabilities(alert) for alert in rows], next=following)


async def list_neighbours(call: Call) -> Answer:
    """Objects that the network sees as like this one."""
    name = call.path.object_id
    found = await ask(call, lambda store, private: store.neighbours(name, private=private, limit=call.query.limit))
    if found is None:
        raise not_there(f"object {name} with an embedding")
    return Answer(rows=[n._asdict() for n in found])


async def show_cutout(call: Call) -> Answer:
    """A cut-out of an object's alert."""
    name, wanted = call.path.object_id, call.query.candid
    limit = 1 if wanted is None else 1_000
    rows = await ask(call, lambda store, private: store.records(name, private=private, limit=limit))
    alert = next((a for a in rows if wanted is None or str(a.summary.candid) == str(int(wanted))), None)
    if alert is None:
        raise not_there(f"object {name}" + (f" with the alert {wanted}" if wanted else ""))
    packet = await packet_of(call, alert)
    fits = await in_thread(lambda: cutout_file(packet, call.path.kind))
    if fits is None:
        raise ProblemError(404, f"the packet of {alert.summary.packet_id} has no {call.path.kind} cut-out")
    headers = {"Alert-Id": f"{alert.summary.survey}:{alert.summary.candid}"}
    if call.path.form == "fits":
        return Answer(raw=fits, media_type="application/fits", headers=headers)
    drawn = await in_thread(lambda: picture(fits))
    if drawn is None:
        raise ProblemError(404, f"the {call.path.kind} cut-out of {alert.summary.packet_id} cannot be read")
    return Answer(raw=drawn, media_type="image/png", headers=headers)


async def _records(call: Call) -> tuple[list[StoredAlert], tuple[float, int] | None]:
    """A page of an object's alerts, and the keys of the next one."""
    name, limit = call.path.object_id, call.query.limit
    before = None if call.after is None else (float(call.after[0]), int(call.after[1]))
    rows = await ask(call, lambda store, private: store.records(name, private=private, limit=limit + 1, before=before))
    if not rows and before is None:
        raise not_there(f"object {name}")
    last = rows[limit - 1].summary if len(rows) > limit else None
    return rows[:limit], None if last is None else (last.mjd, last.id)


def _probabilities(alert: StoredAlert) -> dict[str, Any]:
    record = record_of(alert)
    classes = [{"class": name, "probability": p, "prior_probability": prior} for name, p, prior in record.classes]
    name = f"{alert.summary.survey}:{alert.summary.candid}"
    return {"alert": name, "mjd": record.mjd, "scoring_id": record.scoring_id, "classes": classes}


ROWS: tuple[Endpoint, ...] = (
    Endpoint(
        method="POST", path="/v1/objects/query", scope="read", summary="Objects by what they are, in the order of their names",
        handler=query_objects, query=PageQuery, body=ObjectsQuestion, answer=SkyObject, table=True, tag="objects",
    ),
    Endpoint(
        method="GET", path="/v1/objects/{object_id}", scope="read", summary="An object", handler=show_object, parameters=ObjectPath,
        answer=WholeObject, tag="objects",
    ),
    Endpoint(
        method="GET", path="/v1/objects/{object_id}/lightcurve", scope="read", summary="Every detection of an object, the oldest first",
        handler=show_light_curve, parameters=ObjectPath, answer=Point, table=True, tag="objects",
    ),
    Endpoint(
        method="GET", path="/v1/objects/{object_id}/detections", scope="read", summary="The alerts of an object with their records",
        handler=list_detections, parameters=ObjectPath, query=PageQuery, answer=WholeAlert, table=True, tag="objects",
    ),
    Endpoint(
        method="GET", path="/v1/objects/{object_id}/probabilities", scope="read", summary="What each alert of an object was taken for",
        handler=list_probabilities, parameters=ObjectPath, query=PageQuery, answer=Probabilities, table=True, tag="objects",
    ),
    Endpoint(
        method="GET", path="/v1/objects/{object_id}/neighbours", scope="read", summary="Objects that the network sees as like this one",
        handler=list_neighbours, description="By the cosine of the latest embeddings, among the 200,000 objects observed last.",
        parameters=ObjectPath, query=NeighboursQuery, answer=NeighbourObject, table=True, tag="objects",
    ),
    Endpoint(
        method="GET", path="/v1/objects/{object_id}/cutouts/{kind}.{form}", scope="read", summary="A cut-out of an object's alert",
        handler=show_cutout, description="From the packet, which Kafka keeps for seven days. North is as the survey has it.",
        parameters=CutoutPath, query=CutoutQuery, gives=("image/png", "application/fits"), tag="objects",
    ),
)  # fmt: skip
