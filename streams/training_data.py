"""Topics → what a challenger is made of: labelled packets, and a window of the stream without labels.

examples on `support.examples`, labels on `labels.known`, packets on `alerts.*` → `Gathered`;
bounded in packets and bytes; private ones are left out
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.examples import PUBLIC
from schemas.surveys.decode import Decoder
from schemas.surveys.identity import packet_id
from streams.agents.teaching import read_packets, read_records
from streams.kafka import topics
from streams.kafka.consumer import make_consumer, read_to
from streams.known_labels import Labels

if TYPE_CHECKING:
    from settings.model import Settings

AT_ONCE = 256
MOST_LABELLED = 4000
"""Labelled packets at most; the newest."""
MOST_BYTES = 600 * 2**20
"""Of labelled packets and of the window together, at most [bytes]."""

LEAST_CONFIDENCE = 0.5
"""Of a label that counts."""
OF_AN_OBJECT = 3
"""Labelled packets of one object at most: they are nearly the same alert."""


@dataclass(slots=True)
class Gathered:
    """What was found."""

    packets: dict[str, bytes] = field(default_factory=dict)
    """Packet id → labelled packet."""
    labels: dict[str, str] = field(default_factory=dict)
    """Packet id → label."""
    taught: dict[str, int] = field(default_factory=dict)
    """Class whose record names examples among them → its revision."""
    window: list[bytes] = field(default_factory=list)
    """The newest packets without a label, in the order of the topics."""
    looked_at: int = 0
    not_found: int = 0
    """Labels whose packet is not among those looked at."""
    conflicts: int = 0
    """Examples of a taught class that a label says to be of another one: the label counts."""
    full: bool = False
    """Whether a bound was reached."""

    @property
    def size(self) -> int:
        """Bytes of all packets."""
        return sum(map(len, self.packets.values())) + sum(map(len, self.window))


async def gather(settings: Settings, labels: Labels, *, from_ms: int, until_ms: int) -> Gathered:
    """Read the topics.

    Parameters
    ----------
    settings : Settings
        With a broker; `retrain_search` and `retrain_window` bound what is read.
    labels : Labels
        A label of an object's other alert counts where an alert has none of its own.
    from_ms, until_ms : int
        The window is of packets that arrived between [ms since 1970]; 0: of the newest.
    """
    found = Gathered()
    records = await read_records(settings)
    wanted = [(record.name, name) for record in records.values() for name in record.packet_ids]
    examples = await read_packets(settings, wanted) if wanted else {}
    for (name, ident), packet in sorted(examples.items()):
        survey, candid, _ = ident.split(":", 2)
        label = labels.of(survey, int(candid), least=LEAST_CONFIDENCE) or name
        found.conflicts += label != name
        found.packets[ident], found.labels[ident] = packet, label
        found.taught[name] = records[name].revision
    decoder, seen, objects = Decoder(), set[tuple[str, int]](), Counter[str]()
    async for group in _groups(settings, settings.retrain_search, until_ms=until_ms):
        seen |= _take(group, found, labels=labels, decoder=decoder, from_ms=from_ms, most=settings.retrain_window, objects=objects)
    found.not_found = sum((label.survey, label.candid) not in seen for label in labels)
    return found


def _take(
    group: list[tuple[int, bytes]], found: Gathered, *, labels: Labels, decoder: Decoder, from_ms: int, most: int, objects: Counter[str]
) -> set[tuple[str, int]]:
    """Keep what is wanted of a group of packets, each with its time of arrival; returns survey and candid of all."""
    decoded = decoder.decode([packet for _, packet in group])
    batch = decoded.batch
    found.looked_at += len(group)
    for i, position in enumerate(decoded.index):
        arrived, packet = group[position]
        if batch.programid[i] != PUBLIC:
            continue
        survey, candid, name = batch.survey[i], batch.candid[i], batch.object_id[i]
        label = labels.of(survey, candid, object_id=name, least=LEAST_CONFIDENCE)
        if label is not None:
            ident = packet_id(survey, candid, record_digest=batch.digest[i])
            if ident not in found.packets and objects[name] < OF_AN_OBJECT:
                objects[name] += 1
                found.packets[ident], found.labels[ident] = packet, label
        elif arrived >= from_ms and most:
            found.window.append(packet)
    del found.window[: max(0, len(found.window) - most)]
    while found.size > MOST_BYTES and len(found.window) > len(found.packets):
        found.full = True
        del found.window[: len(found.window) // 4 + 1]
    while len(found.packets) > MOST_LABELLED or found.size > MOST_BYTES:
        found.full = True
        oldest = next(iter(found.packets))
        found.packets.pop(oldest)
        found.labels.pop(oldest)
    return {(batch.survey[i], batch.candid[i]) for i in range(len(decoded.index))}


async def _groups(settings: Settings, most: int, *, until_ms: int) -> AsyncIterator[list[tuple[int, bytes]]]:
    """The newest packets of `alerts.*` up to a time, in groups, each with its time of arrival [ms since 1970]."""
    async with topics.admin_client(settings) as admin:
        places = [place for of_topic in (await topics.places_of(admin, topics.ALERTS)).values() for place in of_topic]
    if not places:
        return
    consumer = make_consumer(settings, auto_offset_reset="earliest", fetch_max_wait_ms=50, max_partition_fetch_bytes=4_194_304)
    await consumer.start()
    try:
        consumer.assign(places)
        begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        if until_ms:
            later = await consumer.offsets_for_times(dict.fromkeys(places, until_ms + 1))
            ends = {place: end if later.get(place) is None else later[place].offset for place, end in ends.items()}
        left = {place: ends[place] for place in places if begins[place] < ends[place]}
        for place in set(places) - left.keys():
            consumer.pause(place)
        share = -(-most // max(len(left), 1))
        for place in left:
            consumer.seek(place, max(begins[place], ends[place] - share))
        group: list[tuple[int, bytes]] = []
        async for message in read_to(consumer, left, at_once=AT_ONCE):
            if message.value:
                group.append((message.timestamp, message.value))
            if len(group) >= AT_ONCE:
                yield group
                group = []
        if group:
            yield group
    finally:
        await consumer.stop()


def summary(found: Gathered) -> dict[str, Any]:
    """What was found, for the log and the records."""
    return {
        "labelled": len(found.packets),
        "labels": dict(sorted(Counter(found.labels.values()).items())),
        "window": len(found.window),
        "looked_at": found.looked_at,
        "not_found": found.not_found,
        "conflicts": found.conflicts,
    }
