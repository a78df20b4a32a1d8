"""How sure the head may be: what a user with K examples can know of it, and nothing of a query's label.

simulated tasks (another population than the prototypes', and seen worse) and the K examples' own left-out scores
→ a temperature an episode, the quantile of the 90 % sets

Simulated tasks of the same classes under the same observing patterns are auxiliary tasks (Fisch et al. 2021): there are many of them, but
the sky is not quite the simulation. The K examples are of the sky, but few. Each is shrunk toward the other: the temperature as a most
probable value, the conformal scores as a mixture in which simulations count as `COUNT` examples.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from data.tables import Curves
from evaluation import measures, task_head
from evaluation.episodes import make
from evaluation.kinds import Rule
from operators.head import softmax
from operators.support import Physics, left_out
from operators.types import F32, F64

I64 = task_head.I64
TEMPERATURES = task_head.TEMPERATURES
BELIEF = 0.5
"""1 σ of ln(temperature) around what simulations say: how much the K examples themselves may move it."""
COUNT = 20.0
"""Examples that the simulated tasks count as, when conformal scores are pooled."""
EPISODES = 120
DILATION, COLOUR = 0.15, 0.15
"""1 σ of ln(time) and of ln(flux) by band by which simulated tasks are off, as the sky is off the simulation."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What simulated tasks say of the head's confidence."""

    temperature: float
    """1 where there are none."""
    correction: float
    """Temperature of queries over that of left-out examples, which are judged by fewer: on simulated tasks."""
    scores: F64
    """Conformal scores of simulated queries, one half of the simulated episodes."""
    ways: int
    """Classes of the simulated tasks; a conformal score of three classes says nothing of nine."""
    coverage: float
    """Share of the other half's queries inside the 90 % set; NaN without simulations."""
    size: float


NOTHING = Calibration(1.0, 1.0, np.zeros(0), 0, float("nan"), float("nan"))


def worse(curves: Curves, rng: np.random.Generator) -> Curves:
    """The same curves off by what the sky is off the simulation: time stretched, colours shifted."""
    n, owner = len(curves), curves.owner
    stretch = np.exp(DILATION * rng.standard_normal(n))[owner]
    tilt = (COLOUR * rng.standard_normal(n))[owner] * np.log(curves.wavelength / 6000.0) / np.log(6230.0 / 4770.0)
    factor = np.exp(tilt).astype(np.float32)
    return replace(
        curves,
        time=curves.time * stretch,
        flux=curves.flux * factor,
        flux_err=curves.flux_err * factor,
        limit=curves.limit * factor,
    )


def calibrate(
    shots: int,
    knowledge: task_head.Knowledge | None,
    *,
    kinds: tuple[str, ...],
    rule: Rule,
    seed: int,
    centre: F32 | F64 | None,
    head: task_head.Parts = task_head.WHOLE,
    unseen: bool = False,
) -> Calibration:
    """Temperature and conformal scores from simulated episodes of the task's classes, under the weights that the task's head has."""
    if knowledge is None:
        return NOTHING
    e = make(knowledge.label, shots, episodes=EPISODES, seed=seed + 9)
    if e is None:
        return NOTHING
    made_of, known = task_head.zero_shot_map(e.classes, kinds, rule=rule)
    read = task_head.examples(knowledge.views, e, centre=centre)
    anchor = task_head.physics(e.classes, knowledge, centre=centre)
    support = task_head.support_of(read, shots, anchor=anchor, made_of=made_of if known.any() else None, unseen=unseen, parts=head)
    score = task_head.score(read, support)
    temperature = _best(score, e.query_class)
    correction = 1.0
    if uses_left_out(shots, anchor):
        correction = temperature / _best(np.asarray(left_out(support)), e.support_class)
    own = measures.own_scores(np.asarray(softmax(score, np.asarray(temperature))), e.query_class)
    half = len(e) // 2
    quantile = measures.conformal_quantile(own[:half].ravel())
    inside, size = measures.conformal(np.asarray(softmax(score[half:], np.asarray(temperature))), e.query_class, quantile=quantile)
    return Calibration(temperature, correction, own[:half].ravel(), len(e.classes), float(inside.mean()), float(size.mean()))


def uses_left_out(shots: int, anchor: Physics | None) -> bool:
    """Whether an example can be judged by the others: with one example a class only where every class is simulated."""
    return shots > 1 or (anchor is not None and bool(np.asarray(anchor.known).all()))


def temperatures(own: F64 | None, truth: I64, *, calibration: Calibration, episodes: int) -> F64:
    """One temperature an episode, (E,): the most probable one, given the left-out scores of its K examples and what simulations say."""
    if own is None:
        return np.full(episodes, calibration.temperature)
    believed = calibration.temperature / calibration.correction
    belief = -0.5 * (np.log(TEMPERATURES / believed) / BELIEF) ** 2
    likely = np.stack([-loss(own, truth, temperature=t, axis=1) * own.shape[1] for t in TEMPERATURES])
    return np.asarray(TEMPERATURES[np.argmax(likely + belief[:, None], axis=0)] * calibration.correction, dtype=np.float64)


def quantile(own: F64 | None, calibration: Calibration, *, ways: int) -> tuple[F64, str] | None:
    """The conformal quantile of each episode, (E,) or (), and what it was made of; None where there is nothing to make it of.

    Parameters
    ----------
    own : (E, m), optional
        Scores of the examples, each left out.
    ways : int
        Classes of the task.
    """
    alike = len(calibration.scores) > 0 and calibration.ways == ways
    if own is None:
        return (measures.conformal_quantile(calibration.scores), "simulated tasks") if alike else None
    if not alike:
        return measures.conformal_quantile(own), "the examples, each left out"
    return _pooled(own, calibration.scores), f"the examples, each left out, and simulated tasks that count as {COUNT:g}"


def _pooled(own: F64, simulated: F64) -> F64:
    """(E,) weighted quantile; one more score, at infinity, stands for the query itself (Tibshirani et al. 2019)."""
    simulated = np.sort(simulated)[:: max(len(simulated) // 1000, 1)]
    m = own.shape[1]
    weight = np.concatenate([np.ones(m), np.full(len(simulated), COUNT / len(simulated))])
    out = np.empty(len(own))
    for i, scores in enumerate(own):
        every = np.concatenate([scores, simulated])
        order = np.argsort(every, kind="stable")
        reached = np.cumsum(weight[order]) / (weight.sum() + 1)
        at = int(np.searchsorted(reached, measures.LEVEL))
        out[i] = every[order[at]] if at < len(every) else np.inf
    return out


def loss(score: F64, truth: I64, *, temperature: float, axis: int | None = None) -> F64:
    """Mean negative log-probability of the truth."""
    scaled = score / temperature
    top = scaled.max(axis=-1, keepdims=True)
    log = scaled - top - np.log(np.exp(scaled - top).sum(axis=-1, keepdims=True))
    index = np.broadcast_to(truth[:, None], (*score.shape[:-1], 1))
    return np.asarray(-np.take_along_axis(log, index, axis=-1)[..., 0].mean(axis=axis))


def _best(score: F64, truth: I64) -> float:
    return float(TEMPERATURES[np.argmin([loss(score, truth, temperature=t) for t in TEMPERATURES])])
