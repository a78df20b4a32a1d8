"""The drift process against Apache Kafka, killed before and after its alarm: one alarm, one command, and none for the instrument."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time
from pathlib import Path

from console.child import Child
from schemas.records import codec
from schemas.records.drift_alarm import DriftAlarm
from schemas.records.loop_event import RETRAIN_COMMANDED, LoopEvent
from schemas.records.retrain_command import RetrainCommand
from streams.agents.drift import SOURCE
from streams.kafka import topics
from streams.kafka.exactly_once import decided_records, read_positions
from tests.flow.conftest import Bench, until
from tests.streams.drift_stream import MANIFEST, ship, summaries

MODEL = hashlib.sha256(MANIFEST).hexdigest()[:16]
POPULATION = {"entropy": 0.25, "energy": -0.25}


async def watch(bench: Bench) -> Child:
    """Start the process and wait until it watches."""
    log = bench.settings.state / "logs" / "drift.log"
    log.write_bytes(b"")
    where = {"PYTHONPATH": str(Path(__file__).parents[2]), **bench.settings.environment()}
    process = Child([sys.executable, "-m", "streams.agents.drift"], log, environment=where)
    await until(lambda: "watching" in log.read_text(), 120, log.read_text)
    return process


async def read_over(bench: Bench, within: float = 120.0) -> None:
    """Wait until the process has committed all of the telemetry there is."""
    deadline = time.monotonic() + within
    async with bench.reader(topics.TELEMETRY) as consumer:
        (end,) = (await consumer.end_offsets(list(consumer.assignment()))).values()
    while True:
        found = await read_positions(bench.settings, SOURCE)
        if max(found.values(), default=0) == end:
            return
        assert time.monotonic() < deadline, f"{found} of {end}\n{(bench.settings.state / 'logs' / 'drift.log').read_text()}"
        await asyncio.sleep(0.3)


async def committed(bench: Bench, topic: str) -> list[bytes]:
    """What transactions have left on a topic; their marks have offsets too, so that those count no records."""
    return [message.value async for message in decided_records(bench.settings, topic)]


def stream(alerts: int, *, seed: int, night: int, moved: dict[str, float] | None = None) -> list[bytes]:
    return [codec.encode(summary) for summary in summaries(alerts, seed=seed, model=MODEL, moved=moved, night=night)]


async def test_an_alarm_is_raised_once_whenever_the_process_is_killed(bench: Bench) -> None:
    ship(bench.settings.state, MODEL)
    process = await watch(bench)
    try:
        await bench.publish([*stream(6_000, seed=1, night=40), *stream(3_000, seed=2, night=42, moved=POPULATION)], topics.TELEMETRY)
        await read_over(bench)
        assert not await committed(bench, topics.ALARMS), "too early"
        process.kill()
        process = await watch(bench)
        await bench.publish(stream(24_000, seed=3, night=43, moved=POPULATION), topics.TELEMETRY)
        await bench.read(1, topics.LOOP_EVENTS)
        process.kill()
        process = await watch(bench)
        await bench.publish(stream(12_000, seed=4, night=50, moved=POPULATION), topics.TELEMETRY)
        await read_over(bench)
        await bench.publish(stream(24_000, seed=5, night=55, moved={**POPULATION, "zp": 0.3}), topics.TELEMETRY)
        await bench.read(2, topics.ALARMS)
        await read_over(bench)
        alarms = [codec.expect(value, DriftAlarm) for value in await committed(bench, topics.ALARMS)]
        assert [alarm.diagnosis for alarm in alarms] == ["population", "instrument: zero point"]
        (command,) = [codec.expect(value, RetrainCommand) for value in await committed(bench, topics.RETRAIN)]
        assert (command.alarm_id, command.recipe) == (alarms[0].alarm_id, "head")
        (event,) = [codec.expect(value, LoopEvent) for value in await committed(bench, topics.LOOP_EVENTS)]
        assert (event.event, event.subject, codec.decode(event.record)) == (RETRAIN_COMMANDED, MODEL, command)
        assert process.poll() is None
    finally:
        process.stop()
