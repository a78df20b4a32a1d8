"""Topics of alerts → the packets that came last, for who asks what a class would have caught or looks for an alert by its number."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    async with topics.admin_client(settings) as admin:
        places = [place for of_topic in (await topics.places_of(admin, topics.ALERTS)).values() for place in of_topic]
    if not places or most < 1:
        return []
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
        packets = [message.value async for message in read_to(consumer, left, at_once=AT_ONCE) if message.value]
        return packets[-most:]
    finally:
        await consumer.stop()
