"""Topics of alerts and detections → what came last, for who asks what a class would have caught or looks for an alert by its number."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from typing import TYPE_CHECKING, Any

from schemas.records import codec
from schemas.records.detection import Detection
from streams.kafka import topics
from streams.kafka.consumer import make_consumer, read_to

if TYPE_CHECKING:
    from settings.model import Settings

AT_ONCE = 500


async def recent_packets(settings: Settings, most: int, *, since_ms: int | None = None) -> list[bytes]:
    """The newest packets of `alerts.*`, the newest last in each partition.

    Parameters
    ----------
    settings : Settings
        With a broker.
    most : int
        Packets at most, shared evenly among the partitions that hold any.
    since_ms : int, optional
        None that arrived before [ms since 1970].
    """
    found = [message.value async for message in _newest(settings, topics.ALERTS, most=most, since_ms=since_ms) if message.value]
    return found[-most:] if most > 0 else []


async def recent_alerts(settings: Settings, candids: Collection[int], *, most: int) -> dict[int, tuple[str, str]]:
    """Survey and object of alerts by their numbers, as far as they are among the newest public detections.

    Parameters
    ----------
    settings : Settings
        With a broker.
    candids : collection of int
    most : int
        Detections that are looked at, shared evenly among the partitions that hold any.
    """
    wanted = {b"%d" % candid: candid for candid in candids}
    found: dict[int, tuple[str, str]] = {}
    async for message in _newest(settings, (topics.DETECTIONS,), most=most, since_ms=None):
        headers = dict(message.headers or ())
        candid = wanted.get(headers.get("candid", b""))
        if candid is None:
            continue
        record = codec.decode(message.value, message.key)
        if isinstance(record, Detection) and record.candid == candid:
            found[candid] = record.survey, record.object_id
    return found


async def _newest(settings: Settings, names: Sequence[str], *, most: int, since_ms: int | None) -> AsyncIterator[Any]:
    """The newest messages of topics."""
    async with topics.admin_client(settings) as admin:
        places = [place for of_topic in (await topics.places_of(admin, names)).values() for place in of_topic]
    if not places or most < 1:
        return
    consumer = make_consumer(settings, auto_offset_reset="earliest", fetch_max_wait_ms=50, max_partition_fetch_bytes=4_194_304)
    await consumer.start()
    try:
        consumer.assign(places)
        begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        if since_ms is not None:
            found = await consumer.offsets_for_times(dict.fromkeys(places, since_ms))
            begins = {place: ends[place] if found.get(place) is None else found[place].offset for place in places}
        left = {place: ends[place] for place in places if begins[place] < ends[place]}
        for place in set(places) - left.keys():
            consumer.pause(place)
        share = -(-most // max(len(left), 1))
        for place in left:
            consumer.seek(place, max(begins[place], ends[place] - share))
        async for message in read_to(consumer, left, at_once=AT_ONCE):
            yield message
    finally:
        await consumer.stop()
