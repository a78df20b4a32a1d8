"""What was taught: written under a fence, read by every worker.

    teach, forget ──► change (fenced) ──► support.examples and loop.events, in one transaction
    support.examples ──► Follower ──► class → `ClassRecord` ──► another head, swapped in between two batches

Kafka has no compare-and-set. A change takes the one transactional id there is for it, which ends any other change in hand, reads the
topic to its end, compares the class's revision with the one it was based on, and commits its records at once; one that was fenced off
meanwhile starts again and sees what the other wrote. So two people at once lose nothing, and no process has to run for it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from errors import UserError, one_line
from schemas.avro.wire import PacketError
from schemas.records import codec
from schemas.records.class_record import ClassRecord, class_key, example_key
from schemas.records.loop_event import FORGOTTEN, TAUGHT, LoopEvent
from streams.kafka import topics
from streams.kafka.consumer import make_consumer, read_to

if TYPE_CHECKING:
    from settings.model import Settings

log = structlog.get_logger(__name__)

TRIES = 8
"""How often a change that was fenced off starts again."""
AT_ONCE = 200
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
"""Before what failed is tried again [s]."""
POLL_MS = 250

Records = dict[str, ClassRecord]


class ConflictError(UserError):
    """The class was changed meanwhile. One line."""

    hint = "`protonova classes` shows it; teach again with --replace or --merge"


class Change(NamedTuple):
    """What becomes of a class."""

    name: str
    author: str
    note: str
    record: ClassRecord | None
    """None: it is forgotten. Its revision is set when it is written."""
    packets: Mapping[str, bytes]
    """Packet id → packet of each new example that may lie on the topic."""
    based_on: int
    """Revision that the author saw; 0: the class was not there."""
    made_ms: int


class Outcome(NamedTuple):
    """What a change did."""

    revision: int
    records: Records
    """All classes that are taught now."""


async def read_records(settings: Settings) -> Records:
    """The classes that are taught, as the topic's end has them now; none where there is no such topic."""
    records: Records = {}
    async for name, record in _read(settings, topics.SUPPORT, pick=_class_of):
        _keep(records, (name, record))
    return records


async def read_events(settings: Settings) -> list[LoopEvent]:
    """Every step of the loop that the topic holds, in order."""
    return [event async for _, event in _read(settings, topics.LOOP_EVENTS, pick=_event_of) if event is not None]


async def read_packets(settings: Settings, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
    """Packets of examples, by class and packet id; those that the topic does not hold are left out."""
    keys = {example_key(*pair): pair for pair in wanted}
    found: dict[tuple[str, str], bytes] = {}

    def packet_of(message: Any) -> tuple[tuple[str, str], bytes | None] | None:
        return (keys[message.key], message.value) if message.key in keys else None

    async for pair, value in _read(settings, topics.SUPPORT, pick=packet_of):
        if value is None:
            found.pop(pair, None)
        else:
            found[pair] = value
    return found


async def change(settings: Settings, wanted: Change) -> Outcome:
    """Write a change, or learn that the class is another one by now.

    Raises
    ------
    ConflictError
        The class has another revision than the one the change was based on.
    UserError
        Others keep changing what is taught, or the broker does not take it.
    """
    _ignore_fenced_futures(asyncio.get_running_loop())
    why = ""
    for attempt in range(TRIES):
        try:
            return await _change(settings, wanted)
        except KafkaError as error:  # fenced off, or the broker lost track of the transaction meanwhile
            why = f"{type(error).__name__}: {error}"
            await asyncio.sleep(random.uniform(0.05, 0.4) * (attempt + 1))
    raise UserError(f"{wanted.name} could not be changed in {TRIES} tries; try again ({one_line(why, 200)})")


def _ignore_fenced_futures(loop: asyncio.AbstractEventLoop) -> None:
    """Keep quiet about futures inside the client library that fail when a transaction is fenced off and that it never looks at."""
    before = loop.get_exception_handler()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not isinstance(context.get("exception"), KafkaError):
            loop.default_exception_handler(context) if before is None else before(loop, context)

    if getattr(before, "__name__", "") != "handle":
        loop.set_exception_handler(handle)


async def _change(settings: Settings, wanted: Change) -> Outcome:
    producer = AIOKafkaProducer(
        **settings.client_options(), transactional_id=f"{settings.app_id}.support", max_request_size=topics.REJECTED_BYTES + 500_000,
        max_batch_size=900_000,
    )  # fmt: skip
    await producer.start()  # fences any other change in hand, and ends its transaction
    try:
        records = await read_records(settings)
        before = records.get(wanted.name)
        if before is not None and wanted.record is not None and before == replace(wanted.record, revision=before.revision):
            return Outcome(before.revision, records)  # a try whose answer was lost had written it
        if (before.revision if before else 0) != wanted.based_on:
            who = f"{before.author} taught it (revision {before.revision})" if before else "it was forgotten"
            raise ConflictError(f"{wanted.name} was changed meanwhile: {who}")
        last = max((event.revision for event in await read_events(settings) if event.subject == wanted.name), default=0)
        revision = max(last, wanted.based_on) + 1
        record = None if wanted.record is None else replace(wanted.record, revision=revision)
        value = b"" if record is None else codec.encode(record)
        event = LoopEvent(TAUGHT if record else FORGOTTEN, wanted.name, revision, wanted.author, wanted.note, value, wanted.made_ms)
        named = set(record.packet_ids) if record else set()
        gone = [packet_id for packet_id in (before.packet_ids if before else ()) if packet_id not in named]
        written: list[tuple[str, bytes | None, bytes]] = [
            *((topics.SUPPORT, packet, example_key(wanted.name, packet_id)) for packet_id, packet in wanted.packets.items()),
            *((topics.SUPPORT, None, example_key(wanted.name, packet_id)) for packet_id in gone),
            (topics.SUPPORT, value or None, class_key(wanted.name)),
            (topics.LOOP_EVENTS, codec.encode(event), wanted.name.encode()),
        ]
        sent: list[asyncio.Future[Any]] = []
        async with producer.transaction():
            for topic, value_of, key in written:
                sent.append(await producer.send(topic, value_of, key=key))
            await asyncio.gather(*sent)
        _keep(records, (wanted.name, record))
        return Outcome(revision, records)
    finally:
        await producer.stop()


class Follower:
    """Keeps up with what is taught.

    Parameters
    ----------
    settings : Settings
        With a broker.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.records: Records = {}
        self._next: dict[Any, int] = {}

    async def catch_up(self) -> Records:
        """Read to the end that the topic has now; returns the classes that are taught."""
        self.records = {}
        async for name, record in _read(self._settings, topics.SUPPORT, pick=_class_of, into=self._next):
            _keep(self.records, (name, record))
        return self.records

    async def follow(self, on_change: Callable[[Records], Awaitable[None]]) -> None:
        """Call back with all classes after each change, until cancelled; a broker that fails is asked again after a pause that grows.

        Parameters
        ----------
        on_change : callable
            Where the broker fails it, it is called again.
        """
        pause, due = FIRST_PAUSE, False
        while True:
            try:
                async for changed in self._changes():
                    due = due or changed
                    if due:
                        await on_change(dict(self.records))
                        due, pause = False, FIRST_PAUSE
            except (KafkaError, OSError, TimeoutError) as error:
                log.warning("what is taught cannot be read, trying again", why=f"{type(error).__name__}: {error}")
            await asyncio.sleep(pause * random.uniform(0.7, 1.3))
            pause = min(LONGEST_PAUSE, 2 * pause)

    async def _changes(self) -> Any:
        async with topics.admin_client(self._settings) as admin:
            places = (await topics.places_of(admin, [topics.SUPPORT])).get(topics.SUPPORT, [])
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
                        if (found := _class_of(message)) is not None:
                            _keep(self.records, found)
                            changed = True
                yield changed
        finally:
            await consumer.stop()


def _keep(records: Records, found: tuple[str, ClassRecord | None]) -> None:
    name, record = found
    if record is None:
        records.pop(name, None)
    else:
        records[name] = record


def _class_of(message: Any) -> tuple[str, ClassRecord | None] | None:
    """The class that a message is about, and its record; None: it is an example, or nothing of ours."""
    key = message.key or b""
    if not key.endswith(b"/") or key.count(b"/") != 1:
        return None
    if message.value is None:
        return key[:-1].decode("utf-8", "replace"), None
    try:
        record = codec.expect(message.value, ClassRecord)
    except PacketError as error:
        log.warning("a class's record cannot be read and is left out", key=repr(key[:80]), why=error.reason)
        return None
    if record.key != key:
        log.warning("a class's record stands under another class's key and is left out", key=repr(key[:80]), name=record.name)
        return None
    return record.name, record


def _event_of(message: Any) -> tuple[str, LoopEvent] | None:
    try:
        event = codec.expect(message.value, LoopEvent)
    except PacketError as error:
        log.warning("an event of the loop cannot be read and is left out", offset=message.offset, why=error.reason)
        return None
    return event.subject, event


async def _read(settings: Settings, topic: str, *, pick: Callable[[Any], Any], into: dict[Any, int] | None = None) -> Any:
    """What `pick` makes of each record of a topic, up to the end it has now."""
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
            if (found := pick(message)) is not None:
                yield found
    finally:
        await consumer.stop()
