"""API keys on their compacted topic: written with the broker's acknowledgement, read whole at start, followed by every process.

    protonova keys, POST /v1/tokens ──► access.tokens ──► TokenFollower ──► each process's key ring (`service.auth.key_ring`)

A record is written once when the key is made and once more when it is revoked; both writers may write at the same time, since revoked
counts whatever comes after it. The last use stands under a key of its own on the topic.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas.avro.wire import PacketError
from schemas.records import codec
from schemas.records.access_token import USED, AccessToken
from streams.kafka import topics
from streams.kafka.consumer import make_consumer, read_to

if TYPE_CHECKING:
    from settings.model import Settings

log = structlog.get_logger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
"""Before what failed is tried again [s]."""
POLL_MS = 250
AT_ONCE = 1_000

Tokens = dict[str, AccessToken]
"""Key id → its record."""


async def read_tokens(settings: Settings) -> Tokens:
    """The keys there are, revoked ones too, as the topic's end has them now."""
    follower = TokenFollower(settings)
    return await follower.catch_up()


async def write_tokens(settings: Settings, tokens: Iterable[AccessToken], *, used: bool = False) -> None:
    """Write records, and wait until the broker has them.

    Parameters
    ----------
    settings : Settings
        With a broker.
    tokens : iterable of AccessToken
    used : bool
        Write the last use instead of what was granted or revoked.

    Raises
    ------
    aiokafka.errors.KafkaError
    """
    producer = AIOKafkaProducer(**settings.client_options(), acks="all", enable_idempotence=True)
    await producer.start()
    try:
        waits = [await producer.send(topics.ACCESS_TOKENS, codec.encode(t), key=t.used_key if used else t.key) for t in tokens]
        await asyncio.gather(*waits)
    finally:
        await producer.stop()


class TokenFollower:
    """Keeps up with the keys.

    Parameters
    ----------
    settings : Settings
        With a broker.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._granted: Tokens = {}
        self._used: dict[str, int] = {}
        self._next: dict[Any, int] = {}

    @property
    def tokens(self) -> Tokens:
        """Every key's record with its last use."""
        return {name: replace(t, last_used_ms=max(t.last_used_ms, self._used.get(name, 0))) for name, t in self._granted.items()}

    async def catch_up(self) -> Tokens:
        """Read to the end that the topic has now."""
        self._granted, self._used, self._next = {}, {}, {}
        async with self._opened() as (consumer, places):
            if places:
                begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
                for place in places:
                    consumer.seek(place, begins[place])
                    self._next[place] = ends[place]
                async for message in read_to(consumer, {p: ends[p] for p in places if begins[p] < ends[p]}, at_once=AT_ONCE):
                    self._keep(message)
        return self.tokens

    async def follow(self, on_change: Callable[[Mapping[str, AccessToken]], None]) -> None:
        """Call back with all keys after each change, until cancelled; a broker that fails is asked again after a pause that grows."""
        pause = FIRST_PAUSE
        while True:
            try:
                async with self._opened() as (consumer, places):
                    for place in places:
                        consumer.seek(place, self._next.get(place, 0))
                    while places:
                        found = await consumer.getmany(timeout_ms=POLL_MS, max_records=AT_ONCE)
                        pause = FIRST_PAUSE
                        for place, messages in found.items():
                            for message in messages:
                                self._keep(message)
                                self._next[place] = message.offset + 1
                        if found:
                            on_change(self.tokens)
            except (KafkaError, OSError, TimeoutError) as error:
                log.warning("API keys cannot be read, trying again", why=f"{type(error).__name__}: {error}")
            await asyncio.sleep(pause * random.uniform(0.7, 1.3))
            pause = min(LONGEST_PAUSE, 2 * pause)

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[tuple[Any, list[Any]]]:
        async with topics.admin_client(self._settings) as admin:
            places = (await topics.places_of(admin, [topics.ACCESS_TOKENS])).get(topics.ACCESS_TOKENS, [])
        consumer = make_consumer(self._settings, auto_offset_reset="earliest", fetch_max_wait_ms=POLL_MS)
        await consumer.start()
        try:
            consumer.assign(places)
            yield consumer, places
        finally:
            await consumer.stop()

    def _keep(self, message: Any) -> None:
        """Take over one record."""
        key = message.key or b""
        name = key.removesuffix(USED).decode("utf-8", "replace")
        if message.value is None:
            (self._used if key.endswith(USED) else self._granted).pop(name, None)
            return
        try:
            record = codec.expect(message.value, AccessToken)
        except PacketError as error:
            log.warning("an API key's record cannot be read and is left out", key=repr(key[:80]), why=error.reason)
            return
        if record.token_id != name:
            log.warning("an API key's record stands under another key's id and is left out", key=repr(key[:80]))
        elif key.endswith(USED):
            self._used[name] = max(self._used.get(name, 0), record.last_used_ms)
        else:
            before = self._granted.get(name)
            self._granted[name] = replace(record, revoked=True) if before is not None and before.revoked else record
