"""What was scored, why, and what led to it, from the topics alone: `protonova explain` and `protonova history` beside a real worker."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from data.simulate.night import night
from schemas.records.codec import decode_detection, encode
from schemas.records.drift_alarm import DriftAlarm
from schemas.records.retrain_command import RetrainCommand
from schemas.taxonomy import SLUGS
from streams.kafka import topics
from tests.flow import real_worker
from tests.flow.conftest import Bench
from tests.flow.test_publish_replay_flow import protonova


@pytest.fixture
async def worker(bench: Bench) -> Bench:
    await topics.declare(bench.settings, SLUGS)
    bench.start(0, program=real_worker.__file__)
    await bench.ready(0)
    return bench


async def test_an_alert_is_explained_and_the_loop_has_a_history(worker: Bench, tmp_path: Path) -> None:
    async def command(*arguments: str, expect: int = 0) -> Any:
        return await asyncio.to_thread(protonova, worker.settings, *arguments, expect=expect)

    packets = [packet for packet, _ in night(31, 30, duplicates=0, broken=0)]
    await worker.mark()
    await worker.publish(packets)
    found = await worker.read(len(packets), topics.DETECTIONS)
    detections = [decode_detection(record.value) for record in found[topics.DETECTIONS]]
    chosen = detections[7]

    report = tmp_path / "explain.json"
    shown = await command("explain", str(chosen.candid), "--report", str(report))
    assert "What speaks for it" in shown.stdout
    assert "scores otherwise" not in shown.stderr
    figures = json.loads(report.read_text())
    [score] = figures["scores"]
    assert (score["scoring_id"], score["model"], score["role"]) == (chosen.scoring_id, chosen.model, "champion")
    explanation = figures["explanation"]
    assert explanation["class_name"] == chosen.shown_class[0]
    known = {one.name: one.probability for one in chosen.classes}
    assert explanation["probability"] == pytest.approx(known[explanation["class_name"]], abs=1e-3)
    assert len(explanation["neighbours"]) == 5
    assert len(explanation["effects"]) > 20
    assert "no detection" in (await command("explain", "12345", expect=1)).stderr

    # Teaching a class is a step of the history; a command knows the alarm that led to it.
    file = tmp_path / "example.avro"
    file.write_bytes(packets[3])
    alarm = DriftAlarm("a1", "panel", "entropy", "ztf/g/high", 0.4, 0.7, 512, chosen.scoring_id, int(time.time() * 1000))
    order = RetrainCommand("c1", chosen.model, "entropy moved", "a1", alarm.raised_ms + 1)
    async with worker.producer() as producer:
        await producer.send_and_wait(topics.ALARMS, encode(alarm))
        await producer.send_and_wait(topics.RETRAIN, encode(order))
    await command("teach", "my-class", str(file), "--window", "0", "--author", "ada")
    rows = [json.loads(line) for line in (await command("history", "--json")).stdout.splitlines()]
    assert [row["kind"] for row in rows if row["kind"] in ("alarm", "command", "taught")] == ["alarm", "command", "taught"]
    assert next(row for row in rows if row["kind"] == "command")["because"] == "a1"
    of_model = [json.loads(line)["kind"] for line in (await command("history", "--model", chosen.model, "--json")).stdout.splitlines()]
    assert of_model == ["alarm", "command"]
