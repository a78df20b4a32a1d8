"""The one way to a consumer: settings → an aiokafka consumer that reads committed records only, checks them, and passes bad ones over.

aiokafka raises at a record it cannot parse, and at its every retry; and at a batch with a wrong checksum, if it was asked to check. Here a
batch that arrives damaged is fetched once more: the wire may have done it. One that stays so, or that was sent so, is passed over by its
offsets. Who asks for it (the worker, a replay) gets an `Unreadable` in its place; every other reader counts it and reads on.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.client import ConnectionGroup
from aiokafka.consumer.fetcher import READ_COMMITTED, Fetcher, FetchResult, OffsetResetStrategy
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.structs import OffsetAndMetadata

from streams import metrics
from streams.kafka.batches import Unreadable
from streams.kafka.broker_requests import LeaveStatic
from streams.kafka.fetched_records import Records
from streams.kafka.offset_ledger import Accounted, Noted, Skip

if TYPE_CHECKING:
    from settings.model import Settings

log = structlog.get_logger(__name__)

METADATA_MS = 10_000
"""How soon new partitions, and topics made anew, are seen [ms]."""
LOG_EVERY_S = 60.0
"""How often what was passed over is logged at most [s]."""


Report = Callable[[TopicPartition, Unreadable], None]
"""Called with what was passed over."""


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
        Called with what was passed over; the log, if None.
    **options
        Of `aiokafka.AIOKafkaConsumer`.
    """
    return checked_consumer(*topics, unreadable=unreadable, report=report, **{**settings.client_options(), **options})


def checked_consumer(*topics: str, unreadable: bool = False, report: Report | None = None, **options: Any) -> CheckedConsumer:
    """As `make_consumer`, of any cluster."""
    given = {"group_id": None, "enable_auto_commit": False, "isolation_level": "read_committed", "metadata_max_age_ms": METADATA_MS}
    consumer = CheckedConsumer(*topics, **{**given, **options})
    consumer.unreadable, consumer.report = unreadable, report
    return consumer


class CheckedConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """aiokafka's consumer with `SafeFetcher`, and one that leaves its group at its end where it is a static member."""

    unreadable = False
    noted: Noted | None = None
    """Where offsets without a packet are noted, for the ledgers of the partitions."""
    report: Report | None = None
    passed_over: Counter[str]
    """Topic → records passed over as unreadable."""
    marks: Mapping[str, str] = MappingProxyType({})
    """Topic → what is written beside the offsets that are committed."""

    @classmethod
    def adopt(cls, consumer: AIOKafkaConsumer, noted: Noted) -> CheckedConsumer:
        """Make a consumer, not yet started, one of these that hands out what is unreadable and reads what is committed."""
        consumer.__class__ = cls
        consumer.unreadable, consumer._isolation_level, consumer.noted = True, "read_committed", noted
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
        """As aiokafka's, with the topic's mark and the ledger up to each offset."""
        if offsets is not None:
            offsets = {place: OffsetAndMetadata(int(at.offset), self._metadata(place, at)) for place, at in offsets.items()}
        await super().commit(offsets)

    def _metadata(self, place: TopicPartition, at: OffsetAndMetadata) -> str:
        words = (self.marks.get(place.topic, at.metadata), at.offset.ledger if isinstance(at.offset, Accounted) else "")
        return " ".join(word for word in words if word)


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
                self.coordinator_id,
                LeaveStatic(self.group_id, member, group_instance_id=self._group_instance_id),
                group=ConnectionGroup.COORDINATION,
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

    @property
    def committed_only(self) -> bool:
        """Whether records of aborted transactions are left out."""
        return bool(self._isolation_level == READ_COMMITTED)

    @property
    def unreadable(self) -> bool:
        """Whether to hand out an `Unreadable` where records cannot be read."""
        return self.consumer.unreadable

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

    def skip(self, place: TopicPartition, skipped: Skip) -> None:
        """Note offsets that hold no record to hand out, where that is asked for."""
        if self.consumer.noted is not None:
            self.consumer.noted.skip(place, skipped)

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
                    found_any |= self._refused(place, state, offset=offset, error_type=error_type)
                    continue
                # v4: [last stable, aborted, records]; v5-v10: a log start before `aborted`; v11: a preferred replica behind it too
                aborted = rest[2] if response.API_VERSION >= 11 else rest[-2] if response.API_VERSION >= 4 else None
                state.highwater, state.timestamp = highwater, now_ms
                state.lso = rest[0] if response.API_VERSION >= 4 else None
                data = rest[-1]
                if data:  # here aiokafka looks whether it begins with a complete batch, and gives up if not
                    if self.consumer.noted is not None:
                        self.consumer.noted.fetched(place, offset)
                    records = Records(self, place, data=data, aborted=aborted, position=offset, highwater=highwater)
                    self._records[place] = FetchResult(
                        place, partition_records=records, assignment=assignment, backoff=self._prefetch_backoff
                    )
                    found_any = True
        return found_any

    def _refused(self, place: TopicPartition, state: Any, *, offset: int, error_type: Any) -> bool:
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


async def read_to(consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int], *, at_once: int) -> AsyncIterator[Any]:
    """Messages of assigned partitions, each before its end; ended ones are paused.

    Parameters
    ----------
    consumer : aiokafka.AIOKafkaConsumer
        At the positions to begin at.
    ends : mapping of TopicPartition to int
        The offset behind the last record that is wanted.
    at_once : int
        Messages of a fetch at most.
    """
    left = dict(ends)
    while left:
        for place, messages in (await consumer.getmany(timeout_ms=250, max_records=at_once)).items():
            for message in messages:
                if message.offset < left.get(place, 0):
                    yield message
        # The position shows that a partition is done even where its last offsets hold no record (compacted away, a marker).
        for place in list(left):
            if await consumer.position(place) >= left[place]:
                del left[place]
                consumer.pause(place)
