"""`/ztf/v1/objects…`: the calls that ALeRCE's client makes, so that its scripts read our history.

    ALERCE_CONFIG_PATH=alerce.json   {"ztf": {"ZTF_API_URL": "http://127.0.0.1:8581", "ZTF_ROUTES": {…}}}

Names are ALeRCE's: `oid`, `fid` (1 g, 2 r, 3 i), `magpsf` [mag] of the flux's size with `isdiffpos`. Classes are ours by their slugs, and
those of ALeRCE are understood where they are asked for.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from data.history.store import HistoryStore, ObjectFilter, ObjectRow, PointRow
from schemas.taxonomy import slug_of
from service.api.endpoints import Answer, Call, Endpoint
from service.api.history_access import ask, not_there, record_of
from service.api.history_models import LARGEST_RADIUS, SMALLEST_RADIUS, Name
from service.api.pages import QueryModel
from service.api.problems import ProblemError

CLASSIFIER = "protonova"
MOST_PAGES = 100
BANDS = {"g": 1, "r": 2, "i": 3}
_AB_UJY = 23.9
"""AB magnitude of 1 uJy."""


class AlerceObjectPath(BaseModel):
    """Names an object."""

    oid: Name


class AlerceObjects(QueryModel):
    """Which objects."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, populate_by_name=True)

    class_name: str | None = Field(None, alias="class", max_length=64, description="A class, of ours or as ALeRCE calls it")
    classifier: str | None = Field(None, max_length=64, description="protonova")
    ndet: list[int] | None = Field(None, max_length=2, description="Least, and greatest, number of detections")
    probability: float | None = Field(None, ge=0, le=1, description="Least probability [1]")
    firstmjd: list[float] | None = Field(None, max_length=2, description="Range of the first detection, MJD [d]")
    lastmjd: list[float] | None = Field(None, max_length=2, description="Range of the last detection, MJD [d]")
    ra: float | None = Field(None, ge=0, lt=360, description="Of a cone [deg]")
    dec: float | None = Field(None, ge=-90, le=90, description="Of a cone [deg]")
    radius: float | None = Field(None, ge=SMALLEST_RADIUS, le=LARGEST_RADIUS, description="Of a cone [arcsec]")
    oid: list[str] | None = Field(None, max_length=1_000, description="Among these")
    page: int = Field(1, ge=1, le=MOST_PAGES, description="Page, from 1 on")
    page_size: int = Field(10, ge=1, le=1_000, description="Objects of a page")
    count: str | None = Field(None, max_length=8, description="Not counted here: total is null")
    order_by: Literal["oid"] | None = Field(None, description="By name")
    order_mode: Literal["ASC"] | None = Field(None, description="Ascending")


class AlerceAnswer(RootModel[dict[str, Any] | list[dict[str, Any]]]):
    """What ALeRCE answers with; see docs/http-api.md."""


async def alerce_objects(call: Call) -> Answer:
    """ALeRCE's list of objects."""
    q: AlerceObjects = call.query
    class_name = None if q.class_name is None else slug_of(q.class_name) or q.class_name
    if q.classifier not in (None, CLASSIFIER):
        return Answer(_page(q, []))
    wanted = ObjectFilter(
        survey="ztf", class_name=class_name, least_probability=q.probability, least_detections=_first(q.ndet),
        first_since_mjd=_first(q.firstmjd), first_until_mjd=_second(q.firstmjd), since_mjd=_first(q.lastmjd),
        until_mjd=_second(q.lastmjd), ids=q.oid,
    )  # fmt: skip
    begin, end = (q.page - 1) * q.page_size, q.page * q.page_size + 1
    most = _second(q.ndet)

    def question(store: HistoryStore, private: frozenset[int]) -> list[ObjectRow]:
        if None in (q.ra, q.dec, q.radius):
            rows = store.objects(wanted, private=private, limit=end, after=None)
        else:
            near = store.cone(q.ra or 0.0, q.dec or 0.0, radius=(q.radius or 1.0) / 3600, private=private, limit=10_000)
            ids = [n.object.object_id for n in near if n.object.survey == "ztf"]
            chosen = store.objects(_among(wanted, ids), private=private, limit=len(ids) or 1) if ids else []
            rows = sorted(chosen, key=lambda o: ids.index(o.object_id))
        return [o for o in rows if most is None or o.n <= most][begin:end]

    if (q.ra is None) != (q.dec is None) or (q.ra is None) != (q.radius is None):
        raise ProblemError(400, "ra, dec and radius are given together")
    return Answer(_page(q, await ask(call, question)))


async def alerce_object(call: Call) -> Answer:
    """ALeRCE's object."""
    found = await ask(call, lambda store, private: store.object(call.path.oid, private=private))
    if found is None:
        raise not_there(f"object {call.path.oid}")
    return Answer(object_of(found))


async def alerce_light_curve(call: Call) -> Answer:
    """ALeRCE's light curve."""
    return Answer({"detections": await _detections(call), "non_detections": []})


async def alerce_detections(call: Call) -> Answer:
    """ALeRCE's detections."""
    return Answer(await _detections(call))


async def alerce_non_detections(call: Call) -> Answer:
    """ALeRCE's non-detections: limits are in the packets, which the history does not take apart."""
    await _detections(call)
    return Answer([])


async def alerce_probabilities(call: Call) -> Answer:
    """ALeRCE's probabilities: of the latest alert."""
    rows = await ask(call, lambda store, private: store.records(call.path.oid, private=private, limit=1))
    if not rows:
        raise not_there(f"object {call.path.oid}")
    record = record_of(rows[0])
    ranked = sorted(record.classes, key=lambda c: -c.prior_probability)
    return Answer(
        [{"classifier_name": CLASSIFIER, "classifier_version": record.scoring_id, "class_name": c.name, "probability": c.prior_probability,
          "balanced_probability": c.probability, "ranking": i + 1} for i, c in enumerate(ranked)]
    )  # fmt: skip


async def alerce_features(call: Call) -> Answer:
    """ALeRCE's features: of the latest alert."""
    rows = await ask(call, lambda store, private: store.records(call.path.oid, private=private, limit=1))
    if not rows:
        raise not_there(f"object {call.path.oid}")
    record = record_of(rows[0])
    return Answer([{"name": f.name, "value": f.value, "fid": None, "version": record.model} for f in record.features])


def object_of(o: ObjectRow) -> dict[str, Any]:
    """An object by ALeRCE's names."""
    return {
        "oid": o.object_id, "ndet": o.n, "firstmjd": o.first_mjd, "lastmjd": o.last_mjd,
        "deltajd": o.last_mjd - o.first_mjd, "meanra": o.ra, "meandec": o.dec, "class": o.class_name, "classifier": CLASSIFIER,
        "probability": o.probability, "novelty": o.novelty,
    }  # fmt: skip


async def _detections(call: Call) -> list[dict[str, Any]]:
    points = await ask(call, lambda store, private: store.lightcurve(call.path.oid, private=private))
    if not points:
        raise not_there(f"object {call.path.oid}")
    return [detection_of(p) for p in points]


def detection_of(p: PointRow) -> dict[str, Any]:
    """A detection by ALeRCE's names."""
    bright = p.flux is not None and p.flux != 0
    size = abs(p.flux) if p.flux else math.nan
    return {
        "candid": str(p.candid), "mjd": p.mjd, "fid": BANDS.get(p.band), "ra": p.ra, "dec": p.dec,
        "isdiffpos": None if p.flux is None else 1 if p.flux > 0 else -1,
        "magpsf": _AB_UJY - 2.5 * math.log10(size) if bright else None,
        "sigmapsf": 2.5 / math.log(10) * p.flux_err / size if bright and p.flux_err is not None else None,
    }  # fmt: skip


def _page(q: AlerceObjects, rows: list[ObjectRow]) -> dict[str, Any]:
    more = len(rows) > q.page_size
    return {
        "total": None, "page": q.page, "next": q.page + 1 if more else None, "has_next": more, "prev": q.page - 1 if q.page > 1 else None,
        "has_prev": q.page > 1, "items": [object_of(o) for o in rows[: q.page_size]],
    }  # fmt: skip


def _among(wanted: ObjectFilter, ids: list[str]) -> ObjectFilter:
    return replace(wanted, ids=[name for name in ids if wanted.ids is None or name in wanted.ids][:1_000])


def _first(values: list[Any] | None) -> Any:
    return values[0] if values else None


def _second(values: list[Any] | None) -> Any:
    return values[1] if values and len(values) > 1 else None


def _row(path: str, handler: Any, *, summary: str) -> Endpoint:
    return Endpoint(
        method="GET", path=path, scope="read", summary=summary, handler=handler, parameters=AlerceObjectPath, answer=AlerceAnswer,
        envelope=False, tag="aliases",
    )  # fmt: skip


ROWS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET", path="/ztf/v1/objects", scope="read", summary="ALeRCE's list of objects", handler=alerce_objects,
        query=AlerceObjects, answer=AlerceAnswer, envelope=False, tag="aliases", errors={400: "A cone is not whole."},
    ),
    _row("/ztf/v1/objects/{oid}", alerce_object, summary="ALeRCE's object"),
    _row("/ztf/v1/objects/{oid}/lightcurve", alerce_light_curve, summary="ALeRCE's light curve"),
    _row("/ztf/v1/objects/{oid}/detections", alerce_detections, summary="ALeRCE's detections"),
    _row("/ztf/v1/objects/{oid}/non_detections", alerce_non_detections, summary="ALeRCE's non-detections"),
    _row("/ztf/v1/objects/{oid}/probabilities", alerce_probabilities, summary="ALeRCE's probabilities"),
    _row("/ztf/v1/objects/{oid}/features", alerce_features, summary="ALeRCE's features"),
)  # fmt: skip
