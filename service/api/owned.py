"""What the resources of users' own things share: who owns, what is known of them here, how a change is written and seen."""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka.errors import KafkaError

from errors import UserError
from schemas.records.filter_defined import LONGEST_OWNER
from service.api.endpoints import Call, need
from service.api.problems import ProblemError
from streams.filter_definitions import DefinitionFollower, write_definition
from streams.kafka.topics import ensure_filters

MOST_OWNED = 100
"""Filters of one owner, and watchlists."""
POLL_MS, SEEN_WITHIN_MS = 10, 3_000


def owner_of(call: Call) -> str:
    """The caller's name."""
    return call.caller.name[:LONGEST_OWNER]


def definitions_of(call: Call) -> DefinitionFollower:
    """What this process knows of filters and watchlists."""
    found: DefinitionFollower = need(call.services.definitions, "filters cannot be read")
    return found


def unprocessable(error: UserError, *loc: str) -> ProblemError:
    """422, with the message and where it belongs."""
    return ProblemError(422, str(error), errors=[{"loc": ["body", *loc], "msg": str(error)}])


def next_revision(held: dict[bytes, Any], key: bytes, *, owner: str, based_on: int | None) -> int:
    """The revision that a change makes.

    Raises
    ------
    ProblemError
        409: it is based on another revision than the latest; 422: the owner has too many.
    """
    before = held.get(key)
    revision = 0 if before is None else int(before.revision)
    if based_on is not None and based_on != revision:
        raise ProblemError(409, f"it is of revision {revision} now, not {based_on}: read it again")
    if before is None and sum(one.owner == owner for one in held.values()) >= MOST_OWNED:
        raise ProblemError(422, f"an owner has {MOST_OWNED} of them at most")
    return revision + 1


async def write(call: Call, topic: str, *, key: bytes, record: Any, held: dict[bytes, Any]) -> None:
    """Write a change, and wait until this process has read it back: what is answered then holds here already."""
    try:
        await ensure_filters(call.services.settings)
        await write_definition(call.services.settings, topic, key=key, record=record)
    except (KafkaError, OSError, TimeoutError):
        raise ProblemError(
            503, "the broker does not answer; whether the change was written is not known", headers={"Retry-After": "5"}
        ) from None
    for _ in range(SEEN_WITHIN_MS // POLL_MS):
        found = held.get(key)
        if (record is None and found is None) or (record is not None and found is not None and found.revision >= record.revision):
            return
        await asyncio.sleep(POLL_MS / 1000)
