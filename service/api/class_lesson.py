"""What a class is to be taught from over HTTP → the work of `streams.class_lessons`, with the caller's rights, one at a time."""

from __future__ import annotations

import base64
import binascii
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from data.history.portion import Origin
from errors import RetryableError, UserError
from gpu.session import EngineError
from operators.taught import PRIOR
from registry.bundle import Bundle
from registry.bundle import load as load_bundle
from schemas.records.class_record import LONGEST_DESCRIPTION, MOST_EXAMPLES
from service.api.broker_facts import answered, conflict
from service.api.endpoints import Call, need
from service.api.history_access import ask, in_thread, not_there
from service.api.problems import ProblemError
from streams.class_lessons import Prepared, Wanted, prepare
from streams.recent import recent_packets

if TYPE_CHECKING:
    from data.simulate.described import Description
    from pipeline.state import ScoringState
    from schemas.records.class_record import ClassRecord

MOST_WINDOW = 5_000
READ_WITHIN = 60.0
"""How long the broker may take for the recent alerts [s]."""

AlertName = Annotated[str, Field(pattern=r"^(ztf|lsst|tess|frames):-?[0-9]{1,19}$")]
ObjectName = Annotated[str, Field(min_length=1, max_length=128)]


class LessonBody(BaseModel):
    """What a class is taught from: packets, alerts, objects; or a description alone."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    packets: list[Annotated[str, Field(min_length=1)]] = Field(
        [], max_length=MOST_EXAMPLES, description="Packets in base64", json_schema_extra={"items": {"type": "string", "minLength": 1}}
    )
    alerts: list[AlertName] = Field([], max_length=MOST_EXAMPLES, description="Alerts of the history, or recent ones: survey:candid")
    objects: list[ObjectName] = Field([], max_length=MOST_EXAMPLES, description="Objects, of each the newest of the recent alerts")
    description: str | None = Field(
        None, min_length=1, max_length=LONGEST_DESCRIPTION, description="A physical description as YAML, or what one that ships is called"
    )
    mode: Literal["new", "merge", "replace"] = Field(
        "new", description="merge adds to the examples of a class that is taught, replace begins anew"
    )
    revision: int | None = Field(None, ge=0, description="Of the class that you saw (0: it was not taught): 409 where it is another now")
    window: int = Field(2000, ge=0, le=MOST_WINDOW, description="Recent alerts that bound the class and are looked through")
    false_calls: float | None = Field(
        None, ge=1e-5, le=0.2, description="Share of known alerts that may be called the class [1]; null: what the window allows"
    )
    prior: float = Field(PRIOR, ge=1e-9, le=0.5, description="Share of the stream that the class is taken to have [1]")
    note: str = Field("", max_length=1000, description="Why, kept with the class")


@dataclass(frozen=True, slots=True)
class Champion:
    """What classes are taught beside."""

    bundle: Bundle
    state: ScoringState


async def champion_of(call: Call) -> Champion:
    """The model that scores here, with its bundle.

    Raises
    ------
    ProblemError
        503: it is not loaded, or another one takes its place just now.
    """
    from streams.named_models import champion_settings

    scorers = need(call.services.scorers, "nothing can be taught")
    settings = call.services.settings
    if settings.kafka is not None:
        settings = await answered(lambda: champion_settings(settings), within=30)
    bundle = await in_thread(lambda: load_bundle(settings.bundle))
    state: ScoringState = scorers.holder.current.state
    if not bundle.sha256.startswith(state.model):
        raise ProblemError(503, "another model becomes the champion just now", headers={"Retry-After": "5"})
    return Champion(bundle, state)


async def recent_of(call: Call, most: int) -> list[bytes]:
    """The newest packets of the topics; none without a broker."""
    settings = call.services.settings
    if settings.kafka is None or not most:
        return []
    return await answered(lambda: recent_packets(settings, most), within=READ_WITHIN)


async def prepared(call: Call, name: str, *, before: ClassRecord | None, champion: Champion) -> Prepared:
    """A class that could be taught now.

    Raises
    ------
    ProblemError
        404: an alert that is not there; 409: the class is another one by now; 422: it cannot be taught from this.
    """
    body: LessonBody = call.body
    check_revision(name, before, seen=body.revision)
    if before is not None and body.mode == "new":
        raise conflict(f"{name} is taught already, by {before.author}: merge, or replace", before.revision)
    if body.description is not None and (body.packets or body.alerts or body.objects):
        raise ProblemError(422, "a class is taught by examples or by a description", errors=[_fault("description", "stands alone")])
    packets = [_decoded(text, i) for i, text in enumerate(body.packets)]
    found, others = await _of_history(call, body.alerts)
    async with call.services.heavy.turn():
        recent = await recent_of(call, body.window)
        wanted = Wanted(
            name=name, packets=[*packets, *found], candids=others, objects=body.objects,
            description=None if body.description is None else _description(body.description), merge=body.mode == "merge",
            recent=recent, window=body.window, false_calls=body.false_calls, prior=body.prior, author=call.caller.name, note=body.note,
            private=call.private,
        )  # fmt: skip
        now_ms = int(1000 * call.services.clock())

        def work() -> Prepared:
            return prepare(wanted, bundle=champion.bundle, state=champion.state, before=before, now_ms=now_ms)

        try:
            return await call.services.heavy.run(work)
        except UserError as error:
            raise ProblemError(422, str(error)) from None
        except (EngineError, RetryableError) as error:
            raise ProblemError(503, str(error), headers={"Retry-After": "5"}) from None


def check_revision(name: str, before: ClassRecord | None, *, seen: int | None) -> None:
    """Compare the revision that the caller saw with the one there is.

    Raises
    ------
    ProblemError
        409.
    """
    revision = 0 if before is None else before.revision
    if seen is not None and seen != revision:
        raise conflict(f"{name} is not taught any more" if before is None else f"{name} was changed by {before.author}", revision)


async def _of_history(call: Call, names: list[str]) -> tuple[list[bytes], list[int]]:
    """Packets of alerts that the history knows, and the candids of the others."""
    packets: list[bytes] = []
    others: list[int] = []
    for name in names:
        survey, _, text = name.partition(":")
        candid = int(text)
        stored = None
        if call.services.history is not None and call.services.packets is not None:
            with suppress(ProblemError):  # no history is kept: the alert may be a recent one all the same
                stored = await ask(call, lambda store, private, s=survey, c=candid: store.alert(s, c, private=private))  # type: ignore[misc]
        origin: Origin | None = None if stored is None else stored.origin
        found = None
        if stored is not None and origin is not None:
            found = await answered(lambda o=origin, s=stored: call.services.packets.read(o, packet_id=s.summary.packet_id))  # type: ignore[misc]
        if found is not None:
            packets.append(found)
        elif call.services.settings.kafka is None:
            raise not_there(f"packet of alert {name}")
        else:
            others.append(candid)
    return packets, others


def _decoded(text: str, place: int) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise ProblemError(
            422, f"packet {place} is not base64", errors=[{"loc": ["body", "packets", place], "msg": "not base64"}]
        ) from None


def _description(text: str) -> Description:
    from data.simulate.described import DescriptionError, parse, shipped
    from data.simulate.lookup import find

    try:
        if "\n" in text.strip():
            return parse(text, "the description")
    except DescriptionError as error:
        raise ProblemError(422, str(error), errors=[_fault("description", str(error))]) from None
    found = find(text)
    if not found:
        message = f"no description that ships means {text[:60]!r}: send one as YAML"
        raise ProblemError(422, message, errors=[_fault("description", message)])
    return shipped()[found[0][0]]


def _fault(name: str, message: str) -> dict[str, object]:
    return {"loc": ["body", name], "msg": message}
