"""Summaries of scores → alarms, and retrain commands where the population has changed. Run beside the workers.

    telemetry.scores ──► Monitor (windows, panel, episodes) ──► drift.alarms ──► commands.retrain, loop.events
                                     └──► drift.states

    python -m streams.agents.drift

What was read, what was made of it and the state behind it are one transaction, by one fenced process: killed at any moment it goes on
where the last transaction ended, forgets no window and raises nothing twice.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from errors import SettingsError
from operators.alert_statistics import STATISTICS
from operators.drift_reference import Reference
from schemas.records.codec import encode
from schemas.records.drift_alarm import DriftAlarm
from schemas.records.drift_state import CHARTS, DriftState
from schemas.records.retrain_command import RetrainCommand
from schemas.records.score_summary import ScoreSummary
from schemas.records.worker_summary import WorkerSummary
from settings.model import Settings
from streams.agents.drift_monitor import Limits, Monitor, Output, detectors_of
from streams.bad_records import BadRecords
from streams.kafka import topics
from streams.kafka.batches import Unreadable

if TYPE_CHECKING:
    from streams.kafka.exactly_once import FencedReader
    from streams.kafka.producer import Record

log = structlog.get_logger(__name__)

SOURCE = "(drift)"
"""Of the positions on `sources.positions`; no name of a source has brackets."""
NAME = "drift"
"""Of the transactions, behind the app id."""
PACKETS = "packets"
"""In the place of a model: the state of what is usual of packets."""
AT_ONCE = 500
"""Records that are read in one go."""
WAIT_MS = 500
COMMIT_EVERY_S = 5.0
"""How often state and position are written where nothing is raised [s]."""
REFERENCE_FILE = "drift.safetensors"
"""Of a bundle: the reference that ships with it."""
LARGEST_REFERENCE = 1_000_000
"""[bytes]"""


def monitor_of(settings: Settings) -> Monitor:
    """A monitor as the settings say.

    Raises
    ------
    SettingsError
        A statistic that they name is not one.
    """
    from errors import nearest

    for name in settings.drift_detectors:
        if name not in STATISTICS:
            raise SettingsError(f"drift_detectors: {name[:60]!r} is not a statistic; did you mean {nearest(name, STATISTICS)}?")
    limits = Limits(
        settings.drift_settle_alerts,
        settings.drift_learn_windows,
        1000 * settings.retrain_cooldown_s,
        settings.retrain_a_night,
        settings.retrain_recipe,
    )
    return Monitor(limits, find=lambda model: shipped_reference(settings, model), detectors=detectors_of(settings.drift_detector_of))


def shipped_reference(settings: Settings, model: str) -> Reference | None:
    """The reference that ships with a bundle: of the configured one, or of one that was fetched; None: it brings none."""
    import safetensors.numpy
    from safetensors import SafetensorError

    from registry.bundle import MANIFEST, PUBLISHED

    for folder in (settings.bundle or PUBLISHED, *sorted((settings.state / "models").glob("*"))):
        path = Path(folder) / REFERENCE_FILE
        try:
            if not path.is_file() or path.stat().st_size > LARGEST_REFERENCE or not _is_of(Path(folder) / MANIFEST, model):
                continue
            return Reference.of_arrays(safetensors.numpy.load(path.read_bytes()))
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            log.warning("a bundle's reference of drift cannot be read", file=str(path), why=str(error))
    return None


def _is_of(manifest: Path, model: str) -> bool:
    import hashlib

    return bool(model) and hashlib.sha256(manifest.read_bytes()).hexdigest().startswith(model)


async def run(settings: Settings) -> None:
    """Watch until cancelled; a broker that goes away is tried again."""
    from streams.kafka.exactly_once import repeat

    bad, done = BadRecords(), [0]

    async def session() -> None:
        await _session(settings, bad=bad, done=done)

    await repeat(session, lambda: done[0], what="drift is not monitored", final=(SettingsError,))


async def _session(settings: Settings, *, bad: BadRecords, done: list[int]) -> None:
    """Take the topic over, read the states, and follow it."""
    from streams.kafka.exactly_once import decided_records, fenced_reader

    monitor = monitor_of(settings)
    async with fenced_reader(settings, topics.TELEMETRY, source=SOURCE, name=NAME) as reader:
        states: dict[str, dict[str, DriftState]] = {}
        async for message in decided_records(settings, topics.DRIFT_STATES):
            if (state := bad.read(message, DriftState)) is not None:
                states.setdefault(state.model, {})[state.part] = state
        packets = states.pop(PACKETS, {}).get(CHARTS)
        monitor.restore(states)
        if packets is not None:
            try:
                monitor.counts.restore(json.loads(zlib.decompress(packets.body)))
            except (ValueError, zlib.error) as error:
                log.warning("what is usual of packets cannot be read; it begins anew", why=str(error))
        async for message in decided_records(settings, topics.RETRAIN):
            if (command := bad.read(message, RetrainCommand)) is not None:
                monitor.resume(command)
        reader.seek(reader.committed)
        log.info("watching", topic=topics.TELEMETRY, models=list(monitor.models), begins=reader.committed)
        await _follow(reader, monitor, bad=bad, done=done)


async def _follow(reader: FencedReader, monitor: Monitor, *, bad: BadRecords, done: list[int]) -> None:
    last, pending = time.monotonic(), dict[int, int]()
    try:
        while await reader.same_topic():
            out: list[Output] = []
            for message in await reader.next(AT_ONCE, wait_ms=WAIT_MS):
                value = message.value
                if isinstance(value, Unreadable):
                    log.warning("records that cannot be read are passed over", first=value.first, records=value.records, why=value.reason)
                    pending[message.partition] = value.first + value.records
                    continue
                pending[message.partition] = message.offset + 1
                record: Any = bad.read(message, ScoreSummary, WorkerSummary)
                if record is not None:
                    out += monitor.take(record, at_ms=message.timestamp, now_ms=int(time.time() * 1000))
            bad.report()
            if out or (pending and time.monotonic() - last >= COMMIT_EVERY_S):
                await _commit(reader, monitor, out=out, upto=pending)
                done[0] += len(pending)
                last, pending = time.monotonic(), {}
    except asyncio.CancelledError:
        if pending:
            await _commit(reader, monitor, out=[], upto=pending)
        raise


async def _commit(reader: FencedReader, monitor: Monitor, *, out: Iterable[Output], upto: dict[int, int]) -> None:
    """Write what was raised, the states and the position, all or nothing."""
    now_ms = int(time.time() * 1000)
    records: list[Record] = []
    for one in out:
        if isinstance(one, DriftAlarm):
            log.warning(
                "drift", alarm=one.alarm_id, diagnosis=one.diagnosis, statistic=one.statistic, stratum=one.stratum, before=one.before,
                after=one.after, severity=one.severity,
            )  # fmt: skip
            records.append(_record(topics.ALARMS, one, key=f"{one.statistic}:{one.stratum}".encode()))
        elif isinstance(one, RetrainCommand):
            log.warning("a training is commanded", command=one.command_id, why=one.reason, recipe=one.recipe)
            records.append(_record(topics.RETRAIN, one, key=one.model.encode()))
        else:
            records.append(_record(topics.LOOP_EVENTS, one, key=one.subject.encode()))
    body = zlib.compress(json.dumps(monitor.counts.plain()).encode(), 6)
    states = [*monitor.states(now_ms), DriftState(PACKETS, CHARTS, now_ms, NAME, now_ms, body)]
    await reader.commit([*records, *(_record(topics.DRIFT_STATES, state, key=state.key) for state in states)], upto)


def _record(topic: str, record: Any, *, key: bytes) -> Record:
    from streams.kafka.producer import Record

    return Record(topic, key, encode(record), [], key)


def main() -> int:
    """The entry point ``python -m streams.agents.drift``."""
    from streams.until_ended import run_until_ended
    from streams.worker import configure_logging

    try:
        settings = Settings()
        settings.client_options()
        monitor_of(settings)
    except SettingsError as error:
        print(f"protonova: {error}", file=sys.stderr)
        return 2
    configure_logging(settings.log_level)
    run_until_ended(lambda: run(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
