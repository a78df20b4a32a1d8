"""Hostile records on every topic of ours, in a real Apache Kafka: page, drift, watch and the demo's counts go on, and the count shows."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from console.outcome_counts import Listener
from schemas.records import codec
from schemas.records.detection import Detection
from service.status.exposition import exposition
from service.status.feed import Feed
from service.status.figures import Figures
from service.status.page import page
from streams.kafka import topics
from tests.flow.conftest import Bench
from tests.flow.stand_in import StandIn, packet
from tests.flow.test_drift_flow import MODEL, stream
from tests.flow.test_drift_flow import watch as drift_process
from tests.flow.test_status_flow import command
from tests.schemas.test_bad_records import HOSTILE
from tests.schemas.test_records import ALARM, COMMAND, SUMMARY, WORKER
from tests.streams.drift_stream import ship

SENT = [value for value in HOSTILE.values() if len(value) < 999_000]
"""The broker itself refuses a larger one on these topics."""
FEW = SENT[:6]
"""As many as the page reads of a partition at once."""


def detection(candid: int) -> Detection:
    found = StandIn().one(packet(candid))
    assert isinstance(found, Detection)
    return found


async def send(bench: Bench, topic: str, *values: bytes, **headers: bytes) -> None:
    """Records in their order, on one partition."""
    async with bench.producer() as producer:
        for value in values:
            await producer.send_and_wait(topic, value, partition=0, headers=list(headers.items()))


async def shown(figures: Figures, true: Callable[[dict[str, Any]], bool], within: float = 60.0) -> dict[str, Any]:
    """The page's figures once they are so."""
    end = time.monotonic() + within
    while not true(snapshot := figures.snapshot()):
        assert time.monotonic() < end, json.dumps(snapshot["bad_records"])
        await asyncio.sleep(0.1)
    return snapshot


@asynccontextmanager
async def status(bench: Bench) -> AsyncIterator[Figures]:
    """What feeds the status page, listening."""
    figures = Figures(time.time, bench.settings.kafka or "")
    task = asyncio.create_task(Feed(bench.settings, figures).run())
    await shown(figures, lambda s: bool(s["state"] != "down"))
    await asyncio.sleep(2)  # the ends from which it reads are asked for one after the other
    yield figures
    assert not task.done(), "the feed has ended"
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_the_page_goes_on_and_shows_how_many_there_were(bench: Bench) -> None:
    now = int(time.time() * 1000)
    alive = codec.encode(WORKER.__class__("w", now - 1000, now, "s", "m", "e", WORKER.surveys, {"agn": 2}, 1, 4, 2.5, {0: 4}))
    async with status(bench) as figures:
        await send(bench, topics.TELEMETRY, *SENT, codec.encode(SUMMARY), alive)
        await send(bench, topics.ALARMS, *SENT, codec.encode(ALARM))
        await send(bench, topics.DETECTIONS, *FEW, codec.encode(detection(7)))
        s = await shown(figures, lambda s: bool(s["totals"]["in"] and s["alarms"] and s["detections"]))
        assert s["totals"]["in"] == 4
        assert s["alarms"][0]["statistic"] == "novelty"
        assert s["detections"][0]["object_id"] == "ZTF7"
        counted = {t: sum(row["records"] for row in s["bad_records"] if row["topic"] == t) for t in (topics.TELEMETRY, topics.ALARMS)}
        assert counted == {topics.TELEMETRY: len(SENT), topics.ALARMS: len(SENT)}
        assert sum(row["records"] for row in s["bad_records"] if row["topic"] == topics.DETECTIONS) == len(FEW)
        text = page(s)
        assert "Bad records" in text
        assert "bad_schema_id" in text
        families = {f.name: f for f in text_string_to_metric_families(exposition(s).decode())}
        assert sum(x.value for x in families["protonova_stream_bad_records"].samples) == 2 * len(SENT) + len(FEW)


@pytest.mark.slow
async def test_drift_goes_on_raises_its_alarm_and_says_how_many(bench: Bench) -> None:
    await send(bench, topics.RETRAIN, *SENT, codec.encode(COMMAND))
    log = bench.settings.state / "logs" / "drift.log"
    ship(bench.settings.state, MODEL)
    process = await drift_process(bench)
    try:
        await send(bench, topics.TELEMETRY, *stream(3_000, seed=1, night=40), *SENT, *stream(3_000, seed=2, night=41))
        await send(bench, topics.TELEMETRY, *stream(24_000, seed=3, night=42, moved={"zp": 0.3}))
        out = await bench.read(1, topics.ALARMS)
        assert codec.decode(out[topics.ALARMS][0].value).statistic == "zp"  # type: ignore[union-attr]
        assert process.poll() is None, log.read_text()
        said = [line for line in log.read_text().splitlines() if "of ours passed over" in line]
        assert 1 <= len(said) <= 2, "once a minute"
        assert "commands.retrain" in said[0]
    finally:
        process.stop()


@pytest.mark.slow
async def test_watch_goes_on_and_says_how_many(bench: Bench) -> None:
    good = [codec.encode(detection(i)) for i in range(3)]
    for topic, *arguments in ((topics.DETECTIONS,), (topics.class_topic("tde"), "--class", "tde")):
        await send(bench, topic, *SENT, *good)
        ran = await asyncio.to_thread(command, bench.settings, "watch", "--from-beginning", "--json", "--count", "3", *arguments)
        assert ran.returncode == 0, ran.stderr
        assert [int(json.loads(line)["candid"]) for line in ran.stdout.splitlines()] == [0, 1, 2]
        assert ran.stderr.count("of ours passed over") == 1


async def test_the_demos_counts_goes_on(bench: Bench) -> None:
    good = codec.encode(detection(5))
    for topic in (topics.DETECTIONS, topics.PRIVATE, topics.TELEMETRY):
        await send(bench, topic, *SENT)
    await send(bench, topics.DETECTIONS, good)  # without a header that ours have
    await send(bench, topics.DETECTIONS, good, ingested_at=b"123")
    async with Listener(bench.settings) as listener:
        assert await listener.until(1, 30)
        end = time.monotonic() + 30
        while listener.counts.bad.total < 3 * len(SENT) + 1:
            assert time.monotonic() < end, listener.counts.bad.counts
            await asyncio.sleep(0.1)
        assert [a.detection.candid for a in listener.counts.arrivals] == [5]


async def test_embeddings_lie_beside_the_detections_and_private_ones_apart(bench: Bench) -> None:
    bench.start()
    await bench.publish([*(packet(i) for i in range(20)), *(packet(100 + i, programid=2) for i in range(5)), packet(3)])
    out = await bench.read(50, topics.DETECTIONS, topics.PRIVATE, topics.EMBEDDINGS, topics.EMBEDDINGS_PRIVATE)
    await bench.all_committed()
    again = await bench.everything(topics.EMBEDDINGS, topics.EMBEDDINGS_PRIVATE)
    for reported, other in ((topics.DETECTIONS, topics.EMBEDDINGS), (topics.PRIVATE, topics.EMBEDDINGS_PRIVATE)):
        scored = {d.packet_id: d for d in (codec.decode_detection(r.value) for r in out[reported])}
        found = [codec.decode(r.value) for r in again[other]]
        assert {e.packet_id for e in found} == set(scored)  # type: ignore[union-attr]
        assert len(found) == len(scored) == (20 if reported == topics.DETECTIONS else 5)
        assert all(e.programid == scored[e.packet_id].programid and e.classes == scored[e.packet_id].classes for e in found)  # type: ignore[union-attr]
        assert [r.key.decode() for r in again[other]] == [e.object_id for e in found]  # type: ignore[union-attr]


async def test_a_revision_is_a_detection_of_its_own_and_a_copy_is_none(bench: Bench) -> None:
    bench.start()
    first, other = packet(1), packet(1, probability=0.5)
    await bench.publish([first])
    await bench.read(1, topics.DETECTIONS)
    await bench.publish([first, other, first, other])
    out = (await bench.read(2, topics.DETECTIONS))[topics.DETECTIONS]
    await bench.all_committed()
    assert len((await bench.everything(topics.DETECTIONS))[topics.DETECTIONS]) == 2
    found = [codec.decode_detection(r.value) for r in out]
    assert [d.candid for d in found] == [1, 1]
    assert len({d.packet_id for d in found}) == len({d.detection_id for d in found}) == 2
    assert [dict(r.headers).get("revision") for r in out] == [None, b"1"]
