"""What the same examples, and the same simulations, can train otherwise: in the same episodes.

features (n, d), episodes → probabilities or scores of queries (E, Q, k)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpu.session import Session
from learning.protocol import forest, simulated
from learning.protocol.episodes import Episodes, make
from learning.protocol.features import hand_made, impute, scale
from learning.protocol.measures import hits
from learning.tables import Curves
from operators.fewshot import ridge
from operators.prototypes import centred
from operators.types import F64
from registry.bundle import Bundle

I64 = npt.NDArray[np.int64]
Tell = Callable[[int], None]

TREES = 300
CONTROL_TREES = 500
WEIGHTS = (0.25, 0.5, 1.0, 2.0)
"""Of the K-shot forest's log-probability beside the simulations' forest: chosen on simulated episodes."""
WEIGHT_EPISODES = 40
TUNED_ON = 3000
"""Simulated curves of the cross-validation."""


def k_shot_forest(x: F64, e: Episodes, tell: Tell = lambda _: None, trees: int = TREES) -> F64:
    """A forest of the support's features, an episode; (E, Q, k)."""
    out = np.empty((*e.query.shape, len(e.classes)))
    for i in range(len(e)):
        a, b = impute(x[e.support[i]], x[e.query[i]])
        out[i] = forest.votes(a, e.support_class, b, len(e.classes), trees, i)
        tell(1)
    return out


def linear(x: F64, e: Episodes) -> tuple[F64, F64]:
    """Ridge, and the nearest centroid after centring and normalising, on the scaled features; (E, Q, k) twice."""
    label = np.eye(len(e.classes))[e.support_class]
    regressed, nearest = np.empty((*e.query.shape, len(e.classes))), np.empty((*e.query.shape, len(e.classes)))
    for i in range(len(e)):
        a, b = scale(*impute(x[e.support[i]], x[e.query[i]]))
        regressed[i] = ridge(a, label, b)[0]
        centre = a.mean(axis=0)
        prototypes = (label.T @ centred(a, centre)) / label.sum(axis=0)[:, None]
        nearest[i] = -((centred(b, centre)[:, None] - prototypes) ** 2).sum(axis=-1)
    return regressed, nearest


@dataclass(frozen=True, slots=True)
class Control:
    """The forest that also gets our simulations, and what was chosen for it on simulations alone."""

    probability: F64  # (n, groups) of the task's objects
    slugs: tuple[str, ...]
    weight: dict[int, float]  # by K
    depth: int | None
    leaf: int
    curves: int

    def scores(self, k_shot: F64, e: Episodes, slugs: tuple[str | None, ...]) -> F64:
        """log(forest of simulations) + weight · log(K-shot forest); (E, Q, k)."""
        column = np.stack([self._column(s, slugs.count(s)) for s in slugs], axis=1)
        return np.asarray(np.log(column[e.query] + 0.01) + self.weight[e.shots] * np.log(k_shot + 0.02))

    def _column(self, slug: str | None, shared: int) -> F64:
        if slug is None or slug not in self.slugs:
            return np.full(len(self.probability), 1 / max(len(self.slugs), 1))
        return self.probability[:, self.slugs.index(slug)] / shared


def control(task: Curves, x: F64, slugs: tuple[str, ...], shots: tuple[int, ...], curves: int, seed: int, tell: Tell) -> Control | None:
    """Train the control; None where fewer than two of the task's classes are simulated.

    Depth and leaf size by three-fold cross-validation on simulations; the weight by simulated episodes of another population, which the
    forest has not seen.

    Parameters
    ----------
    task : Curves
        Whose cut the simulations get.
    x : (n, d)
        `hand_made` of the task.
    curves : int
        Simulated curves altogether.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import GridSearchCV

    cut = simulated.Cut.of(task)
    made, label = simulated.simulate(slugs, max(curves // max(len(slugs), 1), 20), cut, seed + 50, "train")
    if len(set(label.tolist())) < 2:
        return None
    held, aside = tuple(slugs[k] for k in sorted(set(label.tolist()))), simulated.simulate(slugs, 80, cut, seed + 51, "demo")
    label = np.searchsorted(sorted(set(label.tolist())), label)
    train, real = impute(hand_made(made), x)
    other = impute(train, hand_made(aside[0]))[1]
    few = np.random.default_rng(seed).permutation(len(train))[:TUNED_ON]
    grid = {"max_depth": [None, 12], "min_samples_leaf": [1, 3, 10]}
    plain = RandomForestClassifier(60, class_weight="balanced", random_state=seed)
    chosen = GridSearchCV(plain, grid, cv=3, refit=False).fit(train[few], label[few]).best_params_
    grown = RandomForestClassifier(CONTROL_TREES, class_weight="balanced", random_state=seed, **chosen).fit(train, label)
    spoken = grown.predict_proba(other)
    weight = {}
    names = np.array([slugs[k] for k in aside[1]], dtype=str)
    for k in shots:
        e = make(names, k, WEIGHT_EPISODES, seed + 7)
        if e is None:
            weight[k] = 1.0
            continue
        own = np.log(k_shot_forest(other, e, trees=100) + 0.02)
        prior = np.log(spoken[:, [held.index(c) for c in e.classes]][e.query] + 0.01)
        weight[k] = WEIGHTS[int(np.argmax([hits(prior + w * own, e.query_class).mean() for w in WEIGHTS]))]
        tell(1)
    return Control(grown.predict_proba(real), held, weight, chosen["max_depth"], chosen["min_samples_leaf"], len(made))


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
