"""Embeddings of alerts kept apart from training → the head: prototypes, weights, novelty, conformal quantile, thresholds.

`Views` of n alerts, label (n,) → `Head`

Three disjoint thirds: prototypes and ridge from the first, the weights of the three views from the second, what has a guarantee (conformal
quantile, thresholds, novelty) from the third.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from learning.dataset import I64, Bools
from operators.budget import ALERTS_A_NIGHT, BUDGET, least_probability, night, quantile
from operators.decision import BOGUS, NEVER, novelty_threshold
from operators.head import Head, Seen, Views, conformal_scores, judge, kind_scale, log_softmax, prototype, scores, see
from operators.support import RIDGE
from operators.types import F32, F64

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


def prior(classes: Sequence[str]) -> F64:
    """(k + 1,) the stated mix in the order of the classes, `other` last."""
    weights = np.array([STREAM_PRIOR[name] for name in (*classes, "other")])
    return np.asarray(weights / weights.sum())


def calibrate(views: Views, label: I64, *, classes: Sequence[str], mix: Mapping[str, float], zero_shot: F32 | None = None) -> Head:
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
    f32 = partial(np.asarray, dtype=np.float32)
    scale = f32(kind_scale(log_softmax(views.logits[a])))
    fitted, at_mean = _ridge(np.asarray(see(_rows(views, a), centre, kind_scale=scale).view), label[a], k=k)
    size = fitted.shape[1]
    head = Head(
        prototypes=prototypes,
        zero_shot=made_of,
        cosine_weight=np.asarray(1.0),
        zero_shot_weight=np.ones(k),
        ridge=fitted,
        offset=-at_mean,
        centre=centre,
        kind_scale=scale,
        temperature=np.asarray(1.0),
        novelty_location=np.asarray(2.0),
        novelty_scale=np.asarray(0.1),
        novelty_threshold=np.asarray(NEVER),
        conformal=np.asarray(1.0),
        prior=prior(classes),
        thresholds=np.ones(k),
        taught_prototypes=np.zeros((0, width)),
        taught_weights=np.zeros((0, size)),
        taught_location=np.zeros(0),
        taught_scale=np.zeros(0),
        taught_prior=np.zeros(0),
        taught_thresholds=np.zeros(0),
        taught_conformal=np.zeros(0),
    ).map(lambda x: np.asarray(x, dtype=np.float32))
    cosine_weight, zero_shot_weight, answer = _weights(see(_rows(views, b), centre, kind_scale=scale), label[b], head=head)
    head = replace(
        head,
        cosine_weight=f32(cosine_weight / zero_shot_weight),
        ridge=head.ridge * f32(answer / zero_shot_weight),
        offset=head.offset * f32(answer / zero_shot_weight),
        temperature=f32(1 / zero_shot_weight),
    )
    apart, truth = _rows(views, c), label[c]
    location, spread = _novelty(np.asarray(judge(apart, head).distance))
    head = replace(head, novelty_location=f32(location), novelty_scale=f32(spread))
    found = conformal_scores(judge(apart, head).probability)
    head = replace(head, conformal=f32(quantile(found[np.arange(len(truth)), truth])))
    judged = judge(apart, head)
    new = novelty_threshold(
        judged, truth, prior=head.prior, bogus=classes.index(BOGUS) if BOGUS in classes else None, alerts_a_night=ALERTS_A_NIGHT
    )
    return replace(
        head,
        novelty_threshold=f32(new),
        thresholds=thresholds(np.asarray(judged.prior_probability), truth, shares=prior(classes)),
    )


def _rows(views: Views, rows: Bools) -> Views:
    return Views(*(column[rows] for column in views))


def _ridge(view: F32, label: I64, *, k: int) -> tuple[F64, F64]:
    """Ridge on one-hot labels in its primal form, each class counting the same: weights (k, V), and their answers at the mean (k,)."""
    x = view.astype(np.float64)
    w = 1 / np.bincount(label, minlength=k)[label] / k
    mean = w @ x
    a = (x - mean) * np.sqrt(w)[:, None]
    gram = a.T @ a
    target = np.sqrt(w)[:, None] * (np.eye(k)[label] - 1 / k)
    weight = np.linalg.solve(gram + RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram)), a.T @ target).T
    return weight, weight @ mean


def _weights(seen: Seen, label: I64, *, head: Head) -> tuple[float, float, float]:
    """Weights of cosine, zero-shot log-probability and ridge that make the labels most likely (three numbers, convex)."""
    nothing = replace(
        head, cosine_weight=np.asarray(0.0, dtype=np.float32), zero_shot_weight=np.zeros_like(head.zero_shot_weight), ridge=0 * head.ridge
    )
    nothing = replace(nothing, offset=0 * head.offset)
    alone = (
        replace(nothing, cosine_weight=head.cosine_weight),
        replace(nothing, zero_shot_weight=head.zero_shot_weight),
        replace(nothing, ridge=head.ridge, offset=head.offset),
    )
    views = [torch.from_numpy(scores(seen, part)).double() for part in alone]
    truth = torch.from_numpy(label)
    logs = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([logs], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        total = torch.stack([weight * view for weight, view in zip(logs.exp(), views, strict=True)]).sum(dim=0)
        loss = torch.nn.functional.cross_entropy(total, truth)
        loss = loss + 1e-4 * (logs**2).sum()  # keeps a view that adds nothing from running to minus infinity
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    cosine_weight, zero_shot_weight, answer = logs.detach().exp().tolist()
    return cosine_weight, zero_shot_weight, answer


def _novelty(distance: F32) -> tuple[float, float]:
    """Location and scale: a known alert is below one half with `KNOWN`, and the middle one of the known at 1 %."""
    location = float(np.quantile(distance, KNOWN))
    return location, max((location - float(np.median(distance))) / float(np.log(99)), 1e-3)


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
