"""The worker's own code against Apache Kafka, its state swapped while packets flow: a taught class has its topic before a detection."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from schemas.records.codec import decode, decode_detection
from schemas.records.detection import Decision, Detection
from schemas.records.parts import ClassProbability
from schemas.records.rejected import Rejected
from schemas.records.worker_summary import WorkerSummary
from streams.kafka import topics
from streams.wiring import Flow, make_app, publish_telemetry
from tests.flow.conftest import Bench
from tests.flow.stand_in import StandIn, packet


class Taught(StandIn):
    """A stand-in with another id whose every detection may be of the class that its threshold names."""

    def __init__(self, scoring_id: str, share: float, classes: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.scoring_id, self.share = scoring_id, share
        self.classes = (*StandIn.classes, *classes)

    def one(self, value: bytes) -> Detection | Rejected:
        """The class it was taught, as probable as `share`."""
        found = super().one(value)
        if isinstance(found, Rejected):
            return found
        taught = self.classes[len(StandIn.classes) :]
        own = tuple(ClassProbability(name, self.share, self.share) for name in taught)
        decision = Decision(taught[0], self.share, 0.5, 100.0, published=self.share >= 0.5) if taught else found.decision
        name = f"{found.packet_id}:{self.scoring_id}"
        return replace(
            found, scoring_id=self.scoring_id, detection_id=name, decision=decision, novelty=self.share, classes=(*found.classes, *own)
        )


@asynccontextmanager
async def worker(bench: Bench, scorer: StandIn) -> AsyncIterator[Flow]:
    """The application of a worker, in this process."""
    ended: list[str] = []
    app, flow = make_app(bench.settings, scorer, slot=0, on_fatal=lambda status, why: ended.append(f"{status}: {why}"))
    task = asyncio.create_task(app.start())
    try:
        yield flow
        await flow.drain()
        await app.consumer.commit()
        await publish_telemetry(flow)
        assert not ended
    finally:
        await flow.stop()
        await app.stop()
        await asyncio.wait([task], timeout=10)


async def test_swaps_while_packets_flow(bench: Bench) -> None:
    first, second = Taught("first", 0.25), Taught("second", 0.75, ("fast-blue",))
    async with worker(bench, first) as flow:
        await bench.publish(packet(i) for i in range(100))
        await bench.read(100, topics.DETECTIONS)
        swaps = 0
        sending = asyncio.create_task(bench.publish(packet(i) for i in range(100, 3000)))
        while not sending.done() or swaps < 100:
            before = await flow.swap((second, first)[swaps % 2])
            assert before is (first, second)[swaps % 2]
            swaps += 1
            await asyncio.sleep(0.005)
        await sending
        await flow.swap(second)
        await bench.publish(packet(i) for i in range(3000, 3100))
        found = await bench.read(3100, topics.DETECTIONS)
    detections = [decode_detection(r.value) for r in found[topics.DETECTIONS]]
    assert sorted(d.candid for d in detections) == list(range(3100))
    share = {"first": 0.25, "second": 0.75}
    assert all(d.novelty == share[d.scoring_id] for d in detections)
    by_id = Counter(d.scoring_id for d in detections)
    assert by_id["first"] >= 100
    assert by_id["second"] >= 100
    # The taught class's topic was made by the swap, and got all that the state which knows it scored.
    out = await bench.everything(topics.class_topic("fast-blue"), topics.TELEMETRY)
    taught = [decode_detection(r.value) for r in out[topics.class_topic("fast-blue")]]
    assert sorted(d.candid for d in taught) == sorted(d.candid for d in detections if d.scoring_id == "second")
    said: Counter[str] = Counter()
    for record in out[topics.TELEMETRY]:
        summary = decode(record.value)
        if isinstance(summary, WorkerSummary):
            said[summary.scoring_id] += summary.total
    assert said == by_id
