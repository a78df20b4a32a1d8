from __future__ import annotations

import array_api_strict
import numpy as np
import pytest

from operators.head import (
    Head,
    Judged,
    Views,
    conformal_scores,
    conformal_set,
    identity,
    judge,
    judge_array,
    prototype,
    see,
    whole_prior,
    whole_thresholds,
)

K, E, F = 4, 8, 3


def head(**change):
    r = np.random.default_rng(1)
    p = r.normal(size=(K, E)).astype(np.float32)
    f32 = np.float32
    values = {
        "centre": np.full(E, 0.1, f32),
        "prototypes": p / np.linalg.norm(p, axis=1, keepdims=True),
        "zero_shot": np.eye(K, dtype=f32),
        "cosine_weight": np.asarray(10, f32),
        "zero_shot_weight": np.full(K, 1, f32),
        "kind_scale": np.asarray(2, f32),
        "ridge": 0.3 * r.normal(size=(K, E + K + F)).astype(f32),
        "offset": np.array([0.1, -0.1, 0, 0], f32),
        "temperature": np.asarray(1.5, f32),
        "prototype_class": np.arange(K, dtype=f32),
        "novelty_location": np.array([0.6, 0.5, 0.7, 0.6], f32),
        "novelty_scale": np.array([0.1, 0.2, 0.1, 0.1], f32),
        "novelty_share": np.array([1, 1, 1, 0.5], f32),
        "novelty_threshold": np.asarray(0.8, f32),
        "prior": np.array([0.9, 0.05, 0.03, 0.01, 0.01], f32),
        "star_prior": np.array([0.1, 0.5, 0.2, 0.1, 0.1], f32),
        "conformal": np.asarray(0.9, f32),
        "thresholds": np.full(K, 0.5, f32),
        "taught_prototypes": np.zeros((0, E), f32),
        "taught_weights": np.zeros((0, E + K + F), f32),
        "taught_location": np.zeros(0, f32),
        "taught_scale": np.zeros(0, f32),
        "taught_prior": np.zeros(0, f32),
        "taught_thresholds": np.zeros(0, f32),
        "taught_conformal": np.zeros(0, f32),
    }
    return Head(**(values | change))


def inputs(n=50):
    r = np.random.default_rng(2)
    return Views(*(r.normal(size=(n, width)).astype(np.float32) for width in (E, K, F)))


def test_probabilities_sum_to_one_both_ways():
    judged = judge(inputs(), head())
    for p in (judged.probability, judged.prior_probability):
        assert p.shape == (50, K + 1)
        np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-5)
        assert (p >= 0).all()
    assert judged.probability.dtype == np.float32


def test_an_example_is_nearest_to_its_own_prototype_and_an_unseen_class_is_new():
    h = head(ridge=np.zeros((K, E + K + F), np.float32), novelty_share=np.ones(K, np.float32))
    z = np.concatenate([h.prototypes, -h.prototypes.sum(axis=0, keepdims=True)]) + h.centre
    judged = judge(Views(z, np.zeros((K + 1, K), np.float32), np.zeros((K + 1, F), np.float32)), h)
    np.testing.assert_array_equal(judged.nearest[:K], np.arange(K))
    np.testing.assert_allclose(judged.distance[:K], 0, atol=1e-5)
    np.testing.assert_array_equal(judged.probability[:K].argmax(axis=1), np.arange(K))
    assert judged.novelty[K] > 0.9 > 0.1 > judged.novelty[:K].max()


def test_the_prior_only_reweighs():
    flat = head(prior=np.full(K + 1, 1 / (K + 1), np.float32))
    judged = judge(inputs(), flat)
    np.testing.assert_allclose(judged.prior_probability, judged.probability, atol=1e-6)
    skewed = judge(inputs(), head())
    assert skewed.prior_probability[:, 0].mean() > skewed.probability[:, 0].mean()


def test_a_class_without_simulation_lives_by_its_prototype_alone():
    views = inputs()
    other = views.logits.copy()
    other[:, 3] -= 1
    h = head(zero_shot_weight=np.zeros(K, np.float32), ridge=np.zeros((K, E + K + F), np.float32))
    np.testing.assert_allclose(judge(views, h).probability, judge(views._replace(logits=other), h).probability, atol=1e-6)


def test_what_the_head_says_by_hand():
    """The formula once more, an alert and a class at a time."""
    views, h = inputs(7), head()
    got = judge(views, h)
    for i in range(7):
        unit = views.embedding[i] - h.centre
        unit = unit / np.linalg.norm(unit)
        log = views.logits[i] - np.log(np.exp(views.logits[i]).sum())
        view = np.concatenate([unit, np.clip(log, -7, 0) / h.kind_scale, 1.5 * views.named[i]])
        score = [
            (h.cosine_weight * (h.prototypes[c] @ unit) + h.zero_shot_weight[c] * log[c] + h.ridge[c] @ view + h.offset[c]) / h.temperature
            for c in range(K)
        ]
        nearest = np.argmax(h.prototypes @ unit)
        distance = 1 - max(h.prototypes @ unit)
        known = np.exp(score) / np.exp(score).sum()
        new = known @ h.novelty_share / (1 + np.exp(-(distance - h.novelty_location[nearest]) / h.novelty_scale[nearest]))
        known = known * (1 - new)
        np.testing.assert_allclose(got.probability[i], [*known, new], atol=2e-6)
        np.testing.assert_allclose(got.distance[i], distance, atol=1e-6)


def with_taught(t=2):
    r = np.random.default_rng(5)
    f32 = np.float32
    return head(
        taught=tuple(f"new-{i}" for i in range(t)),
        taught_prototypes=r.normal(size=(t, E)).astype(f32),
        taught_weights=r.normal(size=(t, E + K + F)).astype(f32),
        taught_location=np.zeros(t, f32),
        taught_scale=np.full(t, 0.5, f32),
        taught_prior=np.full(t, 1e-3, f32),
        taught_thresholds=np.full(t, 0.3, f32),
        taught_conformal=np.full(t, 0.95, f32),
    )


def test_a_taught_class_takes_its_share_and_leaves_the_others_their_proportions():
    views, h = inputs(200), with_taught()
    before, after = judge(views, head()), judge(views, h)
    assert after.probability.shape == (200, K + 3)
    for p in (after.probability, after.prior_probability):
        np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-5)
    rest = np.delete(after.probability, [K, K + 1], axis=1)
    np.testing.assert_allclose(rest / rest.sum(axis=1, keepdims=True), before.probability, atol=1e-5)
    # It comes first exactly where its answer is above its location, whatever the others say.
    seen = see(views, h.centre, kind_scale=h.kind_scale)
    first = seen.view @ h.taught_weights[0] > h.taught_location[0]
    alone = judge(views, with_taught(1)).probability.argmax(axis=1) == K
    np.testing.assert_array_equal(alone, seen.view @ with_taught(1).taught_weights[0] > 0)
    assert 0 < first.sum() < 200
    np.testing.assert_allclose(whole_prior(h).sum(), 1, atol=1e-6)
    assert whole_thresholds(h).tolist() == [0.5] * K + [np.float32(0.3)] * 2


@pytest.mark.parametrize("make", [head, with_taught])
def test_an_alert_has_the_same_bits_in_every_batch(make):
    views, h = inputs(67), make()
    whole = judge(views, h)
    for start, stop in [(0, 1), (3, 4), (0, 66), (5, 13), (66, 67), (1, 33)]:
        part = judge(Views(*(column[start:stop] for column in views)), h)
        for a, b in zip(part, whole, strict=True):
            np.testing.assert_array_equal(a, b[start:stop])


def test_conformal_scores_are_those_of_all_pairs_ties_too():
    r = np.random.default_rng(3)
    p = np.concatenate([r.dirichlet(np.full(6, 0.5), 50), np.full((2, 6), 1 / 6), [[0.3, 0.3, 0.2, 0.1, 0.1, 0.0]]])
    pairs = [[sum(row[j] for j in range(6) if row[j] > row[i]) for i in range(6)] for row in p]
    np.testing.assert_allclose(conformal_scores(p), pairs, atol=1e-12)
    np.testing.assert_allclose(np.asarray(conformal_scores(array_api_strict.asarray(p))), pairs, atol=1e-12)


def test_equal_heads_have_equal_ids():
    assert identity(head()) == identity(head())
    assert len({identity(h) for h in (head(), head(offset=np.zeros(K, np.float32)), head(taught=("x",)))}) == 3


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


@pytest.mark.parametrize("t", [0, 1, 2, 4, 5, 20])
def test_the_kernel_is_its_oracle(t):
    views, h = inputs(40), with_taught(t) if t else head()
    star = np.arange(40) % 3 == 0
    for some in (None, star):
        for name, got, right in zip(Judged._fields, judge(views, h, star=some), judge_array(views, h, star=some), strict=True):
            np.testing.assert_allclose(got, right, rtol=1e-4, atol=1e-5, err_msg=name)


def test_stars_have_a_mix_of_their_own():
    views, h = inputs(40), head()
    star = np.arange(40) % 2 == 0
    sky, mixed = judge(views, h), judge(views, h, star=star)
    np.testing.assert_array_equal(mixed.prior_probability[~star], sky.prior_probability[~star])
    np.testing.assert_array_equal(mixed.probability, sky.probability)
    odds = mixed.prior_probability[star] / sky.prior_probability[star]
    expected = h.star_prior / h.prior
    np.testing.assert_allclose(odds / odds[:, :1], np.broadcast_to(expected / expected[0], odds.shape), rtol=1e-3)


def test_what_is_not_a_number_stays_so():
    """The engine's fault must reach the check on the record, whatever the rest of the alert says."""
    for column in range(3):
        views = inputs(3)
        views[column][1, 0] = np.nan
        judged = judge(views, with_taught())
        assert not np.isfinite(judged.probability[1]).all()
        assert np.isfinite(judged.probability[[0, 2]]).all()


@pytest.mark.parametrize("make", [head, with_taught])
def test_strict_namespace_agrees(make):
    views, h = inputs(), make()
    strict = array_api_strict.asarray
    got = judge(Views(*map(strict, views)), h.map(strict))
    for a, b in zip(got, judge(views, h), strict=True):
        np.testing.assert_allclose(np.asarray(a), b, atol=1e-5)


def test_prototype_of_one_example_is_that_example():
    h = head()
    z = inputs(1).embedding
    expected = (z[0] - h.centre) / np.linalg.norm(z[0] - h.centre)
    np.testing.assert_allclose(prototype(z, h.centre), expected, atol=1e-6)
