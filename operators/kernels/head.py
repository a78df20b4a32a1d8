"""`operators.head.judge` as one loop an alert.

Classes lie side by side and are summed number after number: an alert's bits do not depend on the batch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from operators.kernels.compiled import compiled
from operators.types import F32, Array


class Columns(NamedTuple):
    """A head's arrays as the loop reads them: k known classes with p prototypes, t taught ones, w = k + t of both."""

    centre: F32  # (E,)
    on_unit: F32  # (E, p + t + w) prototypes, and the ridge on the centred embedding
    prototype_class: npt.NDArray[np.int64]  # (p,)
    on_kinds: F32  # (K, w) the ridge on the log-probabilities of kinds
    on_named: F32  # (F, w) on the named features
    zero_shot: F32  # (K, k)
    zero_shot_weight: F32  # (k,)
    offset: F32  # (k,)
    location: F32  # (t,)
    scale: F32  # (t,)
    novelty_location: F32  # (k,)
    novelty_scale: F32  # (k,)
    novelty_share: F32  # (k,)
    prior: F32  # (2, k + t + 1) the stream's and the stars', over that of balanced classes
    numbers: F32  # (5,) weight of the cosine, temperature, conformal quantile, least, lowest


def columns_of(head: Any, prior: Array, *, least: float, lowest: float, named_weight: float) -> Columns:
    """Lay a head's arrays out, once a head.

    Parameters
    ----------
    head : operators.head.Head
        Of NumPy arrays.
    prior : (2, k + t + 1)
        The stream's mix and that of stars, `other` last.
    least, lowest, named_weight : float
        `operators.head.LEAST`, `LOWEST` and `NAMED`.
    """
    width, kinds = head.prototypes.shape[1], head.zero_shot.shape[0]
    prototypes = np.concatenate([head.prototypes, head.taught_prototypes])
    ridge = np.concatenate([head.ridge, head.taught_weights])
    conformal = head.taught_conformal.max() if head.taught else head.conformal
    numbers = (head.cosine_weight, head.temperature, conformal, least, lowest)
    return Columns(
        np.array(head.centre, np.float32),
        _rows(np.concatenate([prototypes, ridge[:, :width]])),
        np.array(head.prototype_class, np.int64),
        _rows(ridge[:, width : width + kinds] / head.kind_scale),
        _rows(ridge[:, width + kinds :] * named_weight),
        np.array(head.zero_shot, np.float32),
        np.array(head.zero_shot_weight, np.float32),
        np.array(head.offset, np.float32),
        np.array(head.taught_location, np.float32),
        np.array(head.taught_scale, np.float32),
        np.array(head.novelty_location, np.float32),
        np.array(head.novelty_scale, np.float32),
        np.array(head.novelty_share, np.float32),
        np.array(prior * prior.shape[1], np.float32),
        np.array(numbers, np.float32),
    )


def judge_rows(views: Any, columns: Columns, *, star: npt.NDArray[np.bool_]) -> tuple[Array, Array, Array, Array, Array, Array]:
    """`Views` of n alerts, float32, and which of them are stars → the fields of `operators.head.Judged`."""
    n, size = len(views.embedding), columns.prior.shape[1]
    probability, prior_probability = np.empty((n, size), np.float32), np.empty((n, size), np.float32)
    novelty, distance = np.empty(n, np.float32), np.empty(n, np.float32)
    nearest, conformal = np.empty(n, np.int64), np.empty((n, size), np.bool_)
    _judge(
        *(np.ascontiguousarray(column) for column in views),
        np.ascontiguousarray(star),
        *columns,
        probability,
        prior_probability,
        novelty,
        nearest,
        distance,
        conformal,
    )
    return probability, prior_probability, novelty, nearest, distance, conformal


def _rows(columns: Array) -> F32:
    return np.array(columns.T, np.float32, order="C")


@compiled
def _bounded(x):  # type: ignore[no-untyped-def]
    return min(max(x, np.float32(-30)), np.float32(30))


@compiled
def _judge(  # type: ignore[no-untyped-def]
    embedding, logits, named, star, centre, on_unit, prototype_class, on_kinds, on_named, zero_shot, zero_shot_weight, offset, location,
    scale, novelty_location, novelty_scale, novelty_share, prior, numbers, probability, prior_probability, novelty, nearest, distance,
    conformal,
):  # fmt: skip
    one, none = np.float32(1), np.float32(0)
    n, width = embedding.shape
    kinds, k = zero_shot.shape
    t = len(location)
    wide, p = k + t, len(prototype_class)
    cosine_weight, temperature, quantile, least, lowest = numbers
    both, share, near = np.empty(p + t + wide, np.float32), np.empty(k, np.float32), np.empty(wide, np.float32)
    ridge = both[p + t :]
    odds, above = np.empty(kinds, np.float32), np.empty(k + t + 1, np.float32)
    for i in range(n):
        both[:] = 0
        share[:] = 0
        square = none
        for j in range(width):
            x = embedding[i, j] - centre[j]
            square += x * x
        length = max(np.sqrt(square), np.float32(1e-6))
        for j in range(width):
            x = (embedding[i, j] - centre[j]) / length
            for c in range(len(both)):
                both[c] += x * on_unit[j, c]
        near[:k] = -2
        for c in range(t):  # an assignment between arrays takes the compiler 3 s
            near[k + c] = both[p + c]
        for c in range(p):
            near[prototype_class[c]] = max(near[prototype_class[c]], both[c])

        top = logits[i, 0]
        for j in range(kinds):
            top = max(top, logits[i, j])
        whole = none
        for j in range(kinds):
            odds[j] = np.exp(logits[i, j] - top)
            whole += odds[j]
        log = np.log(whole)
        for j in range(kinds):
            x = odds[j] / whole
            for c in range(k):
                share[c] += x * zero_shot[j, c]
            x = max(logits[i, j] - top - log, lowest)
            for c in range(wide):
                ridge[c] += x * on_kinds[j, c]
        for j in range(named.shape[1]):
            x = named[i, j]
            for c in range(wide):
                ridge[c] += x * on_named[j, c]

        # Known classes: the formula, softmaxed.
        row = probability[i]
        best = np.float32(-np.inf)
        for c in range(k):
            row[c] = (cosine_weight * near[c] + zero_shot_weight[c] * np.log(max(share[c], least)) + ridge[c] + offset[c]) / temperature
            best = max(best, row[c])
        whole = none
        for c in range(k):
            row[c] = np.exp(row[c] - best)
            whole += row[c]
        closest, which = near[0], 0
        for c in range(k):
            if near[c] > closest:
                closest, which = near[c], c
        open_to = none
        for c in range(k):
            row[c] = row[c] / whole
            open_to += row[c] * novelty_share[c]
        new = open_to / (one + np.exp(-_bounded((one - closest - novelty_location[which]) / novelty_scale[which])))
        for c in range(k):
            row[c] = row[c] * (one - new)

        # Taught classes: a share beside the most probable of the others.
        if t:
            best = new
            for c in range(k):
                best = max(best, row[c])
            whole = one
            for c in range(t):
                row[k + c] = best * np.exp(_bounded((ridge[k + c] - location[c]) / scale[c]))
                whole += row[k + c]
                if near[k + c] > closest:
                    closest, which = near[k + c], k + c
            for c in range(k + t):
                row[c] = row[c] / whole
            new = new / whole
        row[k + t] = new
        novelty[i], nearest[i], distance[i] = new, which, one - closest

        whole, mix = none, np.int64(star[i])
        for c in range(k + t + 1):
            prior_probability[i, c] = row[c] * prior[mix, c]
            whole += prior_probability[i, c]
        above[:] = 0
        for j in range(k + t + 1):
            x = row[j]
            prior_probability[i, j] = prior_probability[i, j] / whole
            for c in range(k + t + 1):
                above[c] += x if x > row[c] else none
        for c in range(k + t + 1):
            conformal[i, c] = above[c] <= quantile
