"""Records and batches that cannot be read, in Apache Kafka or damaged on their way out of it: passed over, counted, and no one stops."""

from __future__ import annotations

import asyncio
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cramjam
import crc32c
import httpx
import psutil
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from console.child import Child
from console.kafka_node.node import free_port
from schemas.records.codec import decode
from schemas.records.drift_alarm import DriftAlarm
from schemas.records.worker_summary import WorkerSummary
from streams.kafka import topics
from streams.kafka.batches import COVERED_AT, CRC_AT, HEAD, MOST_BYTES
from streams.kafka.consumer import make_consumer
from tests.flow.conftest import Bench, header, ids
from tests.flow.damaging_proxy import damaging_proxy
from tests.flow.stand_in import packet
from tests.flow.test_drift_flow import MODEL, stream, watch
from tests.streams.drift_stream import ship

OUT = (topics.DETECTIONS, topics.REJECTED)
MARK = b"damage me"
Change = Callable[[bytearray], None]


def sealed(data: bytearray) -> bytearray:
    """A batch whose length and checksum are right."""
    struct.pack_into(">i", data, 8, len(data) - 12)
    struct.pack_into(">I", data, CRC_AT, crc32c.crc32c(bytes(data[COVERED_AT:])))
    return data


async def send_batch(
    bench: Bench, values: Sequence[bytes], change: Change | None = None, *, topic: str = "alerts.ztf", partition: int = 0
) -> None:
    """One batch of records to a partition, changed after it was made; the broker takes it, as its checksum is right."""
    async with bench.producer() as producer:
        batch = producer.create_batch()
        for value in values:
            assert batch.append(key=None, value=value, timestamp=None, headers=[("hhhh", b"a value")])
        data = bytearray(batch._build())
        if change is not None:
            change(data)
            sealed(data)
        batch._buffer = data
        await (await producer.send_batch(batch, topic, partition=partition))


def odd_name(k: int) -> Change:
    """The header name of record k is not UTF-8."""

    def change(data: bytearray) -> None:
        at = -1
        for _ in range(k + 1):
            at = data.index(b"hhhh", at + 1)
        data[at : at + 4] = b"\xff\xfe\xc3\x28"

    return change


def varint(n: int) -> bytes:
    """A number, not negative, as Kafka writes it."""
    left, out = 2 * n, bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*out, left])


def bomb(size: int) -> Change:
    """The batch's one record has so many zeros, packed by zstd to a ten-thousandth."""

    def change(data: bytearray) -> None:
        body = b"\0\0\0\x01" + varint(size) + bytes(size) + b"\0"
        data[HEAD.size :] = bytes(cramjam.zstd.compress(varint(len(body)) + body))
        data[COVERED_AT + 1] |= 4

    return change


def metric(bench: Bench, name: str, slot: int = 0) -> dict[tuple[str, ...], float]:
    """Values of a worker's counter by its labels' values."""
    port = json.loads((bench.settings.state / "run" / f"worker-{slot}.json").read_text())["metrics"]
    families = text_string_to_metric_families(httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text)
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return {tuple(sorted(sample.labels.values())): sample.value for sample in samples}


async def reported(bench: Bench) -> dict[str, int]:
    """Rejected packets by error class, as the workers' telemetry adds them up."""
    out: dict[str, int] = {}
    for record in (await bench.everything(topics.TELEMETRY))[topics.TELEMETRY]:
        summary = decode(record.value)
        if isinstance(summary, WorkerSummary):
            for outcomes in summary.surveys.values():
                for name, n in outcomes.rejected.items():
                    out[name] = out.get(name, 0) + n
    return out


async def test_a_batch_that_stays_damaged_is_passed_over(bench: Bench) -> None:
    await send_batch(bench, [packet(i) for i in range(5)])
    await send_batch(bench, [packet(10), packet(11) + MARK, packet(12)])
    await send_batch(bench, [packet(i) for i in range(20, 25)])
    async with damaging_proxy(bench.settings.client_options()["bootstrap_servers"][0], MARK) as proxy:
        worker = bench.start(PROTONOVA_KAFKA=proxy.address)
        await bench.ready()
        out = await bench.read(11, *OUT)
        await bench.all_committed()
        assert worker.poll() is None, bench.log()
        assert proxy.damaged >= 2, "it was fetched once more"
        assert metric(bench, "protonova_unreadable_records_total") == {("alerts.ztf", "corrupt_batch"): 3}
        assert metric(bench, "protonova_batches_fetched_again_total") == {("alerts.ztf",): 1}
        alarm = decode((await bench.read(1, topics.ALARMS))[topics.ALARMS][0].value)
    assert sorted(ids(out[topics.DETECTIONS])) == sorted(f"ztf:{i}:feedfacecafe0123" for i in [*range(5), *range(20, 25)])
    (rejected,) = out[topics.REJECTED]
    origin = {
        name: header(rejected, name) for name in ("error_class", "topic", "partition", "offset", "last_offset", "records", "complete")
    }
    assert origin == {
        "error_class": "corrupt_batch",
        "topic": "alerts.ztf",
        "partition": "0",
        "offset": "5",
        "last_offset": "7",
        "records": "3",
        "complete": "false",
    }
    assert b"ztf:10:" in rejected.value, "the batch's bytes"
    assert isinstance(alarm, DriftAlarm)
    assert (alarm.statistic, alarm.stratum, alarm.after) == ("corrupt_batch", "alerts.ztf/0", 3.0)
    assert (await reported(bench))["corrupt_batch"] == 3
    worker.stop()
    bench.start()
    await bench.ready()
    await bench.publish([packet(99)], partition=0)
    await bench.all_committed()
    again = await bench.everything(*OUT)
    assert {name: len(records) for name, records in again.items()} == {topics.DETECTIONS: 11, topics.REJECTED: 1}, "nothing came twice"


async def test_a_batch_damaged_once_is_read_at_the_second_time(bench: Bench) -> None:
    await send_batch(bench, [packet(i) for i in range(5)])
    await send_batch(bench, [packet(10), packet(11) + MARK, packet(12)])
    async with damaging_proxy(bench.settings.client_options()["bootstrap_servers"][0], MARK, times=1) as proxy:
        bench.start(PROTONOVA_KAFKA=proxy.address)
        await bench.ready()
        out = await bench.read(8, *OUT)
        await bench.all_committed()
        assert proxy.damaged == 1
    assert len(out[topics.DETECTIONS]) == 8
    assert not out[topics.REJECTED]


@pytest.mark.parametrize("at", [11, 16, 25])
async def test_a_damaged_head_is_passed_over(bench: Bench, at: int) -> None:
    """The batch's length, its format, or its last offset; only the first two are covered by no checksum."""

    def damage(frame: bytearray, mark: int) -> None:
        frame[frame.rindex(struct.pack(">q", 5), 0, mark) + at] ^= 0x05

    await send_batch(bench, [packet(i) for i in range(5)])
    await send_batch(bench, [MARK + packet(10), packet(11), packet(12)])
    await send_batch(bench, [packet(i) for i in range(20, 25)])
    async with damaging_proxy(bench.settings.client_options()["bootstrap_servers"][0], MARK, damage=damage) as proxy:
        worker = bench.start(PROTONOVA_KAFKA=proxy.address)
        await bench.ready()
        await bench.all_committed()
        assert worker.poll() is None, bench.log()
        out = await bench.everything(*OUT)
    assert set(ids(out[topics.DETECTIONS])) >= {f"ztf:{i}:feedfacecafe0123" for i in [*range(5), *range(20, 25)]}
    passed = [(int(header(r, "offset") or -1), int(header(r, "last_offset") or -1)) for r in out[topics.REJECTED]]
    assert [offset for first, last in sorted(passed) for offset in range(first, last + 1)] == [5, 6, 7]


async def test_records_that_were_sent_bad_cost_themselves(bench: Bench) -> None:
    worker = bench.start()
    await bench.ready()
    await send_batch(bench, [packet(i) for i in range(6)], odd_name(2))
    await send_batch(bench, [packet(50), packet(51)])
    out = await bench.read(8, *OUT)
    await bench.all_committed()
    assert worker.poll() is None, bench.log()
    assert sorted(ids(out[topics.DETECTIONS])) == sorted(f"ztf:{i}:feedfacecafe0123" for i in (0, 1, 3, 4, 5, 50, 51))
    (rejected,) = out[topics.REJECTED]
    assert (header(rejected, "error_class"), header(rejected, "offset"), header(rejected, "complete")) == ("bad_record", "2", "true")
    assert rejected.value == packet(2), "its value could be read, and can be re-driven"


@pytest.mark.slow
async def test_a_bomb_in_a_batch_is_passed_over_in_bounded_memory(bench: Bench) -> None:
    worker = bench.start()
    await bench.ready()
    await bench.publish([packet(1)], partition=0)
    await bench.read(1, *OUT)
    process, most = psutil.Process(worker.pid), 0
    before = process.memory_info().rss

    async def look() -> None:
        nonlocal most
        while True:
            most = max(most, process.memory_info().rss)
            await asyncio.sleep(0.02)

    looking = asyncio.create_task(look())
    await send_batch(bench, [b"-"], bomb(20 * MOST_BYTES))
    await send_batch(bench, [packet(2)])
    out = await bench.read(3, *OUT)
    looking.cancel()
    await bench.all_committed()
    assert sorted(ids(out[topics.DETECTIONS])) == ["ztf:1:feedfacecafe0123", "ztf:2:feedfacecafe0123"]
    (rejected,) = out[topics.REJECTED]
    assert header(rejected, "error_class") == "unreadable_batch"
    assert "become more than" in (header(rejected, "reason") or "")
    assert most - before < 5 * MOST_BYTES, f"{(most - before) / 2**20:.0f} MiB more"


@pytest.mark.slow
async def test_large_packets_are_held_in_bounded_memory(bench: Bench) -> None:
    """8 MB each: a buffer of 512 of them would be 4 GB."""
    async with bench.producer() as producer:
        for i in range(60):
            await producer.send_and_wait("alerts.ztf", packet(i, size=7_900_000), partition=i % 4)
    worker = bench.start(seconds_a_packet=0.05)
    await bench.ready()
    process, most = psutil.Process(worker.pid), 0
    reading = asyncio.create_task(bench.all_committed())
    while not reading.done():
        most = max(most, process.memory_info().rss)
        await asyncio.sleep(0.05)
    await reading
    found = ids((await bench.everything(topics.DETECTIONS))[topics.DETECTIONS])
    assert sorted(found) == sorted(f"ztf:{i}:feedfacecafe0123" for i in range(60))
    print(f"{most / 2**20:.0f} MiB at most")
    assert most < 700 * 2**20


@pytest.mark.slow
async def test_drift_reads_on(bench: Bench) -> None:
    ship(bench.settings.state, MODEL)
    process = await watch(bench)
    try:
        await bench.publish(stream(6_000, seed=1, night=40), topics.TELEMETRY)
        await send_batch(bench, [b"x", b"y"], odd_name(0), topic=topics.TELEMETRY)
        await send_batch(bench, [b"z"], bomb(20 * MOST_BYTES), topic=topics.TELEMETRY)
        await bench.publish(stream(24_000, seed=2, night=42, moved={"zp": 0.3}), topics.TELEMETRY)
        alarm = decode((await bench.read(1, topics.ALARMS))[topics.ALARMS][0].value)
        assert isinstance(alarm, DriftAlarm)
        assert alarm.statistic == "zp"
        assert process.poll() is None
        assert "records that cannot be read are passed over" in process.log.read_text()
    finally:
        process.stop()


@pytest.mark.slow
async def test_commands_and_page_read_on(bench: Bench) -> None:
    """`watch`, `replay kafka://` and the status page, each over a record with such a name."""
    bench.start()
    await bench.ready()
    await bench.publish([packet(i) for i in range(4)], partition=0)
    made = (await bench.read(4, topics.DETECTIONS))[topics.DETECTIONS]
    values = [record.value for record in made]
    await send_batch(bench, values, odd_name(1), topic=topics.DETECTIONS, partition=made[0].partition)
    shown = await asyncio.to_thread(protonova, bench, "watch", "--json", "--from-beginning", "--count", "7")
    assert shown.returncode == 0, shown.stderr
    assert len(shown.stdout.splitlines()) == 7
    assert "cannot be read and is left out" in shown.stderr
    await send_batch(bench, [b"none of a survey"] * 3, odd_name(1), topic="alerts.lsst", partition=1)
    scores = bench.settings.state / "scores.parquet"
    done = await asyncio.to_thread(protonova, bench, "replay", "kafka://alerts.lsst", "--out", str(scores))
    assert done.returncode == 0, done.stderr
    assert "3 packets = 0 detections + 3 rejected" in done.stdout
    assert "bad_record" in done.stdout
    await send_batch(bench, [b"x", b"y"], odd_name(0), topic=topics.TELEMETRY)
    port = free_port()
    environment = {**bench.settings.environment(), "PROTONOVA_STATUS_PORT": str(port)}
    page = Child(
        [sys.executable, "-m", "console.cli", "status", "--serve"], bench.settings.state / "logs" / "page.log", environment=environment
    )
    try:
        async with httpx.AsyncClient(timeout=10) as client:
            await until_ready(client, f"http://127.0.0.1:{port}/readyz", page)
            await send_batch(bench, [b"x", b"y"], odd_name(0), topic=topics.TELEMETRY)
            await bench.publish([packet(i) for i in range(100, 110)])
            for _ in range(200):
                if (await client.get(f"http://127.0.0.1:{port}/status.json")).json()["totals"]["in"] >= 10:
                    break
                await asyncio.sleep(0.2)
            else:
                pytest.fail(page.log.read_text())
    finally:
        page.stop()


async def until_ready(client: httpx.AsyncClient, url: str, page: Child) -> None:
    for _ in range(300):
        try:
            if (await client.get(url)).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        await asyncio.sleep(0.2)
    pytest.fail(page.log.read_text())


def protonova(bench: Bench, *arguments: str) -> subprocess.CompletedProcess[str]:
    where = {"PYTHONPATH": str(Path(__file__).parents[2]), **bench.settings.environment()}
    return subprocess.run(
        [sys.executable, "-m", "console.cli", *arguments],
        env={**os.environ, **where},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
async def test_an_open_transaction_is_not_a_lag_and_is_read_when_it_is_committed(bench: Bench) -> None:
    bench.start()
    await bench.ready()
    producer = AIOKafkaProducer(**bench.settings.client_options(), transactional_id="open")
    await producer.start()
    try:
        await producer.begin_transaction()
        for i in range(5):
            await producer.send_and_wait("alerts.ztf", packet(i), partition=0)
        await bench.publish([packet(10)], partition=0)
        await asyncio.sleep(12)
        assert bench.lag() == 0, "what is behind the last stable offset cannot be read yet"
        assert not (await bench.everything(topics.DETECTIONS))[topics.DETECTIONS]
        await producer.commit_transaction()
    finally:
        await producer.stop()
    assert len((await bench.read(6, topics.DETECTIONS))[topics.DETECTIONS]) == 6


async def test_side_consumers_read_committed_records_only(bench: Bench) -> None:
    producer = AIOKafkaProducer(**bench.settings.client_options(), transactional_id="aborted")
    await producer.start()
    try:
        await producer.begin_transaction()
        await producer.send_and_wait(topics.TELEMETRY, b"aborted")
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send_and_wait(topics.TELEMETRY, b"committed")
    finally:
        await producer.stop()
    place = TopicPartition(topics.TELEMETRY, 0)
    consumer = make_consumer(bench.settings, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([place])
        assert [m.value for m in (await consumer.getmany(place, timeout_ms=5000))[place]] == [b"committed"]
    finally:
        await consumer.stop()
