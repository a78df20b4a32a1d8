"""Two models on the same alerts, and what is known of these → how far one is from the other, with bounds.

probabilities of both (n, k), labels of some alerts → change in macro recall, Brier score, confidence gap, each class's recall

A label is rarely there by chance: people are asked about the alerts that the two models call differently. So figures are made by stratum
and put together by the shares that the strata have in the stream (post-stratification; Cochran 1977, "Sampling Techniques", 5A.9): alerts
which both call the same, alerts which they call differently, and those that the challenger calls a class the champion does not know.
Where both call an alert the same, neither gains on the other but in its probabilities. As long as few of these have labels the champion's
own probabilities stand for the truth there: the expected rise of the Brier score is then the squared distance between the two models, so
that a model which changes what is sure must bring labels for it.

Bounds resample whole objects, since an object's alerts are right or wrong together, each so often as a Poisson law of mean 1 says (Hanley &
MacGibbon 2006, Comput. Methods Programs Biomed. 83, 57).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from evaluation.measures import wilson
from schemas.taxonomy import OTHER

F = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

DRAWS = 400
AT_ONCE = 50
"""Draws of a matrix product."""
EXACT = 2000
"""Of more tries Wilson's interval says the same in less time."""
AGREED_LABELS = 100
"""Labels among the alerts called the same; with fewer the champion's probabilities stand for the truth there."""
STRATUM_LABELS = 5
"""Labels that a stratum needs to speak for its alerts."""
STRATUM_SHARE = 0.005
"""A smaller stratum needs none."""


class Scores(NamedTuple):
    """What a model says of n alerts."""

    model: str
    """Its short id."""
    classes: tuple[str, ...]
    """Of the c columns; `other` may be among them and is left out."""
    probability: npt.NDArray[np.float32]  # (n, c) at balanced classes


class Seen(NamedTuple):
    """A model's scores over the classes of both."""

    p: F  # (n, k) sums to 1
    best: I64
    sure: F  # (n,) probability of the best


class Rows(NamedTuple):
    """Alerts that figures are made of."""

    at: I64  # (m,) places among the n alerts
    truth: I64  # (m,) class; where it is not known, what both call it; k: a class of neither
    imputed: Bools  # (m,) the champion's probabilities stand for the truth
    weight: F  # (m,) sums to 1
    complete: bool
    """Every stratum of any size has its labels."""

    @property
    def labelled(self) -> int:
        """Alerts whose label is known."""
        return int((~self.imputed).sum())


class Draws(NamedTuple):
    """Changes from the champion to the challenger: of all rows first, then once a draw of objects."""

    macro: F
    brier: F
    gap: F
    """Of the distance between mean confidence and accuracy."""
    fall: F  # (draws + 1, k) of each class's recall
    labels: F  # (k,) rows of each class


def seen(scores: Scores, names: Sequence[str]) -> Seen:
    """A model's scores as probabilities over these classes, 0 where it does not know one."""
    at = {name: i for i, name in enumerate(scores.classes) if name != OTHER}
    given = np.asarray(scores.probability, dtype=np.float64)
    p = np.zeros((len(given), len(names)))
    for j, name in enumerate(names):
        if name in at:
            p[:, j] = given[:, at[name]]
    p /= np.clip(p.sum(axis=1, keepdims=True), 1e-9, None)
    return Seen(p, p.argmax(axis=1), p.max(axis=1)) if len(p) else Seen(p, np.zeros(0, np.int64), np.zeros(0))


def rows_of(a: Seen, b: Seen, *, label: I64, new: Iterable[int]) -> Rows:
    """Choose and weigh what figures are made of.

    Parameters
    ----------
    a, b : Seen
        Challenger and champion.
    label : (n,) int
        -1: not known; k: a class of neither.
    new : iterable of int
        Classes that the champion does not know.
    """
    stratum = (a.best != b.best).astype(np.int64)
    stratum[np.isin(a.best, list(new))] = 2
    known = label >= 0
    at, weight, complete = [], [], len(label) > 0
    for s in (1, 2):
        share, own = float((stratum == s).mean()) if len(label) else 0.0, np.flatnonzero((stratum == s) & known)
        complete &= len(own) >= STRATUM_LABELS or share < STRATUM_SHARE
        at.append(own)
        weight.append(np.full(len(own), share / max(len(own), 1)))
    agreed = np.flatnonzero((stratum == 0) & known)
    imputed = len(agreed) < AGREED_LABELS
    if imputed:
        agreed = np.flatnonzero(stratum == 0)
    first = sum(map(len, at))
    at.append(agreed)
    weight.append(np.full(len(agreed), float((stratum == 0).mean()) / max(len(agreed), 1) if len(label) else 0.0))
    places, whole = np.concatenate(at), np.concatenate(weight)
    guessed = (np.arange(len(places)) >= first) & imputed
    truth = np.where(guessed, a.best[places], label[places])
    return Rows(places, truth, guessed, whole / max(float(whole.sum()), 1e-12), complete)


def draws_of(a: Seen, b: Seen, *, rows: Rows, owner: I64, new: Iterable[int], seed: int) -> Draws | None:
    """Changes from champion `b` to challenger `a`, and their spread over draws of objects; None: there is nothing to go by.

    As long as labels of alerts that both call the same are guessed, those of a new class which both miss are not seen: its recall would be
    that of what was found, and has no part in the macro recall.
    """
    m, k = len(rows.at), a.p.shape[1]
    if not m:
        return None
    pa, pb, guessed = a.p[rows.at], b.p[rows.at], rows.imputed
    one = np.eye(k + 1)[rows.truth][:, :k]
    right_a, right_b = (np.where(guessed, b.sure[rows.at], model.best[rows.at] == rows.truth) for model in (a, b))
    change = np.where(guessed, 0.0, right_a - right_b)
    brier = np.where(guessed, ((pa - pb) ** 2).sum(axis=1), ((pa - one) ** 2).sum(axis=1) - ((pb - one) ** 2).sum(axis=1))
    rest = np.stack([brier, a.sure[rows.at] - right_a, b.sure[rows.at] - right_b, np.ones(m)], axis=1)
    columns = np.concatenate([one, one * change[:, None], rest], axis=1) * rows.weight[:, None]
    objects, slot = np.unique(owner[rows.at], return_inverse=True)
    sums = np.stack([np.bincount(slot, column, minlength=len(objects)) for column in columns.T], axis=1)
    rng = np.random.default_rng(seed)
    parts = [sums.sum(axis=0, keepdims=True)]
    for _ in range(DRAWS // AT_ONCE):
        parts.append(rng.poisson(1.0, (AT_ONCE, len(objects))).astype(np.float64) @ sums)
    total = np.concatenate(parts)
    count, gained, means = total[:, :k], total[:, k : 2 * k], total[:, 2 * k :] / np.clip(total[:, -1:], 1e-12, None)
    there = count > 0
    if guessed.any():
        there[:, list(new)] = False
    fall = np.where(there, gained / np.where(there, count, 1.0), 0.0)
    macro = fall.sum(axis=1) / np.clip(there.sum(axis=1), 1, None)
    labels = np.bincount(rows.truth, minlength=k + 1)[:k].astype(np.float64)
    return Draws(macro, means[:, 0], np.abs(means[:, 1]) - np.abs(means[:, 2]), fall, labels)


def bounds(draws: F, level: float = 0.05) -> tuple[float, float, float]:
    """A figure, its lower and its upper bound, each at a level."""
    return float(draws[0]), float(np.quantile(draws[1:], level)), float(np.quantile(draws[1:], 1 - level))


def at_least(hits: int, n: int, *, p: float) -> float:
    """Chance of so many hits or more in n tries."""
    if hits <= 0:
        return 1.0
    log_p, log_q = math.log(p), math.log1p(-p)
    terms = (math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * log_p + (n - i) * log_q for i in range(hits, n + 1))
    return min(1.0, sum(map(math.exp, terms)))


def exact_interval(hits: int, n: int, *, level: float = 0.05) -> tuple[float, float]:
    """One-sided bounds of a share, each at a level (Clopper & Pearson 1934, Biometrika 26, 404); 0 to 1 of nothing."""
    if n == 0:
        return 0.0, 1.0
    if n > EXACT:
        return wilson(hits, n)

    def solve(inside: int, target: float) -> float:
        low, high = 0.0, 1.0
        for _ in range(40):
            middle = (low + high) / 2
            if at_least(inside, n, p=min(max(middle, 1e-12), 1 - 1e-12)) < target:
                low = middle
            else:
                high = middle
        return (low + high) / 2

    return (solve(hits, level) if hits else 0.0), (solve(hits + 1, 1 - level) if hits < n else 1.0)
