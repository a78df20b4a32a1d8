"""Filters and watchlists on their compacted topics: written with the broker's acknowledgement, followed by every process that asks them.

/v1/filters, /v1/watchlists, protonova filters ──► filters.defined, filters.watchlists ──► `DefinitionFollower` ──► `data.areas.filter_set`
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import structlog

from schemas.avro.wire import PacketError
from schemas.records import codec
from schemas.records.filter_defined import FilterDefined
from schemas.records.watchlist import Watchlist
from streams.kafka import topics
from streams.kafka.acknowledged import write_acknowledged
from streams.kafka.broadcast import Follower

if TYPE_CHECKING:
    from settings.model import Settings

log = structlog.get_logger(__name__)


async def write_definition(settings: Settings, topic: str, *, key: bytes, record: FilterDefined | Watchlist | None) -> None:
    """Write a filter or a list, or take it away, and wait until the broker has it.

    Parameters
    ----------
    settings : Settings
        With a broker.
    topic : str
        `topics.FILTERS_DEFINED` or `topics.WATCHLISTS`.
    key : bytes
    record : FilterDefined, Watchlist or None
        None: it is taken away.

    Raises
    ------
    aiokafka.errors.KafkaError
    """
    value = None if record is None else codec.encode(record)
    await write_acknowledged(settings, topic, records=[(key, value)], largest=topics.PACKET_BYTES)


class DefinitionFollower:
    """Keeps up with filters and watchlists.

    Parameters
    ----------
    settings : Settings
        With a broker.
    """

    def __init__(self, settings: Settings) -> None:
        self.filters: dict[bytes, FilterDefined] = {}
        self.watchlists: dict[bytes, Watchlist] = {}
        self._filters = Follower(settings, topics.FILTERS_DEFINED, take=self._take_filter, what="filters")
        self._watchlists = Follower(settings, topics.WATCHLISTS, take=self._take_list, what="watchlists")

    async def catch_up(self) -> None:
        """Read both topics to the ends that they have now."""
        await self._watchlists.catch_up()
        await self._filters.catch_up()

    async def follow(self, on_change: Callable[[], Awaitable[None]]) -> None:
        """Call back after each change, until cancelled."""
        tasks = [asyncio.ensure_future(one.follow(on_change)) for one in (self._filters, self._watchlists)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    def _take_filter(self, message: Any) -> bool:
        return _take(message, self.filters, kind=FilterDefined)

    def _take_list(self, message: Any) -> bool:
        return _take(message, self.watchlists, kind=Watchlist)


def _take(message: Any, held: dict[bytes, Any], *, kind: type[Any]) -> bool:
    key = message.key or b""
    if message.value is None:
        return held.pop(key, None) is not None
    try:
        record = codec.expect(message.value, kind)
    except PacketError as error:
        log.warning("a definition cannot be read and is left out", key=repr(key[:80]), why=error.reason)
        return False
    if record.key != key:
        log.warning("a definition stands under another one's key and is left out", key=repr(key[:80]))
        return False
    held[key] = record
    return True
