"""Summaries of scores → alarms, and at most one retrain command in a while. Run beside the workers.

    telemetry.scores ──► ADWIN over mean novelty, top probability, rejected ratio ──► drift.alarms ──► commands.retrain

    python -m streams.agents.drift

ADWIN (Bifet and Gavaldà 2007, doi:10.1137/1.9781611972771.42) keeps a window of variable length and drops its older part when two parts of
it differ by more than chance allows.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import orjson
import structlog

from errors import SettingsError
from schemas.avro.wire import PacketError
from schemas.records import codec
from schemas.records.codec import ScoreSummary
from settings.model import Settings
from streams.kafka import topics
from streams.kafka.consumer import make_consumer
from streams.telemetry import WorkerSummary, decode_summary

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

log = structlog.get_logger(__name__)

CONFIDENCE = 0.002
"""ADWIN's delta: false alarms it may raise; its usual value, as each stratum is watched for a year."""
LEAST = 20
"""Packets that make an observation: a mean of fewer says little [1]."""
AGAIN_S = 2.0
"""Pause before a broker that went away is tried again [s]."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """A statistic that moved."""

    alarm_id: str
    detector: str
    statistic: str
    stratum: str
    before: float
    """Mean of the window before the change."""
    after: float
    """Mean of the window that is left."""
    window: int
    """Observations that are left in it."""
    scoring_id: str
    raised_ms: int


@dataclass(frozen=True, slots=True)
class Retrain:
    """Please train anew; two with one id are one."""

    command_id: str
    model: str
    reason: str
    alarm_id: str
    since_ms: int


class Watch:
    """One detector a statistic and stratum, and the cool-down of retrain commands.

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

    def scores(self, summary: ScoreSummary, now_ms: int) -> Iterator[Alarm]:
        """Take the scores of a stratum."""
        stratum = f"{summary.survey}/{summary.band}/{summary.region}"
        yield from self._observe("novelty", stratum, summary.scoring_id, summary.novelty_sum, summary.n, now_ms)
        yield from self._observe("top_probability", stratum, summary.scoring_id, summary.top_probability_sum, summary.n, now_ms)

    def work(self, summary: WorkerSummary, now_ms: int) -> Iterator[Alarm]:
        """Take a worker's counts: the rejected ratio says more about schemas than about the sky."""
        for survey, outcomes in summary.surveys.items():
            rejected = sum(outcomes.rejected.values())
            yield from self._observe("rejected_ratio", survey, summary.scoring_id, rejected, rejected + outcomes.detections, now_ms)

    def _observe(self, statistic: str, stratum: str, scoring_id: str, total: float, n: int, now_ms: int) -> Iterator[Alarm]:
        # Another scoring state has other scores: its detectors start anew.
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
            yield Alarm(name, "adwin", statistic, stratum, before, detector.estimation, int(detector.width), scoring_id, now_ms)

    def command(self, alarm: Alarm) -> Retrain | None:
        """The retrain command an alarm calls for; none while the last one is fresh, none for rejected packets."""
        if alarm.statistic == "rejected_ratio":  # a new schema is mended by a person, not by training
            return None
        last = self._commanded.get(alarm.scoring_id)
        if last is not None and alarm.raised_ms - last < self._cooldown_ms:
            return None
        self._commanded[alarm.scoring_id] = alarm.raised_ms
        reason = f"{alarm.statistic} of {alarm.stratum} moved from {alarm.before:.3f} to {alarm.after:.3f}"
        return Retrain(f"{alarm.scoring_id}:{alarm.alarm_id}", alarm.scoring_id, reason, alarm.alarm_id, alarm.raised_ms)

    def resume(self, command: dict[str, Any]) -> None:
        """Remember a command given before this process started."""
        self._commanded[str(command["model"])] = int(command["since_ms"])

    def recall(self, value: bytes) -> None:
        """The same of a message; one that is no command of ours is passed over, or it would end every start of this process."""
        with contextlib.suppress(ValueError, KeyError, TypeError):
            self.resume(orjson.loads(value))


def observe(watch: Watch, value: bytes, now_ms: int) -> list[Alarm]:
    """The alarms a message of `telemetry.scores` raises; none of one that is of another release."""
    try:
        return list(watch.work(decode_summary(value), now_ms))
    except ValueError:
        pass
    try:
        return list(watch.scores(codec.decode_summary(value), now_ms))
    except PacketError:
        return []


async def run(settings: Settings) -> None:
    """Watch until cancelled; a broker that goes away is tried again."""
    from aiokafka.errors import KafkaError

    watch = Watch(settings.retrain_cooldown_s)
    while True:
        try:
            await _session(settings, watch)
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("the broker went away, trying again", why=repr(error))
        await asyncio.sleep(AGAIN_S)


async def _session(settings: Settings, watch: Watch) -> None:
    from aiokafka import AIOKafkaProducer

    options = settings.client_options()
    consumer = make_consumer(settings, auto_offset_reset="latest")
    producer = AIOKafkaProducer(**options, acks="all", enable_idempotence=True)
    try:
        await consumer.start()
        await producer.start()
        await _follow(consumer, producer, watch)
    finally:
        await consumer.stop()
        await producer.stop()


async def _follow(consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, watch: Watch) -> None:
    from aiokafka import TopicPartition

    commands, telemetry = TopicPartition(topics.RETRAIN, 0), TopicPartition(topics.TELEMETRY, 0)
    consumer.assign([commands])
    start, end = (await consumer.beginning_offsets([commands]))[commands], (await consumer.end_offsets([commands]))[commands]
    # Outright: `seek_to_beginning` is overtaken by the reset to the end that an assignment begins with, and nothing would be recalled.
    consumer.seek(commands, start)
    while await consumer.position(commands) < end:
        for message in (await consumer.getmany(commands, timeout_ms=500)).get(commands, []):
            watch.recall(message.value)
    consumer.assign([telemetry])
    await consumer.seek_to_end(telemetry)
    log.info("watching", topic=topics.TELEMETRY)
    async for message in consumer:
        for alarm in observe(watch, message.value, int(time.time() * 1000)):
            log.warning("drift", statistic=alarm.statistic, stratum=alarm.stratum, before=alarm.before, after=alarm.after)
            await producer.send_and_wait(topics.ALARMS, orjson.dumps(asdict(alarm)), key=f"{alarm.statistic}:{alarm.stratum}".encode())
            command = watch.command(alarm)
            if command is not None:
                await producer.send_and_wait(topics.RETRAIN, orjson.dumps(asdict(command)), key=command.model.encode())


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

    async def until_told() -> None:
        task = asyncio.ensure_future(run(settings))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        await asyncio.wait([task])
        if not task.cancelled() and task.exception() is not None:
            raise task.exception()  # type: ignore[misc]

    asyncio.run(until_told())
    return 0


if __name__ == "__main__":
    sys.exit(main())
