"""The head's algebra and the small operators in every namespace: as NumPy's, and as written out."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from operators.context import STAR_DISTANCE, catalogue_star
from operators.decision import rule_of
from operators.head import Seen, kind_scale, prototype, scores, softmax, whole_thresholds
from operators.lengths import lengths
from operators.support import Physics, Support, balance, energy, left_out, plain, ridge, solve
from operators.tokens import flux_scale
from operators.types import CONTEXT
from registry.bundle import load
from tests.namespaces import Namespace, to_numpy
from tests.operators.batches import random_batch

K, M, E, KINDS = 3, 9, 6, 5


def support(*, known: bool) -> tuple[Support, Seen]:
    """Examples of three classes and nine queries, four episodes; with or without what simulation knows."""
    rng = np.random.default_rng(7)

    def seen(n: int) -> Seen:
        unit = rng.normal(size=(4, n, E))
        unit /= np.linalg.norm(unit, axis=-1, keepdims=True)
        log = np.log(rng.dirichlet(np.ones(KINDS), (4, n)))
        return Seen(unit, log, np.concatenate([unit, log], axis=-1))

    label = np.eye(K)[np.arange(M) % K]
    physics = Physics(np.eye(K, E), np.array([1.0, 1.0, 0.0])) if known else None
    return Support(seen(M), label, M // K, physics=physics, zero_shot=np.eye(KINDS)[:, :K] if known else None, unseen=not known), seen(9)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("with_ridge", [True, False])
def test_a_head_is_solved_the_same(xp: Namespace, known: bool, with_ridge: bool) -> None:
    here, query = support(known=known)
    here = dataclasses.replace(here, ridge=with_ridge)
    there = xp.tree(here)
    weights, expected = solve(there), solve(here)
    for part in dataclasses.fields(expected):
        np.testing.assert_allclose(to_numpy(getattr(weights, part.name)), getattr(expected, part.name), atol=1e-9, err_msg=part.name)
    np.testing.assert_allclose(to_numpy(scores(xp.tree(query), weights)), scores(query, expected), atol=1e-9)
    np.testing.assert_allclose(to_numpy(left_out(there)), left_out(here), atol=1e-8)
    np.testing.assert_allclose(to_numpy(plain(there, xp.asarray(query.unit))), plain(here, query.unit), atol=1e-9)


def test_an_example_left_out_scores_as_if_it_had_not_been_there(xp: Namespace) -> None:
    """Recovery: by the prototypes alone it is what solving without it gives."""
    here = dataclasses.replace(support(known=False)[0], ridge=False)
    got = to_numpy(left_out(xp.tree(here)))
    for i in range(M):
        rest = np.arange(M) != i
        less = dataclasses.replace(here, seen=Seen(*(c[:, rest] for c in here.seen)), label=here.label[rest])
        own = here.label[i].argmax()
        expected = scores(Seen(*(c[:, i : i + 1] for c in here.seen)), solve(less))[:, 0, own]
        np.testing.assert_allclose(got[:, i, own], expected, atol=1e-9)


def test_offsets_ridge_and_energy_are_the_same(xp: Namespace) -> None:
    rng = np.random.default_rng(8)
    score, label = rng.normal(size=(4, 12, K)), np.eye(K)[rng.integers(0, K, 12)]
    np.testing.assert_allclose(to_numpy(balance(xp.asarray(score), xp.asarray(label))), balance(score, label), atol=1e-9)
    view = rng.normal(size=(4, 12, 17))
    for a, b in zip(ridge(xp.asarray(view), xp.asarray(label)), ridge(view, label), strict=True):
        np.testing.assert_allclose(to_numpy(a), b, atol=1e-8)
    cosine = rng.uniform(-1, 1, (4, 12, K))
    np.testing.assert_allclose(to_numpy(energy(xp.asarray(cosine))), -np.log(np.exp(10 * cosine).sum(axis=-1)), atol=1e-9)


def test_prototype_softmax_and_scale_are_what_they_say(xp: Namespace) -> None:
    rng = np.random.default_rng(9)
    z, centre = rng.normal(size=(5, E)), rng.normal(size=E)
    unit = (z - centre) / np.linalg.norm(z - centre, axis=1, keepdims=True)
    mean = unit.mean(axis=0)
    np.testing.assert_allclose(to_numpy(prototype(xp.asarray(z), xp.asarray(centre))), mean / np.linalg.norm(mean), atol=1e-12)
    p = to_numpy(softmax(xp.asarray(z), xp.asarray(np.array(2.0))))
    np.testing.assert_allclose(p, np.exp(z / 2) / np.exp(z / 2).sum(axis=1, keepdims=True), atol=1e-12)
    log = np.log(rng.dirichlet(np.ones(KINDS), 20))
    fine = np.clip(log, -7, 0)
    assert kind_scale(xp.asarray(log)) == pytest.approx(np.sqrt(((fine - fine.mean(axis=0)) ** 2).sum(axis=1).mean()))


def test_lengths_scales_stars_and_rules_are_the_same(xp: Namespace) -> None:
    rng = np.random.default_rng(10)
    tokens = rng.normal(size=(30, 48, 4)).astype(np.float32)
    count = rng.integers(0, 49, 30)
    tokens[np.arange(48) >= count[:, None]] = 0
    np.testing.assert_array_equal(to_numpy(lengths(xp.asarray(tokens))), count)
    batch = random_batch(30)
    np.testing.assert_allclose(to_numpy(flux_scale(xp.batch(batch))), flux_scale(batch), rtol=1e-6)
    context = batch.context.copy()
    context[:10, CONTEXT.index("star_galaxy")], context[:10, CONTEXT.index("source_distance")] = 0.99, STAR_DISTANCE / 2
    context[:, CONTEXT.index("solar_system_distance")] = np.nan
    context[5, CONTEXT.index("solar_system_distance")] = 1.0
    found = to_numpy(catalogue_star(xp.asarray(context)))
    assert found[:10].tolist() == [True] * 5 + [False] + [True] * 4
    bundle = load()
    there, here = rule_of(bundle.head.map(xp.asarray), bundle.classes), rule_of(bundle.head, bundle.classes)
    for name in here._fields[:-1]:
        np.testing.assert_array_equal(to_numpy(getattr(there, name)), getattr(here, name), err_msg=name)
    assert there.bogus == here.bogus
    np.testing.assert_array_equal(to_numpy(whole_thresholds(bundle.head.map(xp.asarray))), whole_thresholds(bundle.head))
