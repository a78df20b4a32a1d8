"""Compare and set on compacted topics, which Kafka has not: one transactional id, a look at what is there, one transaction.

what is wanted → the records of the change, committed at once; or a `ConflictError` that says who came before

A change takes the transactional id of its kind, which ends any other change of that kind in hand; reads its topic to the end; compares
what stands there with what the change was based on; and commits its records in one transaction. One that was fenced off meanwhile starts
again and sees what the other wrote. So two people at once lose nothing, and no process has to run for it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.errors import IllegalOperation, KafkaError, ProducerFenced

from errors import UserError, one_line
from streams.kafka import topics

if TYPE_CHECKING:
    from settings.model import Settings

TRIES = 8
"""How often a change that was fenced off starts again."""
LEAST_PAUSE = 0.4
"""Between two tries, times a number from 0.1 to 1 and the number of the try [s]."""

_Result = TypeVar("_Result")


class ConflictError(UserError):
    """What was to be changed was changed meanwhile. One line."""


class Entry(NamedTuple):
    """A record of a change."""

    topic: str
    key: bytes
    value: bytes | None
    """None: a tombstone."""


Commit = Callable[[Iterable[Entry]], Awaitable[None]]
"""Writes all of a change, or nothing."""


async def fenced(settings: Settings, name: str, *, attempt: Callable[[Commit], Awaitable[_Result]], what: str) -> _Result:
    """Run a change that no other change of its kind can come between.

    Parameters
    ----------
    settings : Settings
        With a broker.
    name : str
        Of the kind of change: the transactional id, behind the app id.
    attempt : callable
        Reads the topic, compares, and calls what it is given once with all of its records; it is called anew where it was fenced off, and
        must recognise a change of its own whose answer was lost.
    what : str
        For the message: "fast-blue could not be changed".

    Raises
    ------
    ConflictError
        Of the attempt.
    UserError
        Others keep changing the same, or the broker does not take it.
    """
    _ignore_fenced_futures(asyncio.get_running_loop())
    why = ""
    for number in range(TRIES):
        began = time.monotonic()
        try:
            return await _try(settings, name, attempt=attempt)
        except KafkaError as error:  # fenced off, or the broker lost track of the transaction meanwhile
            why = f"{type(error).__name__}: {error}"
            # Two that take turns in fencing each other would both end with nothing: the pause grows with what an attempt takes.
            await asyncio.sleep(random.uniform(0.1, 1.0) * max(LEAST_PAUSE, time.monotonic() - began) * (number + 1))
    raise UserError(f"{what} in {TRIES} tries; try again ({one_line(why, 200)})")


async def _try(settings: Settings, name: str, *, attempt: Callable[[Commit], Awaitable[_Result]]) -> _Result:
    producer = AIOKafkaProducer(
        **settings.client_options(), transactional_id=f"{settings.app_id}.{name}", max_request_size=topics.REJECTED_BYTES + 500_000,
        max_batch_size=900_000,
    )  # fmt: skip

    async def commit(entries: Iterable[Entry]) -> None:
        sent: list[asyncio.Future[Any]] = []
        try:
            async with producer.transaction():
                for entry in entries:
                    sent.append(await producer.send(entry.topic, entry.value, key=entry.key))
                await asyncio.gather(*sent)
        except IllegalOperation as error:  # what the client says between two records where the broker has fenced it
            raise ProducerFenced from error

    await producer.start()  # fences any other change in hand, and ends its transaction
    try:
        return await attempt(commit)
    finally:
        await producer.stop()


def _ignore_fenced_futures(loop: asyncio.AbstractEventLoop) -> None:
    """Keep quiet about futures inside the client library that fail when a transaction is fenced off and that it never looks at."""
    before = loop.get_exception_handler()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not isinstance(context.get("exception"), KafkaError):
            loop.default_exception_handler(context) if before is None else before(loop, context)

    if getattr(before, "__name__", "") != "handle":
        loop.set_exception_handler(handle)
