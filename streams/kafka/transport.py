"""Faust's Kafka transport, several things of it changed.

**The wait in a fetch.** Faust has its consumer wait 1.5 s for new data, and a client has one fetch at a time to each broker, which leaves
out the partitions whose last packets are still buffered. So a packet for such a partition waits until the fetch for the others ends: up to
1.5 s on a quiet stream. With a short wait it is up to that, and an idle worker asks twenty-five times a second (0.5 % of a core).

**The loop of the consumer's thread.** Faust takes asyncio's; uvloop reads a socket for less, and holds the lock of the interpreter, which
the scoring and the main loop wait for, the less for it (`streams.kafka.loop` says what else it takes).

**The way into that thread.** Faust's queue of calls wakes its takers by four tasks for every call; at a few packets a fetch that is most of
what a packet costs there. A fetch goes straight onto the thread's loop instead; commits and the rest keep their queue.

**Where partitions begin and end.** Faust asks for it through that queue, whose two takers serve the commits too, and waits for as long as
any request may take. `spans` asks beside the queue, and gives up in time. It also reports what of a partition was read: the marks of
transactions take offsets that are read over, never handed out and so never committed.

**No pause of partitions.** Faust takes a partition out of the fetch when its buffer is full, and a fetch that is under way then sleeps its
second out: two thirds of the throughput on a backlog. The bounded buffer holds back by itself; aiokafka keeps one fetch a partition ahead.

**The hand-over of a message.** Faust decodes each message, races its hand-over in four tasks and asks for the high-water mark. Ours goes
into the buffer as it is, as soon as there is room.

**What is acknowledged.** Packets are acknowledged in each partition's order, so the last one says it all. Faust keeps lists of offsets and
of gaps between them, and stands still for ever before a gap that follows offset 0. Each acknowledgement says what became of the packet: the
partition's ledger (`streams.kafka.offset_ledger`) goes into the commit beside the offset. Marks of transactions and aborted records behind
the last packet are committed too, once nothing before them is in hand.

**A rebalance.** What is in hand is finished and committed before the partitions go. Faust waits for its whole buffer, or for nothing.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any

import aiokafka
import faust
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import OffsetResetStrategy
from aiokafka.errors import ConsumerStoppedError, KafkaError
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport

from streams.kafka.broker_requests import describe_topics, mark_in
from streams.kafka.buffer import Buffer
from streams.kafka.consumer import CheckedConsumer
from streams.kafka.loop import Loop
from streams.kafka.offset_ledger import Ledgers, Noted, OutcomeKind
from streams.kafka.spans import Span, Topics, position_of

FETCH_WAIT_MS = 40
FETCH_BYTES_ALL = 16 * 2**20
"""Of all partitions at once; one batch more, so that the largest passes [bytes]."""
GETMANY_S = 1.0
"""Longest wait for records before the consumer looks whether it was asked to stop [s]."""
IDLE_S = 0.05
"""Pause of a consumer that holds no partition [s]."""
YIELD_EVERY = 64
"""Messages handed over until the loop's other tasks have their turn."""


class Arrived:
    """A packet as the consumer hands it over."""

    __slots__ = ("_consumer", "_era", "headers", "offset", "place", "timestamp_ms", "value")

    def __init__(self, consumer: _Consumer, place: Any, *, record: Any) -> None:
        self._consumer, self._era, self.place = consumer, consumer.eras[place], place
        self.value: bytes | None = record.value
        self.headers: Sequence[tuple[str, bytes | None]] = record.headers
        self.offset: int = record.offset
        self.timestamp_ms: int | None = record.timestamp

    @property
    def current(self) -> bool:
        """Whether its partition was held, as the same one, ever since it was read: else it is read again, or gone."""
        return self._era == self._consumer.eras[self.place]

    def ack(self, outcome: OutcomeKind, count: int = 1) -> None:
        """Its output is delivered; so must be those of all packets of the partition before it.

        Parameters
        ----------
        outcome : str
            What became of it.
        count : int
            For how many records it stands, itself the last of them.
        """
        if self.current:
            self._consumer.ledgers.acknowledge(self.place, self.offset, outcome=outcome, count=count)


async def packets(stream: Any) -> AsyncIterator[Arrived]:
    """The packets of an agent's stream, past what Faust does for each: sensors, processors, a pass through the loop."""
    queue = stream.channel.queue
    while True:
        arrived = await queue.get()
        while True:
            if arrived.current:
                yield arrived
            if queue.empty():
                break
            arrived = queue.get_nowait()


class _Thread(AIOKafkaConsumerThread):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, thread_loop=Loop(), **options)
        self._handed: dict[Any, int] = {}
        self.noted = Noted()
        self._close_thread_loop_on_stop = True  # it is the thread's own; a loop handed in is left open

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # read when the consumer starts; Faust has no setting for it
        consumer._fetch_max_bytes = FETCH_BYTES_ALL
        return CheckedConsumer.adopt(consumer, self.noted)

    async def getmany(self, active_partitions: Any, timeout: float) -> Any:  # noqa: ASYNC109 - as Faust has it
        """Records that wait at the consumer, or come within `timeout` [s]; called on the main loop."""
        consumer = self._ensure_consumer()

        async def fetch() -> Any:
            found = await self._fetch_records(consumer, active_partitions, timeout=timeout, max_records=consumer._max_poll_records)
            self._handed.update({place: records[-1].offset + 1 for place, records in found.items() if records})
            return found

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(fetch(), self.thread_loop))

    async def seek_to_committed(self) -> Any:
        """Go to what is committed, or to the start where nothing is, or was committed for another topic of that name.

        aiokafka stays where it is if nothing is committed: what was read and not handed over would be skipped.
        """
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._seek_to_committed(), self.thread_loop))

    async def _seek_to_committed(self) -> dict[Any, int | None]:
        consumer: Any = self._ensure_consumer()
        places = consumer._subscription.assigned_partitions()
        if not places:
            return {}
        try:
            facts = await describe_topics(consumer._client, sorted({place.topic for place in places}))
        except (KafkaError, NotImplementedError) as error:  # a broker before 3.0 has no ids
            self.log.info("no ids of topics: %r", error)
            facts = {}
        committed = await consumer._coordinator.fetch_committed_offsets(list(places))
        out: dict[Any, int | None] = {}
        for place in places:
            found, mark = committed.get(place), facts[place.topic].mark if place.topic in facts else ""
            other = found is not None and bool(mark) and mark_in(found.metadata) not in ("", mark)
            if found is None or found.offset < 0 or other:
                if other:
                    self.log.warning("%s/%s was made anew: it is read from its start", *place)
                out[place] = None
                self.noted.resume(place, None)
                consumer._subscription.subscription.assignment.state_value(place).await_reset(OffsetResetStrategy.EARLIEST)
                consumer._fetcher._records.pop(place, None)
                consumer._fetcher._notify(consumer._fetcher._wait_consume_future)
            else:
                out[place] = found.offset
                self.noted.resume(place, found.offset, metadata=found.metadata)
                consumer.seek(place, found.offset)
            self._handed.pop(place, None)
        consumer.marks = {topic: fact.mark for topic, fact in facts.items()}
        return out

    async def topics(self, names: Sequence[str], within_s: float) -> Topics:
        """As the consumer's; called on the main loop."""
        consumer: Any = self._ensure_consumer()

        async def ask() -> Topics:
            async with asyncio.timeout(within_s):
                facts = await describe_topics(consumer._client, names)
            coordinator, cluster = consumer._coordinator, consumer._client.cluster
            known = {name: len(cluster.partitions_for_topic(name) or ()) for name in names}
            anew = [name for name, fact in facts.items() if consumer.marks.get(name, fact.mark) != fact.mark]
            if anew:
                self.log.warning("made anew: %s; the group is joined again", ", ".join(anew))
                coordinator.request_rejoin()
            if any(len(fact.partitions) != known[name] for name, fact in facts.items()):
                consumer._client.force_metadata_update()  # which has the group's leader share them out
            shared = {TopicPartition(name, number) for name, count in coordinator._metadata_snapshot.items() for number in range(count)}
            return Topics({name: fact.partitions for name, fact in facts.items()}, bool(coordinator._group_subscription), shared)

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(ask(), self.thread_loop))

    async def positions(self, partitions: Sequence[Any]) -> dict[Any, tuple[int | None, int]]:
        """Partition → what is read of it, and what is handed out; called on the main loop."""
        consumer = self._ensure_consumer()

        async def ask() -> dict[Any, tuple[int | None, int]]:
            return {place: (position_of(consumer, place), self._handed.get(place, 0)) for place in partitions}

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(ask(), self.thread_loop))

    async def spans(self, partitions: Sequence[Any], within_s: float) -> dict[Any, Span]:
        """As the consumer's; called on the main loop."""
        consumer = self._ensure_consumer()

        async def ask() -> dict[Any, Span]:
            async with asyncio.timeout(within_s):
                starts, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
            # No await from here: position and what was handed out are of one moment.
            return {
                place: Span(starts[place], position_of(consumer, place), self._handed.get(place, 0), ends[place])
                for place in partitions
                if place in starts and place in ends
            }

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(ask(), self.thread_loop))


class _Consumer(Consumer):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.eras: defaultdict[Any, int] = defaultdict(int)
        """Partition → how often it was taken away, or became another one of its name."""
        thread: Any = self._thread
        self.ledgers = Ledgers(thread.noted)
        self._rounds = 0
        self._remade: set[Any] = set()

    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    def on_buffer_full(self, tp: Any) -> None:
        """Nothing: the hand-over waits."""

    def on_buffer_drop(self, tp: Any) -> None:
        """Nothing: no partition was taken out."""

    def verify_event_path(self, now: float, tp: Any) -> None:
        """Nothing: `streams.kafka.liveness` looks; Faust's sensors do not see the packets."""

    async def spans(self, partitions: Sequence[Any], within_s: float) -> dict[Any, Span]:
        """Partition → where it begins, is read and ends, as broker and consumer have it now.

        Raises
        ------
        TimeoutError
            It did not answer within `within_s` [s].
        aiokafka.errors.KafkaError
            It refused.
        """
        thread: Any = self._thread
        found: dict[Any, Span] = await thread.spans(partitions, within_s)
        return found

    async def topics(self, names: Sequence[str], within_s: float) -> Topics:
        """Partitions of topics as the broker has them now; where that differs from what is read, the group is joined again.

        Raises
        ------
        TimeoutError
            It did not answer within `within_s` [s].
        aiokafka.errors.KafkaError
            It refused.
        NotImplementedError
            It is older than 3.0.
        """
        thread: Any = self._thread
        found: Topics = await thread.topics(names, within_s)
        return found

    # What is committed

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[Any]:
        return (place for place in list(self.ledgers.acknowledged) if topics is None or place in topics or place.topic in topics)

    def _new_offset(self, tp: Any) -> int | None:
        return self.ledgers.committable(tp)

    async def read_over(self) -> None:
        """Acknowledge what was read behind the last packets and holds none: marks of transactions, aborted records."""
        eras = {place: self.eras[place] for place in self.ledgers.noted.waiting() if place in self.assignment()}
        thread: Any = self._thread
        for place, (position, handed) in (await thread.positions(list(eras)) if eras else {}).items():
            if position is not None and self.eras[place] == eras[place]:
                self.ledgers.read_over(place, position, handed=handed)

    async def commit_all(self) -> None:
        """Commit everything that is acknowledged now; Faust's `commit` leaves it at a commit that is under way, which knows less."""
        await self.maybe_wait_for_commit_to_finish()
        await self.commit()

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """Finish and commit what is in hand, then forget it."""
        await super().on_partitions_revoked(revoked)
        self._rounds += 1
        for place in revoked:
            self._forget(place)

    def _forget(self, place: Any) -> None:
        """What was read of a partition is not acknowledged any more."""
        self.eras[place] += 1
        self.ledgers.forget(place)
        self._committed_offset[place] = self._read_offset[place] = None

    # What is handed over

    async def _drain_messages(self, fetcher: Any) -> None:
        def ending() -> bool:
            return self._stopped.is_set() or fetcher._stopped.is_set()

        try:
            while not ending():
                if not (self.flow_active and self._active_partitions):
                    await asyncio.sleep(IDLE_S)
                    continue
                active, rounds = set(self._active_partitions), self._rounds
                records = await self._getmany(active, GETMANY_S)
                if records and not ending() and not (rounds == self._rounds and await self._hand_over(records, active)):
                    await self._read_again()
        except (ConsumerStoppedError, asyncio.CancelledError):
            if not self.app.should_stop:
                raise

    async def _read_again(self) -> None:
        """Records were read and not handed over, as a rebalance came between: go back to what is committed, or they would be skipped."""
        try:
            await self.perform_seek()
        except Exception as error:
            if self.flow_active:
                raise
            self.log.info("no seek to the committed offsets (%r); the end of the rebalance seeks", error)

    async def _hand_over(self, records: Any, active: set[Any]) -> bool:
        """Put records into the buffers as there is room; False: a rebalance came before all were."""
        rounds, since = self._rounds, 0
        buffers: dict[Any, list[Buffer]] = {}
        for place, record in self.scheduler.iterate(records):
            if place not in active:
                continue
            if place not in buffers:
                conductor: Any = self.app.topics
                buffers[place] = [channel.queue for channel in conductor._tp_index[place]]
            for buffer in buffers[place]:
                if buffer.full():
                    await self.wait_first(buffer.room(), self.suspend_flow.wait())
                    since = 0
            if since == YIELD_EVERY:
                await asyncio.sleep(0)
                since = 0
            if rounds != self._rounds or not self.flow_active or self._stopped.is_set():
                return False
            last = self._read_offset[place]
            if last is not None and record.offset < last:
                self.log.warning("%s/%s begins anew at %s after %s: the broker's log was made anew", *place, record.offset, last)
                self._forget(place)
            for buffer in buffers[place]:
                buffer.force_put_nowait(Arrived(self, place, record=record))
            self._read_offset[place] = record.offset
            since += 1
        return True


class PromptTransport(Transport):
    """Kafka, with these changes."""

    Consumer = _Consumer


class App(faust.App):
    """Faust's application with this transport, bounded buffers, and packets that are finished before partitions go.

    Parameters
    ----------
    settle : callable
        ``await settle()`` finishes what was taken off the stream: its outputs are delivered and it is acknowledged.
    """

    def __init__(self, *args: Any, settle: Callable[[], Awaitable[None]], **options: Any) -> None:
        super().__init__(*args, stream_wait_empty=False, **options)
        self.transport = PromptTransport(self.conf.broker_consumer, self)
        self._settle = settle

    def FlowControlQueue(self, maxsize: int | None = None, *, clear_on_resume: bool = False) -> Buffer:  # noqa: N802 - Faust's name
        """The buffer of a channel."""
        return Buffer(maxsize or 0, flow_control=self.flow_control, clear_on_resume=clear_on_resume)

    async def _consumer_wait_empty(self, consumer: Any, logger: Any) -> None:
        await self._settle()
        await consumer.commit_all()
