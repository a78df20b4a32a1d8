"""What the same examples, and the same simulations, can train otherwise: in the same episodes.

features (n, d), episodes → probabilities or scores of queries (E, Q, k)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation import forest
from evaluation.drawn import KINDS
from evaluation.episodes import Episodes, make
from evaluation.handmade import hand_made, impute, scale
from evaluation.kinds import kinds_of
from evaluation.measures import hits
from evaluation.simulated import Looks, Mode, simulate
from gpu.session import Session
from operators.head import centred
from operators.support import ridge
from operators.types import F64
from registry.bundle import Bundle

I64 = npt.NDArray[np.int64]
Progress = Callable[[int], None]

TREES = 300
CONTROL_TREES = 500
WEIGHTS = (0.25, 0.5, 1.0, 2.0)
"""Of the K-shot forest's log-probability beside the simulations' forest: chosen on simulated episodes."""
WEIGHT_EPISODES = 40
TUNED_ON = 6000
"""Simulated curves of the cross-validation."""
DEEPEST = 10**6
DEPTHS = (DEEPEST, 16, 10)
LEAVES = (1, 3, 10)
PLAIN_FEATURES = 65
"""More than this means that periods are among the features."""
MOST_PERIODIC = 20_000
"""Curves of the control where each needs a period search."""


def k_shot_forest(x: F64, e: Episodes, *, progress: Progress = lambda _: None, trees: int = TREES) -> F64:
    """A forest of the support's features, an episode; (E, Q, k)."""
    out = np.empty((*e.query.shape, len(e.classes)))
    for i in range(len(e)):
        a, b = impute(x[e.support[i]], x[e.query[i]])
        out[i] = forest.votes(a, e.support_class, query=b, classes=len(e.classes), trees=trees, seed=i)
        progress(1)
    return out


def linear(x: F64, e: Episodes) -> tuple[F64, F64]:
    """Ridge, and the nearest centroid after centring and normalising, on the scaled features; (E, Q, k) twice."""
    label = np.eye(len(e.classes))[e.support_class]
    regressed, nearest = np.empty((*e.query.shape, len(e.classes))), np.empty((*e.query.shape, len(e.classes)))
    for i in range(len(e)):
        a, b = scale(*impute(x[e.support[i]], x[e.query[i]]))
        fitted = ridge(a, label)
        regressed[i] = b @ fitted.weight.T - fitted.at_mean
        centre = a.mean(axis=0)
        prototypes = (label.T @ centred(a, centre)) / label.sum(axis=0)[:, None]
        nearest[i] = -((centred(b, centre)[:, None] - prototypes) ** 2).sum(axis=-1)
    return regressed, nearest


@dataclass(frozen=True, slots=True)
class Control:
    """The forest that also gets our simulations, and what was chosen for it on simulations alone."""

    probability: F64  # (n, classes) of the task's objects
    names: tuple[str, ...]
    weight: dict[int, float]  # by K
    depth: int
    leaf: int
    curves: int
    seconds: dict[str, float]

    def scores(self, k_shot: F64, e: Episodes) -> F64:
        """log(forest of simulations) + weight · log(K-shot forest); (E, Q, k)."""
        column = np.stack([self._column(name) for name in e.classes], axis=1)
        return np.asarray(np.log(column[e.query] + 0.01) + self.weight[e.shots] * np.log(k_shot + 0.02))

    def _column(self, name: str) -> F64:
        if name not in self.names:
            return np.full(len(self.probability), 1 / max(len(self.names), 1))
        return self.probability[:, self.names.index(name)]

    def chosen(self) -> dict[str, Any]:
        """For the report."""
        return {
            "curves": self.curves, "trees": CONTROL_TREES, "depth": self.depth if self.depth < DEEPEST else None, "leaf": self.leaf,
            "weight": {str(k): w for k, w in self.weight.items()}, "seconds": self.seconds,
        }  # fmt: skip


def control(
    x: F64,
    looks: Looks,
    *,
    names: tuple[str, ...],
    shots: tuple[int, ...],
    curves: int,
    seed: int,
    mode: Mode,
    processes: int = 2,
    progress: Progress = lambda _: None,
) -> Control | None:
    """Train the control; None where fewer than two of the task's classes are simulated.

    Depth and leaf size by three-fold cross-validation on simulations; the weight by simulated episodes of another population, which the
    forest has not seen.

    Parameters
    ----------
    x : (n, d)
        `hand_made` of the task.
    looks : Looks
        Of the task: the control's simulations are those of the head.
    names : tuple of str
        The task's classes.
    curves : int
        Simulated curves altogether.
    """
    clock, seconds = time.perf_counter(), {}
    groups = tuple(kinds_of(name, tuple(KINDS)) for name in names)
    simulated = [j for j, kinds in enumerate(groups) if kinds]
    names, groups = tuple(names[j] for j in simulated), tuple(groups[j] for j in simulated)
    if len(names) < 2:
        return None
    many = x.shape[1] > PLAIN_FEATURES
    curves = min(curves, MOST_PERIODIC) if many else curves
    made, label = simulate(
        groups, max(curves // len(names), 20), looks=looks, seed=seed + 50, population="train", mode=mode, processes=processes
    )
    apart, apart_label = simulate(groups, 80, looks=looks, seed=seed + 51, population="demo", mode=mode)
    held = sorted(set(label.tolist()))
    if len(held) < 2:
        return None
    label, seconds["curves"] = np.searchsorted(held, label), round(time.perf_counter() - clock, 1)
    clock = time.perf_counter()
    train, real = impute(hand_made(made, many, processes=processes), x)
    other = impute(train, hand_made(apart, many))[1]
    seconds["features"], clock = round(time.perf_counter() - clock, 1), time.perf_counter()
    edges = forest.bins(train)
    rows, real_rows, other_rows = (forest.binned(a, edges) for a in (train, real, other))
    depth, leaf = _shape(rows, label, classes=len(held), seed=seed)
    found = forest.many_votes(
        rows,
        label,
        query=np.concatenate([real_rows, other_rows], axis=1),
        classes=len(held),
        trees=CONTROL_TREES,
        seed=seed,
        depth=depth,
        leaf=leaf,
        threads=processes,
    )
    seconds["forest"] = round(time.perf_counter() - clock, 1)
    probability, zero_shot_log = found[: len(real)], found[len(real) :]
    known = tuple(names[j] for j in held)
    weight = {}
    called = np.array([names[j] for j in apart_label], dtype=str)
    for k in shots:
        usable = np.isin(called, known)
        e = make(called[usable], k, episodes=WEIGHT_EPISODES, seed=seed + 7)
        if e is None:
            weight[k] = 1.0
            continue
        own = np.log(k_shot_forest(other[usable], e, trees=100) + 0.02)
        prior = np.log(zero_shot_log[usable][:, [known.index(c) for c in e.classes]][e.query] + 0.01)
        weight[k] = WEIGHTS[int(np.argmax([hits(prior + w * own, e.query_class).mean() for w in WEIGHTS]))]
        progress(1)
    return Control(probability, known, weight, depth, leaf, len(made), seconds)


def _shape(rows: npt.NDArray[np.uint8], label: I64, *, classes: int, seed: int) -> tuple[int, int]:
    """Depth and fewest rows of a leaf, by three-fold cross-validation."""
    few = np.random.default_rng(seed).permutation(rows.shape[1])[:TUNED_ON]
    fold = np.arange(len(few)) % 3
    right: dict[tuple[int, int], float] = {}
    for depth in DEPTHS:
        for leaf in LEAVES:
            found = 0.0
            for i in range(3):
                train, test = few[fold != i], few[fold == i]
                votes = forest.many_votes(
                    rows[:, train], label[train], query=rows[:, test], classes=classes, trees=60, seed=seed, depth=depth, leaf=leaf
                )
                found += hits(votes, label[test]).sum()
            right[depth, leaf] = found
    return max(right, key=lambda shape: right[shape])


def random_session(bundle: Bundle, seed: int) -> Session:
    """The bundle's architecture with random weights: what the architecture alone sees.

    Raises
    ------
    ImportError
        torch and onnx are not installed.
    """
    import torch

    from gpu.eager import EagerSession
    from learning.encoder import Encoder
    from learning.export import restore

    torch.manual_seed(seed)
    return EagerSession(Encoder(restore(bundle.encoder).config))
