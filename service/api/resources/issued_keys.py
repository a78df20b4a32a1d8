"""`/v1/tokens`: the API keys, given and taken back by who holds the scope admin."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from aiokafka.errors import KafkaError
from pydantic import BaseModel, ConfigDict, Field

from errors import UserError
from schemas.records.access_token import AccessToken
from service.api.endpoints import Answer, Call, Endpoint, Services
from service.api.problems import ProblemError
from service.auth.issuing import issue, revoked
from service.auth.key_ring import KeyRing
from streams.access_tokens import write_tokens
from streams.kafka.topics import ensure_access

POLL_MS, SEEN_WITHIN_MS = 10, 3_000
"""How often, and how long, it is looked whether a change came back from the topic."""


class KeyPath(BaseModel):
    """The path's parameters."""

    key_id: str = Field(pattern=r"^[0-9a-f]{12}$", description="Id of the key: the digits behind pn_")


class WantedKey(BaseModel):
    """A key that is to be made."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    owner: str = Field(min_length=1, max_length=200, description="Person or program that gets it")
    scopes: list[str] = Field(min_length=1, max_length=16, description="What it may: score, push, read, teach, operate, admin")
    days: float | None = Field(None, gt=0, le=36_500, description="How long it holds; null: until it is revoked [d]")
    private: bool = Field(False, description="Whether alerts that are not public may be seen")
    note: str = Field("", max_length=1000, description="What it is for")


class IssuedKey(BaseModel):
    """A key, without its secret."""

    key_id: str = Field(description="Its id")
    owner: str = Field(description="Person or program that has it")
    scopes: list[str] = Field(description="What it may")
    private: bool = Field(description="Whether alerts that are not public may be seen")
    revoked: bool = Field(description="Whether it was taken back")
    made: str | None = Field(description="When it was made, ISO 8601, UTC")
    expires: str | None = Field(description="When it ends; null: never")
    last_used: str | None = Field(description="When it was last accepted, to the minute; null: not known")
    note: str = Field(description="What it is for")


class NewlyIssuedKey(IssuedKey):
    """A key that was just made."""

    key: str = Field(description="The key itself: shown this once and kept nowhere")


async def list_keys(call: Call) -> Answer:
    """Every key there is."""
    ring, _ = _parts(call.services)
    return Answer(rows=[_row(record) for record in sorted(ring.records.values(), key=lambda record: record.made_ms)])


async def add_key(call: Call) -> Answer:
    """Make a key."""
    ring, services = _parts(call.services)
    wanted: WantedKey = call.body
    if wanted.private and not call.private:
        raise ProblemError(403, "who may not see what is not public cannot give the right to")
    try:
        made, record = issue(wanted.owner, wanted.scopes, now=services.clock(), days=wanted.days, private=wanted.private, note=wanted.note)
    except UserError as error:
        raise ProblemError(422, str(error), errors=[{"loc": ["body", "scopes"], "msg": str(error)}]) from None
    await _write(services, record)
    await _seen(ring, record)
    return Answer({**_row(record), "key": made.key})


async def revoke_key(call: Call) -> Answer:
    """Take a key back."""
    ring, services = _parts(call.services)
    record = ring.records.get(call.path.key_id)
    if record is None:
        raise ProblemError(404)
    await _write(services, revoked(record))
    await _seen(ring, revoked(record))
    return Answer(status=204)


def _parts(services: Services) -> tuple[KeyRing, Services]:
    if services.keys is None or services.settings.kafka is None:
        raise ProblemError(503, "without a broker there is the local key alone", headers={"Retry-After": "60"})
    return services.keys, services


async def _write(services: Services, record: AccessToken) -> None:
    try:
        await ensure_access(services.settings)
        await write_tokens(services.settings, [record])
    except (KafkaError, OSError, TimeoutError):
        raise ProblemError(
            503, "the broker does not answer; whether the change was written is not known", headers={"Retry-After": "5"}
        ) from None


async def _seen(ring: KeyRing, record: AccessToken) -> None:
    """Wait until this process has read a change back from the topic: what is answered then holds here already."""
    for _ in range(SEEN_WITHIN_MS // POLL_MS):
        found = ring.records.get(record.token_id)
        if found is not None and found.revoked == record.revoked:
            return
        await asyncio.sleep(POLL_MS / 1000)


def _row(record: AccessToken) -> dict[str, Any]:
    return {
        "key_id": record.token_id,
        "owner": record.owner,
        "scopes": list(record.scopes),
        "private": record.private_rights,
        "revoked": record.revoked,
        "made": _time(record.made_ms),
        "expires": _time(record.expires_ms),
        "last_used": _time(record.last_used_ms),
        "note": record.note,
    }


def _time(ms: int) -> str | None:
    """ISO 8601 in UTC; None: there is none, or it is beyond the calendar."""
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z") if ms else None
    except (OverflowError, ValueError, OSError):
        return None


ROWS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET", path="/v1/tokens", scope="admin", summary="The API keys", handler=list_keys, answer=IssuedKey, table=True, tag="keys"
    ),
    Endpoint(
        method="POST",
        path="/v1/tokens",
        scope="admin",
        summary="Make an API key",
        handler=add_key,
        body=WantedKey,
        answer=NewlyIssuedKey,
        status=201,
        tag="keys",
    ),
    Endpoint(
        method="DELETE",
        path="/v1/tokens/{key_id}",
        scope="admin",
        summary="Take an API key back",
        description="At once on every process, and for good.",
        handler=revoke_key,
        parameters=KeyPath,
        status=204,
        tag="keys",
    ),
)
