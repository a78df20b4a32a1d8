"""A class taught from five objects, in figures: on views made of random numbers, whose classes lie apart."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.studies.teach_study import beside, figures, joined, solved
from operators.head import Views, judge, kind_scale
from operators.taught import Reference
from registry.bundle import load


def test_figures_by_hand() -> None:
    label = np.array([0] * 10 + [1] * 10 + [-1] * 4 + [2] * 4)
    old = label != 2
    before = np.where(label == 2, 0, np.maximum(label, 0))
    called = before.copy()
    called[0], called[20], called[24:27] = 2, 2, 2
    found = figures(called, before, label=label, old=old, new=2)
    assert found["recall"] == 0.75
    assert found["false_calls"] == pytest.approx(2 / 24)
    assert found["macro_change"] == pytest.approx(-0.05)
    assert found["classes"] == 2
    assert np.isnan(figures(called[old], before[old], label=label[old], old=old[old], new=2)["recall"])


def test_a_head_solved_anew_makes_as_many_false_calls_as_are_asked_for() -> None:
    head = load().head
    rng = np.random.default_rng(3)
    k, kinds, size = head.ways, head.zero_shot.shape[0], len(head.centre)
    middles = rng.normal(0, 3, (k + 1, size)).astype(np.float32)

    def views(label: np.ndarray) -> Views:
        n = len(label)
        named = np.zeros((n, head.ridge.shape[-1] - size - kinds), np.float32)
        return Views(
            (middles[label] + rng.normal(0, 1, (n, size))).astype(np.float32), rng.normal(0, 1, (n, kinds)).astype(np.float32), named
        )

    known = np.repeat(np.arange(k), 60)
    reference = Reference(views(known), known, np.arange(len(known)) % 2 == 0)
    assert kind_scale(reference.views.logits) > 0
    weights = solved(head, views(np.full(5, k)), reference=reference, rng=rng)
    assert weights.ways == k + 1
    label = np.concatenate([np.repeat(np.arange(k), 30), np.full(40, k)])
    test, old = views(label), label < k
    before = judge(test, head).probability[:, :k].argmax(axis=1)
    for share in (0.0, 0.05):
        found = beside(weights, test, head=head, label=label, old=old, before=before, share=share)
        assert found["false_calls"] <= share
        assert found["false_calls"] >= share - 0.01
        assert found["recall"] > 0.9, "its examples lie apart from every other class"
    assert len(joined([test, test]).embedding) == 2 * len(label)
