"""The one way to a consumer: settings → an aiokafka consumer that reads committed records only, checks them, and passes bad ones over.

aiokafka raises at a record it cannot parse, and at its every retry; and at a batch with a wrong checksum, if it was asked to check. Here a
batch that arrives damaged is fetched once more: the wire may have done it. One that stays so, or that was sent so, is passed over by its
offsets. Who asks for it (the worker, a replay) gets an `Unreadable` in its place; everybody else counts it and reads on.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.client import ConnectionGroup
from aiokafka.consumer.fetcher import READ_COMMITTED, Fetcher, FetchResult, OffsetResetStrategy
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.record.control_record import ABORT_MARKER, ControlRecord
from aiokafka.structs import ConsumerRecord, OffsetAndMetadata

from streams import metrics
from streams.kafka.batches import (
    CORRUPT_BATCH,
    Fault,
    Piece,
    Unreadable,
    codec_of,
    head_of,
    opened,
    plain,
    records_of,
    split,
)
from streams.kafka.broker_requests import LeaveStatic

if TYPE_CHECKING:
    from settings.model import Settings

log = structlog.get_logger(__name__)

METADATA_MS = 10_000
"""How soon new partitions, and topics made anew, are seen [ms]."""
LOG_EVERY_S = 60.0
"""How often what was passed over is logged at most [s]."""


Report = Callable[[TopicPartition, Unreadable], None]
"""Told what was passed over."""


def make_consumer(
    settings: Settings, *topics: str, unreadable: bool = False, report: Report | None = None, **options: Any
) -> CheckedConsumer:
    """A consumer without a group, not started.

    Parameters
    ----------
    settings : Settings
        With a broker.
    *topics : str
        To subscribe to; none: `assign` partitions.
    unreadable : bool
        Hand out an `Unreadable` as the value where records cannot be read; else they are counted and passed over.
    report : callable, optional
        Told what was passed over; the log, if None.
    **options
        Of `aiokafka.AIOKafkaConsumer`.
    """
    given = {
        "group_id": None,
        "enable_auto_commit": False,
        "isolation_level": "read_committed",
        "metadata_max_age_ms": METADATA_MS,
        **settings.client_options(),
        **options,
    }
    consumer = CheckedConsumer(*topics, **given)
    consumer.unreadable, consumer.report = unreadable, report
    return consumer


class CheckedConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """aiokafka's consumer with `SafeFetcher`, and one that leaves its group at its end where it is a static member."""

    unreadable = False
    report: Report | None = None
    passed_over: Counter[str]
    """Topic → records passed over as unreadable."""
    marks: Mapping[str, str] = MappingProxyType({})
    """Topic → what is written beside the offsets that are committed."""

    @classmethod
    def adopt(cls, consumer: AIOKafkaConsumer) -> CheckedConsumer:
        """Make a consumer, not yet started, one of these that hands out what is unreadable and reads what is committed."""
        consumer.__class__ = cls
        consumer.unreadable, consumer._isolation_level = True, "read_committed"
        adopted: CheckedConsumer = consumer
        return adopted

    async def start(self) -> None:
        """Connect. One with a group must subscribe afterwards, or its first fetch would be aiokafka's."""
        self.passed_over = Counter()
        await super().start()
        self._fetcher.__class__ = SafeFetcher
        self._fetcher.prepare(self)
        if self._group_id is not None:
            self._coordinator.__class__ = StaticCoordinator

    async def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata] | None = None) -> None:
        """As aiokafka's, with the marks."""
        if offsets is not None:
            offsets = {place: OffsetAndMetadata(at.offset, self.marks.get(place.topic, at.metadata)) for place, at in offsets.items()}
        await super().commit(offsets)


class StaticCoordinator(GroupCoordinator):  # type: ignore[misc]
    """A member with a name that leaves the group when it is closed, and whose commits do not wait for a topic that is gone.

    aiokafka's does not leave, as it may come back; its partitions then wait for the end of its session. One that was killed does come back.
    A commit of several partitions it repeats until the broker takes the last of them.
    """

    async def _do_commit_offsets(self, assignment: Any, offsets: Any) -> None:
        try:
            await super()._do_commit_offsets(assignment, offsets)
        except kafka_errors.UnknownTopicOrPartitionError as error:
            log.warning("offsets of a topic that is gone are not committed", why=repr(error))

    async def close(self) -> None:
        """Finish, and leave."""
        member, generation = self.member_id, self.generation
        ended = self._closing.done()
        await super().close()
        if ended or generation <= 0 or self._group_instance_id is None or self.coordinator_id is None:
            return
        try:
            await self._client.send(
                self.coordinator_id, LeaveStatic(self.group_id, member, self._group_instance_id), group=ConnectionGroup.COORDINATION
            )
        except (kafka_errors.KafkaError, NotImplementedError) as error:  # then its session ends later
            log.info("the group was not left", why=repr(error))


class SafeFetcher(Fetcher):  # type: ignore[misc]
    """aiokafka's fetcher, which takes the bytes of a fetch apart by `Records`."""

    def prepare(self, consumer: CheckedConsumer) -> None:
        """Begin to be one."""
        self.consumer = consumer
        self.tried: dict[TopicPartition, int] = {}
        """Partition → the position at which a damaged batch was fetched once."""
        self._logged = 0.0

    def pass_over(self, place: TopicPartition, found: Unreadable) -> None:
        """Count records that cannot be read."""
        metrics.UNREADABLE.labels(place.topic, found.error_class).inc(found.records)
        self.consumer.passed_over[place.topic] += found.records
        if self.consumer.report is not None:
            self.consumer.report(place, found)
        elif self.consumer.unreadable or time.monotonic() - self._logged >= LOG_EVERY_S:
            self._logged = time.monotonic()
            log.error(
                "records that cannot be read are passed over",
                topic=place.topic,
                partition=place.partition,
                first=found.first,
                last=found.last,
                error_class=found.error_class,
                reason=found.reason,
                so_far=self.consumer.passed_over[place.topic],
            )

    async def _proc_fetch_request(self, assignment: Any, node_id: Any, request: Any) -> bool:
        """As aiokafka's, in its version for brokers since 0.11; what differs is marked."""
        try:
            response = await self._client.send(node_id, request)
        except kafka_errors.KafkaError as error:
            log.info("a fetch failed", node=node_id, why=repr(error))
            await asyncio.sleep(self._retry_backoff)
            return False
        except asyncio.CancelledError:
            return False
        if not assignment.active:
            return False
        asked = {TopicPartition(topic, partition): offset for topic, places in request.topics for partition, offset, _ in places}
        now_ms, found_any = int(1000 * time.time()), False
        for topic, partitions in response.topics:
            for partition, error_code, highwater, *rest in partitions:
                place = TopicPartition(topic, partition)
                state, offset = assignment.state_value(place), asked[place]
                if not state.has_valid_position or state.position != offset:
                    continue
                error_type = kafka_errors.for_code(error_code)
                if error_type is not kafka_errors.NoError:
                    found_any |= self._refused(place, state, offset, error_type)
                    continue
                # v4: [last stable, aborted, records]; v5-v10: a log start before `aborted`; v11: a preferred replica behind it too
                aborted = rest[2] if response.API_VERSION >= 11 else rest[-2] if response.API_VERSION >= 4 else None
                state.highwater, state.timestamp = highwater, now_ms
                state.lso = rest[0] if response.API_VERSION >= 4 else None
                data = rest[-1]
                if data:  # here aiokafka looks whether it begins with a complete batch, and gives up if not
                    records = Records(self, place, data, aborted, offset, highwater)
                    self._records[place] = FetchResult(
                        place, partition_records=records, assignment=assignment, backoff=self._prefetch_backoff
                    )
                    found_any = True
        return found_any

    def _refused(self, place: TopicPartition, state: Any, offset: int, error_type: Any) -> bool:
        """As aiokafka's."""
        if error_type in (kafka_errors.NotLeaderForPartitionError, kafka_errors.UnknownTopicOrPartitionError):
            self._client.force_metadata_update()
        elif error_type is kafka_errors.OffsetOutOfRangeError:
            log.warning("the broker does not have this offset any more", topic=place.topic, partition=place.partition, offset=offset)
            if self._default_reset_strategy != OffsetResetStrategy.NONE:
                state.await_reset(self._default_reset_strategy)
            else:
                self._set_error(place, error_type({place: offset}))
                return True
        elif error_type is kafka_errors.TopicAuthorizationFailedError:
            self._set_error(place, error_type(place.topic))
            return True
        else:
            log.warning("a fetch was refused", topic=place.topic, partition=place.partition, why=error_type.__name__)
        return False


class Records:
    """The records of a partition as one fetch has them: what aiokafka's `PartitionRecords` is, with distrust.

    Parameters
    ----------
    fetcher : SafeFetcher
    place : TopicPartition
    data : bytes
        What came.
    aborted : sequence of (producer's id, first offset)
        Transactions that were aborted.
    position : int
        What was asked for.
    highwater : int
        Where the partition ends.
    """

    def __init__(self, fetcher: SafeFetcher, place: TopicPartition, data: bytes, aborted: Any, position: int, highwater: int) -> None:
        self._fetcher, self._place, self._data, self._highwater = fetcher, place, data, highwater
        self._aborted = sorted(aborted or [], key=lambda row: row[1])
        self._aborted_producers: set[int] = set()
        self.next_fetch_offset = position
        self._records: Iterator[ConsumerRecord] | None = self._read()

    def __iter__(self) -> Records:
        return self

    def __next__(self) -> ConsumerRecord:
        try:
            return next(self._records or iter(()))
        except StopIteration:
            self._records = None  # it refers to us
            raise

    def _read(self) -> Iterator[ConsumerRecord]:
        pieces = list(split(self._data))
        for i, piece in enumerate(pieces):
            if not piece.complete and i:
                return  # cut by the fetch's end, or of a wrong length: it comes first in the next one
            fault = None
            try:
                batch = self._open(piece, first=i == 0)
            except Fault as error:
                fault = error
            if fault is None:
                yield from self._of(batch, piece)
                continue
            if i and not fault.checked:
                return  # what came before is handed out; it comes first in the next fetch
            if self._once_more(fault):
                return
            end = self._end_of(piece, pieces[i + 1 :])
            yield from self._instead(Unreadable.of(piece.raw, fault, first=self.next_fetch_offset, records=end - self.next_fetch_offset))

    def _open(self, piece: Piece, *, first: bool) -> Any:
        """A batch whose head, checksum and place are right; `Fault` where they are not."""
        if not piece.complete:
            raise Fault(CORRUPT_BATCH, f"a batch whose length is wrong, with {len(piece.raw):,} bytes behind it", checked=False)
        batch = opened(piece.raw)
        head = head_of(piece.raw)
        if head is not None:
            # The checksum does not cover where the batch lies. A gap before it is what compaction leaves, or a wrong place: asked once.
            here = self.next_fetch_offset
            if not here <= head.last < self._highwater or head.base > head.last:
                raise Fault(CORRUPT_BATCH, f"a batch of the offsets {head.base} to {head.last}, where {here} was asked for", checked=False)
            if head.base > here and self._fetcher.tried.get(self._place) != here:
                raise Fault(CORRUPT_BATCH, f"a batch that begins at {head.base}, where {here} was asked for", checked=False)
        return batch

    def _once_more(self, fault: Fault) -> bool:
        """Whether to fetch a batch again: one that arrives damaged, the first time."""
        if fault.checked or self._fetcher.tried.get(self._place) == self.next_fetch_offset:
            return False
        self._fetcher.tried[self._place] = self.next_fetch_offset
        metrics.FETCHED_AGAIN.labels(self._place.topic).inc()
        log.warning("a batch is fetched again", topic=self._place.topic, partition=self._place.partition, why=fault.reason)
        return True

    def _end_of(self, piece: Piece, behind: Sequence[Piece]) -> int:
        """Where a bad batch ends: as its neighbour says, or its own head if that is consistent; else one offset further at a time."""
        here = self.next_fetch_offset
        if piece.complete and behind and behind[0].complete:
            try:
                opened(behind[0].raw)
            except Fault:
                pass
            else:
                after = head_of(behind[0].raw)
                if after is not None and here < after.base < self._highwater:
                    return after.base
        head = head_of(piece.raw)
        if head is not None and head.records == head.last - head.base + 1 and head.base <= here <= head.last < self._highwater:
            return head.last + 1
        return here + 1

    def _of(self, batch: Any, piece: Piece) -> Iterator[ConsumerRecord]:
        """The records of a batch that could be opened."""
        if self._left_out(batch):
            self.next_fetch_offset = batch.next_offset
            return
        begin, last, dense = self.next_fetch_offset, batch.next_offset - 1, _dense(piece)
        due = batch.base_offset
        try:
            for record in batch:
                offset = record.offset
                if offset != due and (dense or not due <= offset <= last):
                    raise ValueError(f"the offset {offset}, where {due} is due")
                due = offset + 1
                if offset < begin:
                    continue  # the fetch began within the batch
                made = self._made(offset, record.timestamp, record.timestamp_type, record.key, record.value, tuple(record.headers))
                self.next_fetch_offset = due
                yield made
        except Exception as error:  # the parser raises whatever it falls over
            log.info("a batch is read record by record", topic=self._place.topic, why=repr(error))
            yield from self._one_by_one(piece)
        # A batch keeps its last offset where compaction took its last record.
        self.next_fetch_offset = last + 1

    def _left_out(self, batch: Any) -> bool:
        """Whether a batch is none of records that were sent: a transaction's mark, or an aborted one's."""
        if self._fetcher._isolation_level == READ_COMMITTED and batch.producer_id is not None:
            while self._aborted and self._aborted[0][1] <= batch.base_offset:
                self._aborted_producers.add(self._aborted.pop(0)[0])
            if batch.is_control_batch and _is_abort(batch):
                self._aborted_producers.discard(batch.producer_id)
            if batch.is_transactional and batch.producer_id in self._aborted_producers:
                return True
        return bool(batch.is_control_batch)

    def _one_by_one(self, piece: Piece) -> Iterator[ConsumerRecord]:
        """The rest of a batch over which the parser stumbled."""
        for record in records_of(_plain(piece.raw)):
            if isinstance(record, Unreadable):
                if record.last >= self.next_fetch_offset:
                    yield from self._instead(record.since(self.next_fetch_offset))
            elif record.offset >= self.next_fetch_offset:
                self.next_fetch_offset = record.offset + 1
                yield self._made(record.offset, record.timestamp, 0, record.key, record.value, record.headers)

    def _instead(self, found: Unreadable) -> Iterator[ConsumerRecord]:
        """What stands for records that cannot be read; at the last one's offset, so that its acknowledgement is that of all."""
        self.next_fetch_offset = found.last + 1
        self._fetcher.pass_over(self._place, found)
        if self._fetcher.consumer.unreadable:
            yield self._made(found.last, None, 0, None, found, ())

    def _made(self, offset: int, timestamp: Any, kind: int, key: Any, value: Any, headers: Any) -> ConsumerRecord:
        place = self._place
        return ConsumerRecord(
            place.topic,
            place.partition,
            offset,
            timestamp,
            kind,
            key,
            value,
            None,
            -1 if key is None else len(key),
            -1 if value is None else len(value),
            headers,
        )


def _dense(piece: Piece) -> bool:
    """Whether each of a batch's offsets has a record: compaction took none."""
    head = head_of(piece.raw)
    return head is not None and head.records == head.last - head.base + 1


def _plain(raw: memoryview) -> bytes | memoryview:
    codec = codec_of(raw)
    return plain(raw, codec) if codec else raw


def _is_abort(batch: Any) -> bool:
    """Whether a control batch is the mark of an aborted transaction."""
    try:
        return bool(ControlRecord.parse(next(batch).key) == ABORT_MARKER)
    except Exception:  # only brokers write them; what it says is then unknown, and the next mark says it again
        return False
