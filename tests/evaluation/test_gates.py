"""The gates on models whose worth is known by construction: good ones pass, bad ones do not, luck and want of labels pass nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from evaluation import gates
from evaluation.gate_figures import Scores, at_least, exact_interval
from evaluation.gates import Running, gain, judge, surely_worse, wanted
from schemas.records.gate_report import PASSED, REFUSED, WAITING, GateReport

CLASSES = ("sn-ia", "agn", "cv", "bogus")
N = 2000
F = npt.NDArray[np.float64]


def truth(n: int = N, *, new: float = 0.05, seed: int = 0) -> npt.NDArray[np.int64]:
    """Classes of n alerts; 4 is the new one."""
    rng = np.random.default_rng([seed, 1])
    return np.where(rng.random(n) < new, 4, rng.integers(0, 4, n))


def model(
    label: npt.NDArray[np.int64], *, right: float = 0.85, knows: float = 0.0, false: float = 0.0, power: float = 1.0, seed: int = 0
) -> Scores:
    """A calibrated model: right so often, with the new class's recall, its false calls, and so many times surer than it may be."""
    rng = np.random.default_rng([seed, 2])
    n, k = len(label), 5
    old = np.where(label == 4, rng.integers(0, 4, n), label)
    called = np.where(rng.random(n) < right, old, (old + rng.integers(1, 4, n)) % 4)
    luck = np.random.default_rng([seed, 3]).random(n)
    if knows:
        called = np.where(luck < np.where(label == 4, knows, false), 4, called)
    p = np.full((n, k), (1 - right) / 4)
    if not knows:
        p = np.full((n, k), (1 - right) / 3)
        p[:, 4] = 0.0
    p[np.arange(n), called] = right
    p = p**power / (p**power).sum(axis=1, keepdims=True)
    names = (*CLASSES, "fast-blue") if knows else CLASSES
    return Scores("challenger" if knows else "champion", (*names, "other"), np.c_[p[:, : len(names)], np.zeros(n)].astype(np.float32))


def labels_of(label: npt.NDArray[np.int64], shown: npt.NDArray[np.bool_]) -> list[str | None]:
    names = (*CLASSES, "fast-blue")
    return [names[c] if there else None for c, there in zip(label, shown, strict=True)]


def judged(
    challenger: Scores, *, label: npt.NDArray[np.int64], asked: int = 60, known: int = 0, seed: int = 0, **options: object
) -> GateReport:
    """Judge as the stream does: so many asked for, so many known by chance."""
    champion, n = model(label, seed=seed), len(label)
    owners = [f"o{i}" for i in range(n)]
    shown = np.random.default_rng([seed, 4]).random(n) < known / n
    labels = labels_of(label, shown)
    keys = np.random.default_rng([seed, 6]).integers(0, 2**32, n).tolist()
    shown[wanted(champion, challenger, labels=labels, owners=owners, most=asked, keys=keys)] = True
    return judge(champion, challenger, labels=labels_of(label, shown), owners=owners, budget=0.01, seed=seed, **options)  # type: ignore[arg-type]


def test_a_challenger_that_knows_a_new_class_passes_by_the_answers_to_what_was_asked() -> None:
    label = truth()
    report = judged(model(label, knows=0.7, false=0.005), label=label)
    assert report.verdict == PASSED, report.why
    assert (report.alerts, report.labels, report.disagreements) == (N, 60, 60)
    assert report.gate("false calls fast-blue").passed
    assert any(report.gate(name).passed for name in (gates.BETTER_MACRO, gates.BETTER_BRIER, gates.BETTER_SIGN))


@pytest.mark.parametrize("known", [0, 600])
@pytest.mark.parametrize(
    ("changed", "by"),
    [
        ({"power": 3.0}, {gates.BRIER, gates.GAP}),
        ({"power": 0.4}, {gates.BRIER, gates.GAP}),
        ({"false": 0.1}, {"false calls fast-blue"}),
        ({"right": 0.6}, {gates.MACRO, gates.AGREEMENT, gates.BRIER, gates.WORST}),
    ],
    ids=["too sure", "too unsure", "false calls", "worse"],
)
def test_a_bad_challenger_is_refused_by_the_gate_that_is_there_for_it(changed: dict[str, float], by: set[str], known: int) -> None:
    label = truth()
    report = judged(model(label, **{"knows": 0.7, "false": 0.005, **changed}), label=label, known=known)  # type: ignore[arg-type]
    assert report.verdict == REFUSED
    assert {g.name for g in report.gates if g.failed} & by
    assert surely_worse(report)


def test_nothing_is_decided_without_alerts_or_labels_and_no_more_is_waited_for_at_the_end() -> None:
    label = truth()
    good = model(label, knows=0.7, false=0.005)
    assert judged(good, label=label, asked=0).verdict == WAITING
    report = judged(good, label=label, asked=0, final=True)
    assert report.verdict == REFUSED
    assert "not shown to be better" in report.why
    assert not surely_worse(report)  # what is merely not shown takes no promotion back
    few = truth(200)
    report = judged(model(few, knows=0.7), label=few)
    assert report.verdict == WAITING
    assert "300 more alerts" in report.why


def test_four_labels_of_which_three_are_false_by_chance_refuse_nothing() -> None:
    label = truth()
    challenger = model(label, knows=0.7, false=0.012)
    called = challenger.probability[:, 4] == challenger.probability.max(axis=1)
    shown = np.zeros(N, dtype=bool)
    shown[[*np.flatnonzero(called & (label != 4))[:3], *np.flatnonzero(called & (label == 4))[:1]]] = True
    report = judge(model(label), challenger, labels=labels_of(label, shown), owners=[f"o{i}" for i in range(N)], budget=0.01)
    gate = report.gate("false calls fast-blue")
    assert gate.figure is not None
    assert gate.figure > gate.threshold
    assert not gate.failed
    assert "false calls" not in surely_worse(report)


def test_no_alert_at_all_is_waited_for() -> None:
    none = Scores("a", (*CLASSES, "other"), np.zeros((0, 5), dtype=np.float32))
    report = judge(none, none, labels=[], owners=[], budget=0.01)
    assert (report.verdict, report.alerts) == (WAITING, 0)


def test_the_same_model_is_never_better() -> None:
    label = truth()
    champion = model(label)
    report = judged(champion._replace(model="challenger"), label=label, known=500, final=True)
    assert report.verdict == REFUSED
    assert not [g for g in report.gates if g.failed]


def test_labels_of_one_object_are_one_piece_of_evidence() -> None:
    label = truth(1000)
    champion, challenger = model(label), model(label, knows=0.7, false=0.005)
    differ = gain(champion, challenger) > 0
    labels = labels_of(label, differ)
    apart = judge(champion, challenger, labels=labels, owners=[str(i) for i in range(1000)], budget=0.01)
    together = judge(champion, challenger, labels=labels, owners=["one"] * 1000, budget=0.01)
    assert apart.gate(gates.BETTER_SIGN).passed
    assert together.gate(gates.BETTER_SIGN).n == 1
    assert together.verdict != PASSED


def test_questions_are_of_both_kinds_of_disagreement_one_an_object_and_the_same_each_time() -> None:
    label = truth()
    champion, challenger = model(label), model(label, knows=0.7, false=0.005, right=0.8)
    keys = np.random.default_rng(1).integers(0, 2**32, N).tolist()
    owners = [str(i // 2) for i in range(N)]
    found = wanted(champion, challenger, labels=[None] * N, owners=owners, most=20, keys=keys)
    assert found == wanted(champion, challenger, labels=[None] * N, owners=owners, most=20, keys=keys)
    assert len(found) == len({owners[i] for i in found}) == 20
    new = challenger.probability[found, :5].argmax(axis=1) == 4
    assert new.sum() == 10
    labels: list[str | None] = [None] * N
    labels[found[0]] = "agn"
    assert found[0] not in wanted(champion, challenger, labels=labels, owners=owners, most=20, keys=keys)


def test_a_costly_challenger_has_to_beat_the_head_made_anew() -> None:
    label = truth()
    head = model(label, knows=0.7, false=0.005)
    shown = np.random.default_rng(0).random(N) < 0.3
    labels, owners = labels_of(label, shown), [str(i) for i in range(N)]
    options = {"labels": labels, "owners": owners, "budget": 0.01}
    alone = judge(model(label), head, **options)  # type: ignore[arg-type]
    beside = judge(model(label), head, baseline=head._replace(model="head"), **options)  # type: ignore[arg-type]
    assert (alone.verdict, beside.verdict) == (PASSED, WAITING)
    assert "the head made anew" in beside.why
    assert beside.baseline == "head"


def test_a_slow_challenger_and_one_that_rejects_are_refused() -> None:
    label = truth()
    good = model(label, knows=0.7, false=0.005)
    assert judged(good, label=label, running=Running(N, 0, 1.2)).verdict == PASSED
    assert judged(good, label=label, running=Running(N, 0, 2.0)).gate(gates.SLOWDOWN).failed
    assert judged(good, label=label, running=Running(N + 100, 100)).gate(gates.REJECTS).failed


def test_a_label_that_no_model_knows_counts_as_wrong_for_both() -> None:
    label = truth()
    good = model(label, knows=0.7, false=0.005)
    labels = ["pisn" if i % 10 == 0 else x for i, x in enumerate(labels_of(label, np.ones(N, dtype=bool)))]
    report = judge(model(label), good, labels=labels, owners=[str(i) for i in range(N)], budget=0.01)
    assert all(g.figure is None or np.isfinite(g.figure) for g in report.gates)
    right = judge(model(label), good, labels=labels_of(label, np.ones(N, dtype=bool)), owners=[str(i) for i in range(N)], budget=0.01)
    more, fewer = (found.gate("false calls fast-blue").figure for found in (report, right))
    assert more is not None
    assert fewer is not None
    assert more > fewer


def test_exact_bounds_are_those_of_the_tables() -> None:
    assert at_least(9, 10, p=0.5) == pytest.approx(11 / 1024)
    assert exact_interval(0, 20) == pytest.approx((0.0, 1 - 0.05 ** (1 / 20)), abs=1e-6)
    assert exact_interval(2, 20) == pytest.approx((0.01807, 0.28262), abs=1e-4)
    assert exact_interval(0, 0) == (0.0, 1.0)


def test_thresholds_are_what_holds() -> None:
    label = truth()
    good = model(label, knows=0.7, false=0.005)
    assert judged(good, label=label, thresholds=replace(gates.STANDARD, alerts=N + 1)).verdict == WAITING
    assert judged(good, label=label, thresholds=replace(gates.STANDARD, shares=0.001)).verdict == REFUSED
