"""Rejected packets of `alerts.rejected` → what a person wants to see of them, and the same packets on their alert topic again.

A packet and the note that it was re-driven (`rejects.redriven`) are committed in one transaction by one fenced producer, so a second call,
also one that was killed in between, sends nothing twice. A packet that is rejected again comes back with a higher attempt.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer, TopicPartition

from streams.kafka import topics
from streams.kafka.consumer import make_consumer

if TYPE_CHECKING:
    from settings.model import Settings

MOST_ATTEMPTS = 5
"""A packet that was rejected so often is not re-driven unless asked for."""
AT_ONCE = 100
"""Packets of a transaction at most."""
RETURNED = (*topics.ALERTS, topics.INCREMENTS, topics.FRAMES_RAW, topics.FRAMES_CALIBRATED)
"""Topics to which a packet goes back: what is not scored, too."""
ORIGIN_HEADER = "redriven_from"


@dataclass(frozen=True, slots=True)
class RejectedPacket:
    """A message of `alerts.rejected`."""

    partition: int
    offset: int
    """Where it lies on `alerts.rejected`; the partition's and the offset's text is its id."""
    rejected_ms: int
    """When it was rejected [ms since 1970]."""
    error_class: str
    reason: str
    survey: str | None
    topic: str
    """Where the packet came from."""
    origin: str
    """Topic, partition and offset there."""
    attempt: int
    size: int
    """Of the whole packet [bytes]."""
    complete: bool
    """Whether `value` is the whole packet."""
    value: bytes
    passed_on: tuple[tuple[str, bytes], ...]
    """Headers that go with the packet: trace, tests and replays."""
    headers: Mapping[str, bytes] = field(default_factory=dict)
    """All of them."""

    @property
    def id(self) -> str:
        """By which it is named on the command line."""
        return f"{self.partition}/{self.offset}"

    @property
    def target(self) -> str | None:
        """Topic that it is sent to again; None: there is none."""
        if self.topic in RETURNED:
            return self.topic
        guess = f"alerts.{self.survey}"
        return guess if guess in topics.ALERTS else None


def parse(message: Any) -> RejectedPacket:
    """Read a message of `alerts.rejected`; a header that is missing or odd leaves a plain default, so that nothing is hidden.

    Parameters
    ----------
    message : aiokafka.ConsumerRecord
    """
    headers = {name: value for name, value in message.headers or () if value is not None}

    def text(name: str, default: str = "") -> str:
        return str(headers.get(name, default.encode()), "utf-8", "replace")

    def number(name: str, default: int) -> int:
        raw = text(name)
        return int(raw) if raw.isdecimal() and len(raw) < 19 else default

    value = message.value or b""
    complete = text("complete", "true") == "true"
    return RejectedPacket(
        partition=message.partition,
        offset=message.offset,
        rejected_ms=message.timestamp,
        error_class=text("error_class", "unknown"),
        reason=text("reason"),
        survey=text("survey") or None,
        topic=text("topic"),
        origin=f"{text('topic')}/{text('partition')}@{text('offset')}",
        attempt=number("attempt", 1),
        size=number("size", len(value)),
        complete=complete,
        value=value,
        passed_on=tuple((name, headers[name]) for name in ("traceparent", "_test", "alert_tense") if name in headers),
        headers=headers,
    )


async def rejected(settings: Settings, *, since_ms: int | None = None, reasons: Iterable[str] = ()) -> AsyncIterator[RejectedPacket]:
    """Yield the packets on `alerts.rejected`, oldest first in each partition.

    Parameters
    ----------
    settings : Settings
        With a broker.
    since_ms : int, optional
        Only those rejected at this time [ms since 1970] or later.
    reasons : iterable of str
        Only those of these error classes; all if there is none.
    """
    wanted = frozenset(reasons)
    async for message in _records(settings, topics.REJECTED, since_ms=since_ms):
        packet = parse(message)
        if not wanted or packet.error_class in wanted:
            yield packet


async def rejected_at(settings: Settings, *, partition: int, offset: int) -> RejectedPacket | None:
    """One rejected packet by its place; None: nothing lies there, or not any more.

    Parameters
    ----------
    settings : Settings
        With a broker.
    partition, offset : int
        On `alerts.rejected`.
    """
    place = TopicPartition(topics.REJECTED, partition)
    async with AsyncExitStack() as stack:
        async with topics.admin_client(settings) as admin:
            if place not in (await topics.places_of(admin, [topics.REJECTED])).get(topics.REJECTED, []):
                return None
        consumer = make_consumer(settings, auto_offset_reset="earliest", max_partition_fetch_bytes=topics.REJECTED_BYTES)
        stack.push_async_callback(consumer.stop)
        await consumer.start()
        consumer.assign([place])
        start, end = (await consumer.beginning_offsets([place]))[place], (await consumer.end_offsets([place]))[place]
        if not start <= offset < end:
            return None
        consumer.seek(place, offset)
        while await consumer.position(place) <= offset:
            for message in (await consumer.getmany(place, timeout_ms=500, max_records=1)).get(place, []):
                return parse(message) if message.offset == offset else None
    return None


async def redriven(settings: Settings) -> set[str]:
    """Ids of the rejected packets that were re-driven before."""
    return {message.key.decode("utf-8", "replace") async for message in _records(settings, topics.REDRIVEN, since_ms=None) if message.key}


async def _records(settings: Settings, topic: str, *, since_ms: int | None) -> AsyncIterator[Any]:
    """Committed records of a topic that are there now."""
    async with AsyncExitStack() as stack:
        async with topics.admin_client(settings) as admin:
            places = (await topics.places_of(admin, [topic])).get(topic, [])
        if not places:
            return
        consumer = make_consumer(settings, auto_offset_reset="earliest", max_partition_fetch_bytes=topics.REJECTED_BYTES)
        stack.push_async_callback(consumer.stop)
        await consumer.start()
        consumer.assign(places)
        starts, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        begins = dict(starts)
        if since_ms is not None:
            found = await consumer.offsets_for_times(dict.fromkeys(places, since_ms))
            begins = {place: ends[place] if found.get(place) is None else found[place].offset for place in places}
        left = {place for place in places if begins[place] < ends[place]}
        for place in places:
            consumer.seek(place, begins[place])
        while left:
            for place, messages in (await consumer.getmany(*left, timeout_ms=500)).items():
                for message in messages:
                    if message.offset < ends[place]:
                        yield message
            left = {place for place in left if await consumer.position(place) < ends[place]}


@dataclass(slots=True)
class Redrive:
    """What a call does, and did."""

    sent: int = 0
    before: int = 0
    """Re-driven by an earlier call."""
    incomplete: int = 0
    """Only their beginning was kept."""
    exhausted: int = 0
    """Rejected too often."""
    no_topic: int = 0
    """No alert topic to send them to."""

    def refused(self, packet: RejectedPacket, known: set[str], *, most_attempts: int) -> bool:
        """Count and refuse a packet that cannot, or need not, be re-driven."""
        if packet.id in known:
            self.before += 1
        elif not packet.complete:
            self.incomplete += 1
        elif packet.attempt >= most_attempts:
            self.exhausted += 1
        elif packet.target is None:
            self.no_topic += 1
        else:
            return False
        return True


async def redrive(
    settings: Settings, *, since_ms: int | None = None, reasons: Iterable[str] = (), only: Iterable[str] = (), dry_run: bool = False,
    most_attempts: int = MOST_ATTEMPTS,
) -> Redrive:  # fmt: skip
    """Send rejected packets to their alert topics again, each once.

    Parameters
    ----------
    settings : Settings
        With a broker.
    since_ms, reasons
        As for `rejected`.
    only : iterable of str
        Ids of packets; all if there is none.
    dry_run : bool
        Count, and send nothing.
    most_attempts : int
        A packet rejected so often stays where it is.

    Returns
    -------
    Redrive
    """
    done, wanted = Redrive(), frozenset(only)
    async with AsyncExitStack() as stack:
        producer = None
        if not dry_run:
            producer = AIOKafkaProducer(
                **settings.client_options(), transactional_id=f"{settings.app_id}.redrive", max_request_size=topics.REJECTED_BYTES + 500_000
            )
            stack.push_async_callback(producer.stop)
            await producer.start()  # fences a call that hangs, and ends its transaction
        known = await redriven(settings)
        batch: list[RejectedPacket] = []
        async for packet in rejected(settings, since_ms=since_ms, reasons=reasons):
            if (wanted and packet.id not in wanted) or done.refused(packet, known, most_attempts=most_attempts):
                continue
            batch.append(packet)
            if len(batch) == AT_ONCE:
                await _send(producer, batch, done=done)
                batch = []
        await _send(producer, batch, done=done)
    return done


async def _send(producer: AIOKafkaProducer | None, batch: list[RejectedPacket], *, done: Redrive) -> None:
    if producer is not None and batch:
        async with producer.transaction():
            waits = []
            for packet in batch:
                headers = [*packet.passed_on, ("attempt", b"%d" % packet.attempt), (ORIGIN_HEADER, packet.id.encode())]
                waits.append(await producer.send(packet.target, packet.value, headers=headers))
                waits.append(await producer.send(topics.REDRIVEN, packet.origin.encode(), key=packet.id.encode()))
            for wait in waits:
                await wait
    done.sent += len(batch)
