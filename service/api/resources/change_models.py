"""`/v1/models/…`: what a model is, by what two differ, and which one scores. Changes are those of `protonova promote` and `rollback`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from errors import UserError
from registry.bundle import load as load_bundle
from registry.bundle_facts import differences, facts, thresholds
from schemas.records.model_announced import CHAMPION
from service.api.broker_facts import answered, conflict
from service.api.endpoints import Answer, Call, Endpoint, Services, need
from service.api.history_access import in_thread, iso
from service.api.pages import QueryModel
from service.api.problems import ProblemError
from streams.model_comparison import Comparison, Side, compare_on
from streams.recent import recent_packets

if TYPE_CHECKING:
    from schemas.records.model_announced import ModelAnnounced
    from streams.named_models import Named

MOST_COMPARED = 5_000
NAME = r"^(champion|challenger|previous|[0-9a-f]{4,64})$"
_Found = TypeVar("_Found")


class ModelPath(BaseModel):
    """Names a model."""

    model: str = Field(pattern=NAME, description="champion, challenger, previous, or the beginning of an id")


class WholeModel(BaseModel):
    """A model."""

    model: str = Field(description="First 16 hexadecimal digits of the bundle's sha256")
    sha256: str = Field(description="Of the bundle's manifest")
    alias: str | None = Field(description="What it is announced as; null: it is not")
    revision: int | None = Field(description="Of the announcement")
    author: str | None = Field(description="Who announced it")
    note: str | None = Field(description="Why")
    announced_at: str | None = Field(description="When, ISO 8601 in UTC")
    facts: dict[str, str] = Field(description="How it was made, and what it reached")
    thresholds: dict[str, float] = Field(description="Class → prior probability from which its topic takes an alert [1]")


class CompareQuery(QueryModel):
    """Which two models."""

    a: str = Field(CHAMPION, pattern=NAME, description="The one")
    b: str = Field("challenger", pattern=NAME, description="The other")
    packets: int = Field(1000, ge=0, le=MOST_COMPARED, description="Recent alerts that both score; 0: only how they are made is compared")


class Difference(BaseModel):
    """Something by which two models differ."""

    what: str = Field(description="Encoder, a class's threshold, an array of the head, a figure, a setting of the training")
    a: str = Field(description="Of the one")
    b: str = Field(description="Of the other")


class ModelSide(BaseModel):
    """What one of the two made of the alerts."""

    model: str = Field(description="Its id")
    scoring_id: str = Field(description="What its scores depend on besides the packet")
    classes: dict[str, int] = Field(description="Alerts decided as each class")
    published: dict[str, int] = Field(description="Those on the class's topic")
    rejected: int = Field(description="Alerts that it rejected")
    us_per_packet: float = Field(description="What it cost [µs]")


class OtherwiseDecided(BaseModel):
    """Alerts that two models decide otherwise."""

    a: str = Field(description="Class by the one")
    b: str = Field(description="Class by the other")
    alerts: int = Field(description="So many")


class ModelComparison(BaseModel):
    """Two models."""

    differences: list[Difference] = Field(description="Empty: they score the same")
    packets: int = Field(description="Recent alerts that both scored")
    same: int = Field(description="Of these, decided alike")
    a: ModelSide | None = Field(description="The one; null: nothing was scored")
    b: ModelSide | None = Field(description="The other")
    pairs: list[OtherwiseDecided] = Field(description="What was decided otherwise, the most frequent first")


class Promotion(BaseModel):
    """Why a model is promoted, and what its author knew."""

    model_config = ConfigDict(extra="forbid")
    revision: int | None = Field(None, ge=0, description="Of the champion that you saw (0: there was none): 409 where there is another now")
    note: str = Field("", max_length=1000, description="Why, kept with the promotion")


class Announced(BaseModel):
    """The champion after a change."""

    model: str = Field(description="Its id")
    sha256: str = Field(description="Of its manifest")
    revision: int = Field(description="Of the change")


async def show_model(call: Call) -> Answer:
    """A model."""
    named = await _named(call, call.path.model)
    bundle, one = await in_thread(lambda: load_bundle(named.folder)), named.announced
    return Answer(
        {"model": bundle.sha256[:16], "sha256": bundle.sha256, "alias": one and one.alias, "revision": one and one.revision,
         "author": one and one.author, "note": one and one.note, "announced_at": iso(one.announced_ms) if one is not None else None,
         "facts": facts(bundle), "thresholds": thresholds(bundle)}
    )  # fmt: skip


async def compare_models(call: Call) -> Answer:
    """By what two models differ, and what they make of recent alerts."""
    settings, q = call.services.settings, call.query
    one, other = await _named(call, q.a), await _named(call, q.b)
    left, right = await in_thread(lambda: (load_bundle(one.folder), load_bundle(other.folder)))
    rows = [{"what": what, "a": a, "b": b} for what, a, b in differences(left, right)]
    found, sides = Comparison(), None
    if rows and q.packets and settings.kafka is not None:
        async with call.services.heavy.turn():
            packets = await answered(lambda: recent_packets(settings, q.packets), within=60)
            found, sides = await call.services.heavy.run(lambda: _scored(call.services, packets, named=(one, other), private=call.private))
    return Answer(
        {"differences": rows, "packets": found.both, "same": found.same,
         "a": None if sides is None else sides[0].figures(found.packets), "b": None if sides is None else sides[1].figures(found.packets),
         "pairs": [{"a": a, "b": b, "alerts": n} for (a, b), n in found.pairs.most_common()]}
    )  # fmt: skip


def _scored(services: Services, packets: list[bytes], *, named: tuple[Named, Named], private: bool) -> tuple[Comparison, tuple[Side, Side]]:
    from pipeline.state import load

    one, other = (Side(load(model.folder, services.settings.engine)) for model in named)
    if not private:
        packets = _public(one, packets)
    return compare_on(packets, (one, other)), (one, other)


def _public(side: Side, packets: list[bytes]) -> list[bytes]:
    """Packets of public alerts; what cannot be read is left out."""
    found: list[bytes] = []
    for start in range(0, len(packets), 256):
        part = packets[start : start + 256]
        decoded = side.state.decoder.decode(part)
        found += [part[position] for i, position in enumerate(decoded.index) if decoded.batch.programid[i] == 1]
    return found


async def promote_model(call: Call) -> Answer:
    """Make a model the champion."""
    from streams.models import announced, promote

    settings, body = call.services.settings, call.body
    known = need(call.services.facts, "nothing can be promoted")
    revision = await _champion(call)
    if body.revision is not None and body.revision != revision:
        raise conflict("another model is the champion", revision)
    named = await _named(call, call.path.model)
    sha256 = named.announced.sha256 if named.announced is not None else (await in_thread(lambda: load_bundle(named.folder))).sha256

    async def present() -> int:
        found = (await announced(settings)).get(CHAMPION)
        return 0 if found is None else found.revision

    async def work() -> ModelAnnounced:
        return await promote(settings, sha256=sha256, based_on=revision, author=call.caller.name, note=body.note)

    return _changed(await known.change(work, present=present))


async def roll_back_model(call: Call) -> Answer:
    """Make the previous model the champion again."""
    from streams.models import announced, rollback

    settings, body = call.services.settings, call.body
    known = need(call.services.facts, "nothing can be rolled back")

    async def present() -> int:
        found = (await announced(settings)).get(CHAMPION)
        return 0 if found is None else found.revision

    async def work() -> ModelAnnounced:
        return await rollback(settings, author=call.caller.name, note=body.note, based_on=body.revision)

    return _changed(await known.change(work, present=present))


def _changed(made: ModelAnnounced) -> Answer:
    """The answer of a change. The ledger follows with the next command, or the gatekeeper: MLflow would keep this process from ending."""
    return Answer({"model": made.model, "sha256": made.sha256, "revision": made.revision}, headers={"ETag": f'"{made.revision}"'})


async def _champion(call: Call) -> int:
    """Revision of the champion as it is now."""
    from streams.models import announced

    if call.services.settings.kafka is None:
        raise ProblemError(503, "without a broker nothing can be changed", headers={"Retry-After": "60"})
    found = (await answered(lambda: announced(call.services.settings))).get(CHAMPION)
    return 0 if found is None else found.revision


async def _named(call: Call, name: str) -> Named:
    """A model by its name.

    Raises
    ------
    ProblemError
        404: there is none, or there are several.
    """
    from streams.named_models import Named, model_named

    settings = call.services.settings
    if settings.kafka is None:
        bundle = await in_thread(lambda: load_bundle(settings.bundle))
        if name == CHAMPION or bundle.sha256.startswith(name):
            return Named(bundle.path, None)
        raise ProblemError(404, "without a broker there is the bundle's model alone")
    return await _found(lambda: model_named(settings, name, folders=False))


async def _found(question: Callable[[], Awaitable[_Found]]) -> _Found:
    try:
        return await answered(question, within=30)
    except UserError as error:
        raise ProblemError(404, str(error)) from None


_CONFLICT: dict[int, str] = {409: "Another model is the champion by now; `revision` says which change that was."}

ROWS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET", path="/v1/models/compare", scope="read", summary="By what two models differ, and what they make of recent alerts",
        handler=compare_models, query=CompareQuery, answer=ModelComparison, errors={404: "There is no such model."}, tag="models",
    ),
    Endpoint(
        method="POST", path="/v1/models/rollback", scope="operate", summary="Make the previous model the champion again",
        handler=roll_back_model, body=Promotion, answer=Announced, errors=_CONFLICT, tag="models",
    ),
    Endpoint(
        method="POST", path="/v1/models/{model}/promote", scope="operate", summary="Make a model the champion", handler=promote_model,
        description="The champion becomes the previous model. Workers follow within seconds.", parameters=ModelPath, body=Promotion,
        answer=Announced, errors=_CONFLICT, tag="models",
    ),
    Endpoint(
        method="GET", path="/v1/models/{model}", scope="read", summary="A model", handler=show_model, parameters=ModelPath,
        answer=WholeModel, tag="models",
    ),
)  # fmt: skip
