"""The few-shot head on a task's embeddings, all episodes at once.

`Curves`, a session → `Views` (embedding and zero-shot log-probabilities, once an object) → scores of queries (E, Q, k)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpu.session import Session
from learning.protocol import measures, simulated
from learning.protocol.episodes import Episodes, make
from learning.tables import Curves
from operators import fewshot
from operators.context import context
from operators.fewshot import Examples, Physics
from operators.prototypes import centred
from operators.tokens import tokens
from operators.types import F32, F64, STAMP

I64 = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]

TEMPERATURES = np.exp(np.linspace(-2.0, 2.0, 41))
BELIEF = 0.4
"""1 σ of ln(temperature) around what simulations say: how much the K examples themselves may move it."""
CALIBRATION_EPISODES = 120
LEAST_UNLABELLED = 20
"""Objects of a table from which a centre is made; with fewer the support's own mean serves."""
LOWEST = -7.0
"""Log-probabilities the ridge reads are cut here."""


@dataclass(frozen=True, slots=True)
class Views:
    """What the encoder says of n objects."""

    embedding: F64  # (n, D)
    spoken: F64  # (n, C) zero-shot log-probability over the bundle's classes

    def take(self, rows: I64) -> Views:
        return Views(self.embedding[rows], self.spoken[rows])


def embed(curves: Curves, session: Session, chunk: int = 512) -> Views:
    """Run curves through the operators and the engine of the stream; no stamps, no surroundings."""
    embedding, logits = [np.zeros((0, 1))], [np.zeros((0, 1))]
    for start in range(0, len(curves), chunk):
        batch = curves.take(np.arange(start, min(start + chunk, len(curves)))).batch()
        xp = session.namespace
        inputs = (tokens(batch), np.zeros((len(batch), 4, STAMP, STAMP), dtype=np.float32), context(batch))
        answer = session.run(*(xp.asarray(x) for x in inputs))
        host = [x if xp is np else xp.asnumpy(x) for x in answer]
        embedding.append(host[0].astype(np.float64))
        logits.append(host[1].astype(np.float64))
    z = np.concatenate(embedding[1:]) if len(curves) else embedding[0]
    raw = np.concatenate(logits[1:]) if len(curves) else logits[0]
    return Views(z, raw - _logsumexp(raw))


def speak(views: Views, slugs: tuple[str | None, ...], classes: tuple[str, ...]) -> tuple[F64, F64]:
    """Zero-shot log-probability over a task's classes, and which of them were simulated; (n, k), (k,).

    Two classes of the task that the simulation does not tell apart share its probability evenly; what it gives to none of the task's
    classes is shared by those nobody simulated.
    """
    p = np.exp(views.spoken)
    known = np.array([s is not None for s in slugs])
    column = np.zeros((len(p), len(slugs)))
    for j, slug in enumerate(slugs):
        if slug is not None:
            column[:, j] = p[:, classes.index(slug)] / slugs.count(slug)
    if not known.all():
        column[:, ~known] = (np.clip(1 - column.sum(axis=1), 0, None) / (~known).sum())[:, None]
    log = np.log(np.clip(column, 1e-12, None))
    return log - _logsumexp(log), known.astype(np.float64)


def examples(views: Views, e: Episodes, centre: F32 | F64 | None) -> Examples:
    """What the head reads.

    Parameters
    ----------
    centre : (D,), optional
        None: the mean of the table's objects, without labels and without the episode's own queries.
    """
    z = views.embedding
    apart = len(z) - e.query.shape[1]
    if centre is not None:
        middle = np.asarray(centre, dtype=np.float64)
    elif apart >= LEAST_UNLABELLED:
        middle = ((z.sum(axis=0) - z[e.query].sum(axis=1)) / apart)[:, None, :]
    else:
        middle = z[e.support].mean(axis=1, keepdims=True)
    fine = np.clip(views.spoken, LOWEST, 0)
    fine = fine / (float(np.sqrt(((fine - fine.mean(axis=0)) ** 2).sum(axis=1).mean())) or 1.0)
    support, query = centred(z[e.support], middle), centred(z[e.query], middle)
    return Examples(
        support=support,
        label=np.eye(len(e.classes))[e.support_class],
        query=query,
        support_view=np.concatenate([support, fine[e.support]], axis=-1),
        query_view=np.concatenate([query, fine[e.query]], axis=-1),
    )


@dataclass(frozen=True, slots=True)
class Simulations:
    """Simulated curves cut as a task is, with their slugs."""

    anchors: Curves
    anchors_label: npt.NDArray[np.str_]
    aside: Curves
    """Of another population than the anchors: to calibrate on."""
    aside_label: npt.NDArray[np.str_]
    others: Curves
    """Of classes that the task has not."""
    others_label: npt.NDArray[np.str_]

    @classmethod
    def of(cls, task: Curves, slugs: tuple[str, ...], classes: tuple[str, ...], each: int, seed: int) -> Simulations:
        """Simulate `each` curves a class. `slugs`: of the task's classes; `classes`: of the bundle."""
        cut = simulated.Cut.of(task)
        rest = tuple(c for c in classes if c not in slugs)
        wanted = ((slugs, each, "train"), (slugs, max(each // 2, 20), "demo"), (rest, max(each // 8, 5), "demo"))
        made: list[object] = []
        for k, (names, number, population) in enumerate(wanted):
            curves, label = simulated.simulate(names, number, cut, seed + k, population)  # type: ignore[arg-type]
            made += [curves, np.array([names[j] for j in label], dtype=str)]
        return cls(*made)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What simulation gives: examples for prototypes, others to calibrate on, negatives to learn what is new."""

    anchors: Views
    anchors_label: npt.NDArray[np.str_]
    views: Views
    label: npt.NDArray[np.str_]
    others: Views
    others_label: npt.NDArray[np.str_]

    @property
    def middle(self) -> F64:
        """(D,) mean of the simulated classes, each counting the same."""
        z, label = self.anchors.embedding, self.anchors_label
        return np.asarray(np.mean([z[label == s].mean(axis=0) for s in sorted(set(label.tolist()))], axis=0))


def learn(made: Simulations, session: Session) -> Knowledge:
    """Embed what was simulated."""
    return Knowledge(
        anchors=embed(made.anchors, session),
        anchors_label=made.anchors_label,
        views=embed(made.aside, session),
        label=made.aside_label,
        others=embed(made.others, session),
        others_label=made.others_label,
    )


def physics(slugs: tuple[str | None, ...], knowledge: Knowledge | None, centre: F32 | F64 | None) -> Physics | None:
    """Simulated prototypes of a task's classes; None where there is not one.

    Parameters
    ----------
    centre : (D,), optional
        None: the simulated classes' own mean (which one class alone does not have).
    """
    if knowledge is None or (centre is None and len(set(knowledge.anchors_label.tolist())) < 2):
        return None
    z = centred(knowledge.anchors.embedding, knowledge.middle if centre is None else np.asarray(centre, dtype=np.float64))
    known = np.array([s is not None and bool((knowledge.anchors_label == s).any()) for s in slugs])
    if not known.any():
        return None
    rows = [z[knowledge.anchors_label == s].mean(axis=0) if k else np.zeros(z.shape[1]) for s, k in zip(slugs, known, strict=True)]
    return Physics(np.stack(rows), known.astype(np.float64))


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a user with K examples can know of the head's confidence; nothing of it comes from a query's label."""

    temperature: float
    """From simulated episodes; 1 where there are none."""
    scores: F64
    """Conformal scores of simulated queries, one half of the simulated episodes."""
    ways: int
    """Classes of the simulated tasks; a conformal score of three classes says nothing of nine."""
    coverage: float
    """Share of the other half's queries inside the 90 % set; NaN without simulations."""
    size: float


def calibrate(shots: int, knowledge: Knowledge | None, classes: tuple[str, ...], seed: int, centre: F32 | F64 | None) -> Calibration:
    """Temperature and conformal scores from simulated episodes of the task's classes (auxiliary tasks: Fisch et al. 2021)."""
    nothing = Calibration(1.0, np.zeros(0), 0, float("nan"), float("nan"))
    if knowledge is None:
        return nothing
    e = make(knowledge.label, shots, CALIBRATION_EPISODES, seed + 9)
    if e is None:
        return nothing
    slugs: tuple[str | None, ...] = e.classes
    spoken, _ = speak(knowledge.views, slugs, classes)
    read = examples(knowledge.views, e, centre)
    score = fewshot.taught(read, shots, physics(slugs, knowledge, centre), spoken[e.query])
    temperature = float(TEMPERATURES[np.argmin([_loss(score, e.query_class, t) for t in TEMPERATURES])])
    probability = fewshot.softmax(score, temperature)
    own = measures.own_scores(probability, e.query_class)
    half = len(e) // 2
    inside, size = measures.conformal(probability[half:], e.query_class, measures.conformal_quantile(own[:half].ravel()))
    return Calibration(temperature, own[:half].ravel(), len(e.classes), float(inside.mean()), float(size.mean()))


def temperatures(left_out: Scores, truth: I64, believed: float) -> F64:
    """One temperature an episode, (E,): the most probable one, given the left-out scores of its K examples and what simulations say."""
    belief = -0.5 * (np.log(TEMPERATURES / believed) / BELIEF) ** 2
    likely = np.stack([-_loss(left_out, truth, t, axis=1) * left_out.shape[1] for t in TEMPERATURES])
    return np.asarray(TEMPERATURES[np.argmax(likely + belief[:, None], axis=0)], dtype=np.float64)


def _loss(score: Scores, truth: I64, temperature: float, axis: int | None = None) -> F64:
    """Mean negative log-probability of the truth."""
    scaled = score / temperature
    log = scaled - _logsumexp(scaled)
    index = np.broadcast_to(truth[:, None], (*score.shape[:-1], 1))
    return np.asarray(-np.take_along_axis(log, index, axis=-1)[..., 0].mean(axis=axis))


def _logsumexp(x: F64) -> F64:
    top = x.max(axis=-1, keepdims=True)
    return np.asarray(top + np.log(np.exp(x - top).sum(axis=-1, keepdims=True)))
