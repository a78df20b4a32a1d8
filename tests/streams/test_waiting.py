"""A schema registry that does not answer makes the worker wait: nothing is rejected, and neither engine nor flow is at fault."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from aiokafka import TopicPartition

from schemas.avro.schema_store import RegistryError
from schemas.records.detection import Detection
from schemas.records.rejected import Rejected
from streams.agents.batcher import Batcher
from streams.agents.detector import Detector, Duplicates, Incoming, Scored
from streams.kafka.liveness import Liveness
from streams.kafka.transport import Topics
from streams.scorer import StateHolder
from tests.flow.stand_in import StandIn, packet


class Waits(StandIn):
    """Raises as a store does whose registry is unavailable, so many times."""

    def __init__(self, times: int, after_s: float = 0.001) -> None:
        super().__init__()
        self.left, self.after_s = times, after_s

    def __call__(self, packets: Sequence[bytes]) -> list[Detection | Rejected]:
        self.calls.append(len(packets))
        if self.left:
            self.left -= 1
            raise RegistryError("the registry answers 503", self.after_s)
        return [self.one(p) for p in packets]


def detector_of(scorer: StandIn, **options: Any) -> Detector:
    return Detector(StateHolder(scorer), Duplicates(100), ThreadPoolExecutor(1), **options)


def incoming(*values: bytes) -> list[Incoming]:
    return [Incoming(value, "alerts.lsst", 0, i, 0, ()) for i, value in enumerate(values)]


async def test_the_batch_is_scored_when_the_registry_is_well_again() -> None:
    scorer = Waits(5)
    scored = await detector_of(scorer).compute(incoming(packet(1), packet(2)))
    assert [type(o.result) for o in scored.outcomes] == [Detection, Detection]
    assert scorer.calls == [2] * 6, "never in halves"


async def test_it_says_what_it_waits_for() -> None:
    scorer = Waits(1, after_s=0.2)
    detector = detector_of(scorer)
    task = asyncio.create_task(detector.compute(incoming(packet(1))))
    await asyncio.sleep(0.1)
    assert detector.waiting == "the registry answers 503"
    await task
    assert detector.waiting is None


async def test_patience_has_an_end_where_it_is_given() -> None:
    scorer = Waits(100)
    with pytest.raises(RegistryError, match="503"):
        await detector_of(scorer, patience=3).compute(incoming(packet(1)))
    assert len(scorer.calls) == 4


async def test_a_process_that_ends_waits_no_longer_and_acknowledges_nothing() -> None:
    detector = detector_of(Waits(10**9, after_s=60.0))
    acknowledged: list[Incoming] = []
    failed: list[BaseException] = []

    async def send(packets: list[Incoming], scored: Scored) -> list[Any]:
        return []

    batcher: Batcher[Incoming, Scored] = Batcher(
        2,
        0.001,
        compute=detector.compute,
        send=send,
        acknowledge=lambda packets, scored: acknowledged.extend(packets),
        on_failure=failed.append,
    )
    for one in incoming(packet(1), packet(2)):
        await batcher.put(one)
    while detector.waiting is None:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    detector.leave()
    async with asyncio.timeout(5):
        await batcher.drain()
    assert acknowledged == []
    assert [type(error) for error in failed] == [RegistryError]


class Place(NamedTuple):
    """A partition."""

    topic: str
    partition: int


PLACE = Place("alerts.lsst", 0)


class Consumer:
    """Holds a partition whose committed offset stands still."""

    def __init__(self) -> None:
        self._committed_offset = {PLACE: 3}

    def assignment(self) -> list[Any]:
        return [PLACE]

    async def topics(self, names: Sequence[str], within_s: float) -> Topics:
        return Topics({PLACE.topic: (PLACE.partition,)}, False, {TopicPartition(*PLACE)})

    async def spans(self, held: Sequence[Any], within_s: float) -> dict[Any, Any]:
        return {PLACE: SimpleNamespace(end=9, done=lambda confirmed: 3)}


async def test_a_worker_that_waits_is_not_stuck() -> None:
    reported: list[str] = []
    waiting: list[str | None] = ["the registry"]
    app: Any = SimpleNamespace(consumer=Consumer())
    liveness = Liveness(app, 0.05, on_stall=reported.append, waiting=lambda: waiting[0])
    for _ in range(4):
        await liveness.look()
        await asyncio.sleep(0.04)
    assert reported == []
    waiting[0] = None
    for _ in range(4):
        await liveness.look()
        await asyncio.sleep(0.04)
    assert len(reported) >= 1
