"""The few-shot head on a task's embeddings, all episodes at once.

`Curves`, a session → `Views` (embedding and zero-shot log-probabilities, once an object) → scores of queries (E, Q, k)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from data.tables import Curves
from evaluation.drawn import KINDS
from evaluation.episodes import Episodes
from evaluation.kinds import Rule, kinds_of, weights
from evaluation.simulated import Looks, Mode, simulate
from gpu.session import Session
from operators import fewshot
from operators.features import COMPARABLE, comparable
from operators.fewshot import Examples, Physics
from operators.head import centred
from operators.tokens import tokens
from operators.types import CONTEXT, F32, F64, N_TOKENS, AlertBatch
from pipeline.embed import Embeddings, Inputs, gather, inputs_of
from pipeline.embed import embed as embed_batch

I64 = npt.NDArray[np.int64]
Labels = npt.NDArray[np.str_]

TEMPERATURES = np.exp(np.linspace(-2.0, 2.0, 41))
RULES: tuple[Rule, ...] = ("share", "sum")
OTHERS = 12
"""Of as many curves as a class has, one of each kind that is no class of the task."""
LEAST_UNLABELLED = 20
"""Objects of a table from which a centre is made; with fewer the support's own mean serves."""
NAMED = 1.5
"""Weight of the features beside an embedding of length 1."""
LOWEST = -7.0
"""Log-probabilities the ridge reads are cut here."""


@dataclass(frozen=True, slots=True)
class Views:
    """What the encoder says of n objects."""

    embedding: F64  # (n, D)
    spoken: F64  # (n, K) zero-shot log-probability over the bundle's kinds
    named: F64  # (n, V) features of the light curve, by `operators.features.comparable`

    def take(self, rows: I64) -> Views:
        return Views(self.embedding[rows], self.spoken[rows], self.named[rows])

    def join(self, other: Views) -> Views:
        both = ((getattr(self, name), getattr(other, name)) for name in ("embedding", "spoken", "named"))
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
        context = inputs.context.copy()
        if self.context:
            context[:, : 2 * len(CONTEXT)] = 0
        if self.fold:
            context[:, 2 * len(CONTEXT) :] = 0
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
        raw = seen.logits.astype(np.float64)
        named = np.asarray(comparable(seen.named), dtype=np.float64) * (not self.features and self.tokens == N_TOKENS)
        return Views(seen.embedding.astype(np.float64), raw - _logsumexp(raw), named)


SEEING = Blind()


def embed(curves: Curves, session: Session, chunk: int = 512, blind: Blind = SEEING) -> Views:
    """Run curves through the operators and the engine of the stream; no stamps, of the surroundings only a star's own flux."""
    if not len(curves):
        return Views(np.zeros((0, 1)), np.zeros((0, 1)), np.zeros((0, COMPARABLE)))
    batches = (curves.take(np.arange(start, min(start + chunk, len(curves)))).batch() for start in range(0, len(curves), chunk))
    return blind.views(gather(embed_batch(batch, session, inputs=blind.inputs(batch)) for batch in batches))


def speak(views: Views, names: tuple[str, ...], kinds: tuple[str, ...], rule: Rule = "share") -> tuple[F64, F64]:
    """Zero-shot log-probability over a task's classes, and which of them the network speaks of; (n, k), (k,).

    Two classes that mean the same kinds are equally likely; what the network gives to none of the task's classes is shared by those it
    does not know.

    Parameters
    ----------
    kinds : K names
        What `Views.spoken` is over.
    """
    p = np.exp(views.spoken)
    weight = weights(names, kinds, rule)
    known = weight.any(axis=1)
    column = p @ weight.T
    if not known.all():
        rest = np.clip(1 - p[:, weight.any(axis=0)].sum(axis=1), 0, None)
        column[:, ~known] = (rest / (~known).sum())[:, None]
    log: F64 = np.log(np.clip(column, 1e-12, None))
    return np.asarray(log - _logsumexp(log)), np.asarray(known, dtype=np.float64)


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
    named = NAMED * views.named
    support, query = centred(z[e.support], middle), centred(z[e.query], middle)
    return Examples(
        support=support,
        label=np.eye(len(e.classes))[e.support_class],
        query=query,
        support_view=np.concatenate([support, fine[e.support], named[e.support]], axis=-1),
        query_view=np.concatenate([query, fine[e.query], named[e.query]], axis=-1),
    )


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
        cls, looks: Looks, names: tuple[str, ...], each: int, seed: int, mode: Mode = "pattern", processes: int = 1,
        every: tuple[str, ...] = tuple(KINDS),
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
            curves, label = simulate(kinds, number, looks, seed + k, population, mode, processes)  # type: ignore[arg-type]
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


def learn(made: Simulations, session: Session, blind: Blind = SEEING) -> Knowledge:
    """Embed what was simulated."""
    return Knowledge(
        anchors=embed(made.anchors, session, blind=blind),
        anchors_label=made.anchors_label,
        views=embed(made.aside, session, blind=blind),
        label=made.aside_label,
        others=embed(made.others, session, blind=blind),
        others_label=made.others_label,
    )


def physics(names: tuple[str, ...], knowledge: Knowledge | None, centre: F32 | F64 | None) -> Physics | None:
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
    """How kinds speak for classes: the rule under which the simulated curves kept apart are more probable, each class counting the same."""
    if knowledge is None or knowledge.ways < 2:
        return "share"
    names, truth = np.unique(knowledge.label, return_inverse=True)
    balance = 1 / np.bincount(truth)[truth]
    loss = {}
    for rule in RULES:
        spoken, _ = speak(knowledge.views, tuple(names.tolist()), kinds, rule)
        loss[rule] = min(float((balance * _surprise(spoken / t, truth)).sum()) for t in TEMPERATURES)
    return min(RULES, key=lambda r: loss[r])


@dataclass(frozen=True, slots=True)
class Head:
    """Which parts of the head speak; all of them, but in an ablation."""

    prior: bool = True
    spoken: bool = True
    ridge: bool = True
    offsets: bool = True


WHOLE = Head()


def score(read: Examples, shots: int, anchor: Physics | None, voice: F64 | None, stranger: bool, head: Head = WHOLE) -> F64:
    """`operators.fewshot.taught`, or parts of it; (E, Q, k)."""
    out = fewshot.taught(read, shots, anchor if head.prior else None, voice if head.spoken else None, stranger)
    if not head.ridge:
        _, weight = fewshot.view_weights(shots, stranger)
        out = out - weight * fewshot.ridge(read.support_view, read.label, read.query_view)[0]
    return np.asarray(out, dtype=np.float64)


def left_out(read: Examples, shots: int, anchor: Physics | None, voice: F64 | None, stranger: bool, head: Head = WHOLE) -> F64:
    """`operators.fewshot.left_out` with the parts that speak; (E, m, k). The ridge always does."""
    out = fewshot.left_out(read, shots, anchor if head.prior else None, voice if head.spoken else None, stranger)
    return np.asarray(out, dtype=np.float64)


def _surprise(log_probability: F64, truth: I64) -> F64:
    """(n,) minus the log-probability of the truth, normalised; (n, k), (n,)."""
    log = log_probability - _logsumexp(log_probability)
    return np.asarray(-np.take_along_axis(log, truth[:, None], axis=1)[:, 0])


def _logsumexp(x: F64) -> F64:
    top = x.max(axis=-1, keepdims=True)
    return np.asarray(top + np.log(np.exp(x - top).sum(axis=-1, keepdims=True)))
