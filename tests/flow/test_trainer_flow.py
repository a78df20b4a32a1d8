"""The trainer against Apache Kafka: a command becomes a challenger once, whenever the process is killed; a second one is merged."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
import time
from pathlib import Path

import psutil
import pytest

pytest.importorskip("torch")

from console.child import Child
from data.simulate.described import shipped
from data.simulate.observe import choose
from data.simulate.sample import sample
from data.simulate.survey_packets import packet as packet_of
from learning.challenger_process import OUTCOME
from registry.bundle import load
from schemas.records import codec
from schemas.records.known_label import KnownLabel
from schemas.records.retrain_command import RetrainCommand
from schemas.surveys.decode import Decoder
from streams.agents.teaching import read_events
from streams.kafka import topics
from streams.models import announced, fetch
from tests.flow.conftest import Bench, until

NEW = "luminous-fast-cooler"


def command(name: str, *, since_ms: int = 1, recipe: str = "head") -> bytes:
    """A command as the drift process gives it."""
    return codec.encode(RetrainCommand(name, "s", "a new population", "a", since_ms, recipe))


class Process:
    """A trainer in a process of its own, on a bench."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.log = bench.settings.state / "logs" / "trainer.log"
        self.child: Child | None = None

    def start(self, **environment: str) -> None:
        self.log.write_bytes(b"")
        where = {
            "PYTHONPATH": str(Path(__file__).parents[2]),
            **self._bench.settings.environment(),
            "PROTONOVA_LEDGER": "off",
            **environment,
        }
        self.child = Child([sys.executable, "-m", "console.cli", "trainer"], self.log, environment=where)

    async def says(self, text: str, within: float = 120.0) -> None:
        await until(lambda: text in self.log.read_text(), within, self.log.read_text)

    def kill(self) -> None:
        assert self.child is not None
        self.child.kill()


async def labelled(bench: Bench, packets: list[bytes]) -> None:
    """Publish packets of the new class with their labels."""
    await bench.publish(packets)
    batch = Decoder().decode(packets).batch
    async with bench.producer() as producer:
        for candid, name in zip(batch.candid, batch.object_id, strict=True):
            label = KnownLabel("ztf", candid, name, NEW, "test", 1.0, "ada", 1)
            await producer.send_and_wait(topics.LABELS_KNOWN, codec.encode(label), key=label.key)


async def steps(bench: Bench) -> list[str]:
    """What happened so far, in order."""
    return [event.event for event in await read_events(bench.settings)]


async def ended(bench: Bench, within: float = 150.0) -> list[str]:
    """Wait until a challenger is announced or an attempt has failed."""
    deadline = time.monotonic() + within
    while not {"announced", "retrain_failed"} & set(found := await steps(bench)):
        assert time.monotonic() < deadline, (bench.settings.state / "logs" / "trainer.log").read_text()
        await asyncio.sleep(0.3)
    return found


@pytest.fixture
def new() -> list[bytes]:
    return [packet_of(choose(seen)) for seen in sample(shipped()[NEW], 8, seed=41).objects]


async def test_commands_become_one_challenger_whenever_the_trainer_is_killed(bench: Bench, new: list[bytes]) -> None:
    await labelled(bench, new)
    process = Process(bench)
    attempt = bench.settings.state / "training" / "current"
    try:
        await bench.publish([command("one"), command("two", since_ms=2), b"no record", command("one")], topics.RETRAIN)
        process.start()
        await until(lambda: (attempt / "order.json").exists(), 90, process.log.read_text)
        process.kill()  # its order is written, its attempt's process ends with it
        order = (attempt / "order.json").read_bytes()
        process.start()
        await until(lambda: (attempt / OUTCOME).exists() or "is announced" in process.log.read_text(), 120, process.log.read_text)
        process.kill()  # its bundle is made, and perhaps announced
        process.start()
        await ended(bench)
        await process.says("is announced" if "is announced" not in process.log.read_text() else "waiting")
        found = await steps(bench)
        assert sorted(found) == sorted(["retrain_commanded", "retrain_merged", "challenger_made", "announced"]), found
        assert json.loads(order)["packet_ids"]
        challenger = (await announced(bench.settings))["challenger"]
        bundle = load(await fetch(bench.settings, challenger))
        assert bundle.head.taught == (NEW,)
        assert bundle.manifest.retrain is not None
        assert bundle.manifest.retrain["labels"] == {NEW: 8}
        assert not attempt.exists()
    finally:
        process.kill()
    assert not [one.pid for one in psutil.process_iter(["cmdline"]) if str(attempt) in (one.info["cmdline"] or ())]


async def test_an_attempt_that_fails_costs_itself_alone(bench: Bench, new: list[bytes]) -> None:
    await labelled(bench, new)
    process = Process(bench)
    try:
        process.start(PROTONOVA_RETRAIN_MEMORY_MB="500")
        await process.says("waiting for retrain commands")
        await bench.publish([command("hungry")], topics.RETRAIN)
        assert await ended(bench) == ["retrain_commanded", "retrain_failed"]
        assert process.child is not None
        assert process.child.poll() is None
        failed = (await read_events(bench.settings))[-1]
        assert "memory" in failed.note, failed.note
        await bench.publish([command("hungry")], topics.RETRAIN)  # the same one: nothing is done again
        await asyncio.sleep(2)
        assert len(await steps(bench)) == 2
    finally:
        process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.nightly)])
async def test_a_trainer_killed_again_and_again_does_nothing_twice(bench: Bench, new: list[bytes], seed: int) -> None:
    await labelled(bench, new)
    process, rng = Process(bench), random.Random(seed)
    await bench.publish([command("one"), command("two", since_ms=2)], topics.RETRAIN)
    try:
        for _ in range(6):  # from before it has read anything to behind the announcement
            process.start()
            with contextlib.suppress(AssertionError):
                await process.says("waiting for retrain commands", within=20)
            await asyncio.sleep(rng.uniform(0, 6))
            process.kill()
        process.start()
        await ended(bench)
        await asyncio.sleep(3)
        found = await steps(bench)
        assert sorted(found) == sorted(["retrain_commanded", "retrain_merged", "challenger_made", "announced"]), found
    finally:
        process.kill()
