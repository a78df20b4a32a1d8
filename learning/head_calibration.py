"""Embeddings of alerts kept apart from training → the head: prototypes, weights, novelty, conformal quantile, thresholds.

`Views` of n alerts, label (n,), real alerts where there are → `Calibrated`

Three disjoint thirds: prototypes from the first, the weights of prototypes and zero-shot view from the second, the ridge from both, what
has a guarantee (conformal quantile, thresholds, novelty) from the third. Real alerts help the ridge alone; folds of them are left out in
turn, so that what is said of them is said by a head that has not seen them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from learning.dataset import I64, Bools
from learning.ridge import Ridge, Sky, joined, minimise, real_rows, ridge, simulated_rows
from operators.budget import ALERTS_A_NIGHT, BUDGET, least_probability, night, quantile
from operators.decision import BOGUS, NEVER, novelty_threshold
from operators.head import Head, Seen, Views, centred, conformal_scores, judge, kind_scale, log_softmax, prototype, scores, see
from operators.types import F32, F64

KNOWN = 0.985
"""Share of known alerts whose novelty is below one half."""
SEVERAL = 2.0
"""A class whose alerts lie so many times farther from their mean than the middle class's has several modes."""
LEAST_EXAMPLES = 3
"""Of a kind for a prototype of its own."""
LEAST_NEAREST = 60
"""Known alerts nearest to a class for a measure of novelty of its own."""
STREAM_PRIOR: dict[str, float] = {
    "bogus": 0.40,
    "asteroid": 0.20,
    "rr-lyrae": 0.10,
    "eclipsing-binary": 0.09,
    "lpv": 0.07,
    "agn": 0.08,
    "yso": 0.015,
    "cv": 0.008,
    "sn-ia": 0.006,
    "sn-ii": 0.003,
    "sn-ibc": 0.001,
    "sn-iin": 5e-4,
    "m-dwarf-flare": 1e-3,
    "microlensing": 5e-4,
    "slsn": 1e-4,
    "tde": 1e-4,
    "afterglow": 2e-5,
    "kilonova": 2e-6,
    "other": 0.02,
}
"""The stated mix of a wide survey's public alerts, an assumption by orders of magnitude and not a measurement: artefacts and moving objects
are most of them, variables most of the rest, supernovae about one in a hundred, kilonovae a few in a million. Brought to sum 1."""


STAR_PRIOR: dict[str, float] = {
    "bogus": 0.78,
    "eclipsing-binary": 0.03,
    "m-dwarf-flare": 0.03,
    "exoplanet-transit": 0.01,
    "rr-lyrae": 0.002,
    "lpv": 0.01,
    "yso": 0.01,
    "cv": 0.001,
    "transit-anomaly": 0.001,
    "other": 0.12,
}
"""The stated mix of stars that are watched without a break, an assumption as well: most show nothing, every eighth turns or pulsates in a
way without a class of ours; planets and binaries as among Kepler's targets (Batalha et al. 2013; Kirk et al. 2016, AJ 151, 68), flares as
among TESS's M dwarfs (Günther et al. 2020, AJ 159, 60)."""
ELSEWHERE = 1e-7
"""Share of a class that a mix does not name."""


def prior(classes: Sequence[str], mix: Mapping[str, float] = STREAM_PRIOR) -> F64:
    """(k + 1,) a stated mix in the order of the classes, `other` last."""
    weights = np.array([mix.get(name, ELSEWHERE) for name in (*classes, "other")])
    return np.asarray(weights / weights.sum())


class Calibrated(NamedTuple):
    """A head, and those that have not seen a fold of the real alerts: only the ridge and its offset differ."""

    head: Head
    unseen: tuple[Head, ...]
    """By fold; empty without real alerts."""


def calibrate(
    views: Views,
    label: I64,
    *,
    classes: Sequence[str],
    mix: Mapping[str, float],
    zero_shot: F32 | None = None,
    kind: I64 | None = None,
    sky: Sky | None = None,
    star: Bools | None = None,
) -> Calibrated:
    """Fit the head.

    Parameters
    ----------
    views : Views
        Of n alerts that no weight of the encoder has seen.
    label : (n,) int
        Every class is among them.
    classes : K slugs
    mix : slug → share
        Of the stream whose mean embedding is the centre.
    zero_shot : (K, k), optional
        Which kinds make which class; each its own if None.
    kind : (n,) int, optional
        What a class with several modes is divided by; each class has one prototype if None.
    sky : Sky, optional
        Real alerts for the ridge.
    star : (n,) bool, optional
        Which are light curves from space: they have prototypes of their own, and what has a guarantee is made of the others alone, but for
        the thresholds of the classes that none of the others is of.
    """
    k, width = len(classes), views.embedding.shape[1]
    third = np.arange(len(label)) % 3
    a, b, c = (third == i for i in range(3))
    star = np.zeros(len(label), dtype=bool) if star is None else star
    share = np.array([mix.get(name, 0.0) for name in classes])
    means = np.stack([views.embedding[a & (label == i)].mean(axis=0) for i in range(k)])
    centre = ((share[:, None] * means).sum(axis=0) / share.sum()).astype(np.float32)
    strata = [
        _prototypes(np.asarray(views.embedding), label, rows=a & rows, centre=centre, kind=kind) for rows in (~star, star) if rows.any()
    ]
    prototypes, owner = (np.concatenate(parts) for parts in zip(*strata, strict=True))
    order = np.argsort(owner, kind="stable")
    prototypes, owner = prototypes[order], owner[order]
    f32 = partial(np.asarray, dtype=np.float32)
    scale = f32(kind_scale(log_softmax(views.logits[a])))
    size = see(_rows(views, a), centre, kind_scale=scale).view.shape[1]
    head = Head(
        prototypes=prototypes,
        prototype_class=owner,
        zero_shot=np.eye(k) if zero_shot is None else zero_shot,
        cosine_weight=np.asarray(1.0),
        zero_shot_weight=np.ones(k),
        ridge=np.zeros((k, size)),
        offset=np.zeros(k),
        centre=centre,
        kind_scale=scale,
        temperature=np.asarray(1.0),
        novelty_location=np.full(k, 2.0),
        novelty_scale=np.full(k, 0.1),
        novelty_share=np.array([float(name != "bogus") for name in classes]),
        novelty_threshold=np.asarray(NEVER),
        conformal=np.asarray(1.0),
        prior=prior(classes),
        star_prior=prior(classes, STAR_PRIOR),
        thresholds=np.ones(k),
        taught_prototypes=np.zeros((0, width)),
        taught_weights=np.zeros((0, size)),
        taught_location=np.zeros(0),
        taught_scale=np.zeros(0),
        taught_prior=np.zeros(0),
        taught_thresholds=np.zeros(0),
        taught_conformal=np.zeros(0),
    ).map(lambda x: np.asarray(x, dtype=np.float32))
    cosine_weight, zero_shot_weight = _weights(see(_rows(views, b), centre, kind_scale=scale), label[b], head=head)
    head = replace(head, cosine_weight=f32(cosine_weight), zero_shot_weight=f32(np.full(k, zero_shot_weight)))
    bare, unseen = head, []
    simulated = simulated_rows(see(_rows(views, a | b), centre, kind_scale=scale), label[a | b], head=head)
    fitted = ridge(simulated)
    if sky is not None:
        alone = _with_ridge(bare, fitted)
        real = real_rows(see(sky.views, centre, kind_scale=scale), sky, head=alone, bare=bare)
        for fold in range(int(sky.fold.max()) + 1):
            unseen.append(ridge(joined(simulated, real, rows=sky.fold != fold), start=fitted))
        fitted = ridge(joined(simulated, real, rows=np.ones(len(sky.fold), dtype=bool)), start=fitted)
    head = _with_ridge(bare, fitted)
    both = judge(_rows(views, c), head)
    location, spread = _novelty(np.asarray(both.distance), np.asarray(both.nearest), k=k)
    head = replace(head, novelty_location=f32(location), novelty_scale=f32(spread))
    apart, truth = _rows(views, c & ~star), label[c & ~star]
    found = conformal_scores(judge(apart, head).probability)
    head = replace(head, conformal=f32(quantile(found[np.arange(len(truth)), truth])))
    judged = judge(apart, head)
    new = novelty_threshold(
        judged, truth, prior=head.prior, bogus=classes.index(BOGUS) if BOGUS in classes else None, alerts_a_night=ALERTS_A_NIGHT
    )
    least = thresholds(np.asarray(judged.prior_probability), truth, shares=prior(classes))
    if star.any():
        stars, of_stars = judge(_rows(views, c & star), head, star=np.ones(int((c & star).sum()), dtype=bool)), label[c & star]
        own = thresholds(np.asarray(stars.prior_probability), of_stars, shares=prior(classes, STAR_PRIOR))
        none = np.bincount(truth, minlength=k) == 0
        least = np.where(none, own, least)
    head = replace(head, novelty_threshold=f32(new), thresholds=f32(least))
    return Calibrated(head, tuple(_with_ridge(head, one) for one in unseen))


def _rows(views: Views, rows: Bools) -> Views:
    return Views(*(column[rows] for column in views))


def _prototypes(embedding: F32, label: I64, *, rows: Bools, centre: F32, kind: I64 | None) -> tuple[F32, F32]:
    """Prototypes (p, E) of some rows, the class of each (p,): one a class, one a kind where the class's alerts lie far from their mean."""
    embedding, label, kind = embedding[rows], label[rows], None if kind is None else kind[rows]
    known = np.unique(label)
    single = {i: prototype(embedding[label == i], centre) for i in known}
    unit = centred(embedding, centre)
    away = {i: float(np.median(1 - unit[label == i] @ single[i])) for i in known}
    found, owner = [], []
    for i in known:
        parts = [single[i]]
        if kind is not None and away[i] > SEVERAL * np.median(list(away.values())):
            of = [embedding[(label == i) & (kind == j)] for j in np.unique(kind[label == i])]
            parts = [prototype(examples, centre) for examples in of if len(examples) >= LEAST_EXAMPLES] or parts
        found += parts
        owner += [i] * len(parts)
    return np.stack(found), np.array(owner, dtype=np.float32)


def _with_ridge(head: Head, fitted: Ridge) -> Head:
    return replace(head, ridge=fitted.weight.astype(np.float32), offset=fitted.offset.astype(np.float32))


def _weights(seen: Seen, label: I64, *, head: Head) -> tuple[float, float]:
    """Weights of cosine and zero-shot log-probability that make the labels most likely (two numbers, convex)."""
    nothing = replace(head, cosine_weight=0 * head.cosine_weight, zero_shot_weight=0 * head.zero_shot_weight)
    alone = (replace(nothing, cosine_weight=head.cosine_weight), replace(nothing, zero_shot_weight=head.zero_shot_weight))
    views = [torch.from_numpy(np.asarray(scores(seen, part))).double() for part in alone]
    truth = torch.from_numpy(label)
    logs = torch.zeros(2, dtype=torch.float64, requires_grad=True)

    def loss() -> torch.Tensor:
        total = torch.stack([weight * view for weight, view in zip(logs.exp(), views, strict=True)]).sum(dim=0)
        likelihood = torch.nn.functional.cross_entropy(total, truth)
        return likelihood + 1e-4 * (logs**2).sum()  # keeps a view that adds nothing from running to minus infinity

    minimise(loss, [logs], steps=100)
    cosine_weight, zero_shot_weight = logs.detach().exp().tolist()
    return cosine_weight, zero_shot_weight


def _novelty(distance: F32, nearest: I64, *, k: int) -> tuple[F64, F64]:
    """Location and scale (k,) by the nearest class: a known alert is below one half with `KNOWN`, and the middle one of the known at 1 %.

    Where too few alerts are nearest to a class, it has the measure of all.
    """
    location, scale = np.empty(k), np.empty(k)
    for i in range(k):
        own = distance[nearest == i]
        own = own if len(own) >= LEAST_NEAREST else distance
        location[i] = np.quantile(own, KNOWN)
        scale[i] = max((location[i] - np.median(own)) / np.log(99), 1e-3)
    return location, scale


def thresholds(probability: F32, label: I64, *, shares: F64, alerts_a_night: float = ALERTS_A_NIGHT, budget: float = BUDGET) -> F32:
    """Least prior probability each class's topic asks for (`operators.budget.least_probability`).

    Each alert of the sample stands for as many of a night's as the stated mix has of its class.

    Parameters
    ----------
    probability : (n, k + 1) under the stream prior
    label : (n,)
    shares : (k + 1,) the stated mix

    Returns
    -------
    (k,) float32
    """
    k = probability.shape[1] - 1
    stands_for = night(label, shares[:k], alerts_a_night=alerts_a_night)
    return np.array(
        [least_probability(probability[label != i, i], stands_for[label != i], budget=budget) for i in range(k)], dtype=np.float32
    )
