"""Classes taught while two real workers score: both follow, one that was killed too; forgetting gives the former scores bit for bit."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from data.simulate.described import shipped
from data.simulate.night import night
from data.simulate.observe import choose
from data.simulate.sample import sample
from data.simulate.survey_packets import packet as packet_of
from schemas.records.codec import decode_detection
from schemas.records.detection import Detection
from schemas.taxonomy import SLUGS
from streams.agents.teaching import Change, ClassConflictError, change, read_events, read_records
from streams.kafka import topics
from tests.flow import real_worker
from tests.flow.conftest import Bench, until
from tests.flow.test_publish_replay_flow import protonova

WITHIN = 6.0
"""Three times the two seconds in which every worker has to follow [s]."""


def simulated(slug: str, n: int, *, seed: int = 5) -> list[bytes]:
    """Packets of a class of the stream, or of a description."""
    if slug in SLUGS:
        return [packet for packet, _ in night(seed, n, mix={slug: 1.0}, duplicates=0, broken=0)]
    return [packet_of(choose(seen)) for seen in sample(shipped()[slug], n, seed=seed).objects]


def scoring_id(bench: Bench, slot: int) -> str:
    """What a worker scores with, as its metrics say."""
    port = json.loads((bench.settings.state / "run" / f"worker-{slot}.json").read_text())["metrics"]
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
    [sample] = [s for f in text_string_to_metric_families(text) for s in f.samples if s.name == "protonova_worker_scoring_info"]
    return str(sample.labels["scoring_id"])


async def follow(bench: Bench, wanted: str, within: float = WITHIN) -> float:
    """Wait until both workers score with a state; returns how long it took [s]."""
    started = time.monotonic()
    await until(
        lambda: {scoring_id(bench, slot) for slot in (0, 1)} == {wanted}, within, lambda: str([scoring_id(bench, s) for s in (0, 1)])
    )
    return time.monotonic() - started


async def scored(bench: Bench, packets: list[bytes]) -> list[Detection]:
    """Publish packets that were not sent before, and read what became of them."""
    await bench.mark()
    await bench.publish(packets)
    found = await bench.read(len(packets), topics.DETECTIONS)
    return sorted((decode_detection(r.value) for r in found[topics.DETECTIONS]), key=lambda d: d.packet_id)


async def test_a_class_is_taught_followed_and_forgotten(two: Bench, tmp_path: Path) -> None:
    first = scoring_id(two, 0)
    await scored(two, simulated("sn-ia", 240))
    folder = tmp_path / "examples"
    folder.mkdir()
    for i, example in enumerate(simulated("lrn", 5)):
        (folder / f"{i}.avro").write_bytes(example)
    dry = await asyncio.to_thread(protonova, two.settings, "teach", "fast-blue", str(folder), "--dry-run")
    assert "fast-blue from 5 examples" in dry.stdout
    assert await read_records(two.settings) == {}

    report = tmp_path / "report.json"
    await asyncio.to_thread(protonova, two.settings, "teach", "fast-blue", str(folder), "--author", "ada", "--report", str(report))
    taught = json.loads(report.read_text())
    print(f"both workers followed {await follow(two, taught['scoring_id']):.2f} s after the command's return")
    assert taught["scoring_id"] != first
    assert taught["window"] == 240
    known, new = await scored(two, simulated("sn-ia", 30, seed=6)), await scored(two, simulated("lrn", 30, seed=6))
    assert {d.scoring_id for d in known + new} == {taught["scoring_id"]}
    assert all("fast-blue" in {c.name for c in d.classes} for d in known + new)
    assert sum(d.top_class == "fast-blue" for d in new) >= 5  # of 30; 16 are expected
    assert sum(d.top_class == "fast-blue" for d in new) > 3 * sum(d.top_class == "fast-blue" for d in known)

    # A worker that was killed comes back with it, and one that starts later has it from its first packet.
    two.workers[0].kill()
    two.start(0, program=real_worker.__file__)
    await two.ready(0)
    assert scoring_id(two, 0) == taught["scoring_id"]

    listed = await asyncio.to_thread(protonova, two.settings, "classes", "--json")
    [row] = [json.loads(line) for line in listed.stdout.splitlines()]
    assert (row["name"], row["revision"], row["author"], len(row["packet_ids"])) == ("fast-blue", 1, "ada", 5)
    again = await asyncio.to_thread(protonova, two.settings, "teach", "fast-blue", str(folder), expect=1)
    assert "taught already" in again.stderr
    file = tmp_path / "class.json"
    await asyncio.to_thread(protonova, two.settings, "classes", "export", "fast-blue", str(file))

    await asyncio.to_thread(protonova, two.settings, "forget", "fast-blue")
    await follow(two, first)
    before = await scored(two, simulated("cv", 20, seed=7))
    assert not any("fast-blue" in {c.name for c in d.classes} for d in before)

    # Taken back from its file it gives the same state: the id is that of the first time.
    await asyncio.to_thread(protonova, two.settings, "classes", "import", str(file))
    await follow(two, taught["scoring_id"])
    events = await read_events(two.settings)
    assert [(e.event, e.revision) for e in events] == [("taught", 1), ("forgotten", 2), ("taught", 3)]


async def test_two_at_once_lose_nothing(bench: Bench) -> None:
    from pipeline.examples import see_packets
    from pipeline.state import load as load_state
    from registry.bundle import load
    from registry.taught_classes import Example, Lesson, solve

    bundle, state = load(), load_state()
    packets = simulated("lrn", 4)
    seen = see_packets(packets, state)
    examples = tuple(Example(row.packet_id, row.object_id, row.private) for row in seen.rows)

    def wanted(name: str, author: str, based_on: int = 0) -> Change:
        lesson = Lesson(name, examples, seen.views, author=author)
        record = solve(lesson, bundle.head, encoder_id=state.encoder.id, reference=bundle.reference, window=None, revision=1, taught_ms=1)
        public = {row.packet_id: packets[row.position] for row in seen.rows}
        return Change(name, author, "", record, public, based_on, 1)

    # Different classes at once: all are there afterwards.
    names = ["fast-blue", "slow-red", "odd-one"]
    await asyncio.gather(*(change(bench.settings, wanted(name, "ada")) for name in names))
    assert sorted(await read_records(bench.settings)) == sorted(names)
    # One class at once: one of them is accepted, the other refused, and nothing of the loser is there.
    found = await asyncio.gather(*(change(bench.settings, wanted("same-one", who)) for who in ("ada", "bob")), return_exceptions=True)
    [lost] = [one for one in found if isinstance(one, ClassConflictError)]
    records = await read_records(bench.settings)
    assert records["same-one"].author in str(lost)
    assert records["same-one"].revision == 1
    assert [e.author for e in await read_events(bench.settings) if e.subject == "same-one"] == [records["same-one"].author]
