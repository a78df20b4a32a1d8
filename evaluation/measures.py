"""Scores of queries, by episode → figures with honest intervals.

Arrays are (E, Q): E episodes of Q queries; `query` says which object each is. An object comes back in many episodes, so the spread over
episodes is not the uncertainty of a figure: objects are resampled (within their class), not rows. The support is not resampled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.episodes import Episodes
from operators.head import conformal_scores

F = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

DRAWS = 1000
BINS = 15
LEVEL = 0.9
PRIORS = (0.001, 0.005, 0.01, 0.02)
COMPLETENESS = (0.5, 0.8)


def hits(score: npt.NDArray[Any], truth: I64) -> F:
    """1 where the true class scores best, a share where several tie, else 0; (…, Q, k), (Q,) → (…, Q)."""
    top = score == score.max(axis=-1, keepdims=True)
    own = np.take_along_axis(top, np.broadcast_to(truth[:, None], (*score.shape[:-1], 1)), axis=-1)[..., 0]
    return np.asarray(own / top.sum(axis=-1), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Resampling:
    """Weights of query objects, drawn once, so that two methods are compared on the same resampled objects."""

    weight: tuple[F, ...]  # per class (draws, objects of the class)
    rows: tuple[I64, ...]  # per class: the (E Q) row numbers
    slot: tuple[I64, ...]  # per class: which of its objects each row is
    count: tuple[F, ...]  # per class: rows of each object

    @classmethod
    def of(cls, e: Episodes, draws: int = DRAWS, *, seed: int = 1) -> Resampling:
        """Draw the weights of the query objects, class by class."""
        rng = np.random.default_rng(seed)
        flat, truth = e.query.ravel(), np.tile(e.query_class, len(e))
        weight, rows, slot, count = [], [], [], []
        for c in range(len(e.classes)):
            own = np.flatnonzero(truth == c)
            objects, where = np.unique(flat[own], return_inverse=True)
            n = len(objects)
            weight.append(rng.multinomial(n, np.full(n, 1 / n), size=draws).astype(np.float64))
            rows.append(own)
            slot.append(where)
            count.append(np.bincount(where, minlength=n).astype(np.float64))
        return cls(tuple(weight), tuple(rows), tuple(slot), tuple(count))

    def means(self, value: F) -> F:
        """Macro mean of a value of each row (E, Q), once a draw; (draws,)."""
        flat = value.ravel()
        total = np.zeros(len(self.weight[0]))
        for weight, rows, slot, count in zip(self.weight, self.rows, self.slot, self.count, strict=True):
            sums = np.bincount(slot, flat[rows], minlength=len(count))
            total += (weight @ sums) / (weight @ count)
        return total / len(self.weight)

    def interval(self, value: F) -> list[float]:
        """95 % interval of the macro mean."""
        return [float(x) for x in np.percentile(self.means(value), [2.5, 97.5])]


def per_class(value: F, e: Episodes) -> F:
    """(k,) mean over the class's queries; its mean is the macro accuracy."""
    return np.array([value[:, e.query_class == c].mean() for c in range(len(e.classes))])


def episode_error(value: F, e: Episodes) -> float:
    """1.96 standard errors over episodes: what more episodes would still change, not what more objects would."""
    by_episode = np.mean([value[:, e.query_class == c].mean(axis=1) for c in range(len(e.classes))], axis=0)
    return float(1.96 * by_episode.std(ddof=1) / np.sqrt(len(by_episode))) if len(by_episode) > 1 else float("nan")


def calibration_error(confidence: F, correct: npt.NDArray[Any], *, bins: int = BINS) -> float:
    """Expected calibration error with bins of equal mass: Σ share · |mean confidence - share correct|."""
    order = np.argsort(confidence.ravel(), kind="stable")
    parts = zip(np.array_split(confidence.ravel()[order], bins), np.array_split(correct.ravel()[order], bins), strict=True)
    return float(sum(len(c) * abs(c.mean() - h.mean()) for c, h in parts if len(c)) / max(len(order), 1))


def calibration_null(confidence: F, query: I64, *, draws: int = 200, seed: int = 2) -> F:
    """What the error would be were our probabilities true, with these objects and episodes; (draws,).

    Labels are redrawn from our own probabilities: an object has one luck, the same in every episode it comes back in, so a perfect
    model does not reach 0 either.
    """
    rng = np.random.default_rng(seed)
    objects, where = np.unique(query.ravel(), return_inverse=True)
    flat = confidence.ravel()
    return np.array([calibration_error(flat, rng.random(len(objects))[where] < flat) for _ in range(draws)])


def brier(probability: npt.NDArray[Any], truth: I64) -> F:
    """Σ (p - y)² of each query; (…, Q, k) → (…, Q)."""
    k = probability.shape[-1]
    return np.asarray(((probability - np.eye(k)[truth]) ** 2).sum(axis=-1), dtype=np.float64)


def conformal_quantile(score: F, level: float = LEVEL) -> F:
    """The (n + 1) · level-th smallest of n calibration scores, along the last axis; ∞ where n is too small."""
    n = score.shape[-1]
    rank = int(np.ceil((n + 1) * level))
    if rank > n:
        return np.full(score.shape[:-1], np.inf)
    return np.asarray(np.sort(score, axis=-1)[..., rank - 1], dtype=np.float64)


def own_scores(probability: npt.NDArray[Any], truth: I64) -> F:
    """Conformal score of the true class; (…, Q, k) → (…, Q)."""
    k = probability.shape[-1]
    flat = np.reshape(conformal_scores(probability.reshape(-1, k)), probability.shape)
    index = np.broadcast_to(truth[:, None], (*probability.shape[:-1], 1))
    return np.asarray(np.take_along_axis(flat, index, axis=-1)[..., 0], dtype=np.float64)


def conformal(probability: npt.NDArray[Any], truth: I64, *, quantile: F) -> tuple[F, F]:
    """Whether the set holds the truth, and its size; (E, Q, k), quantile (E,) or () → (E, Q) twice. The most probable class belongs."""
    k = probability.shape[-1]
    scores = np.reshape(conformal_scores(probability.reshape(-1, k)), probability.shape)
    inside = scores <= np.reshape(quantile, (-1, 1, 1)) + 1e-12
    inside |= probability == probability.max(axis=-1, keepdims=True)
    index = np.broadcast_to(truth[:, None], (*probability.shape[:-1], 1))
    return np.take_along_axis(inside, index, axis=-1)[..., 0].astype(float), inside.sum(axis=-1).astype(float)


def auroc(new: F, known: F) -> float:
    """Chance that a new object scores above a known one; ties count half."""
    both = np.concatenate([new, known])
    _, place, number = np.unique(both, return_inverse=True, return_counts=True)
    rank = np.cumsum(number) - (number - 1) / 2
    return float((rank[place[: len(new)]].sum() - len(new) * (len(new) + 1) / 2) / (len(new) * len(known)))


def false_positives(new: F, known: F, *, rate: float = 0.95) -> float:
    """Share of the known that is called new where `rate` of the new is."""
    threshold = np.sort(new)[int(np.floor((1 - rate) * len(new)))]
    return float((known >= threshold).mean())


def purity(probability: npt.NDArray[Any], truth: I64, *, c: int) -> dict[str, dict[str, float]]:
    """Purity of the alerts called class c, the class being rare: completeness → prior → purity.

    All rows together; the other classes share the rest evenly. A false-positive rate below one row's worth cannot be seen, so one more
    row counts as false than was: the figure is a lower bound where the classes separate well.
    """
    p = probability[..., c]
    own = np.sort(p[:, truth == c].ravel())
    others = [np.sort(p[:, truth == o].ravel()) for o in range(probability.shape[-1]) if o != c]
    out: dict[str, dict[str, float]] = {}
    for completeness in COMPLETENESS:
        threshold = own[int(np.floor((1 - completeness) * len(own)))]
        found = float((own >= threshold).mean())
        false = float(np.mean([(len(o) - np.searchsorted(o, threshold) + 1) / (len(o) + 1) for o in others]))
        out[f"{completeness:g}"] = {f"{prior:g}": prior * found / (prior * found + (1 - prior) * false) for prior in PRIORS}
    return out


def object_interval(hit: F, owner: npt.NDArray[Any], *, draws: int = DRAWS, seed: int = 1) -> list[float] | None:
    """95 % interval of a share of alerts, whole objects resampled: an object's alerts are right or wrong together.

    Parameters
    ----------
    hit : (n,) float
        1 where the alert counts for the share, 0 where against it.
    owner : (n,) of anything
        Whose alert it is.

    Returns
    -------
    list of float or None
        None where fewer than two objects are there to resample. Where all are right, or none, resampling shows no spread: the bound is
        then that of Clopper & Pearson 1934 over objects.
    """
    objects, slot = np.unique(owner, return_inverse=True)
    n = len(objects)
    if n < 2:
        return None
    if hit.min() == hit.max():
        bound = 0.025 ** (1 / n)
        return [bound, 1.0] if hit.max() else [0.0, 1 - bound]
    weight = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws)
    share = (weight @ np.bincount(slot, hit, minlength=n)) / (weight @ np.bincount(slot, minlength=n))
    return [float(x) for x in np.percentile(share, [2.5, 97.5])]


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927, J. Am. Stat. Assoc. 22, 209); 0 to 1 of nothing."""
    if n == 0:
        return 0.0, 1.0
    z2, share = 1.959964**2, hits / n
    middle = (share + z2 / 2 / n) / (1 + z2 / n)
    half = float(np.sqrt(z2 * (share * (1 - share) / n + z2 / 4 / n**2))) / (1 + z2 / n)
    return max(middle - half, 0.0), min(middle + half, 1.0)
