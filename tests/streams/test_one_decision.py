"""One decision: the counts by class on the page, on the topics, in `watch` and in a replay of the same packets agree."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from console.commands import watch
from console.commands.replay import ReplayCounts, outcomes, row
from data.simulate.night import night
from pipeline.state import load
from schemas.records import codec
from schemas.records.detection import Detection
from service.status.figures import Figures
from streams.agents.detector import Detector, Duplicates, Incoming
from streams.kafka import topics
from streams.kafka.producer import PUBLIC, Deliverer
from streams.scorer import Pipeline, StateHolder
from streams.telemetry import TelemetryCounts
from tests.streams.test_swap import FakeProducer

BATCH = 24


@pytest.fixture(scope="module")
def packets() -> list[bytes]:
    """Simulated ones that can be scored."""
    made = [packet for packet, _ in itertools.islice(night(seed=21, n=400), 400)]
    scored = Pipeline(load(engine="onnxruntime"))(made)
    return [packet for packet, found in zip(made, scored, strict=True) if isinstance(found, Detection)]


async def test_page_topics_watch_and_replay_agree(packets: Sequence[bytes]) -> None:
    scorer = Pipeline(load(engine="onnxruntime"))
    holder, producer = StateHolder(scorer), FakeProducer()
    counted = TelemetryCounts("worker", holder, now=0.0)
    detector = Detector(holder, Duplicates(1000), ThreadPoolExecutor(1))
    deliverer: Any = Deliverer(producer, lambda topic: "confluent")  # type: ignore[arg-type]
    figures = Figures(lambda: 100.0, "")
    for start in range(0, len(packets), BATCH):
        incoming = [Incoming(p, "alerts.ztf", 0, start + i, 0, ()) for i, p in enumerate(packets[start : start + BATCH])]
        scored = await detector.compute(incoming)
        await deliverer.send(incoming, scored)
        for outcome in scored.outcomes:
            counted.of(scored.scorer).packet("ztf", outcome.result, latency_ms=1.0)
    for summary in counted.take(99.0)[0]:
        read = codec.decode(codec.encode(summary))
        figures.summary(read)  # type: ignore[arg-type]
    page = figures.snapshot()

    all_of_them = [d for topic, d in producer.sent if topic in (topics.DETECTIONS, topics.PRIVATE)]
    assert len(all_of_them) > 300
    assert page["classes"] == Counter(watch._line(0.0, d).split("\t")[2] for d in all_of_them), "each detection, as watch shows it"
    on_topics = Counter(topic for topic, _ in producer.sent if topic not in (topics.DETECTIONS, topics.PRIVATE))
    private = Counter(topics.class_topic(d.shown_class[0]) for d in all_of_them if d.programid != PUBLIC and d.decision.published)  # type: ignore[union-attr]
    assert on_topics + private == {topics.class_topic(name): n for name, n in page["published"].items()}
    assert on_topics["detections.bogus"] > 20
    assert on_topics.keys() <= {t.name for t in topics.wiring(scorer.classes)}, "each is declared before a worker starts"
    for topic, d in producer.sent:
        if topic not in (topics.DETECTIONS, topics.PRIVATE):
            assert watch._topic(d) == topic.removeprefix("detections.")

    counts, rows = await asyncio.to_thread(replayed, packets, scorer)
    assert (counts.classes, counts.published) == (page["classes"], page["published"])
    found = [r for r in rows if r["kind"] == "detection"]
    assert Counter(r["decision_class"] for r in found) == page["classes"]
    assert Counter(r["decision_class"] for r in found if r["decision_published"]) == page["published"]


def replayed(packets: Sequence[bytes], scorer: Pipeline) -> tuple[ReplayCounts, list[dict[str, Any]]]:
    """What `protonova replay` counts and writes, in other batches."""
    counts, rows = ReplayCounts(), []
    for origins, results in outcomes(((str(i), p) for i, p in enumerate(packets)), scorer, batch_size=64, remembered=1000):
        rows += map(row, origins, results)
        for result in results:
            if isinstance(result, Detection):
                counts.decided(result)
    return counts, rows


@pytest.mark.parametrize(
    ("name", "topic"),
    [(None, "detections"), ("other", "detections.anomaly"), (" Other", "detections.anomaly"), ("anomaly", "detections.anomaly"),
     ("SN Ia", "detections.sn-ia"), ("TDE", "detections.tde")],
)  # fmt: skip
def test_a_topic_is_named_by_its_class(name: str | None, topic: str) -> None:
    there = [t.name for t in topics.wiring(("sn-ia", "tde"))]
    assert watch.topic_among(there, name) == topic
    assert topic in there


async def test_a_record_of_before_decisions_is_shown_and_counted_as_before(packets: Sequence[bytes]) -> None:
    [found, *_] = [d for d in Pipeline(load(engine="onnxruntime"))(packets[:8]) if isinstance(d, Detection)]
    old = dataclasses.replace(found, decision=None)
    assert old.shown_class == (old.top_class, old.top_probability)
    assert row("x", old).get("decision_class") is None
    assert watch._topic(old) == "–"
