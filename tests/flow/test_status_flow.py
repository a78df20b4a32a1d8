"""A night through a running Protonova, seen as its subscribers and operators see it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from console.run import Supervisor
from data.simulate.night import night
from streams.settings import Settings


def command(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "console.cli", *arguments],
        env={**os.environ, **settings.environment()},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def packets() -> list[bytes]:
    """A short night: 100 packets, of which 4 are doubles and 3 broken."""
    return [packet for packet, _ in night(11, 100, doubles=4, broken=3)]


@pytest.mark.timeout(300)
async def test_a_night_as_others_see_it(bench: Any, packets: list[bytes], tmp_path: Path) -> None:
    settings: Settings = bench.settings.model_copy(update={"status_port": 0})
    supervisor = Supervisor(settings)
    await asyncio.to_thread(supervisor.start)
    try:
        async with httpx.AsyncClient(timeout=10) as client:
            base = await _page(supervisor)
            await _until(client, base + "/readyz", lambda answer: answer.status_code == 200)
            await bench.publish(packets)
            answer = await _until(client, base + "/status.json", lambda answer: answer.json()["totals"]["in"] >= len(packets))
            await _check_figures(client, base, answer.json())
            settings = settings.model_copy(update={"status_port": int(base.rsplit(":", 1)[1])})
            told = await asyncio.to_thread(command, settings, "status", "--json")
            assert json.loads(told.stdout)["totals"]["in"] == len(packets), told.stderr
            assert "detections" in (await asyncio.to_thread(command, settings, "status")).stdout
        watched = await asyncio.to_thread(command, settings, "watch", "--json", "--from-beginning", "--count", "93")
        rows = [json.loads(line) for line in watched.stdout.splitlines()]
        assert len({r["detection_id"] for r in rows}) == 93
        shown = await asyncio.to_thread(command, settings, "watch", "--from-beginning", "--count", "5")
        assert len(shown.stdout.splitlines()) == 5
        none = await asyncio.to_thread(command, settings, "watch", "--class", "unicorn")
        assert (none.returncode, none.stderr.count("\n")) == (2, 1)
        assert "tde" in none.stderr
        topics = await asyncio.to_thread(command, settings, "topics", "--repair")
        assert topics.returncode == 0, topics.stdout
        decoded = await asyncio.to_thread(_confluent, settings, base, 93)
        assert Counter(d["detection_id"] for d in decoded) == Counter(r["detection_id"] for r in rows)
        assert all(abs(sum(c["probability"] for c in d["classes"]) - 1) < 1e-4 for d in decoded)
    finally:
        await asyncio.to_thread(supervisor.stop)


async def test_kcat_reads_the_detections(bench: Any, packets: list[bytes]) -> None:
    kcat = shutil.which("kcat")
    if kcat is None:
        pytest.skip("kcat is not installed (Debian: apt-get install kcat)")
    settings: Settings = bench.settings.model_copy(update={"status_port": 0})
    supervisor = Supervisor(settings)
    await asyncio.to_thread(supervisor.start)
    try:
        base = await _page(supervisor)
        await bench.publish(packets[:20])
        await bench.read(15, "detections")
        arguments = [kcat, "-b", str(settings.kafka), "-t", "detections", "-C", "-e", "-q", "-o", "beginning"]
        headers = await asyncio.to_thread(
            subprocess.run, [*arguments, "-f", "%h\n"], capture_output=True, text=True, timeout=60, check=True
        )
        assert headers.stdout.count("ingested_at=") == len(headers.stdout.splitlines()) >= 15
        read = await asyncio.to_thread(
            subprocess.run, [*arguments, "-s", "value=avro", "-r", base], capture_output=True, text=True, timeout=60, check=False
        )
        if "lacks Avro" in read.stderr:
            pytest.skip("this kcat was built without Avro (Debian's is); its headers and bytes were read")
        rows = [json.loads(line) for line in read.stdout.splitlines()]
        assert len(rows) == len(headers.stdout.splitlines())
        assert all(row["detection_id"] for row in rows)
    finally:
        await asyncio.to_thread(supervisor.stop)


async def _check_figures(client: httpx.AsyncClient, base: str, s: dict[str, Any]) -> None:
    totals = s["totals"]
    assert totals["in"] == totals["detections"] + totals["rejected"] + totals["duplicates"] == 100
    assert (totals["rejected"], totals["duplicates"]) == (3, 4)
    assert sum(s["rejected"].values()) == 3
    assert s["latency_ms"]["n"] >= 0
    assert s["scoring_id"]
    assert "onnxruntime" in s["engine"]
    assert s["workers_alive"] == 1
    answer = await _until(client, base + "/status.json", lambda a: a.json()["lag_total"] == 0 and a.json()["detections"] != [])
    assert sum(row["end"] for row in answer.json()["lag"]) == 100
    page = (await client.get(base + "/")).text
    assert answer.json()["detections"][0]["object_id"] in page
    assert answer.json()["scoring_id"] in page
    metrics = (await client.get(base + "/metrics")).text
    assert 'protonova_stream_packets_total{outcome="in"} 100.0' in metrics


async def _page(supervisor: Supervisor) -> str:
    for _ in range(200):
        if supervisor.status_page:
            return supervisor.status_page.rstrip("/")
        await asyncio.sleep(0.1)
    raise AssertionError("the status page did not come up")


async def _until(client: httpx.AsyncClient, url: str, true: Any, within: float = 60.0) -> httpx.Response:
    answer = None
    for _ in range(int(within / 0.2)):
        try:
            answer = await client.get(url)
            if true(answer):
                return answer
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.2)
    raise AssertionError(f"{url}: {answer.text[:2000] if answer is not None else 'no answer'}")


def _confluent(settings: Settings, base: str, count: int) -> list[dict[str, Any]]:
    """Detections as Confluent's client reads them, with the status service as its registry."""
    from confluent_kafka import Consumer
    from confluent_kafka.schema_registry import SchemaRegistryClient
    from confluent_kafka.schema_registry.avro import AvroDeserializer
    from confluent_kafka.serialization import MessageField, SerializationContext

    decode = AvroDeserializer(SchemaRegistryClient({"url": base}))
    consumer = Consumer({"bootstrap.servers": settings.kafka, "group.id": f"{settings.app_id}-confluent", "auto.offset.reset": "earliest"})
    consumer.subscribe(["detections"])
    out: list[dict[str, Any]] = []
    try:
        for _ in range(200):
            if len(out) >= count:
                break
            message = consumer.poll(0.3)
            if message is not None and message.error() is None:
                out.append(decode(message.value(), SerializationContext("detections", MessageField.VALUE)))
    finally:
        consumer.close()
    return out
