"""Topics read once, up to the end that they have now: what is picked of their records.

topics, a time to begin at → what `pick` makes of each record
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from streams.kafka import topics
from streams.kafka.consumer import make_consumer, read_to

if TYPE_CHECKING:
    from settings.model import Settings

AT_ONCE = 500
FETCHED = 4_194_304
"""Of a partition at once [bytes]; a larger record is fetched alone."""
_Picked = TypeVar("_Picked")


async def scan(
    settings: Settings, names: Iterable[str], *, pick: Callable[[Any], _Picked | None], since_ms: int | None = None
) -> AsyncIterator[_Picked]:
    """Read topics to their end.

    Parameters
    ----------
    settings : Settings
        With a broker.
    names : iterable of str
        Topics; those that the broker does not have hold nothing.
    pick : callable
        Called with each message; None: it is passed over.
    since_ms : int, optional
        Begin with what was appended then [ms since 1970]; with the oldest record if None.
    """
    async with topics.admin_client(settings) as admin:
        places = [place for found in (await topics.places_of(admin, names)).values() for place in found]
    if not places:
        return
    consumer = make_consumer(settings, auto_offset_reset="earliest", fetch_max_wait_ms=50, max_partition_fetch_bytes=FETCHED)
    await consumer.start()
    try:
        consumer.assign(places)
        begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        if since_ms is not None:
            found_at = await consumer.offsets_for_times(dict.fromkeys(places, since_ms))
            begins = {place: ends[place] if found_at.get(place) is None else found_at[place].offset for place in places}
        left = {place: ends[place] for place in places if begins[place] < ends[place]}
        for place in places:
            consumer.seek(place, begins[place])
            if place not in left:
                consumer.pause(place)
        async for message in read_to(consumer, left, at_once=AT_ONCE):
            if (picked := pick(message)) is not None:
                yield picked
    finally:
        await consumer.stop()
