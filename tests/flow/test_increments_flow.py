"""Increments through `protonova run`: its joiner killed again and again, every light curve is scored as if it had been sent whole."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from console.commands.run import Supervisor
from data.joining.curve_store import remove
from schemas.records.codec import decode_detection
from schemas.records.detection import Detection
from schemas.surveys import tess
from settings.model import Settings
from streams.agents.increments import SOURCE
from streams.kafka import topics
from streams.kafka.exactly_once import read_positions
from streams.worker import published
from tests.data.curve_parts import encode, part, record
from tests.flow.conftest import Bench, header, until

TARGETS, CADENCES, STEP = 8, 1500, 50
BROKEN = [b"no packet", encode(record(ra=400.0)), tess.encode(record())[:-100]]


async def committed_records(settings: Settings, topic: str) -> list[Any]:
    """Committed records of a topic that are there now, each partition's in order."""
    consumer = AIOKafkaConsumer(**settings.client_options(), isolation_level="read_committed", enable_auto_commit=False)
    await consumer.start()
    try:
        async with topics.admin_client(settings) as admin:
            places = [TopicPartition(topic, p) for p in range((await topics.partitions_of(admin))[topic])]
        consumer.assign(places)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(places)
        found: list[Any] = []
        while any([await consumer.position(place) < end for place, end in ends.items()]):
            for messages in (await consumer.getmany(timeout_ms=200)).values():
                found += messages
        return found
    finally:
        await consumer.stop()


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_increments_through_kills_give_what_whole_packets_do(bench: Bench, tmp_path: Path) -> None:
    settings = bench.settings.model_copy(update={"status_port": 0, "increments": True})
    log, store = settings.state / "logs" / "increments.log", settings.state / "increments" / "curves.sqlite"
    whole = {tic: record(tic, n=CADENCES, ra=10.0 + tic) for tic in range(1, TARGETS + 1)}
    # Every cadence in two increments or more, out of order, some of them twice, broken ones between them.
    sent = [encode(part(w, max(0, at - 30), at + STEP)) for w in whole.values() for at in range(0, CADENCES, STEP)]
    rng = random.Random(7)
    sent += rng.choices(sent, k=40)
    rng.shuffle(sent)
    for k, broken in enumerate(BROKEN):
        sent.insert(50 + 60 * k, broken)
    supervisor = Supervisor(settings)
    await asyncio.to_thread(supervisor.start)

    def pid() -> int | None:
        return next((p.child.pid for p in supervisor._places if p.name == "increments" and p.child is not None), None)

    def said() -> str:
        return log.read_text() if log.exists() else ""

    try:
        waves = 4
        for k in range(waves):
            # Which tries again after each kill, and is ready when it says so.
            await until(lambda wanted=k + 1: said().count("increments are joined") >= wanted and pid() is not None, 120, said)  # type: ignore[misc]
            before = len(await committed_records(settings, "alerts.tess"))
            await bench.publish(sent[k::waves], topics.INCREMENTS)
            if k == waves - 1:
                break
            deadline = asyncio.get_running_loop().time() + 120
            while len(await committed_records(settings, "alerts.tess")) <= before:  # it is at work
                assert asyncio.get_running_loop().time() < deadline, said()
            number = pid()
            assert number is not None
            os.kill(number, signal.SIGKILL)
            if k == 1:
                remove(store)  # as on another machine: all of it is made anew from the topic
        expected = {tess.encode(w) for w in whole.values()}
        deadline = asyncio.get_running_loop().time() + 120
        while True:
            found = await committed_records(settings, "alerts.tess")
            if {m.value for m in found} >= expected and len(await committed_records(settings, topics.REJECTED)) >= len(BROKEN):
                break
            assert asyncio.get_running_loop().time() < deadline, said()
            await asyncio.sleep(0.3)
        await bench.all_committed()
        detections = [decode_detection(m.value) for m in await committed_records(settings, topics.DETECTIONS)]
        rejects = await committed_records(settings, topics.REJECTED)
        positions = await read_positions(settings, SOURCE)
    finally:
        await asyncio.to_thread(supervisor.stop)

    # Each increment has its outcome.
    assert sum(positions.values()) == len(sent)
    # The last packet of each target is the whole one, and nothing was sent twice.
    assert {bytes(m.key): m.value for m in found} == {b"%d" % tic: tess.encode(w) for tic, w in whole.items()}
    assert len({m.value for m in found}) == len(found)
    assert sorted(m.value for m in rejects) == sorted(BROKEN)
    assert {header(m, "topic") for m in rejects} == {topics.INCREMENTS}
    # Each of them is scored, as it is without a broker and in one piece.
    by_id = {d.detection_id: d for d in detections}
    assert len(by_id) == len(found)
    for one in published(settings)([tess.encode(w) for w in whole.values()]):
        assert isinstance(one, Detection)
        live = by_id[one.detection_id]
        assert live.object_id == one.object_id
        assert np.float32(live.novelty) == np.float32(one.novelty)
        assert [(c.name, np.float32(c.probability)) for c in live.classes] == [(c.name, np.float32(c.probability)) for c in one.classes]
