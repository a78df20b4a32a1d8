"""The few-shot head on a task's embeddings, all episodes at once.

`Curves`, a session → `Views` (embedding and zero-shot log-probabilities, once an object) → scores of queries (E, Q, k)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from data.tables import Curves
from evaluation.drawn import DRAWN
from evaluation.episodes import Episodes
from evaluation.kinds import Rule, kinds_of, weights
from evaluation.simulated import Looks, Mode, simulate
from gpu.session import Session
from operators import head
from operators.context import SURROUNDINGS
from operators.features import COMPARABLE, comparable
from operators.head import LEAST, Seen, centred, kind_scale, scores, see
from operators.support import Physics, Support, solve
from operators.tokens import tokens
from operators.types import F32, F64, N_TOKENS, AlertBatch
from pipeline.embed import Embeddings, Inputs, gather, inputs_of
from pipeline.embed import embed as embed_batch

I64 = npt.NDArray[np.int64]
Labels = npt.NDArray[np.str_]

TEMPERATURES = np.exp(np.linspace(-2.0, 2.0, 41))
RULES: tuple[Rule, ...] = ("share", "sum")
OTHERS = 12
"""Of as many curves as a class has, one of each kind that is not a class of the task."""
LEAST_UNLABELLED = 20
"""Objects of a table from which a centre is made; with fewer the support's own mean serves."""


@dataclass(frozen=True, slots=True)
class Views:
    """What the encoder says of n objects."""

    embedding: F64  # (n, D)
    log_probability: F64  # (n, K) zero-shot log-probability over the bundle's kinds
    named: F64  # (n, V) features of the light curve, by `operators.features.comparable`

    def take(self, rows: I64) -> Views:
        """The views of some rows."""
        return Views(self.embedding[rows], self.log_probability[rows], self.named[rows])

    def join(self, other: Views) -> Views:
        """These rows, then those of another."""
        both = ((getattr(self, name), getattr(other, name)) for name in ("embedding", "log_probability", "named"))
        return Views(*(np.concatenate(pair) for pair in both))


@dataclass(frozen=True, slots=True)
class Blind:
    """What the encoder is not shown; nothing, but in an ablation."""

    tokens: int = N_TOKENS
    """So many points at most; with fewer than all of them no features either, which are made of every point."""
    fold: bool = False
    context: bool = False
    stamps: bool = False
    features: bool = False
    """Not an input of the encoder, but of the head's ridge."""

    def __call__(self, inputs: Inputs) -> Inputs:
        """Inputs with what is missing blanked as the encoder was taught to read it."""
        context = np.array(inputs.context)
        if self.context:
            context[:, : 2 * len(SURROUNDINGS)] = 0
        if self.fold:
            context[:, 2 * len(SURROUNDINGS) :] = 0
        return Inputs(inputs.tokens, np.zeros_like(inputs.stamps) if self.stamps else inputs.stamps, context)

    def inputs(self, batch: AlertBatch) -> Inputs:
        """The same, made of columns."""
        whole = inputs_of(batch)
        if self.tokens < N_TOKENS:
            few = np.zeros_like(whole.tokens)
            few[:, : self.tokens] = tokens(batch, self.tokens)
            whole = whole._replace(tokens=few)
        return self(whole)

    def views(self, seen: Embeddings) -> Views:
        """What the head reads of embeddings on the host."""
        raw = np.asarray(seen.logits, dtype=np.float64)
        named = np.asarray(comparable(seen.named), dtype=np.float64) * (not self.features and self.tokens == N_TOKENS)
        return Views(np.asarray(seen.embedding, dtype=np.float64), raw - _logsumexp(raw), named)


SEEING = Blind()


def embed(curves: Curves, session: Session, *, chunk: int = 512, blind: Blind = SEEING) -> Views:
    """Run curves through the operators and the engine of the stream; no stamps, of the surroundings only a star's own flux."""
    if not len(curves):
        return Views(np.zeros((0, 1)), np.zeros((0, 1)), np.zeros((0, COMPARABLE)))
    batches = (curves.take(np.arange(start, min(start + chunk, len(curves)))).batch() for start in range(0, len(curves), chunk))
    return blind.views(gather(embed_batch(batch, session, inputs=blind.inputs(batch)) for batch in batches))


def zero_shot_log_probability(views: Views, names: tuple[str, ...], *, kinds: tuple[str, ...], rule: Rule = "share") -> tuple[F64, F64]:
    """Zero-shot log-probability over a task's classes, and which of them the network covers; (n, k), (k,).

    Two classes that mean the same kinds are equally likely; what the network gives to none of the task's classes is shared by those it
    does not know.

    Parameters
    ----------
    kinds : K names
        What `Views.log_probability` is over.
    """
    made_of, known = zero_shot_map(names, kinds, rule=rule)
    log: F64 = np.log(np.clip(np.exp(views.log_probability) @ made_of, LEAST, None))
    return np.asarray(log - _logsumexp(log)), known


def zero_shot_map(names: tuple[str, ...], kinds: tuple[str, ...], *, rule: Rule = "share") -> tuple[F64, F64]:
    """Which kinds make which class of a task, and which classes have any; (K, k), (k,).

    What the network gives to none of the task's classes is shared by those that it has no kind for.
    """
    weight = weights(names, kinds, rule=rule)
    known = np.array([bool(row.any()) for row in weight])
    made_of = np.asarray(weight.T, dtype=np.float64).copy()
    if not known.all():
        made_of[:, ~known] = (weight.sum(axis=0) == 0)[:, None] / (~known).sum()
    return made_of, np.asarray(known, dtype=np.float64)


class Read(NamedTuple):
    """Support and query of episodes as the head reads them."""

    support: Seen  # (E, m, ·)
    label: F64  # (m, k) one-hot
    query: Seen  # (E, Q, ·)


def examples(views: Views, e: Episodes, *, centre: F32 | F64 | None) -> Read:
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
    scale = kind_scale(views.log_probability)
    support, query = (
        see(head.Views(z[i], views.log_probability[i], views.named[i]), middle, kind_scale=np.asarray(scale)) for i in (e.support, e.query)
    )
    return Read(support, np.eye(len(e.classes))[e.support_class], query)


@dataclass(frozen=True, slots=True)
class Simulations:
    """Simulated curves looked at as a task is, with the task's classes as labels."""

    anchors: Curves
    anchors_label: Labels
    aside: Curves
    """Of another population than the anchors: to calibrate on."""
    aside_label: Labels
    others: Curves
    """Of kinds that the task has not."""
    others_label: Labels
    """Their kinds."""

    @classmethod
    def of(
        cls, looks: Looks, names: tuple[str, ...], *, each: int, seed: int, mode: Mode = "pattern", processes: int = 1,
        every: tuple[str, ...] = DRAWN,
    ) -> Simulations:  # fmt: skip
        """Simulate `each` curves a class, half as many of the other population, and a few of every kind that is in none of them."""
        groups = tuple(kinds_of(name, every) for name in names)
        held = {k for kinds in groups for k in kinds}
        rest = tuple(k for k in every if k not in held)
        wanted = (
            (names, groups, each, "train"),
            (names, groups, max(each // 2, 20), "demo"),
            (rest, tuple((k,) for k in rest), max(each // OTHERS, 4), "demo"),
        )
        made: list[object] = []
        for k, (labels, kinds, number, population) in enumerate(wanted):
            curves, label = simulate(kinds, number, looks=looks, seed=seed + k, population=population, mode=mode, processes=processes)  # type: ignore[arg-type]
            if looks.persistent:
                curves = curves.difference()
            made += [curves, np.array([labels[j] for j in label], dtype=str)]
        return cls(*made)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What simulation gives: examples for prototypes, others to calibrate on, negatives to learn what is new."""

    anchors: Views
    anchors_label: Labels
    views: Views
    label: Labels
    others: Views
    others_label: Labels

    @property
    def middle(self) -> F64:
        """(D,) mean of the simulated classes, each counting the same."""
        z, label = self.anchors.embedding, self.anchors_label
        return np.asarray(np.mean([z[label == s].mean(axis=0) for s in sorted(set(label.tolist()))], axis=0))

    @property
    def ways(self) -> int:
        """Simulated classes of the task."""
        return len(set(self.anchors_label.tolist()))

    def without(self, name: str) -> Knowledge:
        """The same without a class."""
        a, b = np.flatnonzero(self.anchors_label != name), np.flatnonzero(self.label != name)
        return replace(
            self, anchors=self.anchors.take(a), anchors_label=self.anchors_label[a], views=self.views.take(b), label=self.label[b]
        )


def learn(made: Simulations, session: Session, *, blind: Blind = SEEING) -> Knowledge:
    """Embed what was simulated."""
    return Knowledge(
        anchors=embed(made.anchors, session, blind=blind),
        anchors_label=made.anchors_label,
        views=embed(made.aside, session, blind=blind),
        label=made.aside_label,
        others=embed(made.others, session, blind=blind),
        others_label=made.others_label,
    )


def physics(names: tuple[str, ...], knowledge: Knowledge | None, *, centre: F32 | F64 | None) -> Physics | None:
    """Simulated prototypes of a task's classes; None where there is not one.

    Parameters
    ----------
    centre : (D,), optional
        None: the simulated classes' own mean (which one class alone does not have).
    """
    if knowledge is None or (centre is None and knowledge.ways < 2):
        return None
    z = centred(knowledge.anchors.embedding, knowledge.middle if centre is None else np.asarray(centre, dtype=np.float64))
    known = np.array([bool((knowledge.anchors_label == s).any()) for s in names])
    if not known.any():
        return None
    rows = [z[knowledge.anchors_label == s].mean(axis=0) if k else np.zeros(z.shape[1]) for s, k in zip(names, known, strict=True)]
    return Physics(np.stack(rows), known.astype(np.float64))


def rule_of(knowledge: Knowledge | None, kinds: tuple[str, ...]) -> Rule:
    """How kinds count for classes: the rule under which the simulated curves kept apart are more probable, each class counting the same."""
    if knowledge is None or knowledge.ways < 2:
        return "share"
    names, truth = np.unique(knowledge.label, return_inverse=True)
    balance = 1 / np.bincount(truth)[truth]
    loss = {}
    for rule in RULES:
        zero_shot_log, _ = zero_shot_log_probability(knowledge.views, tuple(names.tolist()), kinds=kinds, rule=rule)
        loss[rule] = min(float((balance * _surprise(zero_shot_log / t, truth)).sum()) for t in TEMPERATURES)
    return min(RULES, key=lambda r: loss[r])


@dataclass(frozen=True, slots=True)
class Parts:
    """Which parts of the head count; all of them, but in an ablation."""

    prior: bool = True
    zero_shot: bool = True
    ridge: bool = True
    offsets: bool = True


WHOLE = Parts()


def support_of(read: Read, shots: int, *, anchor: Physics | None, made_of: F64 | None, unseen: bool, parts: Parts = WHOLE) -> Support:
    """The examples of episodes and what else is known of their classes, for `operators.support`.

    Parameters
    ----------
    made_of : (K, k), optional
        Of `zero_shot_map`; None: the network has no kind for any class.
    """
    return Support(
        seen=read.support,
        label=read.label,
        shots=shots,
        physics=anchor if parts.prior else None,
        zero_shot=made_of if parts.zero_shot else None,
        unseen=unseen,
        ridge=parts.ridge,
    )


def score(read: Read, support: Support) -> F64:
    """Scores of the queries; (E, Q, k)."""
    return np.asarray(scores(read.query, solve(support)), dtype=np.float64)


def _surprise(log_probability: F64, truth: I64) -> F64:
    """(n,) minus the log-probability of the truth, normalised; (n, k), (n,)."""
    log = log_probability - _logsumexp(log_probability)
    return np.asarray(-np.take_along_axis(log, truth[:, None], axis=1)[:, 0])


def _logsumexp(x: F64) -> F64:
    top = x.max(axis=-1, keepdims=True)
    return np.asarray(top + np.log(np.exp(x - top).sum(axis=-1, keepdims=True)))
