"""Embeddings of alerts kept apart from training → the head: prototypes, weights, novelty, conformal quantile, thresholds.

`Views` of n alerts, label (n,) → `Head`

Three disjoint thirds: prototypes from the first, the weights of the two views from the second, what has a guarantee (conformal quantile,
thresholds, novelty) from the third.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from learning.dataset import I64, Bools
from operators.head import LEAST, Head, Views, centred, conformal_scores, judge, prototype
from operators.types import F32, F64

COVERAGE = 0.9
KNOWN = 0.975
"""Share of known alerts whose novelty is below one half."""

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
ALERTS_A_NIGHT = 100_000.0
BUDGET = 100.0
"""Alerts a night that a class's topic may carry that are not of the class."""

FLOOR = 0.05
"""Least threshold of a class's topic: below it even a class with budget to spare would fill its topic with what is almost surely else."""


def prior(classes: Sequence[str]) -> F64:
    """(k + 1,) the stated mix in the order of the classes, `other` last."""
    weights = np.array([STREAM_PRIOR[name] for name in (*classes, "other")])
    return np.asarray(weights / weights.sum())


def calibrate(views: Views, label: I64, classes: Sequence[str], mix: Mapping[str, float], zero_shot: F32 | None = None) -> Head:
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
    """
    k, width = len(classes), views.embedding.shape[1]
    third = np.arange(len(label)) % 3
    a, b, c = (third == i for i in range(3))
    share = np.array([mix[name] for name in classes])
    means = np.stack([views.embedding[a & (label == i)].mean(axis=0) for i in range(k)])
    centre = ((share[:, None] * means).sum(axis=0) / share.sum()).astype(np.float32)
    prototypes = np.stack([prototype(views.embedding[a & (label == i)], centre) for i in range(k)])
    made_of = np.eye(k, dtype=np.float32) if zero_shot is None else zero_shot
    cosine_weight, zero_shot_weight = _weights(_rows(views, b), label[b], centre, prototypes, made_of)
    size = width + views.logits.shape[1] + views.named.shape[1]
    head = Head(
        centre=centre,
        prototypes=prototypes,
        zero_shot=made_of,
        cosine_weight=np.asarray(cosine_weight / zero_shot_weight),
        zero_shot_weight=np.ones(k),
        kind_scale=np.asarray(1.0),
        ridge=np.zeros((k, size)),
        offset=np.zeros(k),
        temperature=np.asarray(1 / zero_shot_weight),
        novelty_location=np.asarray(2.0),
        novelty_scale=np.asarray(0.1),
        conformal=np.asarray(1.0),
        prior=prior(classes),
        thresholds=np.ones(k),
        taught_prototypes=np.zeros((0, width)),
        taught_weights=np.zeros((0, size)),
        taught_location=np.zeros(0),
        taught_scale=np.ones(0),
    ).map(lambda x: np.asarray(x, dtype=np.float32))
    apart, truth = _rows(views, c), label[c]
    location, scale = _novelty(judge(apart, head).distance)
    head = replace(head, novelty_location=np.float32(location), novelty_scale=np.float32(scale))
    scores = conformal_scores(judge(apart, head).probability)
    head = replace(head, conformal=np.float32(quantile(scores[np.arange(len(truth)), truth])))
    return replace(head, thresholds=thresholds(judge(apart, head).prior_probability, truth, prior(classes)))


def _rows(views: Views, rows: Bools) -> Views:
    return Views(*(column[rows] for column in views))


def _weights(views: Views, label: I64, centre: F32, prototypes: F32, made_of: F32) -> tuple[float, float]:
    """Weights of cosine and zero-shot log-probability that make the labels most likely (two numbers, convex)."""
    cosine = torch.from_numpy(centred(views.embedding, centre) @ prototypes.T).double()
    share = torch.from_numpy(views.logits).double().softmax(dim=1) @ torch.from_numpy(made_of).double()
    zero_shot = share.clamp(min=LEAST).log()
    truth = torch.from_numpy(label)
    logs = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([logs], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        weight = logs.exp()
        loss = torch.nn.functional.cross_entropy(weight[0] * cosine + weight[1] * zero_shot, truth)
        loss = loss + 1e-4 * (logs**2).sum()  # keeps a view that adds nothing from running to minus infinity
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    cosine_weight, zero_shot_weight = logs.detach().exp().tolist()
    return cosine_weight, zero_shot_weight


def _novelty(distance: F32) -> tuple[float, float]:
    """Location and scale: a known alert is below one half with `KNOWN`, and the middle one of the known at 1 %."""
    location = float(np.quantile(distance, KNOWN))
    return location, max((location - float(np.median(distance))) / float(np.log(99)), 1e-3)


def quantile(scores: F32, coverage: float = COVERAGE) -> float:
    """The conformal quantile: the ceil((n + 1) · coverage)-th smallest score (Romano, Sesia & Candès 2020)."""
    n = len(scores)
    rank = min(int(np.ceil((n + 1) * coverage)), n)
    return float(np.sort(scores)[rank - 1])


def thresholds(probability: F32, label: I64, shares: F64, alerts_a_night: float = ALERTS_A_NIGHT, budget: float = BUDGET) -> F32:
    """Least prior probability a class's topic asks for: as low as the budget of false alerts allows, between 0.05 and 0.5.

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
    counts = np.bincount(label, minlength=k)
    stands_for = (shares[:k] / np.maximum(counts, 1))[label] * alerts_a_night
    found = []
    for i in range(k):
        others: Bools = label != i
        order = np.argsort(-probability[others, i])
        falls = np.cumsum(stands_for[others][order])
        allowed = int(np.searchsorted(falls, budget, side="right"))  # the first false alert that would break the budget
        least = float(probability[others, i][order][allowed]) + 1e-6 if allowed < len(order) else 0.0
        found.append(min(max(least, FLOOR), 0.5))
    return np.array(found, dtype=np.float32)
