"""Telemetry, alarms, detections and the group's offsets, read from Kafka → `Figures`. Without a group, from the end.

Of the detections only the latest are read: every second the newest few of each partition, so that the page costs the same at ten and at ten
thousand detections a second. All counts come from the workers' summaries, which add up.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from schemas.records.detection import Detection
from schemas.records.drift_alarm import DriftAlarm
from schemas.records.model_announced import ModelAnnounced
from schemas.records.score_summary import ScoreSummary
from schemas.records.source_state import SourceState
from schemas.records.worker_summary import WorkerSummary
from service.status.balance import Partition
from service.status.figures import Figures
from service.status.heartbeat import Heartbeat
from service.status.history_losses import HistoryLosses
from streams.bad_records import BadRecords
from streams.kafka import topics
from streams.kafka.broker_requests import TopicFacts, describe_topics, mark_in
from streams.kafka.consumer import make_consumer
from streams.kafka.offset_ledger import ledger_of
from streams.kafka.topics import places_of

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

    from settings.model import Settings

log = structlog.get_logger(__name__)

EVERY = 1.0
"""How often offsets and the latest detections are asked for [s]."""
NEWEST = 8
"""Detections of a partition that are read each time."""
AGAIN = 2.0
"""Pause before the broker is tried again [s]."""
LOOK_WITHIN = 5.0
"""How long the broker may take to say where the topics stand [s]."""
CLOSE_WITHIN = 2.0
"""How long a client may take to close [s]."""
END_WITHIN = 10.0
"""How long all of it may take to end [s]."""
HISTORY_EVERY = 5
"""Looks between two questions to the history [1]."""
RECALLED = 50
"""Alarms of earlier that are read when the page starts."""
SHOWN = ("survey", "object_id", "novelty", "band", "flux", "n_detections")


class Feed:
    """Keeps figures up to date for as long as it runs.

    Parameters
    ----------
    settings : Settings
        With a broker.
    figures : Figures
    """

    def __init__(self, settings: Settings, figures: Figures) -> None:
        self._settings = settings
        self.figures = figures
        self._bad = BadRecords()
        self._losses = HistoryLosses(settings)
        self._next: dict[TopicPartition, int] = {}
        """Where reading goes on when the broker comes back."""
        figures.bad_records = self._bad.counts

    async def run(self) -> None:
        """Read until cancelled; a broker that goes away is tried again."""
        heartbeat = Heartbeat(self._settings, self.figures.pulse)
        async with asyncio.TaskGroup() as group:
            group.create_task(heartbeat.run())
            group.create_task(self._sessions(heartbeat))

    async def _sessions(self, heartbeat: Heartbeat) -> None:
        while True:
            await heartbeat.answers.wait()
            try:
                await _lasting(self._session())
            except* (KafkaError, OSError, TimeoutError) as group:
                log.info("the feed of the status page starts again", why=repr(group.exceptions[0]))
            except* Exception as group:  # unexpected; a page that stands still must not look alive
                self.figures.looked = None
                log.warning("the feed of the status page starts again", why=repr(group.exceptions[0]))
            await asyncio.sleep(AGAIN)

    async def _session(self) -> None:
        options = self._settings.client_options()
        async with contextlib.AsyncExitStack() as stack:
            telemetry = make_consumer(self._settings, auto_offset_reset="latest")
            newest = make_consumer(self._settings, auto_offset_reset="latest", max_partition_fetch_bytes=262_144)
            admin = AIOKafkaAdminClient(**options)
            for client, close in ((telemetry, telemetry.stop), (newest, newest.stop), (admin, admin.close)):
                stack.push_async_callback(_close, close)
                await client.start()
            places = await self._places(admin, (topics.TELEMETRY, topics.ALARMS, topics.SOURCES, topics.MODELS_ANNOUNCED))
            telemetry.assign(places)
            for place, end in (await telemetry.end_offsets(places)).items():
                # An alarm of the last hour is one of now, also for a page that starts later.
                begin = max(0, end - RECALLED) if place.topic == topics.ALARMS else end
                if place.topic == topics.MODELS_ANNOUNCED:
                    begin = 0  # compacted: what holds now may have been written long ago
                self._next[place] = min(self._next.get(place, begin), end)  # its end is lower where a topic was made anew
                telemetry.seek(place, self._next[place])
            async with asyncio.TaskGroup() as group:
                group.create_task(_lasting(self._read_telemetry(telemetry)))
                group.create_task(_lasting(self._look(newest, admin)))
                group.create_task(self._while_it_answers())

    async def _while_it_answers(self) -> None:
        """End the session with the broker: its clients would ask ten times a second, and log it."""
        while self.figures.pulse.alive:  # noqa: ASYNC110 - time alone may end it
            await asyncio.sleep(EVERY)
        raise ConnectionError("the broker does not answer")

    async def _places(self, admin: AIOKafkaAdminClient, names: Sequence[str]) -> list[TopicPartition]:
        """All partitions of topics, once they are there."""
        while len(found := await places_of(admin, names)) < len(names):
            self.figures.missing = sorted(set(names) - found.keys())
            await asyncio.sleep(0.5)
        self.figures.missing = ()
        return [place for places in found.values() for place in places]

    async def _read_telemetry(self, consumer: AIOKafkaConsumer) -> None:
        """Summaries, alarms, and states of mirrors and of the work on frames as they come."""
        while True:
            for place, messages in (await consumer.getmany(timeout_ms=500)).items():
                for m in messages:
                    if place.topic == topics.TELEMETRY:
                        record: Any = self._bad.read(m, WorkerSummary, ScoreSummary)
                        if isinstance(record, WorkerSummary):
                            self.figures.summary(record)
                    elif place.topic == topics.SOURCES:
                        if (part := self._bad.read(m, SourceState)) is not None:
                            self.figures.part(part)
                    elif place.topic == topics.MODELS_ANNOUNCED:
                        model = None if m.value is None else self._bad.read(m, ModelAnnounced)
                        if m.value is None or (model is not None and model.key == m.key):
                            self.figures.announced((m.key or b"").decode("utf-8", "replace"), model)
                    elif (alarm := self._bad.read(m, DriftAlarm)) is not None:
                        self.figures.alarm(m.timestamp / 1000, asdict(alarm))
                    self._next[place] = m.offset + 1
            self._bad.report()

    async def _look(self, consumer: AIOKafkaConsumer, admin: AIOKafkaAdminClient) -> None:
        """Lag, balance and the latest detections, again and again."""
        shown = await self._places(admin, (topics.DETECTIONS,))
        inputs = await self._places(admin, topics.ALERTS)
        consumer.assign(shown)
        for place, end in (await consumer.end_offsets(shown)).items():
            self._next[place] = min(self._next.get(place, end), end)
        for look in itertools.count():
            if look % HISTORY_EVERY == 0:
                self.figures.history_lost = await asyncio.to_thread(self._losses.lost)
            async with asyncio.timeout(LOOK_WITHIN):
                self.figures.look(await self._partitions(consumer, admin, inputs=inputs))
            await self._newest(consumer, shown)
            await asyncio.sleep(EVERY)

    async def _partitions(
        self, consumer: AIOKafkaConsumer, admin: AIOKafkaAdminClient, *, inputs: Sequence[TopicPartition]
    ) -> list[Partition]:
        """The input topics as the broker has them, and what the group has committed."""
        facts: dict[str, TopicFacts] = {}
        with contextlib.suppress(NotImplementedError):  # a broker before 3.0 has no ids
            facts = await describe_topics(admin._client, topics.ALERTS)
            inputs = [TopicPartition(topic, number) for topic, fact in sorted(facts.items()) for number in fact.partitions]
        # The group's offsets first: what is committed meanwhile lies before the ends that are asked for then.
        commits = await admin.list_consumer_group_offsets(self._settings.app_id)
        starts, ends = await consumer.beginning_offsets(inputs), await consumer.end_offsets(inputs)
        found = []
        for place in inputs:
            identity = facts[place.topic].mark if place.topic in facts else ""
            offset, metadata = (commits[place].offset, commits[place].metadata) if place in commits else (-1, "")
            mark = mark_in(metadata)
            if offset > ends[place] or (mark and identity and mark != identity):
                offset = -1  # it is of another topic of that name
            committed = offset if offset >= 0 else None
            ledger = None if committed is None else ledger_of(metadata, committed)
            found.append(Partition(place.topic, place.partition, identity, starts[place], ends[place], committed, ledger, bool(mark)))
        return found

    async def _newest(self, consumer: AIOKafkaConsumer, shown: Sequence[TopicPartition]) -> None:
        """The latest detections of each partition."""
        async with asyncio.timeout(LOOK_WITHIN):
            tails = await consumer.end_offsets(shown)
        fresh = {p: max(self._next[p], tails[p] - NEWEST) for p in shown if tails[p] > self._next[p]}
        for place, offset in fresh.items():
            consumer.seek(place, offset)
        found: list[tuple[float, dict[str, Any]]] = []
        waited = 0
        while fresh and waited < 5:
            got = await consumer.getmany(*fresh, timeout_ms=200)
            waited += not got
            for place, messages in got.items():
                for m in messages:
                    if m.offset < tails[place] and (detection := self._bad.read(m, Detection)) is not None:
                        found.append(shown_row(m, detection))
                if messages[-1].offset >= tails[place] - 1:
                    del fresh[place]
        self._next.update(tails)
        for at, fields in sorted(found, key=lambda pair: pair[0]):
            self.figures.detection(at, fields)


async def _lasting(work: Coroutine[Any, Any, None]) -> None:
    """Wait for work that only we end.

    aiokafka cancels what waits for a connection that closes; a task so ended would look as if it had been asked to. Whether it was
    cannot be asked of the task itself: a group that fails leaves a count of its own there (Python 3.11).
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task}, timeout=END_WITHIN)
        raise
    if task.cancelled():
        raise ConnectionError("the connection closed under a request")
    task.result()


async def _close(close: Callable[[], Awaitable[object]]) -> None:
    """Close a client, as long as its broker does not keep us."""
    with contextlib.suppress(TimeoutError, KafkaError, OSError):
        async with asyncio.timeout(CLOSE_WITHIN):
            await close()


def shown_row(message: ConsumerRecord, d: Detection) -> tuple[float, dict[str, Any]]:
    """What the page shows of a detection."""
    klass, probability = d.shown_class
    shown = {
        "class": klass,
        "prior_probability": probability,
        "published": d.decision is not None and d.decision.published,
        "real": None if d.decision is None else d.decision.real,
        "balanced_class": d.top_class,
        "balanced_probability": d.top_probability,
        "conformal_set": list(d.conformal_set),
    }
    return message.timestamp / 1000, {**{name: getattr(d, name) for name in SHOWN}, **shown}
