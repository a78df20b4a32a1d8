"""The last records of topics, without reading the topics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from aiokafka import TopicPartition

from schemas.records import codec
from streams.kafka.consumer import make_consumer, read_to

if TYPE_CHECKING:
    from settings.model import Settings

_Kind = TypeVar("_Kind")
BACK = 1_000
"""Offsets before the end that are looked at: records, and the marks of transactions between them."""


async def last_records(settings: Settings, names: Sequence[str], *, kind: type[_Kind]) -> dict[str, list[_Kind]]:
    """The records of one kind at the ends of topics of one partition, the latest first.

    Parameters
    ----------
    settings : Settings
        With a broker.
    names : sequence of str
    kind : type
        Of a record of ours.
    """
    consumer = make_consumer(settings, auto_offset_reset="earliest", fetch_max_wait_ms=50)
    await consumer.start()
    out: dict[str, list[_Kind]] = {}
    try:
        places = [TopicPartition(name, 0) for name in names]
        consumer.assign(places)
        begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        for place in places:
            consumer.seek(place, max(begins[place], ends[place] - BACK))
        left = {place: ends[place] for place in places if begins[place] < ends[place]}
        for place in places:
            if place not in left:
                consumer.pause(place)
        async for message in read_to(consumer, left, at_once=500):
            if isinstance(found := codec.decode(message.value), kind):
                out.setdefault(message.topic, []).append(found)
    finally:
        await consumer.stop()
    return {name: found[::-1] for name, found in out.items()}
