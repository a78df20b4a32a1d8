"""Paths and ranges of topics → packets, each with where it comes from; what is not a packet comes as `Skipped`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from errors import UserError, usage
from streams.kafka.topics import admin_client, places_of

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer, TopicPartition

    from settings.model import Settings


@dataclass(frozen=True, slots=True)
class Range:
    """A stretch of a topic: offsets in every partition, or times [ms since 1970]."""

    topic: str
    start: int | None = None
    stop: int | None = None
    start_ms: int | None = None
    stop_ms: int | None = None

    @classmethod
    def parse(cls, url: str) -> Range:
        """Read ``kafka://topic?from=…&to=…``: each an offset, or a time such as 2026-11-23T04:00:00 (UTC). The end is exclusive.

        Raises
        ------
        UserError
            It is written otherwise.
        """
        parts = urlsplit(url)
        query = parse_qs(parts.query, keep_blank_values=True)
        unknown = set(query).difference(("from", "to"))
        if not parts.netloc or parts.path.strip("/") or unknown:
            raise usage(f"{url}: write kafka://topic?from=…&to=…, each an offset or a time such as 2026-11-23T04:00:00")
        start, start_ms = _bound(url, query.get("from", [""])[0])
        stop, stop_ms = _bound(url, query.get("to", [""])[0])
        return cls(parts.netloc, start, stop, start_ms, stop_ms)


def _bound(url: str, text: str) -> tuple[int | None, int | None]:
    """An offset or a time; neither of nothing."""
    if not text:
        return None, None
    if text.isdecimal() and len(text) < 19:
        return int(text), None
    try:
        return None, moment_ms(text)
    except UserError:
        raise usage(f"{url}: {text!r} is neither an offset nor a time such as 2026-11-23T04:00:00") from None


def moment_ms(text: str) -> int:
    """A time such as 2026-11-23T04:00:00 (UTC) → ms since 1970.

    Raises
    ------
    UserError
        It is written otherwise.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise usage(f"{text!r} is not a time such as 2026-11-23T04:00:00") from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def topic_range(settings: Settings, url: str) -> Iterator[tuple[str, bytes]]:
    """Packets of a stretch of a topic, partition by partition in order of arrival.

    Parameters
    ----------
    settings : Settings
        With a broker.
    url : str
        See `Range.parse`. It ends at the topic's end as it is when the command starts.

    Yields
    ------
    (str, bytes)
        ``topic[partition]@offset``, packet.
    """
    wanted = Range.parse(url)
    loop = asyncio.new_event_loop()
    try:
        consumer, left = loop.run_until_complete(_open(settings, wanted))
        try:
            while left:
                yield from loop.run_until_complete(_step(consumer, left))
        finally:
            loop.run_until_complete(consumer.stop())
    finally:
        loop.close()


async def _step(consumer: AIOKafkaConsumer, left: dict[TopicPartition, int]) -> list[tuple[str, bytes]]:
    """The next packets; partitions that are done leave `left`."""
    out = []
    for partition, messages in (await consumer.getmany(timeout_ms=1000, max_records=256)).items():
        for m in messages:
            if m.offset < left.get(partition, 0):
                for offset, value in each(m.offset, m.value or b""):  # a record without a value, as the worker takes it
                    out.append((f"{m.topic}[{m.partition}]@{offset}", value))
    # The position shows that a partition is done even where its last offsets hold no record (compacted away).
    for partition in list(left):
        if await consumer.position(partition) >= left[partition]:
            del left[partition]
            consumer.pause(partition)
    return out


def each(offset: int, value: bytes) -> Iterator[tuple[int, bytes]]:
    """The packets a record stands for: itself, or each of those that could not be read."""
    from streams.kafka.batches import Unreadable

    if isinstance(value, Unreadable):
        yield from ((found.first, found) for found in value.each())
    else:
        yield offset, value


async def _open(settings: Settings, wanted: Range) -> tuple[AIOKafkaConsumer, dict[TopicPartition, int]]:
    """A consumer at the start of the range, and where each partition ends."""
    from streams.kafka.consumer import make_consumer

    async with admin_client(settings) as admin:
        partitions = (await places_of(admin, [wanted.topic])).get(wanted.topic, [])
    if not partitions:
        raise UserError(f"the broker has no topic {wanted.topic}: `protonova topics` lists ours")
    # What retention takes while we read is left out, and not all that follows it.
    consumer = make_consumer(settings, unreadable=True, auto_offset_reset="earliest", max_partition_fetch_bytes=4_194_304)
    await consumer.start()
    try:
        consumer.assign(partitions)
        begins, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)

        async def at(ms: int) -> dict[TopicPartition, int]:
            found = await consumer.offsets_for_times(dict.fromkeys(partitions, ms))
            return {p: ends[p] if found.get(p) is None else found[p].offset for p in partitions}

        starts = await at(wanted.start_ms) if wanted.start_ms is not None else dict.fromkeys(partitions, wanted.start or 0)
        stops = await at(wanted.stop_ms) if wanted.stop_ms is not None else dict(ends)
        left = {}
        for p in partitions:
            start = min(max(starts[p], begins[p]), ends[p])
            stop = min(stops[p], ends[p], ends[p] if wanted.stop is None else wanted.stop)
            if start < stop:
                consumer.seek(p, start)
                left[p] = stop
            else:
                consumer.pause(p)
        return consumer, left
    except BaseException:
        await consumer.stop()
        raise
