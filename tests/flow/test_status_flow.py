"""A night through a running Protonova, seen as its subscribers and operators see it."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import fastavro
import httpx
import pyarrow.parquet as pq
import pytest

from console.commands.run import Supervisor
from console.kafka_node.node import LocalKafka
from data.simulate.night import night
from schemas.records.codec import decode_detection
from settings.model import Settings
from tests.flow.conftest import Bench, fresh, header
from tests.flow.test_publish_replay_flow import essence


def command(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "console.cli", *arguments],
        env={**os.environ, **settings.environment()},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )


@pytest.fixture(scope="module")
def packets() -> list[bytes]:
    """A short night: 100 packets, of which 4 are duplicates and 3 broken."""
    return [packet for packet, _ in night(11, 100, duplicates=4, broken=3)]


class Run(NamedTuple):
    """A running Protonova through which the night has gone."""

    bench: Bench
    settings: Settings
    page: str


@pytest.fixture(scope="module")
def run(kafka: LocalKafka, packets: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """One for the module."""
    bench = asyncio.run(fresh(kafka, tmp_path_factory.mktemp("run")))
    supervisor = Supervisor(bench.settings.model_copy(update={"status_port": 0}))
    try:
        supervisor.start()
        page = asyncio.run(_publish(bench, supervisor, packets))
        yield Run(bench, supervisor.settings.model_copy(update={"status_port": int(page.rsplit(":", 1)[1])}), page)
    finally:
        supervisor.stop()


async def _publish(bench: Bench, supervisor: Supervisor, packets: list[bytes]) -> str:
    """Publish once the page listens, and wait until it has heard of all; its address."""
    async with httpx.AsyncClient(timeout=30) as client:
        page = await _page(supervisor)
        await _until(client, page + "/readyz", lambda answer: answer.status_code == 200)
        await bench.publish(packets)
        await _until(client, page + "/status.json", lambda answer: answer.json()["totals"]["in"] >= len(packets))
    return page


async def test_the_page_shows_the_night(run: Run) -> None:
    async with httpx.AsyncClient(timeout=30) as client:
        await _check_figures(client, run.page)


async def test_commands_show_the_night(run: Run) -> None:
    reported = await asyncio.to_thread(command, run.settings, "status", "--json")
    assert json.loads(reported.stdout)["totals"]["in"] == 100, reported.stderr
    assert "detections" in (await asyncio.to_thread(command, run.settings, "status")).stdout
    shown = await asyncio.to_thread(command, run.settings, "watch", "--from-beginning", "--count", "5")
    assert len(shown.stdout.splitlines()) == 5
    none = await asyncio.to_thread(command, run.settings, "watch", "--class", "unicorn")
    assert (none.returncode, none.stderr.count("\n")) == (2, 1)
    assert "tde" in none.stderr
    topics = await asyncio.to_thread(command, run.settings, "topics", "--repair")
    assert topics.returncode == 0, topics.stdout


async def test_watch_and_confluents_client_read_the_same(run: Run) -> None:
    watched = await asyncio.to_thread(command, run.settings, "watch", "--json", "--from-beginning", "--count", "93")
    rows = [json.loads(line) for line in watched.stdout.splitlines()]
    assert len({r["detection_id"] for r in rows}) == 93
    decoded = await asyncio.to_thread(_confluent, run.settings, run.page, 93)
    assert Counter(d["detection_id"] for d in decoded) == Counter(r["detection_id"] for r in rows)
    assert all(abs(sum(c["probability"] for c in d["classes"]) - 1) < 1e-4 for d in decoded)


async def test_a_replay_of_the_topic_equals_the_stream(run: Run, tmp_path: Path) -> None:
    """With simulated packets, hence everywhere; `test_publish_replay_flow.py` does it with every real one."""
    out = tmp_path / "scores.parquet"
    done = await asyncio.to_thread(command, run.settings, "replay", "kafka://alerts.ztf", "--out", str(out))
    assert done.returncode == 0, done.stderr
    rows = pq.read_table(out).to_pylist()
    assert Counter(r["kind"] for r in rows) == {"detection": 93, "rejected": 3, "duplicate": 4}
    live = await run.bench.everything("detections", "alerts.rejected")
    scored = Counter(essence(decode_detection(r.value)) for r in live["detections"])
    assert Counter(essence(r) for r in rows if r["kind"] == "detection") == scored
    refused = Counter((header(r, "error_class"), header(r, "reason")) for r in live["alerts.rejected"])
    assert Counter((r["error_class"], r["reason"]) for r in rows if r["kind"] == "rejected") == refused


async def test_kcat_and_plain_fastavro_read_the_detections(run: Run) -> None:
    """What anybody can do who knows Kafka, Avro and Confluent's framing, and nothing of us."""
    kcat = shutil.which("kcat")
    if kcat is None:
        pytest.skip("kcat is not installed (Debian: apt-get install kcat)")
    # Debian's kcat is built without Avro: it hands out the bytes, and the schema's id in them leads to the schema.
    arguments = [kcat, "-b", str(run.settings.kafka), "-C", "-t", "detections", "-e", "-q", "-o", "beginning", "-f", "%S\t%k\t%h\n%s"]
    read = await asyncio.to_thread(subprocess.run, arguments, capture_output=True, timeout=120, check=True)
    out, schemas, rows = io.BytesIO(read.stdout), {}, []
    async with httpx.AsyncClient(timeout=30) as client:
        while line := out.readline():
            size, key, headers = line.decode().rstrip("\n").split("\t")
            value = out.read(int(size))
            magic, schema_id = struct.unpack(">bI", value[:5])
            assert magic == 0
            if schema_id not in schemas:
                answer = (await client.get(f"{run.page}/schemas/ids/{schema_id}")).json()
                schemas[schema_id] = fastavro.parse_schema(json.loads(answer["schema"]))
            row: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), schemas[schema_id], None)
            assert row["object_id"] == key
            assert f"candid={row['candid']}" in headers.split(",")
            assert abs(sum(c["probability"] for c in row["classes"]) - 1) < 1e-4
            rows.append(row["detection_id"])
    assert len(rows) == len(set(rows)) == 93


async def _check_figures(client: httpx.AsyncClient, base: str) -> None:
    s = (await client.get(base + "/status.json")).json()
    totals = s["totals"]
    assert totals["in"] == totals["detections"] + totals["rejected"] + totals["duplicates"] == 100
    assert (totals["rejected"], totals["duplicates"]) == (3, 4)
    assert sum(s["rejected"].values()) == 3
    assert s["scoring_id"]
    assert "onnxruntime" in s["engine"]
    assert s["workers_alive"] == 1
    # Before the page first asked the broker, there is no lag either: the ends tell the two apart.
    answer = await _until(
        client,
        base + "/status.json",
        lambda a: a.json()["lag_total"] == 0 and a.json()["detections"] != [] and any(row["end"] for row in a.json()["lag"]),
    )
    assert len(answer.json()["detections"]) > 3
    await _until(client, base + "/status.json", lambda a: any(p50 is not None for p50 in a.json()["history"]["p50"]))
    assert sum(row["end"] for row in answer.json()["lag"]) == 100
    page = (await client.get(base + "/")).text
    assert answer.json()["detections"][0]["object_id"] in page
    assert answer.json()["scoring_id"] in page
    metrics = (await client.get(base + "/metrics")).text
    assert 'protonova_stream_packets_total{outcome="in"} 100.0' in metrics


async def _page(supervisor: Supervisor) -> str:
    for _ in range(900):
        if supervisor.status_page:
            return supervisor.status_page.rstrip("/")
        await asyncio.sleep(0.1)
    raise AssertionError("the status page did not come up")


async def _until(client: httpx.AsyncClient, url: str, true: Any, within: float = 120.0) -> httpx.Response:
    answer = None
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
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
        deadline = time.monotonic() + 120
        while len(out) < count and time.monotonic() < deadline:
            message = consumer.poll(0.3)
            if message is not None and message.error() is None:
                out.append(decode(message.value(), SerializationContext("detections", MessageField.VALUE)))
    finally:
        consumer.close()
    return out
