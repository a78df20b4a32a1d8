"""Offsets a class, learned from the examples left out one by one."""

from __future__ import annotations

import numpy as np
import pytest

from operators.head import Seen, scores
from operators.support import OFFSET, RIDGE, Support, balance, ridge, solve


def test_offsets_undo_a_bias_and_stay_zero_without_one() -> None:
    rng = np.random.default_rng(0)
    label = np.eye(3)[np.repeat(np.arange(3), 200)]
    fair = 2 * label + rng.normal(size=(4, 600, 3))
    np.testing.assert_allclose(balance(fair, label), 0, atol=0.35)
    bias = np.array([1.5, 0.0, -1.0])
    found = balance(fair + bias, label)[:, 0]
    np.testing.assert_allclose(found - found.mean(axis=1, keepdims=True), np.tile(-(bias - bias.mean()), (4, 1)), atol=0.5)

    def recall(score: np.ndarray) -> np.ndarray:
        right = score.argmax(axis=-1) == label.argmax(axis=-1)
        return right.reshape(4, 3, 200).mean(axis=(0, 2))

    assert np.ptp(recall(fair + bias + found[:, None])) < 0.5 * np.ptp(recall(fair + bias))


def test_few_examples_move_little() -> None:
    label = np.eye(2)[[0, 1]]
    wrong = np.array([[0.0, 5.0], [0.0, 5.0]])
    offset = balance(wrong, label)[0]
    assert abs(offset[0] - offset[1]) < 2 * OFFSET**2
    assert offset[0] > offset[1]


def test_the_offsets_are_the_most_probable_ones() -> None:
    """No step in any direction makes examples and belief more likely."""
    rng = np.random.default_rng(1)
    label = np.eye(4)[rng.integers(0, 4, 40)]
    score = rng.normal(size=(40, 4)) * 2

    def loss(offset: np.ndarray) -> float:
        shifted = score + offset
        log = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return float(-(log * label).sum() + (offset**2).sum() / (2 * OFFSET**2))

    found = balance(score, label)[0]
    for _ in range(50):
        assert loss(found) <= loss(found + 0.05 * rng.normal(size=4)) + 1e-9


def test_the_ridge_is_scikit_learns_in_every_episode() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    view, label = rng.normal(size=(3, 10, 14)), np.eye(2)[np.arange(10) % 2]
    found = ridge(view, label)
    for i in range(3):
        a = view[i] - view[i].mean(axis=0)
        model = linear_model.Ridge(alpha=RIDGE * np.trace(a @ a.T) / 10 + 1e-6).fit(view[i], label - 0.5)
        np.testing.assert_allclose(found.weight[i], model.coef_, atol=1e-8)
        np.testing.assert_allclose(view[i] @ found.weight[i].T - found.at_mean[i], model.predict(view[i]), atol=1e-8)
        np.testing.assert_allclose(found.fitted[i], model.predict(view[i]), atol=1e-8)


def test_episodes_are_solved_as_one_by_one() -> None:
    rng = np.random.default_rng(1)

    def seen(n: int) -> Seen:
        unit = rng.normal(size=(4, n, 6))
        unit /= np.linalg.norm(unit, axis=-1, keepdims=True)
        log = np.log(rng.dirichlet(np.ones(5), (4, n)))
        return Seen(unit, log, np.concatenate([unit, log], axis=-1))

    support, query, label = seen(6), seen(9), np.eye(3)[np.arange(6) % 3]
    made_of = np.eye(5)[:, :3]
    together = scores(query, solve(Support(support, label, 2, zero_shot=made_of)))
    for i in range(4):
        one = Seen(*(column[i] for column in support))
        alone = scores(Seen(*(column[i] for column in query)), solve(Support(one, label, 2, zero_shot=made_of)))
        np.testing.assert_allclose(together[i], alone, atol=1e-10)
