"""What a worker reports of its scores: sums that add up to what each alert had, whatever the batches and windows they came in."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from data.simulate.night import night
from operators.alert_statistics import STATISTICS
from operators.types import CONTEXT
from pipeline.monitored import rows_of
from pipeline.score import score
from pipeline.state import load
from schemas.records import codec
from schemas.records.detection import Detection
from schemas.records.score_summary import ScoreSummary
from streams.agents.drift_windows import window_of
from streams.score_sums import FULL, OPEN_S, ScoreSums


@pytest.fixture(scope="module")
def detections() -> list[Detection]:
    state = load(engine="onnxruntime")
    packets = [packet for packet, _ in itertools.islice(night(seed=5, n=120), 120)]
    return [one for one in score(packets, state) if isinstance(one, Detection)]


def taken(detections: list[Detection], *sizes: int) -> list[ScoreSummary]:
    sums, out, at = ScoreSums("w", scoring_id="s", model="m"), [], 0
    for i, size in enumerate(itertools.cycle(sizes)):
        sums.add(detections[at : at + size], float(i))
        out += sums.take(float(i))
        at += size
        if at >= len(detections):
            return out + sums.take(float(i), all_of_it=True)
    raise AssertionError


def test_the_sums_are_those_of_the_alerts_rows(detections: list[Detection]) -> None:
    summaries = taken(detections, 16)
    assert sum(s.n for s in summaries) == len(detections)
    rows = rows_of([d.monitored for d in detections])
    for i, name in enumerate(STATISTICS):
        there = rows.values[np.isfinite(rows.values[:, i]), i].astype(float)
        found = [s.statistics[name] for s in summaries if name in s.statistics]
        assert sum(x.n for x in found) == len(there)
        assert sum(x.sum for x in found) == pytest.approx(there.sum(), rel=1e-9, abs=1e-9)
        assert sum(x.squares for x in found) == pytest.approx(there @ there, rel=1e-9, abs=1e-9)
        assert all(x.n + x.nulls == s.n for s in summaries for x in [s.statistics.get(name)] if x is not None)
    nulls = sum((Counter(s.nulls) for s in summaries), Counter())
    assert nulls == Counter({name: int(k) for name, k in zip(CONTEXT, (~np.isfinite(rows.context)).sum(axis=0), strict=True) if k})
    assert sum(sum(s.schemas.values()) for s in summaries) == len(detections)
    assert {s.model for s in summaries} == {"m"}
    assert all(codec.expect(codec.encode(s), ScoreSummary) == s for s in summaries)


def test_the_numbers_are_those_of_the_detections(detections: list[Detection]) -> None:
    rows = rows_of([d.monitored for d in detections])
    column = {name: rows.values[:, i] for i, name in enumerate(STATISTICS)}
    np.testing.assert_allclose(column["top_probability"], [d.top_probability for d in detections], rtol=1e-6)
    np.testing.assert_allclose(column["novelty"], [d.novelty for d in detections], rtol=1e-6)
    np.testing.assert_allclose(column["distance"], [d.prototype_distance for d in detections], rtol=1e-6)
    p = np.array([[c.probability for c in d.classes] for d in detections])
    np.testing.assert_allclose(column["entropy"], -(p * np.log(np.clip(p, 1e-9, None))).sum(axis=1), rtol=1e-4, atol=1e-5)
    assert np.isfinite(column["zp"]).mean() > 0.5, "simulated packets of ZTF carry limit, zero point and images"


def test_an_alerts_row_does_not_depend_on_its_batch(detections: list[Detection]) -> None:
    state = load(engine="onnxruntime")
    packets = [packet for packet, _ in itertools.islice(night(seed=5, n=120), 120)]
    apart = [one for k in range(0, 120, 7) for one in score(packets[k : k + 7], state) if isinstance(one, Detection)]
    assert [d.monitored for d in apart] == [d.monitored for d in detections]


def test_windows_do_not_depend_on_how_alerts_were_reported(detections: list[Detection]) -> None:
    def whole(summaries: list[ScoreSummary]) -> dict[str, tuple[int, list[int], list[int]]]:
        found = {name: [window_of(s) for s in summaries if s.stratum == name] for name in {s.stratum for s in summaries}}
        sums = {name: sum(windows[1:], windows[0]) for name, windows in found.items()}
        return {name: (w.n, w.count.tolist(), w.histogram.ravel().tolist()) for name, w in sums.items()}

    assert whole(taken(detections, 120)) == whole(taken(detections, 1)) == whole(taken(detections, 31, 3))


def test_few_wait_and_many_are_cut_in_the_order_of_observation(detections: list[Detection]) -> None:
    many = (detections * 40)[::-1]
    sums = ScoreSums("w", scoring_id="s", model="m")
    sums.add(detections[:3], 0.0)
    assert sums.take(OPEN_S - 1) == []
    assert sum(s.n for s in sums.take(OPEN_S)) == 3
    sums.add(many, 10.0)
    found = sums.take(10.0)
    assert max(s.n for s in found) < 2 * FULL
    for stratum in {s.stratum for s in found}:
        own = [s for s in found if s.stratum == stratum]
        assert all(a.mjd_last <= b.mjd_first for a, b in itertools.pairwise(own))


def test_extremes_name_the_alerts_at_the_ends(detections: list[Detection]) -> None:
    by_id = {d.packet_id: d for d in detections}
    for s in taken(detections, 120):
        ends = [x for x in s.extremes if x.statistic == "novelty"]
        own = [d.novelty for d in detections if (d.survey, d.band) == (s.survey, s.band)]
        assert {by_id[x.packet_id].novelty for x in ends} <= set(own)
        assert all(x.value == pytest.approx(by_id[x.packet_id].novelty) for x in ends)
