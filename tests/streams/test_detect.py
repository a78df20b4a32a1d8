"""Duplicates, revisions, and an engine that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.state import load
from schemas.avro.container import encode_ztf
from schemas.records.detection import Detection
from schemas.records.rejected import Rejected
from streams.agents.detector import Detector, Duplicates, EngineFailure, Incoming, Outcome, digest_of, glance, score_in_halves
from streams.scorer import Pipeline, StateHolder
from tests.flow.stand_in import StandIn, packet
from tests.schemas.made import ztf_record
from tests.schemas.test_identity import packings


def incoming(*values: bytes) -> list[Incoming]:
    return [Incoming(value, "alerts.ztf", 0, i, 0, ()) for i, value in enumerate(values)]


@pytest.fixture
def detector() -> Detector:
    return Detector(StateHolder(StandIn()), Duplicates(100), ThreadPoolExecutor(1))


def kinds(outcomes: Sequence[Outcome]) -> list[str]:
    return [type(o.result).__name__ if o.result is not None else "duplicate" for o in outcomes]


async def test_duplicates_within_and_across_batches_are_not_scored(detector: Detector) -> None:
    first = await detector.compute(incoming(packet(1), packet(2), packet(1)))
    second = await detector.compute(incoming(packet(2), packet(3)))
    assert kinds(first.outcomes) == ["Detection", "Detection", "duplicate"]
    assert kinds(second.outcomes) == ["duplicate", "Detection"]
    assert detector.states.current.calls == [2, 1]  # type: ignore[attr-defined]
    assert (first.fresh, second.fresh) == (2, 1)


async def test_a_repeat_of_a_rejected_packet_is_rejected_again(detector: Detector) -> None:
    first = await detector.compute(incoming(b"bad", packet(1), b"bad"))
    second = await detector.compute(incoming(b"bad"))
    assert kinds(first.outcomes) == ["Rejected", "Detection", "Rejected"]
    assert kinds(second.outcomes) == ["Rejected"]


async def test_the_same_candid_with_other_bytes_is_a_revision(detector: Detector) -> None:
    scored = await detector.compute(incoming(packet(1), packet(1, probability=0.5), packet(2)))
    assert [o.revision for o in scored.outcomes] == [False, True, False]


async def test_only_duplicates_need_no_scoring(detector: Detector) -> None:
    await detector.compute(incoming(packet(1)))
    assert (await detector.compute(incoming(packet(1), packet(1)))).fresh == 0


def test_memory_is_bounded_and_forgets_what_was_longest_not_met() -> None:
    memory = Duplicates(3)
    scored = [StandIn().one(packet(i)) for i in range(4)]
    for i, detection in enumerate(scored):
        assert isinstance(detection, Detection)
        if i == 3:
            assert digest_of(scored[0]) in memory  # type: ignore[arg-type]
        memory.add(glance(packet(i)), detection)
    assert len(memory) == 3
    known = [digest_of(d) in memory for d in scored if isinstance(d, Detection)]
    assert known == [True, False, True, True]


def test_packets_that_look_alike_but_differ_are_scored_each() -> None:
    first, second = packet(1, size=4000), packet(2, size=4000)
    assert glance(first) == glance(second), "they differ where no one glances"
    for order in ([first, second], [first, first, second]):
        detector = Detector(StateHolder(StandIn()), Duplicates(100), ThreadPoolExecutor(1))
        scored = asyncio.run(detector.compute(incoming(*order)))
        again = asyncio.run(detector.compute(incoming(second, packet(3, size=4000), first)))
        assert kinds(scored.outcomes).count("Detection") == 2
        assert kinds(again.outcomes) == ["duplicate", "Detection", "duplicate"]


class Fragile(StandIn):
    """Fails on batches larger than it can take."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def __call__(self, packets: Sequence[bytes]) -> list[Detection | Rejected]:
        if len(packets) > self.most:
            raise MemoryError("the device is full")
        return super().__call__(packets)


def test_a_batch_the_engine_fails_on_is_tried_in_halves_once() -> None:
    packets = [packet(i) for i in range(9)]
    results = score_in_halves(Fragile(5), packets)
    assert [r.candid for r in results if isinstance(r, Detection)] == list(range(9))
    with pytest.raises(EngineFailure, match="the device is full"):
        score_in_halves(Fragile(4), packets)
    with pytest.raises(EngineFailure):
        score_in_halves(Fragile(0), packets[:1])


def test_a_scorer_that_loses_a_packet_is_a_failure_not_a_loss() -> None:
    class Lossy(StandIn):
        def __call__(self, packets: Sequence[bytes]) -> list[Detection | Rejected]:
            return super().__call__(packets)[:-1]

    with pytest.raises(EngineFailure, match="outcomes for"):
        score_in_halves(Lossy(), [packet(1), packet(2)])


async def test_the_same_record_packed_otherwise_is_a_duplicate_and_a_revision_is_none() -> None:
    record = ztf_record()
    record["candidate"]["magpsf"] += 0.25
    revised = encode_ztf(record)
    detector = Detector(StateHolder(Pipeline(load())), Duplicates(100), ThreadPoolExecutor(1))
    first, *others = packings()
    within = await detector.compute(incoming(first, *others[:3], revised))
    after = await detector.compute(incoming(*others[3:], first, revised))
    assert kinds(within.outcomes) == ["Detection", "duplicate", "duplicate", "duplicate", "Detection"]
    assert kinds(after.outcomes) == ["duplicate"] * 5
    one, other = within.outcomes[0].result, within.outcomes[4].result
    assert isinstance(one, Detection)
    assert isinstance(other, Detection)
    assert one.candid == other.candid
    assert one.packet_id != other.packet_id
    assert one.detection_id != other.detection_id
    assert [o.revision for o in within.outcomes] == [False, False, False, False, True]
