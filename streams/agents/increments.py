"""Increments of TESS light curves → whole packets: a sector need not travel twice.

    tess.increments ──► join with the light curve so far (a file) ──► alerts.tess, alerts.rejected and sources.positions, in one transaction

Every increment ends as one of three: joined (a packet with its cadences is on `alerts.tess`), duplicate (all of it is there), rejected
(with its bytes and the reason). Packets and the position behind their increments are committed together, so a process killed at any
moment loses nothing and sends nothing twice. The light curves so far are written after that; they follow from the topic alone. Where the
file is behind (a kill in between) or gone (another machine), increments before the committed position are joined again and nothing is sent.
One process reads all partitions, and a second one fences the first: there is no rebalance, and a source need not choose partitions.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, ProducerFenced

from data.joining.curve_store import CurveStore, Moved, is_passing, remove
from data.joining.whole_curve import WholeCurve, differs, joined, packet
from errors import RetryableError
from schemas.avro.wire import PacketError
from schemas.records import codec
from schemas.records.rejected import Rejected
from schemas.records.source_position import SourcePosition
from schemas.surveys.tess_increment import IncrementReader
from settings.private import private_folder
from streams import metrics
from streams.agents.detector import Incoming
from streams.agents.mirror import read_positions
from streams.agents.reject_limits import RejectLimitError, RejectLimits
from streams.kafka import topics
from streams.kafka.batches import Unreadable
from streams.kafka.broker_requests import TopicFacts, describe_topics
from streams.kafka.consumer import make_consumer
from streams.kafka.murmur import partition_of
from streams.kafka.producer import passed_on, rejected_record, trace

if TYPE_CHECKING:
    from settings.model import Settings

log = structlog.get_logger(__name__)

TARGET = "alerts.tess"
SOURCE = "(increments)"
"""Name of the positions on `sources.positions`; no source of the settings may have it."""
FETCH_WAIT_MS = 300
AT_ONCE = 200
"""Increments of a fetch at most."""
IN_HAND = 8 * 2**20
"""Increments that are gathered, and light curves and packets of a transaction, at most, and one more of each [bytes]."""
LOOK_EVERY = 5.0
"""How often topic, lag and store are looked at [s]."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Before what failed is tried again [s]."""
FENCED_PAUSE = 10.0
"""Where another process has taken over [s]."""
GB = 10**9


class StoreFullError(RetryableError):
    """The light curves so far need more room than they may have."""


@dataclass(slots=True)
class Portion:
    """What is committed at once."""

    curves: dict[tuple[int, int], WholeCurve] = field(default_factory=dict)
    changed_ms: dict[tuple[int, int], int] = field(default_factory=dict)
    packets: dict[Any, tuple[Incoming, WholeCurve, bytes]] = field(default_factory=dict)
    """What goes to `alerts.tess`, in order."""
    rejects: list[tuple[Incoming, Rejected]] = field(default_factory=list)
    outcomes: list[tuple[str, int, str | None]] = field(default_factory=list)
    """Of every increment that was not committed before: what became of it, how many records it stands for, its error class."""
    next: dict[int, int] = field(default_factory=dict)
    """Partition → the offset behind the last increment taken."""
    size: int = 0

    def counts(self) -> Counter[str]:
        """Increments by outcome."""
        out: Counter[str] = Counter()
        for outcome, count, _ in self.outcomes:
            out[outcome] += count
        return out


def portions(
    messages: Sequence[Any], find: Callable[[int, int], WholeCurve | None], *, committed: dict[int, int], each: bool,
    reader: IncrementReader,
) -> Iterator[Portion]:  # fmt: skip
    """Join increments, in portions that fit into memory; each must be committed before the next is asked for.

    Parameters
    ----------
    messages : sequence of aiokafka.ConsumerRecord
        Of `tess.increments`, each partition's in order.
    find : callable
        (tic, sector) → the light curve so far.
    committed : dict
        Partition → offset before which every increment has its outcome: joined again, and nothing is sent.
    each : bool
        A packet for each increment that adds something; else one a target and portion.
    reader : IncrementReader
    """
    portion = Portion()
    for number, message in enumerate(messages):
        value, live = message.value or b"", message.offset >= committed.get(message.partition, 0)
        headers = [(name, value) for name, value in message.headers or () if value is not None]
        try:
            if isinstance(value, Unreadable):
                raise PacketError(value.error_class, value.reason, survey="tess")
            increment = reader.read(value)
            key = increment.tic, increment.sector
            known = portion.curves.get(key) or find(*key)
            curve = joined(known, increment)
        except PacketError as error:
            if live:
                first, count = (value.first, value.records) if isinstance(value, Unreadable) else (message.offset, 1)
                origin = Incoming(value, message.topic, message.partition, first, int(message.timestamp), headers)
                portion.rejects.append((origin, Rejected(error.error_class, error.reason, error.survey or "tess")))
                portion.outcomes.append(("rejected", count, error.error_class))
                portion.size += len(value)
        else:
            portion.size += curve.points.nbytes - (portion.curves[key].points.nbytes if key in portion.curves else 0)
            portion.curves[key] = curve
            portion.changed_ms[key] = max(portion.changed_ms.get(key, 0), int(message.timestamp))
            if live:
                new = differs(known, curve)
                portion.outcomes.append(("joined" if new else "duplicate", 1, None))
                if new:
                    origin = Incoming(value, message.topic, message.partition, message.offset, int(message.timestamp), headers)
                    whole = packet(curve)
                    place = number if each else key
                    before = portion.packets.pop(place, None)  # the last increment's place in the order
                    portion.packets[place] = origin, curve, whole
                    portion.size += len(whole) - (len(before[2]) if before else 0)
        portion.next[message.partition] = message.offset + 1
        if portion.size > IN_HAND:
            yield portion
            portion = Portion()
    if portion.next:
        yield portion


class Joiner:
    """Joins increments.

    Parameters
    ----------
    settings : Settings
        With a broker.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._path = private_folder(settings.state / "increments") / "curves.sqlite"
        self._reader = IncrementReader()
        self._limits = RejectLimits(settings.reject_consecutive, settings.reject_ratio, window=settings.reject_window)
        self.counts: Counter[str] = Counter()
        """Increments by outcome, committed by this process."""

    async def run(self) -> None:
        """Join until cancelled; a broker or a disk that fails is tried again after a pause that grows.

        Raises
        ------
        RejectLimitError
            Too many increments are rejected; nothing of the last ones is committed.
        """
        pause = FIRST_PAUSE
        while True:
            before = self.counts.total()
            try:
                await self._session()
                continue  # the topic has other partitions now, or is another one
            except RejectLimitError:
                raise
            except ProducerFenced:
                log.warning("another process joins increments now, or a transaction took too long")
                await asyncio.sleep(FENCED_PAUSE)
                continue
            except sqlite3.DatabaseError as error:
                if not is_passing(error):
                    remove(self._path)  # the topic has it all
                log.warning("the light curves so far cannot be read or written, trying again", path=str(self._path), why=repr(error))
            except (KafkaError, RetryableError, OSError, TimeoutError) as error:
                log.warning("increments are not joined, trying again", why=f"{type(error).__name__}: {error}")
            pause = FIRST_PAUSE if self.counts.total() > before else min(LONGEST_PAUSE, 2 * pause)
            await asyncio.sleep(pause * random.uniform(0.7, 1.3))

    async def _session(self) -> None:
        async with AsyncExitStack() as stack:
            producer = AIOKafkaProducer(
                **self._settings.client_options(), transactional_id=f"{self._settings.app_id}.increments",
                max_request_size=topics.REJECTED_BYTES + 500_000, max_batch_size=900_000,
            )  # fmt: skip
            stack.push_async_callback(producer.stop)
            await producer.start()  # fences an earlier process and ends its open transaction
            consumer = make_consumer(
                self._settings, unreadable=True, auto_offset_reset="earliest", fetch_max_wait_ms=100,
                max_partition_fetch_bytes=topics.PACKET_BYTES,
            )  # fmt: skip
            stack.push_async_callback(consumer.stop)
            await consumer.start()
            facts = await self._topic(consumer)
            mark = f"{topics.INCREMENTS}#{facts.identity}"  # an offset of a topic that was deleted and made anew is another one's
            known = await read_positions(self._settings, SOURCE)
            store = stack.enter_context(CurveStore.open(self._path, str(facts.identity)))
            places = [TopicPartition(topics.INCREMENTS, p) for p in facts.partitions]
            consumer.assign(places)
            starts = await consumer.beginning_offsets(places)
            committed = {place.partition: known.get((mark, place.partition), starts[place]) for place in places}
            begins = self._begins(store, committed, starts={place.partition: offset for place, offset in starts.items()})
            for place in places:
                consumer.seek(place, begins[place.partition])
            behind = sum(max(0, committed[p] - begins[p]) for p in committed)
            log.info("increments are joined", partitions=len(places), light_curves=store.count(), read_again=behind)
            partitions = len(await producer.partitions_for(TARGET))
            due = 0.0
            while True:
                if time.monotonic() >= due:
                    due = time.monotonic() + LOOK_EVERY
                    if await self._topic(consumer) != facts:
                        return
                    await self._look(consumer, store)
                for portion in portions(
                    await self._gather(consumer),
                    store.get,
                    committed=committed,
                    each=not self._settings.increments_wait_s,
                    reader=self._reader,
                ):
                    await self._commit(producer, store, portion=portion, committed=committed, mark=mark, partitions=partitions)

    async def _topic(self, consumer: Any) -> TopicFacts:
        """What the broker says of the topic."""
        facts = (await describe_topics(consumer._client, [topics.INCREMENTS])).get(topics.INCREMENTS)
        if facts is None:
            raise RetryableError(f"the broker has no topic {topics.INCREMENTS}: `protonova topics --repair` makes it")
        return facts

    def _begins(self, store: CurveStore, committed: dict[int, int], *, starts: dict[int, int]) -> dict[int, int]:
        """Partition → from where it is read: where the light curves so far end."""
        held = store.positions()
        if any(offset > committed.get(p, 0) for p, offset in held.items()):
            # What the broker knows is older, as of a backup: what was sent since then is gone and must be sent again.
            log.warning("the light curves so far are ahead of the broker; they are made anew")
            store.clear()
            held = {}
        for p, start in starts.items():
            if committed[p] < start:
                log.error("increments left the topic before they were joined", partition=p, increments=start - committed[p])
                metrics.INCREMENTS_LOST.inc(start - committed[p])
        return {p: max(held.get(p, 0), start) for p, start in starts.items()}

    async def _gather(self, consumer: AIOKafkaConsumer) -> list[Any]:
        """The next increments: those that are there, or those of the time that is waited for."""
        out: list[Any] = []
        size, deadline = 0, None
        left_ms: float = FETCH_WAIT_MS
        while left_ms > 0:
            found = await consumer.getmany(timeout_ms=int(left_ms) or 1, max_records=AT_ONCE)
            out += (message for messages in found.values() for message in messages)
            size += sum(len(message.value or b"") for messages in found.values() for message in messages)
            if not out or size > IN_HAND:
                break
            deadline = deadline or time.monotonic() + self._settings.increments_wait_s
            left_ms = 1000 * (deadline - time.monotonic())
        return out

    async def _commit(
        self, producer: AIOKafkaProducer, store: CurveStore, *, portion: Portion, committed: dict[int, int], mark: str, partitions: int
    ) -> None:  # fmt: skip
        """Send a portion's packets with its positions, then keep its light curves."""
        self._limits.observe(error_class for _, count, error_class in portion.outcomes for _ in range(count))
        if portion.outcomes:
            now_ms = int(time.time() * 1000)
            async with producer.transaction():
                waits = []
                for origin, curve, whole in portion.packets.values():
                    key = b"%d" % curve.tic
                    sent = dict(origin.headers)
                    waits.append(
                        await producer.send(
                            TARGET, whole, key=key, headers=[("traceparent", trace(sent)), *passed_on(sent)],
                            partition=partition_of(key, partitions),
                        )
                    )  # fmt: skip
                for origin, rejected in portion.rejects:
                    record = rejected_record(origin, rejected, scored_ms=now_ms)
                    waits.append(await producer.send(record.topic, record.value, key=record.key, headers=record.headers))
                for p, offset in portion.next.items():
                    position = SourcePosition(SOURCE, mark, p, max(offset, committed.get(p, 0)))
                    waits.append(await producer.send(topics.POSITIONS, codec.encode(position), key=position.key))
                for wait in waits:
                    await wait
            counts = portion.counts()
            self.counts += counts
            for outcome, count in counts.items():
                metrics.INCREMENTS.labels(outcome).inc(count)
        held = store.positions()
        store.commit(
            [(curve, portion.changed_ms[key]) for key, curve in portion.curves.items()],
            {p: Moved(held.get(p), offset) for p, offset in portion.next.items()},
        )
        committed.update({p: offset for p, offset in portion.next.items() if offset > committed.get(p, 0)})

    async def _look(self, consumer: AIOKafkaConsumer, store: CurveStore) -> None:
        """Publish the lag, forget light curves as old as what the topic forgets, and see that there is room for more.

        Raises
        ------
        StoreFullError
            There is none.
        """
        ends = await consumer.end_offsets(list(consumer.assignment()))
        metrics.INCREMENTS_LAG.set(sum([max(0, end - await consumer.position(place)) for place, end in ends.items()]))
        forgotten = store.forget(store.newest_ms() - topics.KEPT_INCREMENTS)
        if forgotten:
            log.info("light curves without an increment for as long as increments are kept are forgotten", light_curves=forgotten)
        used = store.used_bytes()
        metrics.CURVES_STORED.set(used)
        if used > self._settings.increments_store_gb * GB:
            raise StoreFullError(
                f"{store.count():,} light curves need {used / GB:.2f} GB; increments_store_gb is {self._settings.increments_store_gb:g}"
            )


async def run(settings: Settings) -> None:
    """Join increments until cancelled."""
    await Joiner(settings).run()
