from __future__ import annotations

import array_api_strict
import numpy as np
import pytest

from operators.prototypes import Heads, conformal_scores, conformal_set, judge, prototype

K, E = 4, 8


def heads(**change):
    r = np.random.default_rng(1)
    p = r.normal(size=(K, E)).astype(np.float32)
    f32 = np.float32
    values = {
        "centre": np.full(E, 0.1, f32),
        "prototypes": p / np.linalg.norm(p, axis=1, keepdims=True),
        "zero_shot": np.eye(K, dtype=f32),
        "cosine_weight": np.asarray(10, f32),
        "zero_shot_weight": np.full(K, 1, f32),
        "temperature": np.asarray(1.5, f32),
        "novelty_location": np.asarray(0.6, f32),
        "novelty_scale": np.asarray(0.1, f32),
        "prior": np.array([0.9, 0.05, 0.03, 0.01, 0.01], f32),
        "conformal": np.asarray(0.9, f32),
    }
    return Heads(**(values | change))


def inputs(n=50):
    r = np.random.default_rng(2)
    return r.normal(size=(n, E)).astype(np.float32), r.normal(size=(n, K)).astype(np.float32)


def test_probabilities_sum_to_one_both_ways():
    judged = judge(*inputs(), heads())
    for p in (judged.probability, judged.prior_probability):
        assert p.shape == (50, K + 1)
        np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-5)
        assert (p >= 0).all()
    assert judged.probability.dtype == np.float32


def test_an_example_is_nearest_to_its_own_prototype_and_a_stranger_is_new():
    h = heads()
    z = np.concatenate([h.prototypes, -h.prototypes.sum(axis=0, keepdims=True)]) + h.centre
    judged = judge(z, np.zeros((K + 1, K), np.float32), h)
    np.testing.assert_array_equal(judged.nearest[:K], np.arange(K))
    np.testing.assert_allclose(judged.distance[:K], 0, atol=1e-5)
    np.testing.assert_array_equal(judged.probability[:K].argmax(axis=1), np.arange(K))
    assert judged.novelty[K] > 0.9 > 0.1 > judged.novelty[:K].max()


def test_the_prior_only_reweighs():
    embedding, logits = inputs()
    flat = heads(prior=np.full(K + 1, 1 / (K + 1), np.float32))
    judged = judge(embedding, logits, flat)
    np.testing.assert_allclose(judged.prior_probability, judged.probability, atol=1e-6)
    skewed = judge(embedding, logits, heads())
    assert skewed.prior_probability[:, 0].mean() > skewed.probability[:, 0].mean()


def test_a_class_without_simulation_lives_by_its_prototype_alone():
    embedding, logits = inputs()
    weight = np.array([1, 1, 1, 0], np.float32)
    one = judge(embedding, logits, heads(zero_shot_weight=weight))
    other_logits = logits.copy()
    other_logits[:, 3] = logits[:, 3] - 1
    h = heads(zero_shot_weight=np.zeros(K, np.float32))
    np.testing.assert_allclose(judge(embedding, logits, h).probability, judge(embedding, other_logits, h).probability, atol=1e-6)
    assert np.isfinite(one.probability).all()


def test_conformal_set_covers_as_calibrated():
    r = np.random.default_rng(0)
    p = r.dirichlet(np.full(5, 0.5), size=8000)
    truth = np.array([r.choice(5, p=row) for row in p])
    scores = conformal_scores(p)[np.arange(8000), truth]
    quantile = np.quantile(scores[:4000], 0.9)
    inside = conformal_set(p[4000:], quantile)[np.arange(4000), truth[4000:]]
    assert inside.mean() == pytest.approx(0.9, abs=0.02)


def test_conformal_set_is_never_empty():
    assert conformal_set(np.array([[0.5, 0.3, 0.2]]), np.asarray(0.1)).sum() == 1


def test_strict_namespace_agrees():
    embedding, logits = inputs()
    h = heads()
    strict = Heads(**{name: array_api_strict.asarray(getattr(h, name)) for name in Heads.__slots__})
    got = judge(array_api_strict.asarray(embedding), array_api_strict.asarray(logits), strict)
    want = judge(embedding, logits, h)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(np.asarray(a), b, atol=1e-5)


def test_prototype_of_one_example_is_that_example():
    h = heads()
    z = inputs(1)[0]
    expected = (z[0] - h.centre) / np.linalg.norm(z[0] - h.centre)
    np.testing.assert_allclose(prototype(z, h.centre), expected, atol=1e-6)
