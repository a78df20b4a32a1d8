"""A topic → what is made of it, each input's outputs and the position behind it in one Kafka transaction, by one fenced process.

What the joiner of increments, the calibrator and the differencer share. A process killed at any moment loses nothing and sends nothing
twice. One process reads all partitions of a topic, and a second one fences the first: there is no rebalance.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import IllegalOperation, KafkaError, ProducerFenced

from errors import RetryableError
from schemas.records import codec
from schemas.records.source_position import SourcePosition
from streams.kafka import topics
from streams.kafka.broker_requests import TopicFacts, describe_topics
from streams.kafka.consumer import CheckedConsumer, make_consumer
from streams.kafka.murmur import partition_of

if TYPE_CHECKING:
    from settings.model import Settings
    from streams.kafka.producer import Record

log = structlog.get_logger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Before what failed is tried again [s]."""
FENCED_PAUSE, LONGEST_FENCED = 10.0, 120.0
"""Where another process has taken over [s]; longer each time, or two that are started for good would only fence each other."""


def jittered(pause: float) -> float:
    """A pause, or up to a third more or less, so that processes that failed together do not try together [s]."""
    return pause * random.uniform(0.7, 1.3)


async def repeat(
    session: Callable[[], Awaitable[None]], done: Callable[[], int], *, what: str, final: tuple[type[Exception], ...],
    report: Callable[[str], None] = lambda why: None,
) -> None:  # fmt: skip
    """Run a session again and again until cancelled; a broker, disk or store that fails is tried again after a pause that grows.

    Parameters
    ----------
    session : callable
        Returns where the topic has other partitions now, or is another one.
    done : callable
        How much was committed so far: the pause is short again after any.
    what : str
        For the log, such as "increments are not joined".
    final : tuple of exception types
        Those that end it.
    report : callable
        Called with why it does not run.
    """
    pause, fenced = FIRST_PAUSE, FENCED_PAUSE
    while True:
        before = done()
        try:
            await session()
            continue
        except final:
            raise
        except ProducerFenced:
            why = "another process does it now, or a transaction took too long"
            log.warning(what, why=why)
            report(why)
            fenced = FENCED_PAUSE if done() > before else min(LONGEST_FENCED, 2 * fenced)
            await asyncio.sleep(jittered(fenced))
            continue
        except (KafkaError, RetryableError, OSError, TimeoutError) as error:
            log.warning(f"{what}, trying again", why=f"{type(error).__name__}: {error}")
            report(f"{type(error).__name__}: {error}")
        pause = FIRST_PAUSE if done() > before else min(LONGEST_PAUSE, 2 * pause)
        await asyncio.sleep(jittered(pause))


@dataclass(slots=True)
class FencedReader:
    """One topic, read by this process alone, and the producer of what is made of it."""

    topic: str
    source: str
    """Of its positions on `sources.positions`."""
    producer: AIOKafkaProducer
    consumer: CheckedConsumer
    facts: TopicFacts
    starts: dict[int, int]
    """Partition → offset of the oldest record that is there."""
    committed: dict[int, int]
    """Partition → offset before which every record has its outcome."""

    @property
    def mark(self) -> str:
        """The topic with its id: an offset of a topic that was deleted and made anew is another one's."""
        return f"{self.topic}#{self.facts.identity}"

    def seek(self, begins: Mapping[int, int]) -> None:
        """Read from these offsets on."""
        for partition, offset in begins.items():
            self.consumer.seek(TopicPartition(self.topic, partition), offset)

    def lost(self) -> dict[int, int]:
        """Partition → how many records left the topic before they had an outcome; partitions without any are left out."""
        return {p: start - self.committed[p] for p, start in self.starts.items() if self.committed[p] < start}

    async def same_topic(self) -> bool:
        """Whether the topic is still the one that was opened, with the same partitions."""
        return await _facts(self.consumer, self.topic) == self.facts

    async def next(self, most: int, *, wait_ms: int) -> list[Any]:
        """The next records, each partition's in order; none after so long without one."""
        found = await self.consumer.getmany(timeout_ms=wait_ms, max_records=most)
        return [message for messages in found.values() for message in messages]

    async def lag(self) -> int:
        """Records that were not read yet."""
        ends = await self.consumer.end_offsets(list(self.consumer.assignment()))
        return sum([max(0, end - await self.consumer.position(place)) for place, end in ends.items()])

    async def commit(self, records: Iterable[Record], upto: Mapping[int, int]) -> list[Any]:
        """Send records with the positions behind what they were made of, all or nothing.

        Parameters
        ----------
        records : iterable of Record
            `place` chooses the partition.
        upto : mapping
            Partition of the topic → offset behind the last record that has its outcome with this.

        Returns
        -------
        list of aiokafka.structs.RecordMetadata
            Where each record lies.

        Raises
        ------
        aiokafka.errors.KafkaError
            Nothing of it was sent. ProducerFenced: another process has taken over.
        """
        ahead = {p: max(offset, self.committed.get(p, 0)) for p, offset in upto.items()}
        try:
            placed = await self._send(records, ahead)
        except IllegalOperation as error:  # what the client says between two records where the broker has fenced it
            raise ProducerFenced from error
        self.committed.update(ahead)
        return placed

    async def _send(self, records: Iterable[Record], ahead: Mapping[int, int]) -> list[Any]:
        async with self.producer.transaction():
            waits, count = [], 0
            for record in records:
                partition = partition_of(record.place, len(await self.producer.partitions_for(record.topic)))
                waits.append(
                    await self.producer.send(record.topic, record.value, key=record.key, headers=record.headers, partition=partition)
                )
                count += 1
            for p, offset in ahead.items():
                position = SourcePosition(self.source, self.mark, p, offset)
                waits.append(await self.producer.send(topics.POSITIONS, codec.encode(position), key=position.key))
            return [await wait for wait in waits][:count]


@asynccontextmanager
async def fenced_reader(settings: Settings, topic: str, *, source: str, name: str, **options: Any) -> AsyncIterator[FencedReader]:
    """Take a topic over: the process before is fenced, its open transaction ended, all partitions assigned; see `FencedReader.seek`.

    Parameters
    ----------
    settings : Settings
        With a broker.
    topic : str
    source : str
        Of the positions; no source of the settings may have this name.
    name : str
        Of the transactions, behind the app id.
    **options
        Of the consumer.

    Raises
    ------
    RetryableError
        The broker has no such topic.
    aiokafka.errors.KafkaError
    """
    async with AsyncExitStack() as stack:
        producer = AIOKafkaProducer(
            **settings.client_options(), transactional_id=f"{settings.app_id}.{name}",
            max_request_size=topics.REJECTED_BYTES + 500_000, max_batch_size=900_000,
        )  # fmt: skip
        stack.push_async_callback(producer.stop)
        await producer.start()
        consumer = make_consumer(
            settings, unreadable=True, auto_offset_reset="earliest",
            **{"fetch_max_wait_ms": 100, "max_partition_fetch_bytes": topics.PACKET_BYTES, **options},
        )  # fmt: skip
        stack.push_async_callback(consumer.stop)
        await consumer.start()
        facts = await _facts(consumer, topic)
        known = await read_positions(settings, source)
        places = [TopicPartition(topic, p) for p in facts.partitions]
        consumer.assign(places)
        starts = {place.partition: offset for place, offset in (await consumer.beginning_offsets(places)).items()}
        mark = f"{topic}#{facts.identity}"
        committed = {p: known.get((mark, p), start) for p, start in starts.items()}
        yield FencedReader(topic, source, producer, consumer, facts, starts, committed)


async def _facts(consumer: Any, topic: str) -> TopicFacts:
    """What the broker says of a topic."""
    facts = (await describe_topics(consumer._client, [topic])).get(topic)
    if facts is None:
        raise RetryableError(f"the broker has no topic {topic}: `protonova topics --repair` makes it")
    return facts


async def read_positions(settings: Settings, source: str) -> dict[tuple[str, int], int]:
    """(topic, partition) of a source → offset of its next record.

    Other sources' open transactions hold back what a committed reader sees, so this waits until everything that is on the topic now is
    decided: an older position would copy records twice.
    """
    found: dict[tuple[str, int], int] = {}
    async for message in decided_records(settings, topics.POSITIONS):
        record = codec.decode(message.value)
        if isinstance(record, SourcePosition) and record.source == source:
            found[record.topic, record.partition] = record.offset
    return found


async def decided_records(settings: Settings, topic: str) -> AsyncIterator[Any]:
    """Yield all committed records that a topic holds now, each partition's in order, once every transaction on it is decided.

    Raises
    ------
    aiokafka.errors.KafkaError
    """
    options = settings.client_options()
    async with AsyncExitStack() as stack:
        raw = AIOKafkaConsumer(**options, enable_auto_commit=False)  # which reads nothing: it asks where the topic ends, undecided or not
        stack.push_async_callback(raw.stop)
        await raw.start()
        consumer = make_consumer(settings, auto_offset_reset="earliest")
        stack.push_async_callback(consumer.stop)
        await consumer.start()
        places = [TopicPartition(topic, p) for p in (await _facts(consumer, topic)).partitions]
        ends = await raw.end_offsets(places)
        consumer.assign(places)
        for place, start in (await consumer.beginning_offsets(places)).items():
            consumer.seek(place, start)
        while left := [place for place in places if await consumer.position(place) < ends[place]]:
            for messages in (await consumer.getmany(*left, timeout_ms=500)).values():
                for message in messages:
                    yield message
