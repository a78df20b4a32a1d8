"""`/v1/rejects/…`: a rejected packet with its bytes, and the way back to its topic."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from schemas.avro.error_classes import ERROR_CLASSES
from schemas.avro.packet_view import bounded_view
from service.api.broker_facts import answered
from service.api.endpoints import Answer, Call, Endpoint, need
from service.api.history_access import in_thread, iso, not_there
from service.api.problems import ProblemError

if TYPE_CHECKING:
    from streams.agents.redrive import Redrive, RejectedPacket

OCTETS = "application/octet-stream"
MOST_IDS = 1_000
REDRIVE_WITHIN = 300.0
"""How long a call may re-drive [s]; what it has sent is noted, and the next call goes on."""


class RejectPath(BaseModel):
    """Names a rejected packet."""

    partition: str = Field(pattern=r"^[0-9]{1,9}$", description="Partition on alerts.rejected")
    offset: str = Field(pattern=r"^[0-9]{1,18}$", description="Offset on alerts.rejected")


class WholeReject(BaseModel):
    """A rejected packet."""

    id: str = Field(description="partition/offset on alerts.rejected")
    rejected: str | None = Field(description="When, ISO 8601 in UTC")
    error_class: str = Field(description="Short name to count by")
    reason: str = Field(description="Why, in one sentence")
    what_to_do: str = Field(description="What helps against packets of its error class")
    survey: str | None = Field(description="Where that much could be read")
    origin: str = Field(description="Topic, partition and offset that it came from")
    attempt: int = Field(description="How often it was tried")
    size: int = Field(description="Length of the packet [bytes]")
    complete: bool = Field(description="Whether all of it is kept")
    redriven: bool = Field(description="Whether it was sent to its topic again")
    packet: Any = Field(description="What can be decoded of it; null for who may not see what is not public")


class RedriveBody(BaseModel):
    """Which packets go back to their topics."""

    model_config = ConfigDict(extra="forbid")
    ids: list[Annotated[str, Field(pattern=r"^[0-9]{1,9}/[0-9]{1,18}$")]] = Field(
        [], max_length=MOST_IDS, description="partition/offset of each; empty: all that the other fields leave"
    )
    error_classes: list[str] = Field([], max_length=100, description="Only those of these; empty: of any")
    since: AwareDatetime | None = Field(None, description="Only those rejected since then, ISO 8601")
    dry_run: bool = Field(False, description="Count, and send nothing")
    most_attempts: int = Field(5, ge=1, le=1000, description="A packet that was rejected so often stays where it is")


class Redriven(BaseModel):
    """What a call did."""

    sent: int = Field(description="Packets that were sent to their topics again, or would be")
    before: int = Field(description="Were re-driven before")
    incomplete: int = Field(description="Of these only the beginning was kept")
    exhausted: int = Field(description="Were rejected too often")
    no_topic: int = Field(description="Have no alert topic")
    dry_run: bool = Field(description="Whether nothing was sent")


async def show_reject(call: Call) -> Answer:
    """A rejected packet."""
    found, again = await _reject(call)
    view = await in_thread(lambda: bounded_view(found.value)) if call.private else None
    return Answer(
        {"id": found.id, "rejected": iso(found.rejected_ms), "error_class": found.error_class, "reason": found.reason,
         "what_to_do": ERROR_CLASSES.get(found.error_class, ""), "survey": found.survey, "origin": found.origin, "attempt": found.attempt,
         "size": found.size, "complete": found.complete, "redriven": again, "packet": view}
    )  # fmt: skip


async def fetch_reject(call: Call) -> Answer:
    """The bytes of a rejected packet. Whether it is public is not known of what cannot be read."""
    if not call.private:
        raise not_there("packet of that name")
    found, _ = await _reject(call)
    return Answer(raw=found.value, media_type=OCTETS, headers={"Complete": "true" if found.complete else "false"})


async def redrive_rejects(call: Call) -> Answer:
    """Send rejected packets to their topics again, each once."""
    from streams.agents.redrive import redrive

    body: RedriveBody = call.body
    if unknown := [name for name in body.error_classes if name not in ERROR_CLASSES]:
        message = f"{unknown[0][:60]!r} is not an error class"
        raise ProblemError(422, message, errors=[{"loc": ["body", "error_classes"], "msg": message}])
    since = None if body.since is None else round(body.since.astimezone(dt.UTC).timestamp() * 1000)

    async def work() -> Redrive:
        return await redrive(
            call.services.settings, since_ms=since, reasons=body.error_classes, only=body.ids, dry_run=body.dry_run,
            most_attempts=body.most_attempts,
        )  # fmt: skip

    need(call.services.settings.kafka, "nothing can be re-driven")
    async with call.services.heavy.turn():
        done = await answered(work, within=REDRIVE_WITHIN)
    names = ("sent", "before", "incomplete", "exhausted", "no_topic")
    return Answer({**{name: getattr(done, name) for name in names}, "dry_run": body.dry_run})


async def _reject(call: Call) -> tuple[RejectedPacket, bool]:
    """A rejected packet and whether it was re-driven.

    Raises
    ------
    ProblemError
        404.
    """
    from streams.agents.redrive import redriven, rejected_at

    settings = call.services.settings
    need(settings.kafka, "rejected packets cannot be read")
    found = await answered(lambda: rejected_at(settings, partition=int(call.path.partition), offset=int(call.path.offset)))
    if found is None:
        raise not_there(f"rejected packet {call.path.partition}/{call.path.offset}")
    return found, found.id in await answered(lambda: redriven(settings))


ROWS: tuple[Endpoint, ...] = (
    Endpoint(
        method="POST", path="/v1/rejects/redrive", scope="operate", summary="Send rejected packets to their topics again",
        handler=redrive_rejects, description="Each once: a packet that was re-driven before is counted and not sent.", body=RedriveBody,
        answer=Redriven, tag="nights",
    ),
    Endpoint(
        method="GET", path="/v1/rejects/{partition}/{offset}", scope="operate", summary="A rejected packet", handler=show_reject,
        parameters=RejectPath, answer=WholeReject, tag="nights",
    ),
    Endpoint(
        method="GET", path="/v1/rejects/{partition}/{offset}/packet", scope="operate", summary="The bytes of a rejected packet",
        handler=fetch_reject, description="For who may see what is not public: of a packet that cannot be read that is not known.",
        parameters=RejectPath, gives=(OCTETS,), tag="nights",
    ),
)  # fmt: skip
