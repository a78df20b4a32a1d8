"""Topics that every process reads whole, without a group: each has all partitions, from the beginning.

a topic → its records up to the end it has now (`read_whole`), and what comes after (`Follower`)
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka.errors import KafkaError

from errors import RetryableError
from streams.kafka import topics
from streams.kafka.consumer import make_consumer, read_to

if TYPE_CHECKING:
    from settings.model import Settings

log = structlog.get_logger(__name__)

AT_ONCE = 200
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
"""Before what failed is tried again [s]."""
POLL_MS = 250


async def read_whole(settings: Settings, topic: str, *, into: dict[Any, int] | None = None) -> AsyncIterator[Any]:
    """Yield each committed record of a topic, up to the end it has now; none where the broker has no such topic.

    Parameters
    ----------
    settings : Settings
        With a broker.
    topic : str
    into : dict, optional
        Gets each partition's end: where a follower goes on.
    """
    async with topics.admin_client(settings) as admin:
        places = (await topics.places_of(admin, [topic])).get(topic, [])
    if not places:
        return
    consumer = make_consumer(settings, auto_offset_reset="earliest", fetch_max_wait_ms=50, max_partition_fetch_bytes=topics.PACKET_BYTES)
    await consumer.start()
    try:
        consumer.assign(places)
        begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        left = {place: ends[place] for place in places if begins[place] < ends[place]}
        for place in places:
            consumer.seek(place, begins[place])
            if into is not None:
                into[place] = ends[place]
        async for message in read_to(consumer, left, at_once=AT_ONCE):
            yield message
    finally:
        await consumer.stop()


class Follower:
    """Keeps up with a topic.

    Parameters
    ----------
    settings : Settings
        With a broker.
    topic : str
    take : callable
        Folds a record into what the caller knows; returns whether anything changed.
    what : str
        For the log, such as "what is taught".
    """

    def __init__(self, settings: Settings, topic: str, *, take: Callable[[Any], bool], what: str) -> None:
        self._settings, self._topic, self._take, self._what = settings, topic, take, what
        self._next: dict[Any, int] = {}

    async def catch_up(self) -> None:
        """Read from the beginning to the end that the topic has now."""
        async for message in read_whole(self._settings, self._topic, into=self._next):
            self._take(message)

    async def follow(self, on_change: Callable[[], Awaitable[None]], *, due: bool = False) -> None:
        """Call back after each change, until cancelled; a broker that fails is asked again after a pause that grows.

        Parameters
        ----------
        on_change : callable
            Where the broker, or what else may pass by itself, fails it, it is called again.
        due : bool
            Call back at once, too.
        """
        pause = FIRST_PAUSE
        while True:
            try:
                async for changed in self._changes():
                    due = due or changed
                    if due:
                        await on_change()
                        due, pause = False, FIRST_PAUSE
            except (KafkaError, RetryableError, OSError, TimeoutError) as error:
                log.warning(f"{self._what} cannot be followed, trying again", why=f"{type(error).__name__}: {error}")
            await asyncio.sleep(pause * random.uniform(0.7, 1.3))
            pause = min(LONGEST_PAUSE, 2 * pause)

    async def _changes(self) -> AsyncIterator[bool]:
        """Whether anything changed, after each look at the topic; ends at once where it is not there."""
        async with topics.admin_client(self._settings) as admin:
            places: Sequence[Any] = (await topics.places_of(admin, [self._topic])).get(self._topic, [])
        if not places:
            return
        consumer = make_consumer(
            self._settings, auto_offset_reset="earliest", fetch_max_wait_ms=POLL_MS, max_partition_fetch_bytes=topics.PACKET_BYTES
        )
        await consumer.start()
        try:
            consumer.assign(places)
            for place in places:
                consumer.seek(place, self._next.get(place, 0))
            while True:
                changed = False
                for place, messages in (await consumer.getmany(timeout_ms=POLL_MS, max_records=AT_ONCE)).items():
                    for message in messages:
                        self._next[place] = message.offset + 1
                        changed = self._take(message) or changed
                yield changed
        finally:
            await consumer.stop()
