"""The one few-shot head: what an encoder says of an alert → probabilities, novelty, conformal set, nearest prototype.

`Views` (embedding, logits of the simulated kinds, named features), `Head` → `Judged`; everything in closed form

A class is a prototype, the mean of its examples' centred, normalised embeddings (Snell et al. 2017; centring after Wang et al. 2019,
"SimpleShot"), or several where it has several modes (Allen et al. 2019, "Infinite mixture prototypes"), the nearest of which counts; where
it was simulated, the zero-shot log-probability of its kinds counts too; and a ridge reads the embedding, the kinds and the named features
together. What is far from every prototype is new: far by the measure of the nearest class's own alerts, since classes are unlike in width.
A class taught beside the known ones takes a share of their probabilities (`operators.taught`) and changes nothing else.

Two moments: a head is solved once (`operators.support` from K examples a class, `learning.head_calibration` from simulated alerts), and
`judge` is pure and row by row: an alert's values do not depend on the batch it comes in. `scores` is the formula that both share; leading
dimensions are episodes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from operators.kernels.head import Columns, columns_of, judge_rows
from operators.namespace import array_namespace, to_host
from operators.types import Array

Bools: TypeAlias = npt.NDArray[np.bool_]

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


class Seen(NamedTuple):
    """The same as the formula reads it."""

    unit: Array  # (…, n, E) centred embeddings, rows of length 1
    log_kinds: Array  # (…, n, K) log-probabilities of the kinds
    view: Array  # (…, n, V) what the ridge reads: V = E + K + F


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """What the formula needs of k classes; leading dimensions are episodes."""

    prototypes: Array  # (…, p, E) rows of length 1
    prototype_class: Array  # (p,) the class of each, 0 … k - 1, ascending; each class has one at least
    zero_shot: Array  # (K, k) which simulated kinds make which class; a column of zeros: none does
    cosine_weight: Array  # () how much the cosine to a prototype counts
    zero_shot_weight: Array  # (k,) how much the zero-shot log-probability counts, 0 where there is none
    ridge: Array  # (…, k, V) weights on the view, their weight in the score included
    offset: Array  # (…, k) added to the score

    @property
    def ways(self) -> int:
        """How many classes are known."""
        return int(self.offset.shape[-1])


@dataclass(frozen=True, slots=True, eq=False)
class Head(Weights):
    """Everything a stream's head needs, as arrays of one namespace: k known classes, t taught ones; compared by `identity`."""

    centre: Array  # (E,) the mean embedding of unlabelled objects, frozen with the model
    kind_scale: Array  # () by which log-probabilities of kinds are divided before the ridge
    temperature: Array  # () that scores are divided by
    novelty_location: Array  # (k,) distance from the nearest class at which an alert is as likely new as known
    novelty_scale: Array  # (k,)
    novelty_share: Array  # (k,) of the class's probability, what novelty may take: 0 where the class is all that is unlike the others
    novelty_threshold: Array  # () from which an alert that is real goes to the topic of anomalies
    conformal: Array  # () the 90 % quantile of the cumulative-probability score
    prior: Array  # (k + 1,) the stream's mix, `other` last; sums to 1
    star_prior: Array  # (k + 1,) the mix of stars that were watched without a break, where alerts are not of a survey of the sky
    thresholds: Array  # (k,) of the prior probability: above it an alert goes to the class's own topic
    taught_prototypes: Array  # (t, E)
    taught_weights: Array  # (t, V)
    taught_location: Array  # (t,) answer at which the taught class is as probable as the most probable other
    taught_scale: Array  # (t,)
    taught_prior: Array  # (t,) share of the stream; the others keep their mix in the rest
    taught_thresholds: Array  # (t,)
    taught_conformal: Array  # (t,) the quantile with the class in the running
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
    known = {"star_prior": arrays["prior"], **arrays}  # a head from before stars had a mix of their own
    return Head(taught=taught, **{name: known[name] for name in ARRAYS})


def identity(head: Head) -> str:
    """sha256 over every array's bytes and the taught names, as hex: equal heads have equal ids, whatever made them."""
    digest = hashlib.sha256()
    for name in sorted(ARRAYS):
        array = np.ascontiguousarray(to_host(getattr(head, name)))
        digest.update(f"{name} {array.dtype.str} {array.shape}\0".encode())
        digest.update(array.tobytes())
    digest.update("\0".join(head.taught).encode())
    return digest.hexdigest()


class Judged(NamedTuple):
    """What the head says of n alerts; columns are the known classes, then the taught ones, `other` last."""

    probability: Array  # (n, k + t + 1) at balanced classes; sums to 1
    prior_probability: Array  # (n, k + t + 1) under the stream's mix, or the stars'; sums to 1
    novelty: Array  # (n,) 0 known … 1 new
    nearest: Array  # (n,) int: the class of the nearest prototype, of known and taught ones
    distance: Array  # (n,) cosine distance to it, 0 … 2
    conformal: Array  # (n, k + t + 1) bool: the classes of the 90 % set


def see(views: Views, centre: Array, *, kind_scale: Array) -> Seen:
    """Bring views into the form that the formula reads."""
    xp = array_namespace(*views)
    unit, log_kinds = centred(views.embedding, centre), log_softmax(views.logits)
    fine = xp.clip(log_kinds, LOWEST, 0.0) / kind_scale
    return Seen(unit, log_kinds, xp.concat([unit, fine, NAMED * views.named], axis=-1))


def kind_scale(log_kinds: Array) -> float:
    """Spread of a sample's log-probabilities of kinds: brings them beside an embedding of length 1; (n, K) → a number above 0."""
    xp = array_namespace(log_kinds)
    fine = xp.clip(log_kinds, LOWEST, 0.0)
    return float(xp.sqrt(xp.mean(xp.sum((fine - xp.mean(fine, axis=0)) ** 2, axis=-1)))) or 1.0


def scores(seen: Seen, weights: Weights, *, cosine: Array | None = None) -> Array:
    """The formula: prototypes, zero-shot view and ridge together; (…, n, k), to be divided by a temperature and softmaxed.

    Parameters
    ----------
    cosine : (…, n, k), optional
        To the classes, where it is at hand.
    """
    xp = array_namespace(*seen)
    cosine = to_classes(seen.unit, weights) if cosine is None else cosine
    share = product(xp.exp(seen.log_kinds), xp.matrix_transpose(weights.zero_shot))
    zero_shot = weights.zero_shot_weight * xp.log(xp.clip(share, LEAST, None))
    return weights.cosine_weight * cosine + zero_shot + product(seen.view, weights.ridge) + weights.offset[..., None, :]


def to_classes(unit: Array, weights: Weights) -> Array:
    """Cosine to each class, that is to the nearest of its prototypes; (…, n, E) → (…, n, k)."""
    xp, k = array_namespace(unit), weights.ways
    cosine = product(unit, weights.prototypes)
    if cosine.shape[-1] == k:
        return cosine
    lowest = xp.asarray(-2.0, dtype=cosine.dtype)
    return xp.stack([xp.max(xp.where(weights.prototype_class == c, cosine, lowest), axis=-1) for c in range(k)], axis=-1)


def judge(views: Views, head: Head, *, star: Bools | None = None) -> Judged:
    """Turn what the encoder says into probabilities, novelty and a conformal set.

    Parameters
    ----------
    views : Views
        Of n alerts, float32.
    head : Head
    star : (n,) bool, optional
        On the host: which are stars that were watched without a break, so that their mix is `Head.star_prior`; None: none.
    """
    if star is None:
        star = np.zeros(views.embedding.shape[0], dtype=np.bool_)
    if array_namespace(*views) is np and all(column.dtype == np.float32 for column in views):
        return Judged(*judge_rows(views, _columns(head), star=star))
    return judge_array(views, head, star=star)


@lru_cache(maxsize=4)
def _columns(head: Head) -> Columns:
    """A head's arrays as the kernel reads them; a stream has one head, two while they are swapped."""
    return columns_of(head, np.stack([whole_prior(head), whole_prior(head, star=True)]), least=LEAST, lowest=LOWEST, named_weight=NAMED)


def judge_array(views: Views, head: Head, *, star: Bools | None = None) -> Judged:
    """`judge` in any namespace, array by array: the oracle of its kernel."""
    xp = array_namespace(*views)
    seen = see(views, head.centre, kind_scale=head.kind_scale)
    known_cosine = to_classes(seen.unit, head)
    known = xp.exp(log_softmax(scores(seen, head, cosine=known_cosine) / head.temperature))
    distance, novelty = 1 - xp.max(known_cosine, axis=1), novelty_of(known, known_cosine, head=head)
    probability = xp.concat([known * (1 - novelty)[:, None], novelty[:, None]], axis=1)
    cosine = xp.concat([known_cosine, product(seen.unit, head.taught_prototypes)], axis=1)
    if head.taught:
        probability = _with_taught(probability, product(seen.view, head.taught_weights), head=head)
        novelty, distance = probability[:, -1], 1 - xp.max(cosine, axis=1)
    prior = whole_prior(head)[None, :]
    if star is not None:
        prior = xp.where(xp.asarray(star)[:, None], whole_prior(head, star=True)[None, :], prior)
    weighted = probability * (prior * probability.shape[1])
    prior_probability = weighted / xp.sum(weighted, axis=1, keepdims=True)
    inside = conformal_set(probability, xp.max(head.taught_conformal) if head.taught else head.conformal)
    return Judged(probability, prior_probability, novelty, xp.argmax(cosine, axis=1), distance, inside)


def novelty_of(known: Array, cosine: Array, *, head: Head) -> Array:
    """How likely an alert is new, by the measure of the nearest class; what may not be taken from a class is known.

    Parameters
    ----------
    known, cosine : (n, k)
        Probabilities of the known classes, which sum to 1, and the cosines to them.

    Returns
    -------
    (n,)
    """
    xp = array_namespace(known, cosine)
    nearest = xp.argmax(cosine, axis=1)
    location, scale = xp.take(head.novelty_location, nearest, axis=0), xp.take(head.novelty_scale, nearest, axis=0)
    far = (1 - xp.max(cosine, axis=1) - location) / scale
    return xp.sum(known * head.novelty_share, axis=1) / (1 + xp.exp(-xp.clip(far, -30.0, 30.0)))


def whole_prior(head: Head, *, star: bool = False) -> Array:
    """(k + t + 1,) the stream's mix (or that of stars) with the taught classes in it, `other` last; sums to 1."""
    prior = head.star_prior if star else head.prior
    if not head.taught:
        return prior
    xp = array_namespace(prior)
    rest = prior * (1 - xp.sum(head.taught_prior))
    return xp.concat([rest[:-1], head.taught_prior, rest[-1:]])


def whole_thresholds(head: Head) -> Array:
    """(k + t,) of the known classes and of the taught ones."""
    return array_namespace(head.thresholds).concat([head.thresholds, head.taught_thresholds])


def _with_taught(probability: Array, answer: Array, *, head: Head) -> Array:
    """Shares of the taught classes: each other one keeps its part of the rest; (n, k + 1), (n, t) → (n, k + t + 1).

    The odds are to the most probable of the others, so that a taught class comes first exactly where its answer is above its location: the
    rate of false calls is that of a threshold, however undecided the known classes are.
    """
    xp = array_namespace(probability, answer)
    times = xp.exp(xp.clip((answer - head.taught_location) / head.taught_scale, -30.0, 30.0))
    odds = xp.max(probability, axis=1, keepdims=True) * times
    whole = 1 + xp.sum(odds, axis=1, keepdims=True)
    rest = probability / whole
    return xp.concat([rest[:, :-1], odds / whole, rest[:, -1:]], axis=1)


def conformal_scores(probability: Array) -> Array:
    """Cumulative probability of the classes more probable than each class, itself left out; (n, k) → (n, k).

    Source: adaptive prediction sets, Romano, Sesia & Candès 2020, without randomisation. The class's own probability is left out, so
    that the most probable one scores 0 and always belongs: with it in, sure alerts would belong by exception and the sets cover too much.
    """
    xp: Any = array_namespace(probability)
    above = probability[:, None, :] > probability[:, :, None]
    if xp is np:
        return np.einsum("nij,nj->ni", above.astype(probability.dtype), probability)
    return xp.sum(xp.where(above, probability[:, None, :], xp.asarray(0.0, dtype=probability.dtype)), axis=2)


def conformal_set(probability: Array, quantile: Array) -> Array:
    """The classes whose score is within the calibrated quantile; (n, k) → (n, k) bool."""
    return conformal_scores(probability) <= quantile


def centred(embedding: Array, centre: Array) -> Array:
    """Subtract the centre and bring each row to length 1; (…, n, E) → (…, n, E)."""
    return unit_rows(embedding - centre)


def prototype(embedding: Array, centre: Array) -> Array:
    """Make a class of its examples: (m, E) embeddings → (E,) of length 1."""
    return unit_rows(array_namespace(embedding).mean(centred(embedding, centre), axis=0))


def unit_rows(x: Array) -> Array:
    """Bring each row to length 1; (…, E) → (…, E)."""
    xp: Any = array_namespace(x)
    square = np.einsum("...e,...e->...", x, x)[..., None] if xp is np else xp.sum(x**2, axis=-1, keepdims=True)
    return x / xp.clip(xp.sqrt(square), 1e-6, None)


def softmax(score: Array, temperature: Array) -> Array:
    """Probabilities; `temperature` has the shape of `score` with a last dimension of 1, or is one number."""
    return array_namespace(score).exp(log_softmax(score / temperature))


def log_softmax(x: Array) -> Array:
    """Along the last axis."""
    xp = array_namespace(x)
    shifted = x - xp.max(x, axis=-1, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))


def product(a: Array, b: Array) -> Array:
    """(…, n, m) times (…, k, m) row by row, → (…, n, k).

    A matrix product's last bits depend on how many rows it has, and a replayed night's must not. NumPy's `einsum` goes row by row and
    writes nothing of the size n · k · m.
    """
    xp: Any = array_namespace(a, b)
    if xp is np:
        return np.einsum("...nm,...km->...nk", a, np.ascontiguousarray(b))
    return xp.sum(a[..., :, None, :] * b[..., None, :, :], axis=-1)
