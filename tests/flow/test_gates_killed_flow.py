"""Shadow and gatekeeper killed (SIGKILL) at each step: the next goes on; a promotion, its taking back, a look, a question come once."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from console.child import Child
from data.simulate.night import night
from schemas.records import codec
from schemas.records.gate_report import GateReport
from schemas.records.label_wanted import LabelWanted
from schemas.records.loop_event import GATES_JUDGED, LABELS_WANTED, PROMOTED, ROLLED_BACK, LoopEvent
from schemas.taxonomy import SLUGS
from streams.agents.teaching import read_events
from streams.kafka import topics
from streams.kafka.exactly_once import decided_records
from streams.known_labels import write_labels
from streams.models import promote, submit
from tests.flow import killed_gatekeeper, real_worker
from tests.flow.conftest import Bench, until
from tests.flow.gate_models import tempered
from tests.flow.test_gates_flow import FIRST, SECOND, champion_is, labels_of

AGAIN_S = 8.0
"""Two looks of a gatekeeper that has nothing left to do [s]."""
nightly = pytest.mark.nightly


class Process:
    """Shadow and gatekeeper in a process of their own, on a bench."""

    def __init__(self, bench: Bench) -> None:
        self.log = bench.settings.state / "logs" / "gates.log"
        self._where = {
            "PYTHONPATH": str(Path(__file__).parents[2]), **bench.settings.environment(), "PROTONOVA_GATES_PROMOTE": "automatic",
            "PROTONOVA_GATES_ALERTS": "100", "PROTONOVA_SHADOW_SHARE": "1", "PROTONOVA_SHADOW_CORE": "1",
        }  # fmt: skip
        self._child: Child | None = None

    def start(self, place: str = "", number: int = 0) -> None:
        self.log.parent.mkdir(exist_ok=True)
        self._child = Child([sys.executable, killed_gatekeeper.__file__, place, str(number)], self.log, environment=self._where)

    async def ends_at(self, place: str, number: int) -> None:
        self.start(place, number)
        child = self._child
        assert child is not None
        await until(lambda: child.poll() is not None, 150, self.log.read_text)
        assert child.poll() == -signal.SIGKILL, self.log.read_text()

    def stop(self) -> None:
        if self._child is not None:
            self._child.kill()


async def decided(bench: Bench, *, alerts: int) -> list[tuple[str, str, str]]:
    """Promotions and their taking back, in order; asserts that no look and no question came twice, none of more alerts than there are."""
    events = await read_events(bench.settings)
    looks = [codec.expect(e.record, GateReport) for e in events if e.event == GATES_JUDGED]
    assert looks
    assert max(Counter((r.champion, r.challenger, r.alerts, r.labels) for r in looks).values()) == 1, looks
    said = await values(bench, topics.SHADOW)
    for report in looks:
        assert report.alerts <= min(alerts, len({d.packet_id for d in said if getattr(d, "model", "") == report.challenger}))
    for subject in {e.subject for e in events if e.event == GATES_JUDGED}:
        numbers = [e.revision for e in events if e.event == GATES_JUDGED and e.subject == subject]
        assert numbers == list(range(1, len(numbers) + 1))
    asked = Counter((q.model, q.candid) for q in await values(bench, topics.LABELS_WANTED) if isinstance(q, LabelWanted))
    assert set(asked.values()) <= {1}
    assert sum(asked.values()) == sum(int(e.note.split()[0]) for e in events if e.event == LABELS_WANTED)
    return [(e.event, e.subject, e.author) for e in events if isinstance(e, LoopEvent) and e.event in (PROMOTED, ROLLED_BACK)]


async def values(bench: Bench, topic: str) -> list[object]:
    """What a topic holds, of this test."""
    return [codec.decode(m.value) async for m in decided_records(bench.settings, topic) if m.value]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "number"),
    [
        pytest.param("scored", 70, marks=nightly), pytest.param("copied", 40, marks=nightly), pytest.param("reported", 1, marks=nightly),
        pytest.param("judged", 1, marks=nightly), ("changing", 1), pytest.param("changed", 1, marks=nightly),
    ],
)  # fmt: skip
async def test_a_better_model_is_promoted_once(bench: Bench, tmp_path: Path, place: str, number: int) -> None:
    settings = bench.settings
    await topics.declare(settings, SLUGS)
    packets = list(night(7, FIRST, duplicates=0, broken=0))
    await write_labels(settings, labels_of(truth for _, truth in packets))
    first = await submit(settings, tempered(tmp_path / "unsure", 3.0), author="ada")
    await promote(settings, sha256=first.sha256, based_on=0, author="ada")
    challenger = await submit(settings, tempered(tmp_path / "good", 1.0), author="ada")
    bench.start(program=real_worker.__file__)
    await bench.ready()
    await bench.publish(packet for packet, _ in packets)
    process = Process(bench)
    try:
        await process.ends_at(place, number)
        process.start()
        assert (await champion_is(bench, challenger.sha256, within=150, tasks=())).author == "gates"
        await asyncio.sleep(AGAIN_S)
    finally:
        process.stop()
    assert await decided(bench, alerts=FIRST) == [(PROMOTED, first.model, "ada"), (PROMOTED, challenger.model, "gates")]


@nightly
@pytest.mark.parametrize(("place", "number"), [("scored", 40), ("reported", 1), ("judged", 1), ("changing", 1), ("changed", 1)])
async def test_a_worse_model_is_taken_back_once(bench: Bench, tmp_path: Path, place: str, number: int) -> None:
    settings = bench.settings
    await topics.declare(settings, SLUGS)
    packets = list(night(7, SECOND, duplicates=0, broken=0))
    await write_labels(settings, labels_of(truth for _, truth in packets))
    good = await submit(settings, tempered(tmp_path / "good", 1.0), author="ada")
    was = await promote(settings, sha256=good.sha256, based_on=0, author="ada")
    bad = await submit(settings, tempered(tmp_path / "unsure", 3.0), author="bob")
    await promote(settings, sha256=bad.sha256, based_on=was.revision, author="bob", note="I want it")
    bench.start(program=real_worker.__file__)
    await bench.ready()
    await bench.publish(packet for packet, _ in packets)
    process = Process(bench)
    try:
        await process.ends_at(place, number)
        process.start()
        await champion_is(bench, good.sha256, within=150, tasks=())
        await asyncio.sleep(AGAIN_S)
    finally:
        process.stop()
    done = [(PROMOTED, good.model, "ada"), (PROMOTED, bad.model, "bob"), (ROLLED_BACK, good.model, "gates")]
    assert await decided(bench, alerts=SECOND) == done
