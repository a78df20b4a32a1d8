"""A class from K examples, in closed form: prototypes pulled toward the simulated class, the zero-shot view, ridge on the embedding.

centred embeddings of support (…, m, E) and query (…, q, E) → scores (…, q, k), to be divided by a temperature and softmaxed

Any leading dimensions are episodes. The mix follows the one that `prototypes/fewshot` found best among about forty: prototypes decide at
K = 1 with the simulation's help, the ridge adds what the examples show, and the zero-shot view fades as 6 / (K + 2). The
ridge also reads the named features of the light curve, which no training has bent toward the classes it knew. Where a class of the task is
a stranger, one that the network cannot speak of, its word counts half, and the ridge twice.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from operators.namespace import array_namespace
from operators.types import Array

SHARPNESS = 10.0
"""Of the cosine to a prototype."""
PULL = 3.0
"""The simulated prototype counts as `PULL / K` examples."""
SPOKEN = 6.0
"""Weight of the zero-shot log-probability: `SPOKEN / (K + 2)`."""
ANSWER = 2.0
"""Weight of the ridge's answer."""
RIDGE = 0.5
"""Strength of the ridge, in units of the mean diagonal of the support's kernel."""


OFFSET = 1.0
"""1 σ of a class's offset, as log-odds, before any example is seen."""
NEWTON = 12
"""Steps; the change is below 1e-6 after six."""


class Physics(NamedTuple):
    """What simulation knows of the task's k classes."""

    anchor: Array  # (k, E) centred simulated prototypes; rows of zeros where nobody simulated the class
    known: Array  # (k,) 1 where simulated, 0 where not


class Examples(NamedTuple):
    """Support and query of episodes, as the head reads them."""

    support: Array  # (…, m, E) centred embeddings, rows of length 1
    label: Array  # (m, k) one-hot
    query: Array  # (…, q, E)
    support_view: Array  # (…, m, V) what the ridge reads
    query_view: Array  # (…, q, V)


def view_weights(shots: int, stranger: bool) -> tuple[float, float]:
    """How much the zero-shot view and the ridge count."""
    voice = SPOKEN / (shots + 2)
    return (voice / 2, 2 * ANSWER) if stranger else (voice, ANSWER)


def plain(e: Examples) -> Array:
    """Prototypes alone: (…, q, k)."""
    return SHARPNESS * e.query @ _t(_unit(_t(e.label) @ e.support))


def taught(e: Examples, shots: int, physics: Physics | None, spoken: Array | None, stranger: bool) -> Array:
    """Scores of the queries.

    Parameters
    ----------
    e : Examples
    shots : int
        K.
    physics : Physics, optional
        None: a class nobody simulated.
    spoken : (…, q, k), optional
        Zero-shot log-probability of each query over the task's classes.
    stranger : bool
        The network cannot speak of every class of the task.

    Returns
    -------
    (…, q, k)
    """
    sums = _t(e.label) @ e.support
    if physics is not None:
        sums = sums + (PULL / shots) * physics.anchor
    score = _log_softmax(SHARPNESS * e.query @ _t(_unit(sums)))
    voice, weight = view_weights(shots, stranger)
    if spoken is not None:
        score = score + voice * spoken
    answer, _ = ridge(e.support_view, e.label, e.query_view)
    return score + weight * answer


def left_out(e: Examples, shots: int, physics: Physics | None, spoken: Array | None, stranger: bool) -> Array:
    """Scores of each support example as if it had not been among the examples; (…, m, k).

    Parameters
    ----------
    spoken : (…, m, k), optional
        Zero-shot log-probability of the support.
    """
    sums = _t(e.label) @ e.support
    if physics is not None:
        sums = sums + (PULL / shots) * physics.anchor
    # The own class's sum loses the example: of the k cosines only that one changes.
    own = e.label @ sums - e.support
    cosine = e.support @ _t(_unit(sums))
    own_cosine = _sum(e.support * _unit(own))
    cosine = cosine * (1 - e.label) + own_cosine * e.label
    score = _log_softmax(SHARPNESS * cosine)
    voice, weight = view_weights(shots, stranger)
    if spoken is not None:
        score = score + voice * spoken
    _, answer = ridge(e.support_view, e.label, e.query_view[..., :1, :])
    return score + weight * answer


def ridge(support: Array, label: Array, query: Array) -> tuple[Array, Array]:
    """Kernel ridge on one-hot labels.

    Returns
    -------
    (…, q, k), (…, m, k)
        Answers at the queries, and at each example from the others (the closed form y - (y - f) / (1 - h); the centre is kept).
    """
    xp = array_namespace(support, query)
    m, k = label.shape[-2], label.shape[-1]
    mean = xp.mean(support, axis=-2, keepdims=True)
    a, b = support - mean, query - mean
    target = label - 1.0 / k
    kernel = a @ _t(a)
    eye = xp.eye(m, dtype=kernel.dtype)
    trace = xp.sum(kernel * eye, axis=(-2, -1), keepdims=True)
    inverse = xp.linalg.inv(kernel + (RIDGE * trace / m + 1e-6) * eye)
    smoother = kernel @ inverse
    fitted = smoother @ target
    leverage = xp.sum(smoother * eye, axis=-1)[..., None]
    return b @ _t(a) @ (inverse @ target), target - (target - fitted) / xp.clip(1 - leverage, 1e-6, None)


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
        p = xp.exp(_log_softmax(left_out + offset))
        slope = xp.sum(label - p, axis=-2, keepdims=True) - offset / OFFSET**2
        curvature = eye * xp.sum(p, axis=-2)[..., None, :] - _t(p) @ p + eye / OFFSET**2
        offset = offset + _t(xp.linalg.solve(curvature, _t(slope)))
    return offset


def energy(e: Examples, shots: int, physics: Physics | None) -> Array:
    """How far each query is from every class: minus the log of the summed exponentials of the sharpened cosines; (…, q)."""
    xp = array_namespace(e.query)
    sums = _t(e.label) @ e.support
    if physics is not None:
        sums = sums + (PULL / shots) * physics.anchor
    cosine = SHARPNESS * e.query @ _t(_unit(sums))
    top = xp.max(cosine, axis=-1)
    return -(top + xp.log(xp.sum(xp.exp(cosine - top[..., None]), axis=-1)))


def softmax(score: Array, temperature: Array) -> Array:
    """Probabilities; `temperature` has the shape of `score` without its last dimension, or one number."""
    xp = array_namespace(score)
    return xp.exp(_log_softmax(score / temperature))


def _log_softmax(x: Array) -> Array:
    xp = array_namespace(x)
    shifted = x - xp.max(x, axis=-1, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))


def _sum(x: Array) -> Any:
    return array_namespace(x).sum(x, axis=-1, keepdims=True)


def _unit(x: Array) -> Array:
    xp = array_namespace(x)
    return x / xp.clip(xp.sqrt(_sum(x * x)), 1e-6, None)


def _t(x: Array) -> Array:
    return array_namespace(x).matrix_transpose(x)
