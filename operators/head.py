"""The one few-shot head: what an encoder says of an alert → probabilities, novelty, conformal set, nearest prototype.

`Views` (embedding, logits of the simulated kinds, named features), `Head` → `Judged`; everything in closed form

A class is a prototype, the mean of its examples' centred, normalised embeddings (Snell et al. 2017; centring after Wang et al. 2019,
"SimpleShot"); where it was simulated, the zero-shot log-probability of its kinds counts too; and a ridge reads the embedding, the kinds and
the named features together. What is far from every prototype is new. A class taught beside the known ones takes a share of their
probabilities (`operators.taught`) and changes nothing else.

Two moments: a head is solved once (`operators.support`, `learning.calibrate`), and `judge` is pure and row by row: an alert's values do not
depend on the batch it comes in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np

from operators.namespace import array_namespace, to_host
from operators.types import Array

LEAST = 1e-6
"""Least zero-shot probability of a class: what the network is sure of may still be wrong, and float32 ends somewhere."""
LOWEST = -7.0
"""Log-probabilities of kinds that the ridge reads are cut here."""
NAMED = 1.5
"""Weight of the named features beside an embedding of length 1."""


class Views(NamedTuple):
    """What is known of n alerts before the head."""

    embedding: Array  # (…, n, E)
    logits: Array  # (…, n, K) log-odds over the simulated kinds
    named: Array  # (…, n, F) `operators.features.comparable`


@dataclass(frozen=True, slots=True)
class Head:
    """Everything the head needs, as arrays of one namespace: k known classes, t taught ones."""

    centre: Array  # (E,) the mean embedding of unlabelled objects, frozen with the model
    prototypes: Array  # (k, E) rows of length 1
    zero_shot: Array  # (K, k) which simulated kinds make which class; a column of zeros: none does
    cosine_weight: Array  # () how much the cosine to a prototype counts
    zero_shot_weight: Array  # (k,) how much the zero-shot log-probability counts, 0 where there is none
    kind_scale: Array  # () by which log-probabilities of kinds are divided before the ridge
    ridge: Array  # (k, V) V = E + K + F, weights on the view, their weight in the score included
    offset: Array  # (k,) added to the score
    temperature: Array  # ()
    novelty_location: Array  # () distance at which an alert is as likely new as known
    novelty_scale: Array  # ()
    conformal: Array  # () the 90 % quantile of the cumulative-probability score
    prior: Array  # (k + t + 1,) the stream's mix, `other` last; sums to 1
    thresholds: Array  # (k + t,) of the prior probability: above it an alert goes to the class's own topic
    taught_prototypes: Array  # (t, E)
    taught_weights: Array  # (t, V)
    taught_location: Array  # (t,) answer at which the taught class takes as much as all others together
    taught_scale: Array  # (t,)
    taught: tuple[str, ...] = ()
    """Names of the taught classes."""

    def map(self, function: Callable[[Array], Array]) -> Head:
        """The same head with every array changed, as for another namespace."""
        return Head(taught=self.taught, **{name: function(getattr(self, name)) for name in ARRAYS})


ARRAYS: tuple[str, ...] = tuple(f.name for f in fields(Head) if f.name != "taught")


def head_of(arrays: Mapping[str, Array], taught: tuple[str, ...] = ()) -> Head:
    """Make a head of its arrays by name.

    Raises
    ------
    KeyError
        One is missing.
    """
    return Head(taught=taught, **{name: arrays[name] for name in ARRAYS})


def identity(head: Head) -> str:
    """sha256 over every array's bytes and the taught names, as hex: equal heads have equal ids, whatever made them."""
    digest = hashlib.sha256()
    for name in ARRAYS:
        array = np.ascontiguousarray(to_host(getattr(head, name)))
        digest.update(f"{name} {array.dtype.str} {array.shape}\0".encode())
        digest.update(array.tobytes())
    digest.update("\0".join(head.taught).encode())
    return digest.hexdigest()


class Judged(NamedTuple):
    """What the head says of n alerts; columns are the known classes, then the taught ones, `other` last."""

    probability: Array  # (n, k + t + 1) at balanced classes; sums to 1
    prior_probability: Array  # (n, k + t + 1) under the stream's mix; sums to 1
    novelty: Array  # (n,) 0 known … 1 new
    nearest: Array  # (n,) int: the nearest prototype, of known and taught ones
    distance: Array  # (n,) cosine distance to it, 0 … 2
    conformal: Array  # (n, k + t + 1) bool: the classes of the 90 % set


def centred(embedding: Array, centre: Array) -> Array:
    """Subtract the centre and bring each row to length 1; (…, n, E) → (…, n, E)."""
    xp = array_namespace(embedding)
    shifted = embedding - centre
    length = xp.sqrt(xp.sum(shifted**2, axis=-1, keepdims=True))
    return shifted / xp.clip(length, 1e-6, None)


def prototype(embedding: Array, centre: Array) -> Array:
    """Make a class of its examples: (m, E) embeddings → (E,) of length 1."""
    xp = array_namespace(embedding)
    mean = xp.mean(centred(embedding, centre), axis=0)
    return mean / xp.clip(xp.sqrt(xp.sum(mean**2)), 1e-6, None)


def judge(views: Views, head: Head) -> Judged:
    """Turn what the encoder says into probabilities, novelty and a conformal set.

    Parameters
    ----------
    views : Views
        Of n alerts, float32.
    head : Head
    """
    xp = array_namespace(views.embedding, views.logits)
    unit = centred(views.embedding, head.centre)
    log_kinds = log_softmax(views.logits)
    cosine = product(unit, head.prototypes)
    share = product(xp.exp(log_kinds), xp.matrix_transpose(head.zero_shot))
    zero_shot = xp.log(xp.clip(share, LEAST, None))
    view = ridge_view(unit, log_kinds, views.named, head.kind_scale)
    score = head.cosine_weight * cosine + head.zero_shot_weight * zero_shot
    score = (score + (rows(view, head.ridge) + head.offset)) / head.temperature
    distance = 1 - xp.max(cosine, axis=1)
    novelty = 1 / (1 + xp.exp(-xp.clip((distance - head.novelty_location) / head.novelty_scale, -30.0, 30.0)))
    known = xp.exp(log_softmax(score))
    probability = xp.concat([known * (1 - novelty)[:, None], novelty[:, None]], axis=1)
    if head.taught:
        probability = _with_taught(probability, rows(view, head.taught_weights), head)
        novelty = probability[:, -1]
        cosine = xp.concat([cosine, product(unit, head.taught_prototypes)], axis=1)
        distance = 1 - xp.max(cosine, axis=1)
    weighted = probability * (head.prior * head.prior.shape[0])
    prior_probability = weighted / xp.sum(weighted, axis=1, keepdims=True)
    inside = conformal_set(probability, head.conformal)
    return Judged(probability, prior_probability, novelty, xp.argmax(cosine, axis=1), distance, inside)


def ridge_view(unit: Array, log_kinds: Array, named: Array, kind_scale: Array) -> Array:
    """What the ridge reads: centred embedding, log-probabilities of the kinds, named features; (…, n, E + K + F)."""
    xp = array_namespace(unit, log_kinds)
    fine = xp.clip(log_kinds, LOWEST, 0.0) / kind_scale
    return xp.concat([unit, fine, NAMED * named], axis=-1)


def _with_taught(probability: Array, answer: Array, head: Head) -> Array:
    """Shares of the taught classes: each known one keeps its part of the rest; (n, k + 1), (n, t) → (n, k + t + 1)."""
    xp = array_namespace(probability, answer)
    odds = xp.exp(xp.clip((answer - head.taught_location) / head.taught_scale, -30.0, 30.0))
    whole = 1 + xp.sum(odds, axis=1, keepdims=True)
    rest = probability / whole
    return xp.concat([rest[:, :-1], odds / whole, rest[:, -1:]], axis=1)


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


def log_softmax(x: Array) -> Array:
    """Along the last axis."""
    xp = array_namespace(x)
    shifted = x - xp.max(x, axis=-1, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))


def product(a: Array, b: Array) -> Array:
    """(…, n, m) times (…, k, m) row by row, → (…, n, k): a matrix product's last bits depend on how many rows it has, and a replayed
    night's must not."""
    xp: Any = array_namespace(a, b)
    return xp.sum(a[..., :, None, :] * b[..., None, :, :], axis=-1)


def rows(a: Array, b: Array) -> Array:
    """The same by `einsum` where it is NumPy's: nothing of the size n · k · m is written."""
    xp: Any = array_namespace(a, b)
    return np.einsum("...nm,...km->...nk", a, b) if xp is np else product(a, b)
