"""A worker process against Apache Kafka: everything that goes in comes out once, in order, where it belongs."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from typing import Any

import pytest

from schemas.records.codec import decode, decode_detection
from schemas.records.score_summary import ScoreSummary
from schemas.records.worker_summary import WorkerSummary
from streams.kafka import topics
from tests.flow.conftest import Bench, header, ids
from tests.flow.stand_in import packet

OUT = (topics.DETECTIONS, topics.REJECTED)


async def test_in_is_detections_and_rejected_and_duplicates(flowing: Bench) -> None:
    good = [packet(i, size=5000) for i in range(200)]
    bad = [b"bad packet %d" % i for i in range(20)]
    await flowing.publish([*good, *bad, *good[:50], *bad[:5]])  # ZTF has sent every packet twice for weeks
    out = await flowing.read(200 + 25, *OUT)
    await flowing.all_committed()
    detections = ids(out[topics.DETECTIONS])
    assert sorted(detections) == sorted({f"ztf:{i}:feedfacecafe0123" for i in range(200)})
    assert len(out[topics.REJECTED]) == 25, "a repeat of a rejected packet is rejected again"
    again = await flowing.everything(*OUT)
    assert {name: len(records) for name, records in again.items()} == {topics.DETECTIONS: 200, topics.REJECTED: 25}, (
        "and nothing else comes"
    )


async def reported(flowing: Bench) -> Counter[str]:
    """What the worker has said of itself since the mark."""
    totals: Counter[str] = Counter()
    for record in (await flowing.everything(topics.TELEMETRY))[topics.TELEMETRY]:
        summary = decode(record.value)
        if isinstance(summary, ScoreSummary):
            totals["scores"] += 1
            continue
        assert isinstance(summary, WorkerSummary)
        totals["batched"] += summary.packets
        totals["latencies"] += sum(summary.latency.values())
        for outcomes in summary.surveys.values():
            totals.update(total=outcomes.total, detections=outcomes.detections, duplicates=outcomes.duplicates, **outcomes.rejected)
    return totals


async def test_telemetry_adds_up(flowing: Bench) -> None:
    flowing.since = {}  # the tests before this one count too: their last summary may still be on its way
    end = (await flowing.committed())[1]
    deadline = time.monotonic() + 60
    while (before := await reported(flowing))["total"] < end:
        assert time.monotonic() < deadline, before
        await asyncio.sleep(0.2)
    packets = [packet(10_000 + i) for i in range(100)]
    await flowing.publish([*packets, b"bad", *packets[:30]])
    while (after := await reported(flowing))["total"] < end + 131 or after["scores"] == before["scores"]:
        assert time.monotonic() < deadline + 60, after
        await asyncio.sleep(0.2)
    after.subtract(before)
    assert after.pop("scores") >= 1
    assert +after == {"batched": 131, "latencies": 131, "total": 131, "detections": 100, "duplicates": 30, "unknown_survey": 1}


async def test_records_and_headers_without_a_value_are_a_packet_s_fault(flowing: Bench) -> None:
    odd: list[tuple[str, Any]] = [("traceparent", None), ("attempt", None), ("_test", None), ("alert_tense", b"x" * 1_100_000)]
    async with flowing.producer() as producer:
        await producer.send_and_wait("alerts.ztf", None, key=b"none", headers=odd)
        await producer.send_and_wait("alerts.ztf", packet(20_000), headers=[*odd, ("attempt", b"9" * 5000)])
    out = await flowing.read(2, *OUT)
    await flowing.all_committed()
    (rejected,) = out[topics.REJECTED]
    assert (rejected.value, header(rejected, "attempt"), header(rejected, "size")) == (b"", "1", "0")
    assert ids(out[topics.DETECTIONS]) == ["ztf:20000:feedfacecafe0123"]


async def test_rejected_carries_bytes_origin_and_reason(flowing: Bench) -> None:
    await flowing.publish([b"bad one"], topic="alerts.lsst", partition=2, headers=[("attempt", b"2"), ("_test", b"true")])
    record = (await flowing.read(1, topics.REJECTED))[topics.REJECTED][0]
    assert record.value == b"bad one"
    said = {name: header(record, name) for name in ("topic", "partition", "offset", "error_class", "attempt", "size", "complete", "_test")}
    assert said == {
        "topic": "alerts.lsst",
        "partition": "2",
        "offset": "0",
        "error_class": "unknown_survey",
        "attempt": "3",
        "size": "7",
        "complete": "true",
        "_test": "true",
    }
    assert "survey" in (header(record, "reason") or "")


async def test_packets_of_six_and_of_over_eight_megabytes(flowing: Bench) -> None:
    six, over = packet(30_001, size=6_000_000), b"bad" + bytes(8_100_000)
    await flowing.publish([six, b"bad" + bytes(7_900_000), over])
    out = await flowing.read(3, *OUT)
    assert ids(out[topics.DETECTIONS]) == ["ztf:30001:feedfacecafe0123"]
    by_size = {header(r, "size"): r for r in out[topics.REJECTED]}
    assert len(by_size["7900003"].value) == 7_900_003
    cut = by_size["8100003"]
    assert header(cut, "complete") == "false"
    assert cut.value == hashlib.sha256(over).digest() + over[:65_536]


async def test_class_topics_and_private_detections(flowing: Bench) -> None:
    await flowing.publish(
        [
            packet(40_001, "sn-ia", 0.6),
            packet(40_002, "sn-ia", 0.4),
            packet(40_003, "tde", 0.25),
            packet(40_004, "bogus", 0.99),
            packet(40_005, "tde", 0.9, programid=2),
        ]
    )
    names = (topics.DETECTIONS, topics.PRIVATE, *map(topics.class_topic, ("sn-ia", "tde", "bogus")))
    out = await flowing.read(7, *names)
    await flowing.all_committed()
    out = await flowing.everything(*names)
    found = {name: sorted(decode_detection(r.value).candid - 40_000 for r in records) for name, records in out.items()}
    assert found == {
        "detections": [1, 2, 3, 4],
        "detections.private": [5],
        "detections.sn-ia": [1],
        "detections.tde": [3],
        "detections.bogus": [],  # it has no threshold
    }
    assert {header(r, "programid") for r in out[topics.PRIVATE]} == {"2"}


async def test_headers_and_latency_by_one_clock(flowing: Bench) -> None:
    trace = b"00-" + b"ab" * 16 + b"-" + b"cd" * 8 + b"-01"
    await flowing.publish([packet(50_007)], headers=[("traceparent", trace), ("alert_tense", b"replay")])
    await flowing.publish([packet(50_007, probability=0.8)])
    first, second = sorted((await flowing.read(2, topics.DETECTIONS))[topics.DETECTIONS], key=lambda r: r.offset)
    incoming = (await flowing.everything("alerts.ztf"))["alerts.ztf"]
    assert header(first, "traceparent").split("-")[1] == "ab" * 16  # type: ignore[union-attr]
    assert header(first, "alert_tense") == "replay"
    assert header(first, "revision") is None
    assert header(second, "revision") == "1", "the same candid with other bytes"
    assert header(first, "ingested_at") == str(min(r.timestamp for r in incoming))
    assert {r.timestamp_type for r in [first, *incoming]} == {1}, "LogAppendTime"
    assert 0 <= first.timestamp - int(header(first, "ingested_at") or 0) < 30_000


async def test_order_holds_in_each_partition(flowing: Bench) -> None:
    async with flowing.producer() as producer:
        for i in range(1500):
            await producer.send("alerts.ztf", packet(60_000 + i, objects=4), partition=i % 4)  # object i % 4 lives in partition i % 4
        await producer.flush()
    records = (await flowing.read(1500, topics.DETECTIONS))[topics.DETECTIONS]
    by_object: dict[bytes, list[int]] = {}
    for r in sorted(records, key=lambda r: (r.partition, r.offset)):
        by_object.setdefault(r.key, []).append(decode_detection(r.value).candid)
    assert len(by_object) == 4
    for candids in by_object.values():
        assert candids == sorted(candids)


@pytest.mark.parametrize("gap", [0.05, 1.0])
async def test_a_quiet_stream_is_prompt(flowing: Bench, gap: float) -> None:
    async with flowing.producer() as producer:
        count = int(6 / max(gap, 0.2))
        for i in range(count):
            await producer.send_and_wait("alerts.ztf", packet(int(70_000 + 1000 * gap) + i), partition=i % 3)
            await asyncio.sleep(gap)
    records = (await flowing.read(count, topics.DETECTIONS))[topics.DETECTIONS]
    late = sorted(r.timestamp - int(header(r, "ingested_at") or 0) for r in records)
    assert late[len(late) // 2] < 500, late  # [ms]; 30 are usual, a fetch that Faust lets wait took up to 1,500
