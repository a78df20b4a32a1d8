"""`/v1/filters`: the caller's filters of detections, and what one would have passed of a night before it is switched on."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field

from data.areas.drafts import draft_filter
from data.areas.filter_set import filter_set
from data.history.nights import DAY_MS, night_of, parse_night
from data.history.store import HistoryStore
from errors import UserError
from evaluation.filter_preview import FilterPreview, preview_filter
from schemas.records.filter_defined import FilterDefined, owned_key
from schemas.records.json_form import to_json
from schemas.records.key_fields import KeyFields
from schemas.records.table import DETECTION
from service.api.endpoints import Answer, Call, Endpoint, need
from service.api.history_access import ask, iso, not_there
from service.api.owned import definitions_of, next_revision, owner_of, unprocessable, write
from service.api.problems import ProblemError
from streams.kafka import topics
from streams.safe_post import allowed_networks, check_address
from streams.webhooks import key_of

MOST_BODY = 16 << 20
"""A sky map in base64 is large."""
NIGHTS_BACK = 30
"""Nights among which the latest one with alerts is looked for."""
OF_PART = 5_000
"""Records that are asked at once."""


class Area(BaseModel):
    """A part of the sky, given in one of these ways."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    moc: str | dict[str, list[int]] | None = Field(None, description="A MOC: 3/1-4 5/812, or as JSON")
    polygon: list[tuple[float, float]] | None = Field(None, max_length=200, description="Corners (ra, dec), ICRS [deg]")
    cones: list[tuple[float, float, float]] | None = Field(None, max_length=1000, description="Circles (ra, dec, radius), ICRS [deg]")
    fits: str | None = Field(None, description="A MOC, or a multi-order sky map of GCN, in FITS, base64")
    level: float = Field(0.9, gt=0, lt=1, description="Of a sky map: share of the probability")


class Asked(BaseModel):
    """What a filter asks for."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    expression: str = Field(max_length=2_000, description="As behind SQL's WHERE, over the fields of docs/filter-fields.md")
    area: Area | None = Field(None, description="Where; null: the whole sky")
    watchlists: list[str] = Field([], max_length=16, description="Names of watchlists of the caller; near a position of one of them")
    budget: int = Field(1000, ge=1, le=1_000_000, description="Matches a night, after which it stops until the next one")


class WantedFilter(Asked):
    """A filter, or another revision of it."""

    webhook: str = Field("", max_length=2_000, description="Address that each match is posted to; empty: none")
    backfill_days: float = Field(0.0, ge=0, le=400, description="How far back the history is searched [d]")
    active: bool = Field(True, description="Whether it runs")
    note: str = Field("", max_length=1_000, description="What it is for")
    based_on: int | None = Field(None, ge=0, description="The revision that was seen; another one is 409. 0: there is none yet")


class FilterPath(BaseModel):
    """The path's parameters."""

    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=40, description="Name of the filter")


class ShownFilter(BaseModel):
    """A filter."""

    name: str = Field(description="Its name")
    owner: str = Field(description="Whose it is")
    revision: int = Field(description="Counted from 1; each match holds that of its filter")
    expression: str = Field(description="What it asks for")
    area: str = Field(description="What kind of area it has; empty: the whole sky")
    watchlists: list[str] = Field(description="Its watchlists")
    private: bool = Field(description="Whether it looks at alerts that are not public: its maker may see them")
    budget: int = Field(description="Matches a night")
    webhook: str = Field(description="Address that matches are posted to")
    backfill_days: float = Field(description="How far back the history is searched [d]")
    active: bool = Field(description="Whether it runs")
    note: str = Field(description="What it is for")
    topic: str = Field(description="Kafka topic of its matches")
    made: str | None = Field(description="When this revision was made, ISO 8601, UTC")


class MadeFilter(ShownFilter):
    """A filter that was just made."""

    webhook_key: str | None = Field(description="Key that its webhook is signed by (HMAC-SHA256); null: it has none")


class WantedPreview(Asked):
    """A filter to be asked of a night."""

    night: str | None = Field(None, max_length=10, description="As 2026-11-29; null: the latest that has alerts")
    classes: list[str] = Field([], max_length=16, description="Classes that it is meant for: purity is the share of these")


class PreviewPurity(BaseModel):
    """Of the passing alerts that have a label."""

    labelled: int = Field(description="How many have one")
    right: int = Field(description="How many of these are of the named classes")
    share: float | None = Field(description="Their share; null: none has a label, or no class was named")
    low: float = Field(description="Lower bound of its 95 % interval")
    high: float = Field(description="Upper bound of it")


class Preview(BaseModel):
    """What a filter would have passed."""

    night: str = Field(description="Which night")
    looked_at: int = Field(description="Alerts of it that the caller may see")
    passed: int = Field(description="Those that pass")
    over_budget: int = Field(description="Those beyond the budget")
    objects: int = Field(description="Objects they are of")
    classes: dict[str, int] = Field(description="Decided class and how many")
    labels: dict[str, int] = Field(description="Known label and how many")
    purity: PreviewPurity = Field(description="How pure it is, by known labels")
    samples: list[dict[str, Any]] = Field(description="The most probable ones, ten at most")
    seconds: float = Field(description="How long it took [s]")


async def list_filters(call: Call) -> Answer:
    """The caller's filters."""
    owner, found = owner_of(call), definitions_of(call).filters
    return Answer(rows=[_row(one) for one in sorted(found.values(), key=lambda one: one.name) if one.owner == owner])


async def show_filter(call: Call) -> Answer:
    """A filter."""
    found = definitions_of(call).filters.get(owned_key(owner_of(call), call.path.name))
    if found is None:
        raise not_there(f"filter {call.path.name}")
    return Answer(_row(found))


async def put_filter(call: Call) -> Answer:
    """Make a filter, or another revision of it."""
    wanted: WantedFilter = call.body
    held, owner, settings = definitions_of(call), owner_of(call), call.services.settings
    draft = await _draft(call, wanted, name=call.path.name)
    missing = [name for name in wanted.watchlists if owned_key(owner, name) not in held.watchlists]
    if missing:
        raise ProblemError(422, f"there is no watchlist {missing[0]}", errors=[{"loc": ["body", "watchlists"], "msg": "not there"}])
    secret = settings.filters_webhook_key
    if wanted.webhook:
        if secret is None:
            raise ProblemError(422, "webhooks are not signed here, so there are none: the setting filters_webhook_key is missing")
        try:
            check_address(wanted.webhook, allowed_networks(settings))
        except UserError as error:
            raise unprocessable(error, "webhook") from None
    revision = next_revision(held.filters, draft.key, owner=owner, based_on=wanted.based_on)
    record = replace(
        draft, revision=revision, webhook=wanted.webhook, backfill_days=wanted.backfill_days, active=wanted.active, note=wanted.note,
        made_ms=int(1000 * call.services.clock()),
    )  # fmt: skip
    await write(call, topics.FILTERS_DEFINED, key=record.key, record=record, held=held.filters)
    key = key_of(secret.get_secret_value(), owner, name=record.name) if wanted.webhook and secret is not None else None
    return Answer({**_row(record), "webhook_key": key})


async def remove_filter(call: Call) -> Answer:
    """Take a filter away; its matches stay on their topic."""
    held, key = definitions_of(call).filters, owned_key(owner_of(call), call.path.name)
    if key not in held:
        raise not_there(f"filter {call.path.name}")
    await write(call, topics.FILTERS_DEFINED, key=key, record=None, held=held)
    return Answer(status=204)


async def preview(call: Call) -> Answer:
    """Ask a filter of a night in the history."""
    begun = time.perf_counter()
    wanted: WantedPreview = call.body
    draft = await _draft(call, wanted, name="asked")
    lists = {} if call.services.definitions is None else definitions_of(call).watchlists
    asked = filter_set([draft], lists)
    if asked.faults:
        raise ProblemError(422, asked.faults[0][1])
    night = _night(wanted.night)
    labels = await need(call.services.facts, "labels cannot be read").labels()

    def label(one: KeyFields) -> str | None:
        found: str | None = labels.of(one.survey, one.candid, object_id=one.object_id)
        return found

    def question(store: HistoryStore, private: frozenset[int]) -> tuple[int, FilterPreview]:
        chosen = night or _latest(store, private, now_ms=int(1000 * call.services.clock()))
        parts = _records(store, private, night=chosen)
        return chosen, preview_filter(asked, parts, label=label, targets=wanted.classes, budget=wanted.budget)

    chosen, found = await ask(call, question)
    return Answer(
        {
            "night": f"{chosen // 10_000}-{chosen // 100 % 100:02d}-{chosen % 100:02d}", "looked_at": found.looked_at,
            "passed": found.passed, "over_budget": found.over_budget, "objects": found.objects, "classes": found.classes,
            "labels": found.labels, "purity": found.purity._asdict(), "samples": [orjson.loads(to_json(d)) for d in found.samples],
            "seconds": round(time.perf_counter() - begun, 4),
        }
    )  # fmt: skip


async def _draft(call: Call, wanted: Asked, *, name: str) -> FilterDefined:
    """The filter that a body asks for."""
    area = wanted.area or Area.model_validate({})
    taught = () if call.services.facts is None else await call.services.facts.taught()
    try:
        fits = None if area.fits is None else base64.b64decode(area.fits, validate=True)
    except binascii.Error:
        raise ProblemError(422, "area: fits is not base64", errors=[{"loc": ["body", "area", "fits"], "msg": "not base64"}]) from None
    try:
        return draft_filter(
            owner_of(call), name, expression=wanted.expression, moc=area.moc, polygon=area.polygon, cones=area.cones, fits=fits,
            level=area.level, watchlists=wanted.watchlists, private_rights=call.private, budget=wanted.budget, taught=taught,
        )  # fmt: skip
    except UserError as error:
        raise unprocessable(error) from None


def _night(text: str | None) -> int:
    if text is None:
        return 0
    try:
        return parse_night(text)
    except ValueError:
        raise ProblemError(422, "night: a date as 2026-11-29", errors=[{"loc": ["body", "night"], "msg": "not a date"}]) from None


def _latest(store: HistoryStore, private: frozenset[int], *, now_ms: int) -> int:
    """The latest night that has alerts; tonight where none has."""
    for back in range(NIGHTS_BACK):
        night = night_of(now_ms - back * DAY_MS, "")
        if store.parts(night, private=private, rows=1_000_000):
            return night
    return night_of(now_ms, "")


def _records(store: HistoryStore, private: frozenset[int], *, night: int) -> Iterator[Sequence[bytes]]:
    for part in store.parts(night, private=private, rows=OF_PART):
        rows = store.bodies(night, private=private, first=part.first, last=part.last)
        yield [body for schema_id, body in rows if schema_id == DETECTION]


def _row(one: FilterDefined) -> dict[str, Any]:
    return {
        "name": one.name, "owner": one.owner, "revision": one.revision, "expression": one.expression, "area": one.area,
        "watchlists": list(one.watchlists), "private": one.private_rights, "budget": one.budget, "webhook": one.webhook,
        "backfill_days": one.backfill_days, "active": one.active, "note": one.note,
        "topic": topics.filter_topic(one.owner, one.name).name, "made": iso(one.made_ms),
    }  # fmt: skip


ROWS: tuple[Endpoint, ...] = (
    Endpoint(
        method="POST", path="/v1/filters/preview", scope="read", summary="What a filter would have passed of a night", handler=preview,
        description="Asked of the history: how many, which classes, how pure by known labels, and sample alerts.",
        body=WantedPreview, most_body=MOST_BODY, answer=Preview, tag="filters",
    ),
    Endpoint(
        method="GET", path="/v1/filters", scope="subscribe", summary="The caller's filters", handler=list_filters, answer=ShownFilter,
        table=True, tag="filters",
    ),
    Endpoint(
        method="GET", path="/v1/filters/{name}", scope="subscribe", summary="A filter", handler=show_filter, parameters=FilterPath,
        answer=ShownFilter, tag="filters",
    ),
    Endpoint(
        method="PUT", path="/v1/filters/{name}", scope="subscribe", summary="Make a filter, or another revision of it",
        handler=put_filter, parameters=FilterPath, body=WantedFilter, most_body=MOST_BODY, answer=MadeFilter, audited=True, tag="filters",
        errors={409: "It was changed meanwhile"},
    ),
    Endpoint(
        method="DELETE", path="/v1/filters/{name}", scope="subscribe", summary="Take a filter away", handler=remove_filter,
        parameters=FilterPath, status=204, audited=True, tag="filters",
    ),
)  # fmt: skip
