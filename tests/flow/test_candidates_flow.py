"""Candidates on a real broker: each step once, whatever is killed; private ones apart."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

import pytest

from console.child import Child
from schemas.records import codec
from schemas.records.candidate import Candidate
from schemas.records.detection import Detection
from schemas.records.known_label import KnownLabel, label_key
from streams.agents.candidates import Book
from streams.kafka import topics
from tests.flow.conftest import Bench
from tests.streams.made_detections import detection

PROGRAM = "import asyncio; from settings.model import Settings; from streams.agents.candidates import run; asyncio.run(run(Settings()))"


def start(bench: Bench) -> Child:
    where = {"PYTHONPATH": str(Path(__file__).parents[2]), **bench.settings.environment()}
    return Child([sys.executable, "-c", PROGRAM], bench.settings.state / "logs" / "candidates.log", environment=where)


def nights(n: int, seed: int) -> list[Detection]:
    """Objects that cross, fall, change their class and come again."""
    rng = random.Random(seed)
    return [
        detection(
            f"Z{rng.randrange(n // 8)}", 60_000.0 + k / 100, name=rng.choice(["tde", "sn-ia"]), published=rng.random() < 0.5, candid=k,
            programid=1 if rng.random() < 0.9 else 2,
        )
        for k in range(n)
    ]  # fmt: skip


async def put(bench: Bench, found: list[Detection]) -> None:
    from aiokafka import AIOKafkaProducer

    producer = AIOKafkaProducer(**bench.settings.client_options(), acks="all")
    await producer.start()
    try:
        for one in found:
            topic = topics.DETECTIONS if one.programid == 1 else topics.PRIVATE
            await producer.send(topic, codec.encode(one), key=one.object_id.encode())
        await producer.flush()
    finally:
        await producer.stop()


async def label(bench: Bench, object_id: str, name: str) -> None:
    from aiokafka import AIOKafkaProducer

    producer = AIOKafkaProducer(**bench.settings.client_options(), acks="all")
    await producer.start()
    try:
        known = KnownLabel("ztf", 10**9, object_id, name, "tns", 1.0, "ada", 1)
        await producer.send_and_wait(topics.LABELS_KNOWN, codec.encode(known), key=label_key("ztf", 10**9))
    finally:
        await producer.stop()


async def written(bench: Bench, topic: str) -> list[Candidate]:
    """Committed steps."""
    from streams.kafka.exactly_once import decided_records

    return [codec.expect(message.value, Candidate) async for message in decided_records(bench.settings, topic)]


def expected(found: list[Detection], *, public: bool) -> set[tuple[str, str, str]]:
    book = Book()
    return {(s.candidate_id, s.event, s.packet_id) for one in found if (one.programid == 1) == public for s in book.take(one)}


async def complete(bench: Bench, topic: str, wanted: set[tuple[str, str, str]], *, within: float = 60.0) -> list[Candidate]:
    steps: list[Candidate] = []
    deadline = asyncio.get_running_loop().time() + within
    while len(steps) < len(wanted):
        assert asyncio.get_running_loop().time() < deadline, (bench.settings.state / "logs" / "candidates.log").read_text()
        await asyncio.sleep(0.2)
        steps = await written(bench, topic)
    return steps


@pytest.mark.parametrize("kills", [0, pytest.param(6, marks=pytest.mark.slow)])
async def test_each_step_is_there_once(bench: Bench, kills: int) -> None:
    found = nights(160 if not kills else 1_200, seed=1)
    child = start(bench)
    try:
        for k in range(max(kills, 1)):
            part = len(found) // max(kills, 1)
            await put(bench, found[k * part :] if k == max(kills, 1) - 1 else found[k * part : (k + 1) * part])
            if kills:
                await asyncio.sleep(random.Random(k).uniform(0.3, 4.0))
                child.kill()
                child = start(bench)
        for topic, public in ((topics.CANDIDATES, True), (topics.CANDIDATES_PRIVATE, False)):
            wanted = expected(found, public=public)
            steps = await complete(bench, topic, wanted, within=120.0)
            assert sorted((s.candidate_id, s.event, s.packet_id) for s in steps) == sorted(wanted)
            assert {s.programid == 1 for s in steps} == {public}
        standing = next(s for s in reversed(await written(bench, topics.CANDIDATES)) if s.event == "opened" and _stands(found, s))
        await label(bench, standing.object_id, "agn")
        n = len(expected(found, public=True))
        steps = await complete(bench, topics.CANDIDATES, {("", "", str(k)) for k in range(n + 1)})
        assert (standing.candidate_id, "refuted") in {(s.candidate_id, s.event) for s in steps}
    finally:
        child.kill()


def _stands(found: list[Detection], step: Candidate) -> bool:
    book = Book()
    for one in found:
        if one.programid == 1:
            book.take(one)
    return step.candidate_id in {s.candidate_id for s in book.open_candidates()}
