"""Topics of other clusters → `alerts.*`, byte for byte, once each.

    [[source]] ──► one task a source ──► alerts.<survey> and sources.positions, in one transaction
                                     └──► sources.states, every few seconds

A record and the position behind it are committed together, so a mirror that is killed at any moment goes on behind the last record that
was copied. A second mirror of the same source fences the first one. Where a record came from travels in its headers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, ProducerFenced

from schemas.records import codec
from schemas.records.rejected import Rejected
from schemas.records.source_position import SourcePosition
from schemas.records.source_state import SourceState
from streams.agents.detector import Incoming
from streams.kafka import topics
from streams.kafka.batches import Unreadable
from streams.kafka.consumer import checked_consumer
from streams.kafka.exactly_once import jittered, read_positions
from streams.kafka.murmur import partition_of
from streams.kafka.producer import rejected_record
from streams.kafka.source_client import source_options

if TYPE_CHECKING:
    from settings.model import Settings
    from settings.sources import Source

log = structlog.get_logger(__name__)

DISCOVER_S = 10.0
"""How often a source is asked for its topics [s]; a nightly topic is found within three of them."""
STATE_S = 3.0
"""How often a source's state is published [s]."""
FETCH_WAIT_MS = 500
AT_ONCE = 200
"""Records of a transaction at most."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Before a source that failed is tried again [s]."""
FENCED_PAUSE = 10.0
"""Where another mirror has taken the source over [s]."""
HEADROOM = 4096
"""Bytes of a record besides key, value and headers: what the batch around it takes."""
ORIGIN = ("origin_cluster", "origin_topic", "origin_partition", "origin_offset", "origin_timestamp")
"""Headers that say where a record came from."""


def origin_headers(source: str, message: Any) -> list[tuple[str, bytes]]:
    """Headers of a mirrored record: its own, then where it came from.

    Parameters
    ----------
    source : str
        Name of the source.
    message : aiokafka.ConsumerRecord
    """
    own = [(name, value) for name, value in message.headers or () if name not in ORIGIN]
    values = (source, message.topic, message.partition, message.offset, message.timestamp)
    return [*own, *((name, str(value).encode()) for name, value in zip(ORIGIN, values, strict=True))]


def target_partition(message: Any, count: int) -> int:
    """Partition of a mirrored record: by its key as Kafka's clients choose, else by where it came from, so that order stays."""
    if message.key is None:
        return int(message.partition) % count
    return partition_of(message.key, count)


class Mirror:
    """Copies one source.

    Parameters
    ----------
    source : Source
    settings : Settings
        With our broker.
    clock : callable
        Seconds since 1970.
    """

    def __init__(self, source: Source, settings: Settings, *, clock: Callable[[], float] = time.time) -> None:
        self._source, self._settings, self._clock = source, settings, clock
        self._target = topics.INCREMENTS if source.increments else f"alerts.{source.survey}"
        self.copied = self.rejected = self.lost = 0
        self._state, self._error, self._lag = "connecting", "", 0
        self._topics: set[str] = set()

    def state(self) -> SourceState:
        """What is published of the source."""
        return SourceState(
            source=self._source.name, state=self._state, error=self._error, topics=tuple(sorted(self._topics)), copied=self.copied,
            rejected=self.rejected, lost=self.lost, lag=self._lag, updated_ms=int(self._clock() * 1000),
        )  # fmt: skip

    async def run(self) -> None:
        """Copy until cancelled; a source or a broker that fails is tried again after a pause that grows."""
        pause = FIRST_PAUSE
        while True:
            copied = self.copied
            try:
                await self._session()
            except ProducerFenced:
                self._failed("another mirror has taken this source over, or its transaction took too long")
                await asyncio.sleep(FENCED_PAUSE)
                continue
            except (KafkaError, OSError, TimeoutError) as error:
                self._failed(f"{type(error).__name__}: {error}")
            except Exception as error:  # one source's failure, whatever it is, must not stop the others
                self._failed(f"unexpected {error!r}")
            pause = FIRST_PAUSE if self.copied > copied else min(LONGEST_PAUSE, 2 * pause)
            await asyncio.sleep(jittered(pause))

    def _failed(self, why: str) -> None:
        self._state, self._error = "failed", why[:300]
        log.warning("a source failed, trying again", source=self._source.name, why=why)

    async def _session(self) -> None:
        async with AsyncExitStack() as stack:
            producer = AIOKafkaProducer(
                **self._settings.client_options(), transactional_id=f"{self._settings.app_id}.mirror.{self._source.name}",
                max_request_size=topics.REJECTED_BYTES + 500_000, max_batch_size=900_000,
            )  # fmt: skip
            stack.push_async_callback(producer.stop)
            await producer.start()  # fences an earlier mirror of this source and ends its open transaction
            positions = await read_positions(self._settings, self._source.name)
            consumer = checked_consumer(
                **source_options(self._source), group_id=self._source.group, unreadable=True, auto_offset_reset="earliest",
                fetch_max_wait_ms=200, max_partition_fetch_bytes=topics.PACKET_BYTES,
            )  # fmt: skip
            stack.push_async_callback(consumer.stop)
            await consumer.start()
            count = len(await producer.partitions_for(self._target))
            first = not positions
            due = 0.0
            held: dict[TopicPartition, int] = {}
            while True:
                if time.monotonic() >= due:
                    due = time.monotonic() + DISCOVER_S
                    await self._discover(consumer, producer, positions=positions, held=held, from_start=not first)
                    first = first and not held
                    self._state, self._error = "running", ""
                    self._lag = await _lag(consumer, held)
                if not held:
                    await asyncio.sleep(1.0)
                    continue
                found = await consumer.getmany(timeout_ms=FETCH_WAIT_MS, max_records=AT_ONCE)
                records = [message for messages in found.values() for message in messages]
                if records:
                    await self._copy(producer, records, count=count)
                    held.update({place: messages[-1].offset + 1 for place, messages in found.items() if messages})
                    positions.update({(place.topic, place.partition): held[place] for place in found})

    async def _discover(
        self, consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, *, positions: dict[tuple[str, int], int],
        held: dict[TopicPartition, int], from_start: bool,
    ) -> None:  # fmt: skip
        """Take up partitions that are new on the source, and let go of those that are gone."""
        cluster = await consumer._client.fetch_all_metadata()
        wanted = {topic for topic in cluster.topics(exclude_internal_topics=True) if self._source.wants(topic)}
        places = {TopicPartition(topic, p) for topic in wanted for p in cluster.partitions_for_topic(topic) or ()}
        self._topics = wanted
        new = sorted(places - held.keys())
        if not new and places == held.keys():
            return
        starts, ends = await consumer.beginning_offsets(new), await consumer.end_offsets(new)
        times: Mapping[TopicPartition, Any] = {}
        begin = self._source.start_ms()
        if begin is not None:
            times = await consumer.offsets_for_times(dict.fromkeys(new, begin))
        chosen: dict[TopicPartition, int] = {}
        for place in new:
            known = positions.get((place.topic, place.partition))
            if known is not None:
                chosen[place] = self._resume(place, known, start=starts[place], end=ends[place])
            elif begin is not None:
                found = times.get(place)
                chosen[place] = ends[place] if found is None else found.offset
            elif self._source.start == "latest" and not from_start:
                chosen[place] = ends[place]
            else:  # a topic that appears later is read from its start: nothing of a night may be missed
                chosen[place] = starts[place]
        if chosen:  # written down before anything is read: "latest" means the same after a restart
            async with producer.transaction():
                await _sent([await self._position(producer, place, offset=offset) for place, offset in chosen.items()])
            positions.update({(place.topic, place.partition): offset for place, offset in chosen.items()})
            log.info(
                "partitions taken up", source=self._source.name, partitions=[f"{p.topic}/{p.partition}@{o}" for p, o in chosen.items()]
            )
        for gone in held.keys() - places:
            del held[gone]
        held.update(chosen)
        consumer.assign(list(held))
        for place, offset in held.items():
            consumer.seek(place, offset)

    def _resume(self, place: TopicPartition, known: int, *, start: int, end: int) -> int:
        """Where to go on: behind the last record copied, or at the start of what is left."""
        if known > end:
            log.warning(
                "the topic was made anew: read from its start", source=self._source.name, topic=place.topic, partition=place.partition
            )
            return start
        if known < start:
            self.lost += start - known
            log.error("records left the source before they were copied", source=self._source.name, topic=place.topic, records=start - known)
            return start
        return known

    async def _copy(self, producer: AIOKafkaProducer, records: Sequence[Any], *, count: int) -> None:
        """Copy records and their positions in one transaction."""
        rejected = 0
        async with producer.transaction():
            waits = []
            last: dict[TopicPartition, int] = {}
            for message in records:
                headers = origin_headers(self._source.name, message)
                size = (
                    len(message.value or b"") + len(message.key or b"") + sum(len(name) + len(value or b"") + 16 for name, value in headers)
                )
                if isinstance(message.value, Unreadable) or size + HEADROOM > topics.PACKET_BYTES:
                    rejected += 1
                    waits.append(await self._reject(producer, message, headers=headers, size=size))
                else:
                    waits.append(
                        await producer.send(
                            self._target, message.value, key=message.key, headers=headers, partition=target_partition(message, count)
                        )
                    )
                last[TopicPartition(message.topic, message.partition)] = message.offset + 1
            waits += [await self._position(producer, place, offset=offset) for place, offset in last.items()]
            await _sent(waits)
        self.copied += len(records) - rejected
        self.rejected += rejected

    async def _reject(self, producer: AIOKafkaProducer, message: Any, *, headers: list[tuple[str, bytes]], size: int) -> Any:
        """Keep a record that cannot be read, or that the alert topic cannot hold, as a rejected packet."""
        origin, value, now_ms = f"{self._source.name}/{message.topic}", message.value or b"", int(self._clock() * 1000)
        if isinstance(value, Unreadable):
            packet = Incoming(value, origin, message.partition, value.first, now_ms, headers)
            rejected = Rejected(value.error_class, value.reason, self._source.survey)
        else:
            packet = Incoming(value, origin, message.partition, message.offset, int(message.timestamp), headers)
            reason = f"the record has {size:,} bytes; {self._target} holds {topics.PACKET_BYTES:,} at most"
            rejected = Rejected("too_large", reason, self._source.survey)
        record = rejected_record(packet, rejected, scored_ms=now_ms)
        return await producer.send(record.topic, record.value, key=record.key, headers=record.headers)

    async def _position(self, producer: AIOKafkaProducer, place: TopicPartition, *, offset: int) -> Any:
        record = SourcePosition(self._source.name, place.topic, place.partition, offset)
        return await producer.send(topics.POSITIONS, codec.encode(record), key=record.key)


async def _sent(waits: Sequence[Any]) -> None:
    for wait in waits:
        await wait


async def _lag(consumer: AIOKafkaConsumer, held: Mapping[TopicPartition, int]) -> int:
    """Records of the source that are not copied yet."""
    ends = await consumer.end_offsets(list(held)) if held else {}
    return sum(max(0, end - held[place]) for place, end in ends.items())


async def run(settings: Settings) -> None:
    """Mirror every source of the settings until cancelled."""
    mirrors = [Mirror(source, settings) for source in settings.source]
    async with asyncio.TaskGroup() as group:
        for mirror in mirrors:
            group.create_task(mirror.run())
        group.create_task(publish_states(settings, mirrors))


class Reporting(Protocol):
    """What has a state to publish."""

    def state(self) -> SourceState:
        """As it is now."""


async def publish_states(settings: Settings, parts: Sequence[Reporting]) -> None:
    """Publish the state of each part every few seconds until cancelled; a broker that is down is waited for."""
    while True:
        producer = AIOKafkaProducer(**settings.client_options())
        try:
            await producer.start()
            while True:
                for part in parts:
                    state = part.state()
                    await producer.send_and_wait(topics.SOURCES, codec.encode(state), key=state.source.encode())
                await asyncio.sleep(STATE_S)
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("states cannot be published, trying again", why=repr(error))
        finally:
            await producer.stop()
        await asyncio.sleep(STATE_S)
