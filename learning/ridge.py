"""The ridge of a stream's head: what simulated alerts, and real ones where there are, say beyond prototypes and zero-shot view.

`Seen` of n simulated alerts with labels, of r real ones → `Ridge`: weights on the view, offsets

Multinomial logistic regression on the scores of the other views, with a ridge on its weights: a convex problem.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from learning.dataset import I64, Bools
from operators.head import Head, Seen, Views, log_softmax, scores
from operators.types import F64, Array

PULL = 3e-4
"""Strength of the ridge on its weights, against the mean loss of an alert."""
STEPS = 200
"""Of the optimiser for a ridge that begins at nothing."""
LABELLED, UNLABELLED = 30.0, 4.0
"""Weight of a real alert with a label, and of one that is only known to be a star: in simulated alerts."""
MOST_LABELLED = 10.0
"""A class with more labelled alerts than this counts as if it had so many."""


class Sky(NamedTuple):
    """Real alerts to fit with, beside the simulated ones; r of them."""

    views: Views
    label: I64  # (r,) class; -1: one of `among`, which is not known
    among: tuple[int, ...]
    """Classes that an alert without a label may be of."""
    fold: I64  # (r,) 0 … folds - 1; alerts of one object are in one fold


class Rows(NamedTuple):
    """What the ridge is fitted on: n alerts."""

    view: F64  # (n, V)
    base: F64  # (n, k) scores without the ridge
    target: F64  # (n, k) rows sum to 1
    weight: F64  # (n,)


def simulated_rows(seen: Seen, label: I64, *, head: Head) -> Rows:
    """Simulated alerts, each class counting the same, one alert 1 on average."""
    k = head.ways
    weight = (1 / np.bincount(label, minlength=k))[label] * len(label) / k
    return Rows(_f64(seen.view), _f64(scores(seen, head)), np.eye(k)[label], weight)


def real_rows(seen: Seen, sky: Sky, *, head: Head, bare: Head) -> Rows:
    """Real alerts; what is only known to be one of several classes is divided among them as the head without real alerts has it."""
    k, among = head.ways, list(sky.among)
    known = np.exp(_f64(log_softmax(scores(seen, head) / head.temperature)))
    target = np.zeros_like(known)
    target[:, among] = known[:, among] / known[:, among].sum(axis=1, keepdims=True)
    labelled = sky.label >= 0
    target[labelled] = np.eye(k)[sky.label[labelled]]
    count = np.bincount(sky.label[labelled], minlength=k)
    weight = np.full(len(sky.label), UNLABELLED)
    weight[labelled] = (LABELLED * np.minimum(1, MOST_LABELLED / np.maximum(count, 1)))[sky.label[labelled]]
    return Rows(_f64(seen.view), _f64(scores(seen, bare)), target, weight)


def joined(simulated: Rows, real: Rows, *, rows: Bools) -> Rows:
    """Simulated alerts and some of the real ones."""
    return Rows(*(np.concatenate([s, r[rows]]) for s, r in zip(simulated, real, strict=True)))


def _f64(array: Array) -> F64:
    return np.asarray(array, dtype=np.float64)


class Ridge(NamedTuple):
    """A class's score gains `weight · view + offset`."""

    weight: F64  # (k, V)
    offset: F64  # (k,)


def ridge(rows: Rows, *, start: Ridge | None = None, pull: float = PULL, steps: int = STEPS) -> Ridge:
    """Multinomial logistic regression with a ridge on its weights, on what the other views leave unexplained; convex.

    The view is taken from its mean, so that the ridge pulls at no offset.

    Parameters
    ----------
    rows : Rows
    start : Ridge, optional
        Where to begin.
    pull : float
        Strength of the ridge on its weights.
    steps : int
        Of the optimiser, at most.
    """
    share = rows.weight / rows.weight.sum()
    mean = share @ rows.view
    view, base, target, weight = (torch.from_numpy(x) for x in (rows.view - mean, rows.base, rows.target, share))
    first = Ridge(np.zeros((target.shape[1], len(mean))), np.zeros(target.shape[1])) if start is None else start
    weights = torch.from_numpy(first.weight.copy()).requires_grad_()
    offset = torch.from_numpy(first.offset + first.weight @ mean).requires_grad_()

    def loss() -> torch.Tensor:
        logs = torch.log_softmax(base + view @ weights.T + offset, dim=1)
        return -(weight * (target * logs).sum(dim=1)).sum() + pull * (weights**2).sum()

    minimise(loss, [weights, offset], steps=steps)
    found = weights.detach().numpy()
    return Ridge(found, offset.detach().numpy() - found @ mean)


def minimise(loss: Callable[[], torch.Tensor], parameters: list[torch.Tensor], *, steps: int) -> None:
    """Bring a convex loss to its least, in place."""
    optimiser = torch.optim.LBFGS(parameters, max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(closure)  # type: ignore[no-untyped-call]
