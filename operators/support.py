"""A head solved from K examples a class: prototypes pulled toward the simulated class, the zero-shot view, ridge on the whole view.

support (…, m) as the head sees it, labels, what simulation knows → `Weights` of k classes; left-out scores and offsets of the examples

Any leading dimensions are episodes. The mix follows the one that `prototypes/fewshot` found best among about forty: prototypes decide at
K = 1 with the simulation's help, the ridge adds what the examples show, and the zero-shot view fades as 6 / (K + 2). The
ridge also reads the named features of the light curve, which no training has bent toward the classes it knew. Where a class of the task is
unseen, one that the network has no kind for, the zero-shot view counts half, and the ridge twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from operators.head import Seen, Weights, log_softmax, product, scores, unit_rows
from operators.namespace import array_namespace
from operators.types import Array

SHARPNESS = 10.0
"""Of the cosine to a prototype."""
PULL = 3.0
"""The simulated prototype counts as `PULL / K` examples."""
ZERO_SHOT = 6.0
"""Weight of the zero-shot log-probability: `ZERO_SHOT / (K + 2)`."""
ANSWER = 2.0
"""Weight of the ridge's answer."""
RIDGE = 0.5
"""Strength of the ridge, in units of the mean diagonal of the support's kernel."""
OFFSET = 1.0
"""1 σ of a class's offset, as log-odds, before any example is seen."""
NEWTON = 12
"""Steps; the change is below 1e-6 after six."""


class Physics(NamedTuple):
    """What simulation knows of k classes."""

    anchor: Array  # (k, E) centred simulated prototypes; rows of zeros where the class is not simulated
    known: Array  # (k,) 1 where simulated, 0 where not


@dataclass(frozen=True, slots=True)
class Support:
    """Examples of k classes and what else is known of them."""

    seen: Seen  # (…, m, ·)
    label: Array  # (m, k) one-hot
    shots: int
    physics: Physics | None = None
    """None: no class is simulated."""
    zero_shot: Array | None = None
    """(K, k) which kinds make which class; None: the network has no kind for any."""
    unseen: bool = True
    """The network has not a kind for every class."""
    ridge: bool = True
    """False: without the ridge, as in an ablation."""


def solve(support: Support) -> Weights:
    """Weights of the formula from K examples a class (`operators.head.scores`)."""
    return _weights(support, ridge(support.seen.view, support.label) if support.ridge else None)


def left_out(support: Support) -> Array:
    """Scores of each example as if it had not been among the examples; (…, m, k)."""
    xp = array_namespace(*support.seen)
    sums, label, unit = _sums(support), support.label, support.seen.unit
    # The own class's sum loses the example: of the k cosines only that one changes.
    own = unit_rows(label @ sums - unit)
    cosine = product(unit, unit_rows(sums)) * (1 - label) + xp.sum(unit * own, axis=-1, keepdims=True) * label
    fitted = ridge(support.seen.view, label) if support.ridge else None
    score = scores(support.seen, _weights(support, fitted), cosine=cosine)
    if fitted is None:
        return score
    _, answer = view_weights(support.shots, unseen=support.unseen)
    return score + answer * (fitted.left_out - fitted.fitted)


def _weights(support: Support, fitted: Ridge | None) -> Weights:
    xp, k = array_namespace(*support.seen), support.label.shape[-1]
    ones, zeros = xp.ones(k, dtype=support.label.dtype), xp.zeros(k, dtype=support.label.dtype)
    zero_shot_weight, answer = view_weights(support.shots, unseen=support.unseen)
    kinds, view = support.seen.log_kinds.shape[-1], support.seen.view
    return Weights(
        prototypes=unit_rows(_sums(support)),
        prototype_class=xp.arange(k, dtype=support.label.dtype),
        zero_shot=xp.zeros((kinds, k), dtype=support.label.dtype) if support.zero_shot is None else support.zero_shot,
        cosine_weight=SHARPNESS * ones,
        zero_shot_weight=zeros if support.zero_shot is None else zero_shot_weight * ones,
        ridge=xp.zeros((*view.shape[:-2], k, view.shape[-1]), dtype=view.dtype) if fitted is None else answer * fitted.weight,
        offset=zeros if fitted is None else -answer * fitted.at_mean,
    )


def view_weights(shots: int, *, unseen: bool) -> tuple[float, float]:
    """How much the zero-shot view and the ridge count."""
    weight = ZERO_SHOT / (shots + 2)
    return (weight / 2, 2 * ANSWER) if unseen else (weight, ANSWER)


def plain(support: Support, query: Array) -> Array:
    """Prototypes of the examples alone: units (…, q, E) → (…, q, k)."""
    return SHARPNESS * product(query, unit_rows(_t(support.label) @ support.seen.unit))


class Ridge(NamedTuple):
    """Ridge on one-hot labels, centred; an answer is `weight · view - at_mean`."""

    weight: Array  # (…, k, V)
    at_mean: Array  # (…, k)
    fitted: Array  # (…, m, k) answers at the examples
    left_out: Array  # (…, m, k) and from the others alone: y - (y - f) / (1 - h), the centre kept


def ridge(view: Array, label: Array) -> Ridge:
    """Solve the ridge in its kernel form: m examples are fewer than the V numbers of a view.

    Parameters
    ----------
    view : (…, m, V)
    label : (m, k) one-hot
    """
    xp = array_namespace(view, label)
    m, k = label.shape[-2], label.shape[-1]
    mean = xp.mean(view, axis=-2, keepdims=True)
    a, target = view - mean, label - 1.0 / k
    kernel = a @ _t(a)
    eye = xp.eye(m, dtype=kernel.dtype)
    trace = xp.sum(kernel * eye, axis=(-2, -1), keepdims=True)
    inverse = xp.linalg.inv(kernel + (RIDGE * trace / m + 1e-6) * eye)
    smoother = kernel @ inverse
    fitted = smoother @ target
    leverage = xp.sum(smoother * eye, axis=-1)[..., None]
    weight = _t(_t(a) @ (inverse @ target))
    at_mean = xp.sum(weight * mean, axis=-1)
    return Ridge(weight, at_mean, fitted, target - (target - fitted) / xp.clip(1 - leverage, 1e-6, None))


def balance(left_out: Array, label: Array) -> Array:
    """What to add to each class's score so that the examples, each scored without itself, are right as often in one class as in another.

    The most probable offsets under a normal belief of width `OFFSET` around 0, by Newton's method (a convex problem: Platt scaling with an
    offset a class).

    Parameters
    ----------
    left_out : (…, m, k)
        Scores divided by the temperature.
    label : (m, k) one-hot

    Returns
    -------
    (…, 1, k)
    """
    xp = array_namespace(left_out, label)
    k = label.shape[-1]
    eye = xp.eye(k, dtype=left_out.dtype)
    offset = xp.zeros((*left_out.shape[:-2], 1, k), dtype=left_out.dtype)
    for _ in range(NEWTON):
        p = xp.exp(log_softmax(left_out + offset))
        slope = xp.sum(label - p, axis=-2, keepdims=True) - offset / OFFSET**2
        curvature = eye * xp.sum(p, axis=-2)[..., None, :] - _t(p) @ p + eye / OFFSET**2
        offset = offset + _t(xp.linalg.solve(curvature, _t(slope)))
    return offset


def energy(cosine: Array) -> Array:
    """How far from every class: minus the log of the summed exponentials of the sharpened cosines; (…, q, k) → (…, q)."""
    xp = array_namespace(cosine)
    sharp = SHARPNESS * cosine
    top = xp.max(sharp, axis=-1)
    return -(top + xp.log(xp.sum(xp.exp(sharp - top[..., None]), axis=-1)))


def _sums(support: Support) -> Array:
    """(…, k, E) sums of each class's examples, and of the simulated prototype that counts as `PULL / K` of them."""
    sums = _t(support.label) @ support.seen.unit
    return sums if support.physics is None else sums + (PULL / support.shots) * support.physics.anchor


def _t(x: Array) -> Array:
    return array_namespace(x).matrix_transpose(x)
