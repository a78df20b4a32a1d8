"""Telemetry, alarms, detections and the group's offsets, read from Kafka → `Figures`. Without a group, from the end.

Of the detections only the latest are read: every second the newest few of each partition, so that the page costs the same at ten and at ten
thousand detections a second. All counts come from the workers' summaries, which add up.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from schemas.records.detection import Detection
from schemas.records.drift_alarm import DriftAlarm
from schemas.records.score_summary import ScoreSummary
from schemas.records.worker_summary import WorkerSummary
from service.status.figures import Figures, Lag
from streams.bad_records import BadRecords
from streams.kafka import topics
from streams.kafka.consumer import make_consumer
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
SHOWN = ("survey", "object_id", "top_class", "top_probability", "novelty", "band", "flux", "n_detections")


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
        self._next: dict[TopicPartition, int] = {}
        """Where reading goes on when the broker comes back."""
        figures.bad_records = self._bad.counts

    async def run(self) -> None:
        """Read until cancelled; a broker that goes away is tried again."""
        while True:
            try:
                await self._session()
            except* (KafkaError, OSError, TimeoutError):
                self.figures.connected = False
            except* Exception as group:  # unexpected; a page that stands still must not look alive
                self.figures.connected = False
                log.warning("the feed of the status page starts again", why=repr(group.exceptions[0]))
            await asyncio.sleep(AGAIN)

    async def _session(self) -> None:
        options = self._settings.client_options()
        async with contextlib.AsyncExitStack() as stack:
            telemetry = make_consumer(self._settings, auto_offset_reset="latest")
            newest = make_consumer(self._settings, auto_offset_reset="latest", max_partition_fetch_bytes=262_144)
            admin = AIOKafkaAdminClient(**options)
            for client, close in ((telemetry, telemetry.stop), (newest, newest.stop), (admin, admin.close)):
                stack.push_async_callback(close)
                await client.start()
            places = await self._places(admin, (topics.TELEMETRY, topics.ALARMS))
            telemetry.assign(places)
            for place, end in (await telemetry.end_offsets(places)).items():
                self._next[place] = min(self._next.get(place, end), end)  # its end is lower where a topic was made anew
                telemetry.seek(place, self._next[place])
            self.figures.connected = True
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read_telemetry(telemetry))
                group.create_task(self._look(newest, admin))

    async def _places(self, admin: AIOKafkaAdminClient, names: Sequence[str]) -> list[TopicPartition]:
        """All partitions of topics, once they are there."""
        while len(found := await places_of(admin, names)) < len(names):  # noqa: ASYNC110 - the broker does not announce a new topic
            await asyncio.sleep(0.5)
        return [place for places in found.values() for place in places]

    async def _read_telemetry(self, consumer: AIOKafkaConsumer) -> None:
        """Summaries and alarms as they come."""
        while True:
            for place, messages in (await consumer.getmany(timeout_ms=500)).items():
                for m in messages:
                    if place.topic == topics.TELEMETRY:
                        record: Any = self._bad.read(m, WorkerSummary, ScoreSummary)
                        if isinstance(record, WorkerSummary):
                            self.figures.summary(record)
                    elif (alarm := self._bad.read(m, DriftAlarm)) is not None:
                        self.figures.alarm(m.timestamp / 1000, asdict(alarm))
                    self._next[place] = m.offset + 1
            self._bad.report()

    async def _look(self, consumer: AIOKafkaConsumer, admin: AIOKafkaAdminClient) -> None:
        """Lag and the latest detections, again and again."""
        shown = await self._places(admin, (topics.DETECTIONS,))
        inputs = await self._places(admin, topics.ALERTS)
        consumer.assign(shown)
        for place, end in (await consumer.end_offsets(shown)).items():
            self._next[place] = min(self._next.get(place, end), end)
        while True:
            starts, ends = await consumer.beginning_offsets(inputs), await consumer.end_offsets(inputs)
            committed = await admin.list_consumer_group_offsets(self._settings.app_id)
            self.figures.lag = [
                Lag(p.topic, p.partition, committed[p].offset if p in committed and committed[p].offset >= 0 else None, starts[p], ends[p])
                for p in inputs
            ]
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
            await asyncio.sleep(EVERY)


def shown_row(message: ConsumerRecord, d: Detection) -> tuple[float, dict[str, Any]]:
    """What the page shows of a detection."""
    return message.timestamp / 1000, {**{name: getattr(d, name) for name in SHOWN}, "conformal_set": list(d.conformal_set)}
