"""Gates on a real stream: a better model is promoted by itself, a worse one that was forced is taken back, by two gatekeepers at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path

from data.simulate.night import Truth, night
from registry.bundle import load
from schemas.records import codec
from schemas.records.gate_report import PASSED, GateReport
from schemas.records.known_label import KnownLabel
from schemas.records.loop_event import GATES_JUDGED, PROMOTED, ROLLED_BACK, LoopEvent
from schemas.records.model_announced import CHAMPION, ModelAnnounced
from schemas.taxonomy import SLUGS
from streams.agents.gatekeeper import Gatekeeper
from streams.agents.teaching import read_events
from streams.kafka import topics
from streams.known_labels import write_labels
from streams.models import announced, promote, submit
from tests.flow import real_worker
from tests.flow.conftest import Bench
from tests.flow.gate_models import tempered

FIRST, SECOND = 212, 112
"""Alerts of each stretch: labels of two hundred show that a surer model is rightly so, a hundred that it is missed."""


def labels_of(truths: Iterable[Truth]) -> list[KnownLabel]:
    return [KnownLabel("ztf", t.candid, t.object_id, t.label, "simulation", 1.0, "test", 1000) for t in truths]


async def events_until(bench: Bench, event: str, *, within: float, tasks: Iterable[asyncio.Task[None]]) -> list[LoopEvent]:
    """The loop's events, once there is such a one."""
    deadline = time.monotonic() + within
    while True:
        found = await read_events(bench.settings)
        if any(e.event == event for e in found):
            return found
        for task in tasks:
            if task.done():
                task.result()
        assert time.monotonic() < deadline, f"{[(e.event, e.subject, e.note) for e in found]}\n{bench.log()}"
        await asyncio.sleep(0.5)


async def test_a_better_model_is_promoted_and_a_worse_one_that_was_forced_is_taken_back(bench: Bench, tmp_path: Path) -> None:
    settings = bench.settings.model_copy(
        update={"gates_promote": "automatic", "gates_alerts": 100, "shadow_share": 1.0, "shadow_core": 1.0}
    )
    await topics.declare(settings, SLUGS)
    packets = list(night(7, FIRST + SECOND, duplicates=0, broken=0))
    await write_labels(settings, labels_of(truth for _, truth in packets))
    unsure, good = tempered(tmp_path / "unsure", 3.0), tempered(tmp_path / "good", 1.0)
    first = await submit(settings, unsure, author="ada")
    await promote(settings, sha256=first.sha256, based_on=0, author="ada")
    challenger = await submit(settings, good, author="ada")
    bench.start(program=real_worker.__file__)
    await bench.ready()
    await bench.publish(packet for packet, _ in packets[:FIRST])

    # Two at once: the later ends the earlier at its next step, and nothing is done twice.
    tasks = [asyncio.create_task(Gatekeeper(settings).run()) for _ in range(2)]
    try:
        champion = await champion_is(bench, challenger.sha256, within=180, tasks=tasks)
        assert champion.author == "gates"
        judged = [codec.expect(e.record, GateReport) for e in await read_events(settings) if e.event == GATES_JUDGED]
        assert (judged[-1].champion, judged[-1].challenger, judged[-1].verdict) == (first.model, challenger.model, PASSED), judged

        # By hand, against what the gates say: after as many alerts they take it back by themselves.
        await promote(settings, sha256=first.sha256, based_on=champion.revision, author="bob", note="I want it")
        await asyncio.sleep(3.0)  # workers follow, and the model before begins to score along
        await bench.publish(packet for packet, _ in packets[FIRST:])
        found = await events_until(bench, ROLLED_BACK, within=180, tasks=tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await champion_is(bench, challenger.sha256, within=10, tasks=())
    done = [(e.event, e.subject, e.author) for e in found if e.event in (PROMOTED, ROLLED_BACK)]
    assert done == [
        (PROMOTED, first.model, "ada"), (PROMOTED, challenger.model, "gates"), (PROMOTED, first.model, "bob"),
        (ROLLED_BACK, challenger.model, "gates"),
    ]  # fmt: skip
    assert "Brier" in found[-1].note
    looks = [(e.subject, e.revision) for e in found if e.event == GATES_JUDGED]
    assert len(looks) == len(set(looks))
    assert load(tmp_path / "good").sha256 == challenger.sha256


async def champion_is(bench: Bench, sha256: str, *, within: float, tasks: Iterable[asyncio.Task[None]]) -> ModelAnnounced:
    """The champion's announcement, once it is this one."""
    deadline = time.monotonic() + within
    while (found := (await announced(bench.settings)).get(CHAMPION)) is None or found.sha256 != sha256:
        for task in tasks:
            if task.done():
                task.result()
        assert time.monotonic() < deadline, [(e.event, e.subject, e.note) for e in await read_events(bench.settings)]
        await asyncio.sleep(0.3)
    return found
