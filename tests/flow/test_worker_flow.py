"""A worker process against Apache Kafka: everything that goes in comes out once, in order, where it belongs."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter

import pytest

from schemas.records import decode_detection
from streams import topics
from streams.telemetry import decode_summary
from tests.flow.conftest import Bench, header, ids
from tests.flow.stand_in import packet

OUT = (topics.DETECTIONS, topics.REJECTED)


async def test_in_is_detections_and_rejected_and_duplicates(bench: Bench) -> None:
    good = [packet(i, size=5000) for i in range(200)]
    bad = [b"bad packet %d" % i for i in range(20)]
    await bench.publish([*good, *bad, *good[:50], *bad[:5]])  # ZTF has sent every packet twice for weeks
    bench.start()
    out = await bench.read(200 + 25, *OUT)
    await bench.all_committed()
    detections = ids(out[topics.DETECTIONS])
    assert sorted(detections) == sorted({f"ztf:{i}:feedfacecafe0123" for i in range(200)})
    assert len(out[topics.REJECTED]) == 25, "a repeat of a rejected packet is rejected again"


async def test_telemetry_adds_up(bench: Bench) -> None:
    bench.start()
    await bench.ready()
    await bench.publish([*(packet(i) for i in range(100)), b"bad", *(packet(i) for i in range(30))])
    await bench.all_committed()
    await asyncio.sleep(2.2)
    totals: Counter[str] = Counter()
    scores = 0
    for record in (await bench.everything(topics.TELEMETRY))[topics.TELEMETRY]:
        try:
            summary = decode_summary(record.value)
        except ValueError:
            scores += 1
            continue
        totals["batched"] += summary.packets
        totals["latencies"] += sum(summary.latency.values())
        for outcomes in summary.surveys.values():
            totals.update(total=outcomes.total, detections=outcomes.detections, duplicates=outcomes.duplicates, **outcomes.rejected)
    assert totals == {"batched": 131, "latencies": 131, "total": 131, "detections": 100, "duplicates": 30, "unknown_survey": 1}
    assert scores >= 1


async def test_rejected_carries_bytes_origin_and_reason(bench: Bench) -> None:
    bench.start()
    await bench.publish([b"bad one"], topic="alerts.lsst", partition=2, headers=[("attempt", b"2"), ("_test", b"true")])
    record = (await bench.read(1, topics.REJECTED))[topics.REJECTED][0]
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


async def test_packets_of_six_and_of_over_eight_megabytes(bench: Bench) -> None:
    six, over = packet(1, size=6_000_000), b"bad" + bytes(8_100_000)
    await bench.publish([six, b"bad" + bytes(7_900_000), over])
    bench.start()
    out = await bench.read(3, *OUT)
    assert ids(out[topics.DETECTIONS]) == ["ztf:1:feedfacecafe0123"]
    by_size = {header(r, "size"): r for r in out[topics.REJECTED]}
    assert len(by_size["7900003"].value) == 7_900_003
    cut = by_size["8100003"]
    assert header(cut, "complete") == "false"
    assert cut.value == hashlib.sha256(over).digest() + over[:65_536]


async def test_class_topics_and_private_detections(bench: Bench) -> None:
    bench.start()
    await bench.publish(
        [
            packet(1, "sn-ia", 0.6),
            packet(2, "sn-ia", 0.4),
            packet(3, "tde", 0.25),
            packet(4, "bogus", 0.99),
            packet(5, "tde", 0.9, programid=2),
        ]
    )
    names = (topics.DETECTIONS, topics.PRIVATE, *map(topics.class_topic, ("sn-ia", "tde", "bogus")))
    out = await bench.read(7, *names)
    await bench.all_committed()
    out = await bench.everything(*names)
    found = {name: sorted(decode_detection(r.value).candid for r in records) for name, records in out.items()}
    assert found == {
        "detections": [1, 2, 3, 4],
        "detections.private": [5],
        "detections.sn-ia": [1],
        "detections.tde": [3],
        "detections.bogus": [],  # it has no threshold
    }
    assert {header(r, "programid") for r in out[topics.PRIVATE]} == {"2"}


async def test_headers_and_latency_by_one_clock(bench: Bench) -> None:
    bench.start()
    await bench.ready()
    trace = b"00-" + b"ab" * 16 + b"-" + b"cd" * 8 + b"-01"
    await bench.publish([packet(7)], headers=[("traceparent", trace), ("alert_tense", b"replay")])
    await bench.publish([packet(7, probability=0.8)])
    first, second = sorted((await bench.read(2, topics.DETECTIONS))[topics.DETECTIONS], key=lambda r: r.offset)
    incoming = (await bench.everything("alerts.ztf"))["alerts.ztf"]
    assert header(first, "traceparent").split("-")[1] == "ab" * 16  # type: ignore[union-attr]
    assert header(first, "alert_tense") == "replay"
    assert header(first, "revision") is None
    assert header(second, "revision") == "1", "the same candid with other bytes"
    assert header(first, "ingested_at") == str(min(r.timestamp for r in incoming))
    assert {r.timestamp_type for r in [first, *incoming]} == {1}, "LogAppendTime"
    assert 0 <= first.timestamp - int(header(first, "ingested_at") or 0) < 5000


async def test_order_holds_in_each_partition(bench: Bench) -> None:
    async with bench.producer() as producer:
        for i in range(1500):
            await producer.send("alerts.ztf", packet(i, objects=4), partition=i % 4)  # object i % 4 lives in partition i % 4
        await producer.flush()
    bench.start()
    records = (await bench.read(1500, topics.DETECTIONS))[topics.DETECTIONS]
    by_object: dict[bytes, list[int]] = {}
    for r in sorted(records, key=lambda r: (r.partition, r.offset)):
        by_object.setdefault(r.key, []).append(decode_detection(r.value).candid)
    assert len(by_object) == 4
    for candids in by_object.values():
        assert candids == sorted(candids)


async def test_container_setting(bench: Bench) -> None:
    import io

    import fastavro

    bench.settings = bench.settings.model_copy(update={"container_output": True})
    bench.start()
    await bench.publish([packet(1)])
    record = (await bench.read(1, topics.DETECTIONS))[topics.DETECTIONS][0]
    (row,) = fastavro.reader(io.BytesIO(record.value))
    assert row["detection_id"] == "ztf:1:feedfacecafe0123"  # type: ignore[index,call-overload]


@pytest.mark.parametrize("gap", [0.05, 1.0])
async def test_a_quiet_stream_is_prompt(bench: Bench, gap: float) -> None:
    bench.start()
    await bench.ready()
    async with bench.producer() as producer:
        for i in range(int(6 / max(gap, 0.2))):
            await producer.send_and_wait("alerts.ztf", packet(i), partition=i % 3)
            await asyncio.sleep(gap)
    records = (await bench.read(1, topics.DETECTIONS))[topics.DETECTIONS]
    records = (await bench.everything(topics.DETECTIONS))[topics.DETECTIONS]
    late = sorted(r.timestamp - int(header(r, "ingested_at") or 0) for r in records)
    assert late[len(late) // 2] < 250, late  # [ms]; a fetch that Faust lets wait took up to 1,500
