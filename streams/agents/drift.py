"""Summaries of scores → alarms, and at most one retrain command in a while. Run beside the workers.

    telemetry.scores ──► ADWIN over mean novelty, top probability, rejected ratio ──► drift.alarms ──► commands.retrain

    python -m streams.agents.drift

ADWIN (Bifet and Gavaldà 2007, doi:10.1137/1.9781611972771.42) keeps a window of variable length and drops its older part when two parts of
it differ by more than chance allows.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import structlog

from errors import SettingsError
from schemas.records.codec import encode
from schemas.records.drift_alarm import DriftAlarm
from schemas.records.retrain_command import RetrainCommand
from schemas.records.score_summary import ScoreSummary
from schemas.records.worker_summary import WorkerSummary
from settings.model import Settings
from streams.bad_records import BadRecords
from streams.kafka import topics
from streams.kafka.consumer import make_consumer

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

log = structlog.get_logger(__name__)

CONFIDENCE = 0.002
"""ADWIN's delta: false alarms it may raise; its usual value, as each stratum is watched for a year."""
LEAST = 20
"""Packets that make an observation: a mean of fewer says little [1]."""
MOST_STRATA = 200
"""Strata that are watched apart; surveys, bands and regions make some twenty. What comes beyond is watched together, as `OTHER`."""
MOST_STATES = 8
"""Scoring states that are remembered; those not met for longest are forgotten first."""
OTHER = "other"
AGAIN_S = 2.0
"""Pause before a broker that went away is tried again [s]."""


class Watch:
    """One detector a statistic and stratum, and the cool-down of retrain commands; bounded, whatever strata and states records name.

    Parameters
    ----------
    cooldown_s : float
        Least time between two retrain commands for one model [s].
    """

    def __init__(self, cooldown_s: float) -> None:
        self._cooldown_ms = 1000 * cooldown_s
        self._detectors: dict[tuple[str, str, str], Any] = {}
        self._pending: dict[tuple[str, str, str], tuple[float, int]] = {}
        self._commanded: dict[str, int] = {}
        self._strata: set[str] = set()
        self._states: dict[str, None] = {}
        """Scoring ids, the latest last."""

    def scores(self, summary: ScoreSummary, now_ms: int) -> Iterator[DriftAlarm]:
        """Take the scores of a stratum."""
        stratum = f"{summary.survey}/{summary.band}/{summary.region}"
        yield from self._observe("novelty", stratum, scoring_id=summary.scoring_id, total=summary.novelty_sum, n=summary.n, now_ms=now_ms)
        yield from self._observe(
            "top_probability", stratum, scoring_id=summary.scoring_id, total=summary.top_probability_sum, n=summary.n, now_ms=now_ms
        )

    def work(self, summary: WorkerSummary, now_ms: int) -> Iterator[DriftAlarm]:
        """Take a worker's counts: the rejected ratio says more about schemas than about the sky."""
        for survey, outcomes in summary.surveys.items():
            rejected = sum(outcomes.rejected.values())
            yield from self._observe(
                "rejected_ratio", survey, scoring_id=summary.scoring_id, total=rejected, n=rejected + outcomes.detections, now_ms=now_ms
            )

    def _observe(self, statistic: str, stratum: str, *, scoring_id: str, total: float, n: int, now_ms: int) -> Iterator[DriftAlarm]:
        # Another scoring state has other scores: its detectors start anew.
        self._meet(scoring_id)
        stratum = self._bounded(stratum)
        key = (statistic, stratum, scoring_id)
        held, count = self._pending.pop(key, (0.0, 0))
        held, count = held + total, count + n
        if count < LEAST:
            if count:
                self._pending[key] = (held, count)
            return
        detector = self._detectors.get(key)
        if detector is None:
            from river.drift import ADWIN  # 1.5 s to import

            detector = self._detectors[key] = ADWIN(delta=CONFIDENCE)  # type: ignore[no-untyped-call]
        before = detector.estimation
        detector.update(held / count)
        if detector.drift_detected:
            name = hashlib.sha256(f"{statistic}|{stratum}|{scoring_id}|{now_ms}".encode()).hexdigest()[:16]
            yield DriftAlarm(name, "adwin", statistic, stratum, before, detector.estimation, int(detector.width), scoring_id, now_ms)

    def _bounded(self, stratum: str) -> str:
        if stratum not in self._strata:
            if len(self._strata) >= MOST_STRATA:
                return OTHER
            self._strata.add(stratum)
        return stratum

    def _meet(self, scoring_id: str) -> None:
        """Remember a scoring state as the latest, and forget one if there are too many."""
        self._states.pop(scoring_id, None)
        self._states[scoring_id] = None
        if len(self._states) > MOST_STATES:
            gone = next(iter(self._states))
            del self._states[gone]
            self._detectors = {key: value for key, value in self._detectors.items() if key[2] != gone}
            self._pending = {key: value for key, value in self._pending.items() if key[2] != gone}
            self._commanded.pop(gone, None)

    def command(self, alarm: DriftAlarm) -> RetrainCommand | None:
        """The retrain command an alarm calls for; none while the last one is fresh, none for rejected packets."""
        if alarm.statistic == "rejected_ratio":  # a new schema is mended by a person, not by training
            return None
        last = self._commanded.get(alarm.scoring_id)
        if last is not None and alarm.raised_ms - last < self._cooldown_ms:
            return None
        self._commanded[alarm.scoring_id] = alarm.raised_ms
        reason = f"{alarm.statistic} of {alarm.stratum} moved from {alarm.before:.3f} to {alarm.after:.3f}"
        return RetrainCommand(f"{alarm.scoring_id}:{alarm.alarm_id}", alarm.scoring_id, reason, alarm.alarm_id, alarm.raised_ms)

    def resume(self, command: RetrainCommand) -> None:
        """Remember a command given before this process started."""
        self._meet(command.model)
        self._commanded[command.model] = command.since_ms


def observe(watch: Watch, record: ScoreSummary | WorkerSummary, *, now_ms: int) -> list[DriftAlarm]:
    """The alarms a record of `telemetry.scores` raises."""
    return list(watch.work(record, now_ms) if isinstance(record, WorkerSummary) else watch.scores(record, now_ms))


async def run(settings: Settings) -> None:
    """Watch until cancelled; a broker that goes away is tried again."""
    from aiokafka.errors import KafkaError

    watch, bad = Watch(settings.retrain_cooldown_s), BadRecords()
    while True:
        try:
            await _session(settings, watch, bad=bad)
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("the broker went away, trying again", why=repr(error))
        await asyncio.sleep(AGAIN_S)


async def _session(settings: Settings, watch: Watch, *, bad: BadRecords) -> None:
    from aiokafka import AIOKafkaProducer

    options = settings.client_options()
    consumer = make_consumer(settings, auto_offset_reset="latest")
    producer = AIOKafkaProducer(**options, acks="all", enable_idempotence=True)
    try:
        await consumer.start()
        await producer.start()
        await _follow(consumer, producer, watch=watch, bad=bad)
    finally:
        await consumer.stop()
        await producer.stop()


async def _follow(consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, *, watch: Watch, bad: BadRecords) -> None:
    from aiokafka import TopicPartition

    commands, telemetry = TopicPartition(topics.RETRAIN, 0), TopicPartition(topics.TELEMETRY, 0)
    consumer.assign([commands])
    start, end = (await consumer.beginning_offsets([commands]))[commands], (await consumer.end_offsets([commands]))[commands]
    # Outright: `seek_to_beginning` is overtaken by the reset to the end that an assignment begins with, and nothing would be recalled.
    consumer.seek(commands, start)
    while await consumer.position(commands) < end:
        for message in (await consumer.getmany(commands, timeout_ms=500)).get(commands, []):
            if (command := bad.read(message, RetrainCommand)) is not None:
                watch.resume(command)
    consumer.assign([telemetry])
    await consumer.seek_to_end(telemetry)
    log.info("watching", topic=topics.TELEMETRY)
    while True:
        for message in (await consumer.getmany(telemetry, timeout_ms=1000)).get(telemetry, []):
            record: Any = bad.read(message, ScoreSummary, WorkerSummary)
            for alarm in observe(watch, record, now_ms=int(time.time() * 1000)) if record is not None else ():
                log.warning("drift", statistic=alarm.statistic, stratum=alarm.stratum, before=alarm.before, after=alarm.after)
                await producer.send_and_wait(topics.ALARMS, encode(alarm), key=f"{alarm.statistic}:{alarm.stratum}".encode())
                order = watch.command(alarm)
                if order is not None:
                    await producer.send_and_wait(topics.RETRAIN, encode(order), key=order.model.encode())
        bad.report()


def main() -> int:
    """The entry point ``python -m streams.agents.drift``."""
    import signal

    from streams.worker import configure_logging

    try:
        settings = Settings()
        settings.client_options()
    except SettingsError as error:
        print(f"protonova: {error}", file=sys.stderr)
        return 2
    configure_logging(settings.log_level)

    async def until_ended() -> None:
        task = asyncio.ensure_future(run(settings))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        await asyncio.wait([task])
        if not task.cancelled() and task.exception() is not None:
            raise task.exception()  # type: ignore[misc]

    asyncio.run(until_ended())
    return 0


if __name__ == "__main__":
    sys.exit(main())
