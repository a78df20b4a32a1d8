"""Offsets a class, learned from the examples left out one by one."""

from __future__ import annotations

import numpy as np

from operators.support import OFFSET, balance


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
