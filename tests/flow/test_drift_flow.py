"""The drift process against Apache Kafka: telemetry that changes raises an alarm and one command, and a restart does not repeat it."""

from __future__ import annotations

import sys
from pathlib import Path

from console.child import Child
from schemas.records import codec
from schemas.records.drift_alarm import DriftAlarm
from streams.kafka import topics
from streams.scorer import StateHolder
from streams.telemetry import TelemetryCounts
from tests.flow import stand_in
from tests.flow.conftest import Bench, until
from tests.streams.test_watching import seconds


async def watch(bench: Bench) -> Child:
    """Start the process and wait until it watches."""
    log = bench.settings.state / "logs" / "drift.log"
    log.write_bytes(b"")
    where = {"PYTHONPATH": str(Path(__file__).parents[2]), **bench.settings.environment()}
    process = Child([sys.executable, "-m", "streams.agents.drift"], log, environment=where)
    await until(lambda: "watching" in log.read_text(), 60, log.read_text)
    return process


async def test_a_change_raises_an_alarm_and_one_command(bench: Bench) -> None:
    log = bench.settings.state / "logs" / "drift.log"
    process = await watch(bench)
    try:
        outcome_counts = TelemetryCounts("w", StateHolder(stand_in.StandIn()), now=0.0)
        await bench.publish(seconds(outcome_counts, 300, 0.9, 0), topics.TELEMETRY)
        await bench.publish(seconds(outcome_counts, 300, 0.4, 300), topics.TELEMETRY)
        out = await bench.read(2, topics.ALARMS, topics.RETRAIN)
        alarms = [codec.expect(r.value, DriftAlarm) for r in out[topics.ALARMS]]
        assert alarms[0].statistic == "top_probability"
        assert alarms[0].before > alarms[0].after
        process.stop()
        process = await watch(bench)  # it reads its own command back
        known = len((await bench.everything(topics.ALARMS))[topics.ALARMS])
        outcome_counts = TelemetryCounts("w", StateHolder(stand_in.StandIn()), now=0.0)
        await bench.publish([*seconds(outcome_counts, 300, 0.9, 600), *seconds(outcome_counts, 300, 0.4, 900)], topics.TELEMETRY)
        await bench.read(known + 1, topics.ALARMS)
        commands = [r.value for r in (await bench.everything(topics.RETRAIN))[topics.RETRAIN]]
        assert len(commands) == 1, f"the cool-down outlives the process: {commands} {log.read_text()}"
    finally:
        process.stop()
