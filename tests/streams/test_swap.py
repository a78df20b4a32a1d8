"""A state is swapped while packets flow: no batch knows two of them, and what is delivered and counted names the one that scored it."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from prometheus_client import REGISTRY

from data.simulate.night import night
from gpu.session import EngineError
from pipeline.score import score
from pipeline.state import ScoringState, load
from schemas.records import codec
from schemas.records.detection import Detection
from schemas.records.embedding import Embedding
from streams.agents.batcher import Batcher
from streams.agents.detector import Detector, Duplicates, Incoming, Scored
from streams.kafka import topics
from streams.kafka.producer import Deliverer
from streams.scorer import Pipeline, StateHolder, prepare
from streams.telemetry import QUIET_S, TelemetryCounts
from tests.flow.stand_in import StandIn, packet

SWAPS = 1000


class FakeBatch:
    """What `AIOKafkaProducer.create_batch` gives."""

    def __init__(self) -> None:
        self.records: list[tuple[bytes, bytes]] = []

    def append(self, *, key: bytes, value: bytes, timestamp: None, headers: Any) -> object:
        self.records.append((key, value))
        return self

    def close(self) -> None:
        pass


class FakeProducer:
    """Keeps what is sent, and acknowledges it a moment later."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Detection]] = []
        self.embeddings: list[Embedding] = []

    async def partitions_for(self, topic: str) -> set[int]:
        return {0, 1, 2}

    def create_batch(self) -> FakeBatch:
        return FakeBatch()

    async def send_batch(self, batch: FakeBatch, topic: str, *, partition: int) -> asyncio.Task[None]:
        for _, value in batch.records:
            record = codec.decode(value)
            if isinstance(record, Embedding):
                self.embeddings.append(record)
            else:
                assert isinstance(record, Detection)
                self.sent.append((topic, record))
        return asyncio.create_task(asyncio.sleep(0.001))


@pytest.fixture(scope="module")
def states() -> list[ScoringState]:
    """Three whose values tell them apart: other priors, and thresholds from nothing to never."""
    first = load(engine="onnxruntime")
    head = first.head.weights
    made = [first]
    for k, least in ((1, 0.0), (2, 1.5)):
        prior = np.roll(head.prior, k)
        made.append(first.with_head(replace(head, prior=prior / prior.sum(), thresholds=np.full_like(head.thresholds, least))))
    return made


async def test_a_thousand_swaps_under_load(states: list[ScoringState]) -> None:
    packets = [p for p, _ in itertools.islice(night(seed=8, n=40), 40)]
    expected = {s.scoring_id: {d.candid: d for d in score(packets, s) if isinstance(d, Detection)} for s in states}
    good = [p for p, d in zip(packets, score(packets, states[0]), strict=True) if isinstance(d, Detection)]
    assert len(expected) == len(states)
    assert len(good) > 20

    scorers = [Pipeline(state) for state in states]
    holder, producer = StateHolder(scorers[0]), FakeProducer()
    outcome_counts = TelemetryCounts("worker", holder, now=0.0)
    detector = Detector(holder, Duplicates(0), ThreadPoolExecutor(1))
    batches: list[Scored] = []
    failures: list[BaseException] = []

    def acknowledge(incoming: list[Incoming], scored: Scored) -> None:
        batches.append(scored)
        window = outcome_counts.of(scored.scorer)
        window.batch(len(incoming), scored.compute_s)
        for outcome in scored.outcomes:
            window.packet("ztf", outcome.result, latency_ms=1.0)

    deliverer: Any = Deliverer(producer, lambda topic: "confluent")  # type: ignore[arg-type]
    batcher: Batcher[Incoming, Scored] = Batcher(
        5, 0.001, compute=detector.compute, send=deliverer.send, acknowledge=acknowledge, on_failure=failures.append
    )
    swapped = asyncio.Event()

    async def swap() -> None:
        for i in range(1, SWAPS + 1):
            holder.swap(scorers[i % len(scorers)])
            await asyncio.sleep(0.001 if i % 3 else 0.004)
        swapped.set()

    task = asyncio.create_task(swap())
    n = 0
    for value in itertools.cycle(good):
        if swapped.is_set() or failures:
            break
        await batcher.put(Incoming(value, "alerts.ztf", 0, n, 0, ()))
        n += 1
    await task
    await batcher.drain()

    assert not failures
    for scored in batches:
        own = [outcome.result for outcome in scored.outcomes]
        assert {d.scoring_id for d in own if isinstance(d, Detection)} == {scored.scorer.scoring_id}
        assert all(d == expected[d.scoring_id][d.candid] for d in own if isinstance(d, Detection))
    sent = [d for topic, d in producer.sent if topic == topics.DETECTIONS]
    assert len(sent) == n
    by_id = Counter(d.scoring_id for d in sent)
    assert by_id.keys() == expected.keys(), "every state scored something"
    assert Counter(e.scoring_id for e in producer.embeddings) == by_id
    heads = {s.scoring_id: s.head.id for s in states}
    assert len(set(heads.values())) == len(states)
    assert all((d.encoder_id, d.head_id, d.reference_id) == (states[0].encoder.id, heads[d.scoring_id], None) for d in sent)
    # A class's topic got what the thresholds of the same state send there, and nothing else; the summaries count the same.
    thresholds = {s.scoring_id: s.thresholds for s in states}
    decided = [(d, d.decision) for d in sent if d.decision is not None]
    assert len(decided) == n
    for d, decision in decided:
        least = thresholds[d.scoring_id][decision.class_name]
        assert decision.threshold == pytest.approx(least)
        assert decision.published == ((d.novelty if decision.class_name == "other" else decision.prior_probability) >= least)
    above = Counter((topics.class_topic(decision.class_name), d.detection_id) for d, decision in decided if decision.published)
    assert above == Counter((topic, d.detection_id) for topic, d in producer.sent if topic != topics.DETECTIONS)
    summaries, strata = outcome_counts.take(10.0, all_of_it=True)
    published: Counter[str] = Counter()
    for summary in summaries:
        published.update({topics.class_topic(name): count for name, count in summary.published.items()})
    assert published == Counter(topic for topic, _ in above.elements())
    assert {s.scoring_id: s.total for s in summaries} == by_id
    assert sum(s.n for s in strata) == n
    assert summaries[-1].scoring_id == holder.current.scoring_id


class Named(StandIn):
    """A stand-in of another id; waits in its score until it is let go."""

    def __init__(self, scoring_id: str) -> None:
        super().__init__()
        self.scoring_id = scoring_id
        self.begun, self.go = threading.Event(), threading.Event()
        self.go.set()

    def __call__(self, packets: Sequence[bytes]) -> list[Any]:
        self.begun.set()
        assert self.go.wait(30)
        return [replace(d, scoring_id=self.scoring_id) if isinstance(d, Detection) else d for d in super().__call__(packets)]


async def test_a_batch_that_has_begun_ends_with_the_state_it_began_with() -> None:
    old, new = Named("old"), Named("new")
    holder = StateHolder(old)
    detector = Detector(holder, Duplicates(10), ThreadPoolExecutor(1))
    old.go.clear()
    running = asyncio.create_task(detector.compute([Incoming(packet(1), "alerts.ztf", 0, 0, 0, ())]))
    await asyncio.to_thread(old.begun.wait, 30)
    assert holder.swap(new) is old
    old.go.set()
    first, second = await running, await detector.compute([Incoming(packet(2), "alerts.ztf", 0, 1, 0, ())])
    assert [(s.scorer.scoring_id, s.outcomes[0].result.scoring_id) for s in (first, second)] == [("old", "old"), ("new", "new")]  # type: ignore[union-attr]


def test_metrics_and_the_sign_of_life_follow_the_swap() -> None:
    holder = StateHolder(Named("before"))
    labels = {"model": "standin", "engine": "none"}
    swaps = REGISTRY.get_sample_value("protonova_worker_swaps_total") or 0
    outcome_counts = TelemetryCounts("worker", holder, now=0.0)
    holder.swap(Named("after"))
    assert REGISTRY.get_sample_value("protonova_worker_scoring_info", {"scoring_id": "after", **labels}) == 1
    assert REGISTRY.get_sample_value("protonova_worker_scoring_info", {"scoring_id": "before", **labels}) is None
    assert REGISTRY.get_sample_value("protonova_worker_swaps_total") == swaps + 1
    assert outcome_counts.take(QUIET_S / 2) == ([], [])
    (summary,), scores = outcome_counts.take(QUIET_S)
    assert (summary.scoring_id, summary.total, scores) == ("after", 0, [])


def test_a_window_over_a_swap_gives_a_summary_of_each_state() -> None:
    old, new = Named("old"), Named("new")
    outcome_counts = TelemetryCounts("worker", StateHolder(old), now=0.0)
    for scorer, candids in ((new, (1, 2, 3)), (old, (4,))):
        window = outcome_counts.of(scorer)
        window.batch(len(candids), 0.5)
        for result in scorer([packet(c) for c in candids]):
            window.packet("ztf", result, latency_ms=5.0)
    summaries, strata = outcome_counts.take(1.0, all_of_it=True)
    assert [(s.scoring_id, s.total, s.packets, s.compute_ms, s.start_ms, s.end_ms) for s in summaries] == [
        ("new", 3, 3, 500.0, 0, 1000),
        ("old", 1, 1, 500.0, 0, 1000),  # the one in force comes last
    ]
    assert {(s.scoring_id, s.n) for s in strata} == {("new", 3), ("old", 1)}


async def test_a_new_state_is_built_and_warmed_off_the_loop(states: list[ScoringState]) -> None:
    thread: list[int] = []

    def build() -> ScoringState:
        thread.append(threading.get_ident())
        return states[1]

    ready = await prepare(build)
    assert ready.scoring_id == states[1].scoring_id
    assert thread[0] != threading.get_ident()


async def test_a_state_that_cannot_score_is_never_swapped_in(states: list[ScoringState]) -> None:
    class Broken:
        engine, buckets, namespace = "broken", (8,), np

        def run(self, tokens: Any, stamps: Any, context: Any) -> Any:
            raise EngineError("the device is gone")

    bad = replace(states[0], encoder=replace(states[0].encoder, session=Broken()))
    with pytest.raises(EngineError, match="the device is gone"):
        await prepare(lambda: bad)
