"""Figures against scikit-learn and brute force; what a perfect and a random classifier must get."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation import measures
from evaluation.episodes import make
from evaluation.measures import Resampling

LABELS = np.repeat(np.array(["a", "b", "c"]), [60, 40, 30])


def scores(kind: str, episodes: int = 60):  # type: ignore[no-untyped-def]
    e = make(LABELS, 5, episodes=episodes, seed=3)
    assert e is not None
    rng = np.random.default_rng(0)
    if kind == "perfect":
        score = np.tile(np.eye(3)[e.query_class] * 20, (episodes, 1, 1))
    else:
        score = rng.standard_normal((*e.query.shape, 3))
    return e, score


def test_a_perfect_classifier_gets_everything() -> None:
    e, score = scores("perfect")
    right = measures.hits(score, e.query_class)
    probability = np.exp(score) / np.exp(score).sum(axis=-1, keepdims=True)
    assert measures.per_class(right, e).tolist() == [1, 1, 1]
    assert Resampling.of(e).interval(right) == [1.0, 1.0]
    assert measures.calibration_error(probability.max(axis=-1), right) < 1e-6
    assert measures.brier(probability, e.query_class).max() < 1e-6
    inside, size = measures.conformal(probability, e.query_class, quantile=np.array(0.9))
    assert inside.min() == 1
    assert size.max() == 1
    assert measures.purity(probability, e.query_class, c=0)["0.8"]["0.01"] > 0.8  # a lower bound: one more row counts as false


def test_a_random_classifier_gets_chance() -> None:
    e, score = scores("random", 200)
    right = measures.hits(score, e.query_class)
    low, high = Resampling.of(e).interval(right)
    assert low < 1 / 3 < high
    probability = np.full(score.shape, 1 / 3)
    assert measures.brier(probability, e.query_class).mean() == pytest.approx(2 / 3)
    purity = measures.purity(np.random.default_rng(1).dirichlet(np.ones(3), score.shape[:2]), e.query_class, c=1)
    assert purity["0.5"]["0.01"] == pytest.approx(0.01, abs=0.002)


def test_ties_share_the_credit() -> None:
    assert measures.hits(np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]]), np.array([0, 0])).tolist() == [0.5, 0.0]


def test_auroc_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(4)
    new, known = rng.integers(0, 12, 300) + 2.0, rng.integers(0, 12, 500) * 1.0
    truth = np.r_[np.ones(300), np.zeros(500)]
    assert measures.auroc(new, known) == pytest.approx(metrics.roc_auc_score(truth, np.r_[new, known]))
    false, found, _ = metrics.roc_curve(truth, np.r_[new, known], drop_intermediate=False)
    assert measures.false_positives(new, known) == pytest.approx(false[np.flatnonzero(found >= 0.95)[0]])


def test_purity_is_bayes_at_the_threshold() -> None:
    rng = np.random.default_rng(5)
    truth = np.repeat([0, 1], 400)
    p = np.clip(np.where(truth == 0, rng.normal(0.7, 0.2, 800), rng.normal(0.4, 0.2, 800)), 0, 1)
    got = measures.purity(np.stack([p, 1 - p], axis=-1)[None], truth, c=0)["0.5"]["0.02"]
    threshold = np.median(p[truth == 0])
    false = (p[truth == 1] >= threshold).mean()
    assert got == pytest.approx(0.02 * 0.5 / (0.02 * 0.5 + 0.98 * false), rel=0.05)


def test_calibration_error_by_hand_and_its_null() -> None:
    confidence = np.repeat([0.2, 0.8], 150)
    correct = np.r_[np.repeat([0, 1], [75, 75]), np.ones(150)]
    # Two values of confidence: 0.2 where half are right, 0.8 where all are.
    assert measures.calibration_error(
        confidence, np.random.default_rng(0).permutation(correct[:150]).tolist() and correct, bins=2
    ) == pytest.approx(0.25)
    rng = np.random.default_rng(6)
    many, few = np.arange(20_000), np.tile(np.arange(40), 500)
    steady = rng.uniform(0.3, 1, 20_000)
    assert measures.calibration_null(steady, many, draws=20).mean() < 0.02
    # The same objects again and again: even a perfect model looks miscalibrated.
    assert measures.calibration_null(rng.uniform(0.3, 1, 40)[few], few, draws=20).mean() > 0.08


def test_resampling_equals_brute_force() -> None:
    e, score = scores("random", 20)
    right = measures.hits(score, e.query_class)
    resampling = Resampling.of(e, draws=4)
    flat, truth = e.query.ravel(), np.tile(e.query_class, len(e))
    for d in range(4):
        total = 0.0
        for c in range(3):
            objects = np.unique(flat[truth == c])
            rows = [np.flatnonzero((flat == o) & (truth == c)) for o in objects]
            weight = resampling.weight[c][d]
            total += sum(w * right.ravel()[r].sum() for w, r in zip(weight, rows, strict=True)) / sum(
                w * len(r) for w, r in zip(weight, rows, strict=True)
            )
        assert resampling.means(right)[d] == pytest.approx(total / 3)


def test_conformal_covers_what_it_promises() -> None:
    rng = np.random.default_rng(7)
    truth = rng.integers(0, 4, 8000)
    logits = rng.standard_normal((8000, 4)) + 1.5 * np.eye(4)[truth]
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    quantile = measures.conformal_quantile(measures.own_scores(probability[None, :4000], truth[:4000])[0])
    inside, size = measures.conformal(probability[None, 4000:], truth[4000:], quantile=quantile)
    assert inside.mean() == pytest.approx(0.9, abs=0.015)
    assert 1 < size.mean() < 4
    assert np.isinf(measures.conformal_quantile(np.ones(5)))  # five examples cannot promise 90 %
