"""Embeddings → probabilities, novelty, conformal set: the few-shot head, all in closed form.

embedding (n, E), zero-shot logits (n, K) → per class (n, k) and per alert (n,) values, float32

A class is a prototype: the mean of its examples' centred, normalised embeddings (Snell et al. 2017; centring after Wang et al. 2019,
"SimpleShot"). Where the class was simulated, the zero-shot logits speak too. What is far from every prototype is new.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from operators.namespace import array_namespace
from operators.types import Array


@dataclass(frozen=True, slots=True)
class Heads:
    """Everything the head needs, as arrays of one namespace."""

    centre: Array  # (E,) float32: the mean embedding of unlabelled objects, frozen with the model
    prototypes: Array  # (k, E) float32, rows of length 1
    zero_shot: Array  # (K, k) float32: which simulated kinds speak for which class; a column of zeros: none does
    cosine_weight: Array  # () float32: how sharply distance counts
    zero_shot_weight: Array  # (k,) float32: how much the zero-shot view counts, 0 where there is none
    temperature: Array  # () float32
    novelty_location: Array  # () float32: distance at which an alert is as likely new as known
    novelty_scale: Array  # () float32
    prior: Array  # (k + 1,) float32: the stream's mix, `other` last; sums to 1
    conformal: Array  # () float32: the 90 % quantile of the cumulative-probability score


LEAST = 1e-6
"""Least zero-shot probability of a class: what the network is sure of may still be wrong, and float32 ends somewhere."""


class Judged(NamedTuple):
    """What the head says of n alerts; columns are the classes, `other` last."""

    probability: Array  # (n, k + 1) at balanced classes; sums to 1
    prior_probability: Array  # (n, k + 1) under the stream's mix; sums to 1
    novelty: Array  # (n,) 0 known … 1 new
    nearest: Array  # (n,) int: the nearest prototype
    distance: Array  # (n,) cosine distance to it, 0 … 2
    conformal: Array  # (n, k + 1) bool: the classes of the 90 % set


def centred(embedding: Array, centre: Array) -> Array:
    """Subtract the centre and bring each row to length 1; (n, E) → (n, E)."""
    xp = array_namespace(embedding)
    shifted = embedding - centre
    length = xp.sqrt(xp.sum(shifted**2, axis=-1, keepdims=True))
    return shifted / xp.clip(length, 1e-6, None)


def prototype(embedding: Array, centre: Array) -> Array:
    """Make a class of its examples: (m, E) embeddings → (E,) of length 1."""
    xp = array_namespace(embedding)
    mean = xp.mean(centred(embedding, centre), axis=0)
    return mean / xp.clip(xp.sqrt(xp.sum(mean**2)), 1e-6, None)


def judge(embedding: Array, logits: Array, heads: Heads) -> Judged:
    """Turn embeddings into probabilities, novelty and a conformal set.

    Parameters
    ----------
    embedding : (n, E) float32
    logits : (n, K) float32
        Zero-shot log-odds over the simulated kinds; a class is as probable as its kinds together.
    heads : Heads
    """
    xp = array_namespace(embedding, logits)
    k = heads.prototypes.shape[0]
    cosine = _product(xp, centred(embedding, heads.centre), heads.prototypes.T)
    share = _product(xp, xp.exp(_log_softmax(xp, logits)), heads.zero_shot)
    spoken = xp.log(xp.clip(share, LEAST, None))
    score = (heads.cosine_weight * cosine + heads.zero_shot_weight * spoken) / heads.temperature
    nearest = xp.argmax(cosine, axis=1)
    distance = 1 - xp.max(cosine, axis=1)
    novelty = 1 / (1 + xp.exp(-xp.clip((distance - heads.novelty_location) / heads.novelty_scale, -30.0, 30.0)))

    known = xp.exp(_log_softmax(xp, score))
    probability = xp.concat([known * (1 - novelty)[:, None], novelty[:, None]], axis=1)
    weighted = probability * (heads.prior * (k + 1))
    prior_probability = weighted / xp.sum(weighted, axis=1, keepdims=True)
    return Judged(probability, prior_probability, novelty, nearest, distance, conformal_set(probability, heads.conformal))


def conformal_scores(probability: Array) -> Array:
    """Cumulative probability of the classes more probable than each class, itself left out; (n, k) → (n, k).

    Source: adaptive prediction sets, Romano, Sesia & Candès 2020, without randomisation. The class's own probability is left out, so
    that the most probable one scores 0 and always belongs: with it in, sure alerts would belong by exception and the sets cover too much.
    """
    xp = array_namespace(probability)
    above = probability[:, None, :] > probability[:, :, None]
    return xp.sum(xp.where(above, probability[:, None, :], xp.asarray(0.0, dtype=probability.dtype)), axis=2)


def conformal_set(probability: Array, quantile: Array) -> Array:
    """The classes whose score is within the calibrated quantile; (n, k) → (n, k) bool."""
    return conformal_scores(probability) <= quantile


def _log_softmax(xp: Any, x: Array) -> Array:
    shifted = x - xp.max(x, axis=1, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=1, keepdims=True))


def _product(xp: Any, a: Array, b: Array) -> Array:
    """(n, m) times (m, k) row by row: a matrix product's last bits depend on how many rows it has, and a replayed night must not."""
    return xp.sum(a[:, None, :] * b.T[None, :, :], axis=-1)
