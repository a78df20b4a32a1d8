"""The published decision: its rule row by row in every namespace, beside a plain one written out; evidence of being real; the anomalies."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from operators.decision import (
    EVIDENCE,
    LEAST_SCORE,
    MOST_BOGUS,
    MOST_NOVELTY,
    Decided,
    Rule,
    decide,
    decide_array,
    novelty_threshold,
    rule_of,
)
from operators.head import Judged
from operators.types import SURVEY_SCORES
from registry.bundle import load
from tests.namespaces import Namespace, to_numpy

CLASSES = ("agn", "bogus", "kilonova", "tde")
PRIOR = np.array([0.5, 0.4, 1e-5, 0.01], np.float32)
NAN = float("nan")


def rule(**change: Any) -> Rule:
    known = {"thresholds": np.array([0.5, 0.5, 0.05, 0.1], np.float32), "rare": np.array([False, False, True, True]),
             "novelty_threshold": np.asarray(0.8, np.float32), "bogus": 1,
             "least_score": np.array([LEAST_SCORE[n] for n in SURVEY_SCORES], np.float32)}  # fmt: skip
    return Rule(**(known | change))


def judged(*prior: tuple[float, ...], novelty: float | list[float] = 0.1) -> Judged:
    p = np.array(prior, np.float32)
    n = np.broadcast_to(np.asarray(novelty, np.float32), len(p)).copy()
    return Judged(p, p, n, np.zeros(len(p), np.int64), n, p > 0.5)


def scores(**found: float) -> np.ndarray[Any, Any]:
    return np.array([[found.get(name, NAN) for name in SURVEY_SCORES]], np.float32)


def one(row: tuple[float, ...], *, novelty: float = 0.1, change: Any = None, **found: float) -> tuple[str, bool, bool, str]:
    d = decide(judged(row, novelty=novelty), scores(**found), rule=rule(**(change or {})))
    assert d.prior_probability[0] == np.float32(row[d.chosen[0]])
    return (*CLASSES, "other")[d.chosen[0]], bool(d.published[0]), bool(d.real[0]), EVIDENCE[d.evidence[0]]


def test_the_class_above_its_threshold_is_published_and_what_leads_below_it_is_not() -> None:
    assert one((0.6, 0.3, 0.0, 0.05, 0.05), drb=0.9) == ("agn", True, True, "drb")
    assert one((0.4, 0.35, 0.0, 0.05, 0.2), drb=0.9) == ("agn", False, True, "drb")
    assert one((0.3, 0.35, 0.0, 0.0, 0.35), drb=0.9) == ("bogus", False, True, "drb")


def test_other_leads_where_its_novelty_reaches_the_threshold_and_nowhere_else() -> None:
    """Its share of the stream is larger than a supernova's: that alone makes nothing unknown."""
    assert one((0.1, 0.05, 0.0, 0.08, 0.77), novelty=0.4, drb=0.9) == ("agn", False, True, "drb")
    assert one((0.1, 0.05, 0.0, 0.08, 0.77), novelty=0.95, drb=0.9) == ("other", True, True, "drb")
    assert one((0.1, 0.2, 0.0, 0.15, 0.55), novelty=0.95, drb=0.1) == ("bogus", False, False, "drb")


def test_a_rare_class_above_its_threshold_is_not_lost_behind_a_frequent_one() -> None:
    assert one((0.7, 0.1, 0.0, 0.2, 0.0), drb=0.9) == ("tde", True, True, "drb"), "twice its threshold, agn 1.4 times"
    assert one((0.7, 0.18, 0.0, 0.12, 0.0), drb=0.9) == ("agn", True, True, "drb"), "1.2 times, agn 1.4 times"


@pytest.mark.parametrize(
    ("found", "evidence", "real"),
    [
        ({"drb": 0.8}, "drb", True), ({"drb": 0.79}, "drb", False), ({"rb": 0.65}, "rb", True), ({"rb": 0.64}, "rb", False),
        ({"drb": 0.79, "rb": 0.99}, "drb", False), ({"drb": 0.0, "rb": 0.99}, "drb", False), ({"drb": 0.81, "rb": 0.1}, "drb", True),
        ({"reliability": 0.5}, "reliability", True), ({"reliability": 0.2}, "reliability", False),
    ],
)  # fmt: skip
def test_each_score_of_a_survey_has_its_own_threshold_and_the_later_one_decides(found: dict[str, float], evidence: str, real: bool) -> None:
    named = one((0.1, 0.1, 0.7, 0.05, 0.05), **found)
    assert named == ("kilonova" if real else "agn", real, real, evidence)
    assert one((0.1, 0.8, 0.0, 0.05, 0.05), **found)[:2] == ("bogus", True), "a frequent class needs no evidence"
    assert one((0.1, 0.8, 0.0, 0.05, 0.05), novelty=0.95, **found)[:2] == (("other", True) if real else ("bogus", True))


def test_a_missing_score_is_not_imputed_the_network_decides() -> None:
    assert one((0.05, 0.45, 0.5, 0.0, 0.0)) == ("kilonova", True, True, "network")
    assert one((0.0, 0.55, 0.45, 0.0, 0.0)) == ("bogus", True, False, "network")
    assert one((0.0, 0.55, 0.45, 0.0, 0.0), drb=0.95) == ("kilonova", True, True, "drb")
    assert one((0.0, 0.55, 0.45, 0.0, 0.0), change={"bogus": None})[2:] == (True, "network"), "a head without bogus says nothing"


def test_a_rare_class_without_evidence_never_leads() -> None:
    assert one((0.0, 0.02, 0.85, 0.05, 0.08), drb=0.1) == ("bogus", False, False, "drb"), "other does not lead without it either"
    everything = {"rare": np.ones(4, bool)}
    assert one((0.0, 0.02, 0.9, 0.05, 0.03), drb=0.1, change=everything) == ("other", False, False, "drb"), "nothing is left"


def test_thresholds_from_nothing_to_never() -> None:
    row = (0.2, 0.3, 0.1, 0.3, 0.1)
    assert one(row, drb=0.9, change={"thresholds": np.zeros(4, np.float32)})[1] is True
    never = {"thresholds": np.full(4, 1.5, np.float32), "novelty_threshold": np.asarray(2.0, np.float32)}
    assert one(row, novelty=1.0, drb=0.9, change=never) == ("bogus", False, True, "drb")


def plain(prior: Any, novelty: float, found: Any, r: Rule, *, star: bool) -> tuple[int, bool, bool, int]:
    """The rule, one alert at a time."""
    real, evidence = (True if r.bogus is None else prior[r.bogus] < MOST_BOGUS), len(found)
    for column, score in enumerate(found):
        if score == score:
            real, evidence = score >= r.least_score[column], column
            break
    k = len(prior) - 1
    may = [j for j in range(k) if real or star or not r.rare[j]]
    reached = [j for j in may if prior[j] >= r.thresholds[j]]
    if real and novelty >= r.novelty_threshold:
        return k, True, real, evidence
    if reached:
        return max(reached, key=lambda j: (prior[j] / r.thresholds[j], -j)), True, real, evidence
    best = max(may, key=lambda j: (prior[j], -j))
    return best, False, real, evidence


def test_in_every_namespace_as_written_out_row_by_row(xp: Namespace) -> None:
    rng, n = np.random.default_rng(4), 3000
    p = rng.dirichlet(np.full(len(CLASSES) + 1, 0.4), n).astype(np.float32)
    novelty = rng.random(n).astype(np.float32)
    found = np.where(rng.random((n, 3)) < 0.5, NAN, rng.random((n, 3))).astype(np.float32)
    star = rng.random(n) < 0.3
    r = rule()
    j = judged(*map(tuple, p), novelty=list(novelty))
    moved = Judged(*(xp.asarray(column) for column in j))
    there = Rule(*(xp.asarray(x) if isinstance(x, np.ndarray) else x for x in r))
    d = decide_array(moved, xp.asarray(found), rule=there, star=star)
    rows = list(zip(*(to_numpy(column).tolist() for column in (d.chosen, d.published, d.real, d.evidence)), strict=True))
    assert rows == [
        tuple(int(x) if not isinstance(x, bool) else x for x in plain(p[i], novelty[i], found[i], r, star=star[i])) for i in range(n)
    ]
    assert {row[0] for row in rows} == set(range(5))
    assert np.array_equal(to_numpy(d.prior_probability), p[np.arange(n), [row[0] for row in rows]])
    fused = decide(j, found, rule=r, star=star)
    for field, column in zip(Decided._fields, fused, strict=True):
        assert np.array_equal(column, to_numpy(getattr(d, field))), f"the kernel's {field}"
    for size in (1, 7):
        few = Judged(*(x[:size, ...] for x in moved))
        part = decide_array(few, xp.asarray(found)[:size, ...], rule=there, star=star[:size])
        assert to_numpy(part.chosen).tolist() == [row[0] for row in rows[:size]]


def test_which_classes_are_rare_follows_from_the_stated_prior() -> None:
    bundle = load()
    r = rule_of(bundle.head, bundle.classes)
    named = dict(zip(bundle.classes, np.asarray(r.rare).tolist(), strict=True))
    assert all(named[name] for name in ("kilonova", "afterglow", "tde", "slsn", "sn-ibc"))
    assert not any(named[name] for name in ("bogus", "asteroid", "agn", "rr-lyrae", "lpv", "sn-ia", "sn-ii"))
    assert r.bogus == bundle.classes.index("bogus")
    taught = dataclasses.replace(
        bundle.head, taught=("fbot",), taught_prior=np.array([1e-4], np.float32), taught_thresholds=np.array([0.2], np.float32)
    )
    assert rule_of(taught, (*bundle.classes, "fbot")).rare.tolist()[-1] is True, "a taught class is rare"


def test_the_threshold_of_novelty_keeps_the_budget_of_known_alerts_that_are_real() -> None:
    rng, n = np.random.default_rng(1), 20_000
    label = rng.integers(0, 4, n)
    novelty = rng.beta(1, 3, n).astype(np.float32)
    prior = rng.dirichlet(np.full(5, 0.3), n).astype(np.float32)
    j = Judged(prior, prior, novelty, label, novelty, prior > 0.5)
    shares = np.array([0.3, 0.4, 0.1, 0.15, 0.05])
    least = novelty_threshold(j, label, prior=shares, bogus=1, alerts_a_night=100_000)
    stands = (shares[:4] / np.bincount(label))[label] * 100_000
    false = stands[(novelty >= least) & (prior[:, 1] < MOST_BOGUS)].sum()
    assert 0.5 < least < MOST_NOVELTY
    assert 1_500 < false <= 2_000
    assert (
        novelty_threshold(j._replace(novelty=np.full(n, 0.95, np.float32)), label, prior=shares, bogus=1, alerts_a_night=1e5)
        == MOST_NOVELTY
    )


def test_the_published_bundle_has_a_threshold_of_novelty() -> None:
    assert 0.5 <= float(load().head.novelty_threshold) <= MOST_NOVELTY
