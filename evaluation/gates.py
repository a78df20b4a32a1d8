"""Two models on the same alerts, and what is known of these → whether the second may take the place of the first.

`Scores` of champion and challenger over n alerts, labels of some → `GateReport`; pure

Safe gates: by the bounds of what changes (`evaluation.gate_figures`) nothing that mattered gets worse by more than it may. Better: the
labels show that the challenger gains, by macro recall, by the Brier score, or by a sign test over the alerts that are called differently.
Judged again and again, luck would pass every gate once: who calls this does so when there is twice the evidence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from evaluation.gate_figures import I64, Bools, Draws, F, Rows, Scores, Seen, at_least, bounds, draws_of, exact_interval, rows_of, seen
from schemas.records.gate_report import PASSED, REFUSED, WAITING, Gate, GateReport
from schemas.taxonomy import OTHER

MACRO, BRIER, GAP, WORST = "macro recall", "Brier score", "confidence gap", "worst class"
BETTER_MACRO, BETTER_BRIER, BETTER_SIGN = "better: macro recall", "better: Brier score", "better: disagreements"
AGREEMENT, SHARES, REJECTS, SLOWDOWN = "agreement", "class shares", "rejects", "time an alert"
BASELINE = "baseline "
"""Before the names of gates against the head made anew."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What the gates hold figures against."""

    macro: float = -0.03
    """Least 5 % bound of the change in macro recall."""
    brier: float = 0.01
    """The 95 % bound of the change in the Brier score stays below."""
    gap: float = 0.04
    """The same of the distance between mean confidence and accuracy."""
    worst_class: float = -0.1
    """No class surely falls so far in recall."""
    worst_class_labels: int = 5
    """Labels that a class needs to be looked at alone."""
    false_calls: float = 2.0
    """Times the budget: the 95 % bound of a new class's false calls stays below."""
    agreement: float = 0.9
    """Least share of alerts called the same where the champion is surer than `sure`."""
    sure: float = 0.9
    sure_alerts: int = 30
    """With fewer nothing is said about the agreement."""
    shares: float = 0.15
    """Total variation between the shares of the classes stays below."""
    rejects: float = 0.005
    """The 95 % bound of the share of alerts that the challenger alone rejects stays below."""
    slowdown: float = 1.5
    """Time an alert, of the champion's."""
    level: float = 0.025
    """Chance to be called better by luck, for each of the ways to show it."""
    alerts: int = 500
    """Alerts before anything is decided."""
    disagreements: int = 20
    """Labelled objects that the two call differently, before anything is called better."""
    labels: int = 200
    """Or labels in all, for a better Brier score."""


class Running(NamedTuple):
    """What is known of the challenger's running beside its scores."""

    offered: int = 0
    """Alerts that the champion scored and the challenger was given."""
    rejected: int = 0
    """Of these, what it rejected."""
    slowdown: float | None = None
    """Its time an alert, of the champion's, on the same alerts in one process; None: not measured."""


STANDARD = Thresholds()
UNKNOWN = Running()


def judge(
    champion: Scores,
    challenger: Scores,
    *,
    baseline: Scores | None = None,
    labels: Sequence[str | None],
    owners: Sequence[str],
    budget: float,
    budgets: Mapping[str, float] | None = None,
    running: Running = UNKNOWN,
    thresholds: Thresholds = STANDARD,
    final: bool = False,
    judged_ms: int = 0,
    seed: int = 0,
) -> GateReport:
    """Judge a challenger.

    Parameters
    ----------
    champion, challenger, baseline : Scores
        Of the same n alerts. The baseline is the champion with its head made anew from the same examples, which a costlier challenger has
        to beat too; None: the challenger is such a head.
    labels : sequence of str or None
        n; None: not known.
    owners : sequence of str
        n objects.
    budget : float
        Share of other alerts that a class which only the challenger knows may be called.
    budgets : mapping of str to float, optional
        Of single classes.
    running : Running
    thresholds : Thresholds
    final : bool
        No more is waited for: what is not shown to be better is refused.
    judged_ms : int
        Now, since 1970 [ms].
    seed : int
        Of the bootstrap.

    Returns
    -------
    GateReport
    """
    t = thresholds
    known = [c for c in champion.classes if c != OTHER]
    names = (*known, *(c for c in challenger.classes if c != OTHER and c not in champion.classes))
    new = {i: (budgets or {}).get(names[i], budget) for i in range(len(known), len(names))}
    b, a = seen(champion, names), seen(challenger, names)
    place = {name: i for i, name in enumerate(names)}
    label = np.array([-1 if x is None else place.get(x, len(names)) for x in labels], dtype=np.int64)
    owner = np.unique(np.asarray(owners, dtype=str), return_inverse=True)[1].astype(np.int64)
    rows = rows_of(a, b, label=label, new=new)
    drawn = draws_of(a, b, rows=rows, owner=owner, new=new, seed=seed)
    gates = [
        *_unlabelled(a, b, t=t, running=running),
        *_safe(drawn, labelled=rows.labelled, ways=len(known), t=t),
        *(_false_calls(names[c], a.best == c, label=label, c=c, owner=owner, budget=share, t=t) for c, share in new.items()),
    ]
    better = _better(a, b, drawn=drawn, rows=rows, label=label, owner=owner, t=t)
    over: list[Gate] = []
    complete = rows.complete
    if baseline is not None:
        base = seen(baseline, names)
        beside = rows_of(a, base, label=label, new=())
        drawn = draws_of(a, base, rows=beside, owner=owner, new=(), seed=seed)
        over = [g._replace(name=BASELINE + g.name) for g in _better(a, base, drawn=drawn, rows=beside, label=label, owner=owner, t=t)]
        complete &= beside.complete
    n = len(label)
    verdict, why = _verdict(gates, better, over=over, complete=complete, final=final, missing=max(0, t.alerts - n))
    differ = int(((label >= 0) & (a.best != b.best)).sum())
    return GateReport(
        champion.model, challenger.model, "" if baseline is None else baseline.model, verdict, why, (*gates, *better, *over), n,
        int((label >= 0).sum()), differ, judged_ms,
    )  # fmt: skip


def surely_worse(report: GateReport, *, least: int = STANDARD.alerts) -> str:
    """Why the challenger of a report is surely worse than its champion; empty: it is not known to be.

    What a promotion is taken back for: a gate that was not passed for want of labels is not a reason.
    """
    if report.alerts < least:
        return ""
    return "; ".join(shown(g) for g in report.gates if g.failed and not g.name.startswith(("better", BASELINE)))


def called(scores: Scores) -> list[str]:
    """What a model calls each alert, `other` aside."""
    names = tuple(c for c in scores.classes if c != OTHER)
    return [names[i] for i in seen(scores, names).best]


def gain(champion: Scores, challenger: Scores) -> F:
    """Chance that just one of two models is right about each alert, by the mean of their probabilities; 0 where they agree; (n,)."""
    names = tuple(dict.fromkeys(c for c in (*champion.classes, *challenger.classes) if c != OTHER))
    a, b = seen(challenger, names), seen(champion, names)
    at, mean = np.arange(len(a.best)), (a.p + b.p) / 2
    return np.where(a.best == b.best, 0.0, mean[at, a.best] + mean[at, b.best])


def wanted(
    champion: Scores, challenger: Scores, *, labels: Sequence[str | None], owners: Sequence[str], most: int, keys: Sequence[int]
) -> list[int]:
    """Which alerts to ask people about: called differently, without a label, one an object, drawn by how much their label would decide.

    Drawn and not simply the best, since figures are made of the answers. As many are drawn of what the challenger calls a class that the
    champion does not know as of the rest.

    Parameters
    ----------
    champion, challenger : Scores
    labels, owners : sequence
        Of n alerts.
    most : int
        Alerts at most.
    keys : sequence of int
        n numbers that are as good as random and stay the same, such as a digest's beginning, 0 … 2^32 - 1: by which it is drawn.

    Returns
    -------
    list of int
        Places among the n.
    """
    names = tuple(dict.fromkeys(c for c in (*champion.classes, *challenger.classes) if c != OTHER))
    best, worth, known = seen(challenger, names).best, gain(champion, challenger), set(champion.classes)
    asked = {owners[i] for i in np.flatnonzero(worth > 0).tolist() if labels[i] is not None}
    uniform = (np.asarray(keys, dtype=np.float64) + 0.5) / 2**32
    # Gumbel's trick: without replacement, in proportion to the gain.
    order = np.argsort(np.log(-np.log(uniform)) - np.log(np.clip(worth, 1e-9, None)))
    parts: dict[bool, list[int]] = {True: [], False: []}
    for i in order.tolist():
        if worth[i] > 0 and labels[i] is None and owners[i] not in asked:
            asked.add(owners[i])
            parts[names[best[i]] in known].append(i)
    pairs = [i for pair in zip(parts[True], parts[False], strict=False) for i in pair]
    shared = len(pairs) // 2
    return [*pairs, *parts[True][shared:], *parts[False][shared:]][:most]


def shown(gate: Gate) -> str:
    """A gate in words."""
    if gate.figure is None:
        return f"{gate.name} not measured"
    found = f" [{gate.low:+.3f}, {gate.high:+.3f}]" if gate.low is not None and gate.high is not None else ""
    return f"{gate.name} {gate.figure:+.3f}{found} against {gate.threshold:+.3f}"


def _unlabelled(a: Seen, b: Seen, *, t: Thresholds, running: Running) -> list[Gate]:
    """Gates that need no label."""
    n, k = a.p.shape
    sure = b.sure > t.sure
    same, of = int((a.best[sure] == b.best[sure]).sum()), int(sure.sum())
    low, high = exact_interval(same, of)
    good = low > t.agreement or of < t.sure_alerts
    agreement = Gate(AGREEMENT, same / of if of else None, low, high, t.agreement, good, high < t.agreement, of)
    moved = float(np.abs(np.bincount(a.best, minlength=k) - np.bincount(b.best, minlength=k)).sum()) / max(2 * n, 1)
    # Its spread is at most that of the share of alerts called differently.
    spread = 1.645 * math.sqrt(max(float((a.best != b.best).mean()), 1 / n) / n) if n else 1.0
    below, above = max(0.0, moved - spread), min(1.0, moved + spread)
    shares = Gate(SHARES, moved, below, above, t.shares, moved < t.shares, below > t.shares, n)
    low, high = exact_interval(running.rejected, running.offered)
    share = running.rejected / running.offered if running.offered else None
    rejects = Gate(REJECTS, share, low, high, t.rejects, high < t.rejects or not running.rejected, low > t.rejects, running.offered)
    times = running.slowdown
    slow = times is not None and times >= t.slowdown
    return [agreement, shares, rejects, Gate(SLOWDOWN, times, None, None, t.slowdown, not slow, slow, n)]


def _safe(drawn: Draws | None, *, labelled: int, ways: int, t: Thresholds) -> list[Gate]:
    if drawn is None:
        return [_unknown(name, most) for name, most in ((MACRO, t.macro), (BRIER, t.brier), (GAP, t.gap), (WORST, t.worst_class))]
    figure, low, high = bounds(drawn.macro)
    gates = [Gate(MACRO, figure, low, high, t.macro, low > t.macro, figure <= t.macro and high < 0, labelled)]
    for name, draws, most in ((BRIER, drawn.brier, t.brier), (GAP, drawn.gap, t.gap)):
        figure, low, high = bounds(draws)
        gates.append(Gate(name, figure, low, high, most, high < most, figure >= most and low > 0, labelled))
    looked_at = np.flatnonzero(drawn.labels[:ways] >= t.worst_class_labels)
    if not len(looked_at):
        return [*gates, _unknown(WORST, t.worst_class, passed=True)]
    worst = looked_at[int(np.argmin(np.quantile(drawn.fall[1:, looked_at], 0.95, axis=0)))]
    figure, low, high = bounds(drawn.fall[:, worst])
    good = high > t.worst_class
    return [*gates, Gate(WORST, figure, low, high, t.worst_class, good, not good, int(drawn.labels[worst]))]


def _false_calls(name: str, called: Bools, *, label: I64, c: int, owner: I64, budget: float, t: Thresholds) -> Gate:
    """How many alerts of other classes are called a new one: its share of the stream times what of it is false, by the labels."""
    title, most = f"false calls {name}", t.false_calls * budget
    if not len(called):
        return _unknown(title, most)
    share, known = float(called.mean()), np.flatnonzero(called & (label >= 0))
    if not len(known):
        # Were all of them false it may still be within: then no label is needed.
        _, high = exact_interval(int(called.sum()), len(called))
        return Gate(title, None, 0.0, high, most, high <= most, False, 0)
    objects, slot = np.unique(owner[known], return_inverse=True)
    false = int((np.bincount(slot, (label[known] != c).astype(float), minlength=len(objects)) > 0).sum())
    low, high = exact_interval(false, len(objects))
    figure = share * false / len(objects)
    # Surely missed is what lies beyond the threshold whole: of four labels three are false by chance often enough.
    return Gate(title, figure, share * low, share * high, most, share * high <= most, share * low > most, len(objects))


def _better(a: Seen, b: Seen, *, drawn: Draws | None, rows: Rows, label: I64, owner: I64, t: Thresholds) -> list[Gate]:
    decided = np.flatnonzero((label >= 0) & (a.best != b.best))
    objects, slot = np.unique(owner[decided], return_inverse=True)
    n = len(objects)
    gained = (a.best[decided] == label[decided]).astype(float) - (b.best[decided] == label[decided])
    balance = np.bincount(slot, gained, minlength=n)
    wins, losses = int((balance > 0).sum()), int((balance < 0).sum())
    enough = n >= t.disagreements
    many = not rows.imputed.any() and rows.labelled >= t.labels  # a challenger that calls all alike may still be the surer one rightly
    gates = [_unknown(BETTER_MACRO, 0.0), _unknown(BETTER_BRIER, 0.0)]
    if drawn is not None:
        figure, low, high = bounds(drawn.macro, t.level)
        gates[0] = Gate(BETTER_MACRO, figure, low, high, 0.0, enough and low > 0, False, n)
        figure, low, high = bounds(drawn.brier, t.level)
        gates[1] = Gate(BETTER_BRIER, figure, low, high, 0.0, (enough or many) and high < 0, False, rows.labelled)
    if wins + losses == 0:
        return [*gates, _unknown(BETTER_SIGN, t.level)]
    chance = at_least(wins, wins + losses, p=0.5)
    return [*gates, Gate(BETTER_SIGN, chance, None, None, t.level, enough and chance < t.level, False, n)]


def _unknown(name: str, threshold: float, *, passed: bool = False) -> Gate:
    return Gate(name, None, None, None, threshold, passed, False, 0)


def _verdict(
    gates: Sequence[Gate], better: Sequence[Gate], *, over: Sequence[Gate], complete: bool, final: bool, missing: int
) -> tuple[str, str]:
    """The verdict, and why."""
    failed = [shown(g) for g in gates if g.failed]
    if failed and not missing:
        return REFUSED, "; ".join(failed)
    left = [shown(g) for g in gates if not g.passed]
    if missing:
        left.insert(0, f"{missing} more alerts are needed")
    if not complete:
        left.append("too few labels among the alerts that are called differently")
    if not any(g.passed for g in better):
        left.append("not shown to be better than the champion")
    if over and not any(g.passed for g in over):
        left.append("not shown to be better than the head made anew")
    if left:
        return (REFUSED if final else WAITING), "; ".join(left)
    return PASSED, "; ".join(shown(g) for g in (*better, *over) if g.passed)
