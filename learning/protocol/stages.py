"""What is new, and how early: open-set novelty with one class left out of the support, and accuracy against days and detections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gpu.session import Session
from learning.protocol import measures, ours
from learning.protocol.episodes import Episodes, make
from learning.protocol.simulated import slug_of
from learning.tables import Curves
from operators import fewshot
from operators.types import F64
from registry.bundle import Bundle

if TYPE_CHECKING:
    from learning.protocol.evaluate import Options

Labels = npt.NDArray[np.str_]
NO_ROWS = np.zeros(0, dtype=np.int64)
DAYS = (0.0, 2.0, 5.0, 10.0, 20.0, 30.0, 50.0, 80.0, 150.0)
DETECTIONS = (1, 2, 3, 5, 8, 12, 20)


def centre_of(bundle: Bundle, knowledge: ours.Knowledge | None, options: Options) -> F64 | None:
    """The centre asked for; None: the table's own unlabelled objects. Without two simulated classes the bundle's stands in for theirs."""
    if options.centre == "table":
        return None
    if options.centre == "simulated" and knowledge is not None and len(set(knowledge.anchors_label.tolist())) > 1:
        return knowledge.middle
    return np.asarray(bundle.heads.centre, dtype=np.float64)


def open_set(
    views: ours.Views, labels: Labels, shots: int, knowledge: ours.Knowledge | None, bundle: Bundle, options: Options
) -> dict[str, Any] | None:
    """Leave each class out of the support in turn; how well is it told from the others' queries?

    ``distance`` needs nothing but the examples; ``learned`` adds the zero-shot view, with weights learned on simulated tasks in which the
    left-out class has no part. The encoder itself saw the class where it is simulated: `leave-one-class-out` training is another test.
    """
    e = make(labels, shots, options.episodes, options.seed)
    if e is None or len(e.classes) < 3:
        return None
    classes, centre = bundle.classes, centre_of(bundle, knowledge, options)
    by_class: dict[str, dict[str, float]] = {}
    for c, name in enumerate(e.classes):
        inside = tuple(k for k in e.classes if k != name)
        slugs = tuple(slug_of(k, classes) for k in inside)
        values = _novelty(views, _without(e, c), slugs, knowledge, classes, centre)
        rule = _learned(slugs, slug_of(name, classes), shots, knowledge, classes, options, centre)
        figures: dict[str, float] = {}
        for kind, novelty in (("distance", values[..., 0]), ("learned", values @ rule if rule is not None else None)):
            if novelty is None:
                continue
            new, known = novelty[:, e.query_class == c].ravel(), novelty[:, e.query_class != c].ravel()
            figures |= {kind: measures.auroc(new, known), f"{kind}_fpr95": measures.false_positives(new, known)}
        by_class[name] = figures
    kinds = sorted(set.intersection(*(set(f) for f in by_class.values())))
    return {"mean": {k: float(np.mean([f[k] for f in by_class.values()])) for k in kinds}, "left_out": by_class}


def _without(e: Episodes, c: int) -> Episodes:
    """The same episodes with a class taken out of the support; queries stay."""
    keep = e.support_class != c
    label = e.support_class[keep]
    return Episodes(
        shots=e.shots,
        classes=tuple(k for j, k in enumerate(e.classes) if j != c),
        left_out=e.left_out,
        support=e.support[:, keep],
        support_class=label - (label > c),
        query=e.query,
        query_class=e.query_class,
    )


def _novelty(
    views: ours.Views,
    e: Episodes,
    slugs: tuple[str | None, ...],
    knowledge: ours.Knowledge | None,
    classes: tuple[str, ...],
    centre: F64 | None,
) -> F64:
    """(E, Q, 2): energy of the distances, and log-probability that the simulation gives to none of the classes."""
    read = ours.examples(views, e, centre)
    energy = fewshot.energy(read, e.shots, ours.physics(slugs, knowledge, centre))
    known = [classes.index(s) for s in sorted({s for s in slugs if s is not None})]
    spoken = np.exp(views.spoken[:, known]).sum(axis=1) if known else np.zeros(len(views.spoken))
    return np.stack([energy, np.log(np.clip(1 - spoken, 1e-4, 1.0))[e.query]], axis=-1)


def _learned(
    slugs: tuple[str | None, ...],
    new: str | None,
    shots: int,
    knowledge: ours.Knowledge | None,
    classes: tuple[str, ...],
    options: Options,
    centre: F64 | None,
) -> F64 | None:
    """Weights of the two numbers, from simulated tasks: Fisher's discriminant of the known classes against simulated others."""
    if knowledge is None:
        return None
    wanted = {s for s in slugs if s is not None}
    is_known = np.isin(knowledge.label, list(wanted))
    apart = knowledge.others_label != (new or "")
    if len(wanted) < 2 or is_known.sum() < 30 or apart.sum() < 30:
        return None
    joined = ours.Views(
        np.concatenate([knowledge.views.embedding[is_known], knowledge.others.embedding[apart]]),
        np.concatenate([knowledge.views.spoken[is_known], knowledge.others.spoken[apart]]),
    )
    number = int(is_known.sum())
    e = make(knowledge.label[is_known], shots, 40, options.seed + 21)
    if e is None:
        return None
    negatives = np.random.default_rng(options.seed).integers(number, len(joined.embedding), (len(e), e.query.shape[1]))
    both = Episodes(e.shots, e.classes, (), e.support, e.support_class, np.concatenate([e.query, negatives], axis=1), np.zeros(0, np.int64))
    values = _novelty(joined, both, tuple(e.classes), knowledge, classes, centre)
    known, other = values[:, : e.query.shape[1]].reshape(-1, 2), values[:, e.query.shape[1] :].reshape(-1, 2)
    spread = (np.cov(known.T) + np.cov(other.T)) / 2 + 1e-6 * np.eye(2)
    return np.asarray(np.linalg.solve(spread, other.mean(axis=0) - known.mean(axis=0)), dtype=np.float64)


def over_time(
    curves: Curves, e: Episodes, made: ours.Simulations | None, bundle: Bundle, session: Session, options: Options
) -> dict[str, Any]:
    """Accuracy of the head when support, query and simulated prototypes are all cut at the same stage; strictly causal.

    An object without a detection yet cannot be: its first point of S/N ≥ 3 is where counting starts.
    """

    def figure(**cut: Any) -> dict[str, float]:
        part = curves.upto(**cut)
        views = ours.embed(part, session)
        slugs = tuple(slug_of(c, bundle.classes) for c in e.classes)
        spoken, known = ours.speak(views, slugs, bundle.classes)
        held = None
        if made is not None:
            early, none = ours.embed(made.anchors.upto(**cut), session), np.zeros(0, dtype=str)
            held = ours.Knowledge(early, made.anchors_label, early.take(NO_ROWS), none, early.take(NO_ROWS), none)
        centre = centre_of(bundle, held, options)
        anchor = ours.physics(slugs, held, centre)
        read = ours.examples(views, e, centre)
        score = fewshot.taught(read, e.shots, anchor, spoken[e.query] if known.any() else None)
        return {
            "accuracy": float(measures.per_class(measures.hits(score, e.query_class), e).mean()),
            "points": float(np.median(np.diff(part.start))),
            "complete": float((np.diff(part.start) == np.diff(curves.start)).mean()),
        }

    longest = float(np.max([np.ptp(curves.time[a:b]) for a, b in zip(curves.start[:-1], curves.start[1:], strict=True) if b > a]))
    most = int(np.diff(curves.start).max())
    return {
        "shots": e.shots,
        "days": {f"{d:g}": figure(days=d) for d in DAYS if d < longest},
        "detections": {str(n): figure(detections=n) for n in DETECTIONS if n < most},
    }
