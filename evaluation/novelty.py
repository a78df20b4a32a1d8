"""What belongs to none of the task's classes: numbers that say so, and how much each counts, learned on simulated tasks.

views, episodes → (E, Q, V) numbers; simulated tasks with simulated unseen → weights (V,)

Energy of the distances (Liu et al. 2020), the distance itself, what the network gives to kinds that the task has not, and how undecided the
head is. Negatives are learned: every simulated kind that is in no class of the task, and that is not the one being tested.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from evaluation import task_head
from evaluation.episodes import Episodes, make
from evaluation.kinds import Rule, kinds_of, weights
from operators.head import scores, softmax, to_classes
from operators.support import energy, solve
from operators.types import F64

NUMBERS = ("energy", "distance", "unknown", "entropy")
EPISODES = 40
RIDGE = 1.0
LEAST = 30
"""Curves of known classes, and of unseen, from which a rule is learned."""
TEMPERATURE = 4.0
"""Of the head when its indecision is measured."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the protocol knows besides the task's objects."""

    knowledge: task_head.Knowledge | None
    kinds: tuple[str, ...]
    rule: Rule
    centre: F64 | None

    def unseen(self, names: tuple[str, ...]) -> bool:
        """Whether the network does not cover every one of the classes."""
        return not weights(names, self.kinds, rule=self.rule).any(axis=1).all()

    def without(self, name: str, moved: bool) -> Known:
        """As if a class of the task had never been simulated. `moved`: the centre is the simulated classes' own."""
        if self.knowledge is None:
            return self
        rest = self.knowledge.without(name)
        return replace(self, knowledge=rest, centre=rest.middle if moved and rest.ways > 1 else self.centre)


@dataclass(frozen=True, slots=True)
class Rating:
    """A linear rule over `NUMBERS`; larger is newer."""

    mean: F64
    spread: F64
    weight: F64

    def __call__(self, values: F64) -> F64:
        """The score of rows of numbers."""
        return np.asarray(((values - self.mean) / self.spread) @ self.weight)


def numbers(views: task_head.Views, e: Episodes, *, known: Known, unseen: bool) -> F64:
    """(E, Q, len(NUMBERS)), under the head's weights for a task with a class that is not simulated, or without."""
    read = task_head.examples(views, e, centre=known.centre)
    anchor = task_head.physics(e.classes, known.knowledge, centre=known.centre)
    made_of, covered = task_head.zero_shot_map(e.classes, known.kinds, rule=known.rule)
    head = solve(task_head.support_of(read, e.shots, anchor=anchor, made_of=made_of if covered.any() else None, unseen=unseen))
    cosine = to_classes(read.query.unit, head)
    p = softmax(scores(read.query, head, cosine=cosine), np.asarray(TEMPERATURE))
    entropy = -(p * np.log(np.clip(p, 1e-9, None))).sum(axis=-1)
    inside = np.exp(views.log_probability)[:, weights(e.classes, known.kinds, rule="sum").any(axis=0)].sum(axis=1)
    unknown = np.log(np.clip(1 - inside, 1e-4, 1.0))
    return np.stack([energy(cosine), 1 - np.max(cosine, axis=-1), unknown[e.query], entropy], axis=-1)


def learned(names: tuple[str, ...], new: str, *, shots: int, known: Known, seed: int, unseen: bool) -> Rating | None:
    """A rule for tasks of these classes; None where too little of it is simulated.

    Parameters
    ----------
    new : str
        The class whose novelty is being tested: its kinds are not negatives.
    """
    k = known.knowledge
    if k is None:
        return None
    is_known = np.isin(k.label, names)
    forbidden = set(kinds_of(new, tuple(sorted(set(k.others_label.tolist()))))) if new else set()
    apart = ~np.isin(k.others_label, sorted(forbidden))
    if len(set(k.label[is_known].tolist())) < 2 or is_known.sum() < LEAST or apart.sum() < LEAST:
        return None
    others = k.others.take(np.flatnonzero(apart))
    inside = k.views.take(np.flatnonzero(is_known))
    joined = inside.join(others)
    e = make(k.label[is_known], shots, episodes=EPISODES, seed=seed + 21)
    if e is None:
        return None
    q = e.query.shape[1]
    negatives = np.random.default_rng(seed).integers(len(inside.embedding), len(joined.embedding), (len(e), q))
    both = Episodes(e.shots, e.classes, (), e.support, e.support_class, np.concatenate([e.query, negatives], axis=1), np.zeros(0, np.int64))
    values = numbers(joined, both, known=known, unseen=unseen)
    x = values.reshape(-1, len(NUMBERS))
    y = np.tile(np.repeat([0.0, 1.0], q), len(e))
    mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-6
    return Rating(mean, spread, logistic((x - mean) / spread, y))


def logistic(x: F64, y: F64, *, steps: int = 30) -> F64:
    """Weights of a logistic regression with a weak ridge, by Newton's method; the intercept plays no part in a ranking and is dropped."""
    a = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    w = np.zeros(a.shape[1])
    penalty = np.diag([*np.full(x.shape[1], RIDGE), 1e-6])
    for _ in range(steps):
        p = 1 / (1 + np.exp(-np.clip(a @ w, -30, 30)))
        gradient = a.T @ (p - y) + penalty @ w
        curvature = (a * (p * (1 - p))[:, None]).T @ a + penalty
        step = np.linalg.solve(curvature, gradient)
        w = w - step
        if np.abs(step).max() < 1e-8:
            break
    return np.asarray(w[:-1])
