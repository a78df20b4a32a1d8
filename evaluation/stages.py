"""What is new, and how early: open-set novelty with one class left out of the support, and accuracy against days and detections."""

from __future__ import annotations

from typing import Any

import numpy as np

from data.tables import Curves
from evaluation import measures, novelty, task_head
from evaluation.episodes import Episodes, make
from evaluation.novelty import Known
from evaluation.options import Labels, Options
from gpu.session import Session
from operators.types import F64
from registry.bundle import Bundle

NO_ROWS = np.zeros(0, dtype=np.int64)
DAYS = (0.0, 2.0, 5.0, 10.0, 20.0, 30.0, 50.0, 80.0, 150.0)
DETECTIONS = (1, 2, 3, 5, 8, 12, 20)


def centre_of(bundle: Bundle, knowledge: task_head.Knowledge | None, *, options: Options) -> F64 | None:
    """The centre asked for; None: the table's own unlabelled objects. Without two simulated classes the bundle's stands in for theirs."""
    if options.centre == "table":
        return None
    if options.centre == "simulated" and knowledge is not None and knowledge.ways > 1:
        return knowledge.middle
    return np.asarray(bundle.head.centre, dtype=np.float64)


def open_set(views: task_head.Views, labels: Labels, *, shots: int, known: Known, options: Options) -> dict[str, Any] | None:
    """Leave each class out of the support in turn and measure how well it is distinguished from the others' queries.

    ``distance`` needs nothing but the examples; ``learned`` adds the network's own view and indecision, with weights learned on simulated
    tasks in which the left-out class has no part. The encoder itself saw the class where it is simulated: `studies.leave_out` is that test.
    """
    e = make(labels, shots, episodes=options.episodes, seed=options.seed)
    if e is None or len(e.classes) < 3:
        return None
    by_class: dict[str, dict[str, float]] = {}
    for c, name in enumerate(e.classes):
        inside, rest = without(e, c), known.without(name, options.centre == "simulated")
        unseen = rest.unseen(inside.classes)
        values = novelty.numbers(views, inside, known=rest, unseen=unseen)
        rule = novelty.learned(inside.classes, name, shots=shots, known=rest, seed=options.seed, unseen=unseen)
        figures: dict[str, float] = {}
        for way, value in (("distance", values[..., 0]), ("learned", rule(values) if rule is not None else None)):
            if value is None:
                continue
            new, old = value[:, e.query_class == c].ravel(), value[:, e.query_class != c].ravel()
            figures |= {way: measures.auroc(new, old), f"{way}_fpr95": measures.false_positives(new, old)}
        by_class[name] = figures
    ways = sorted(set.intersection(*(set(f) for f in by_class.values())))
    return {"mean": {k: float(np.mean([f[k] for f in by_class.values()])) for k in ways}, "left_out": by_class}


def without(e: Episodes, c: int) -> Episodes:
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


def over_time(
    curves: Curves, e: Episodes, *, made: task_head.Simulations | None, known: Known, bundle: Bundle, session: Session, options: Options
) -> dict[str, Any]:
    """Accuracy of the head when support, query and simulated prototypes are all cut at the same stage; strictly causal.

    An object without a detection yet cannot be: its first point of S/N ≥ 3 is where counting starts.
    """

    def figure(**cut: Any) -> dict[str, float]:
        part = curves.upto(**cut)
        views = task_head.embed(part, session)
        made_of, covered = task_head.zero_shot_map(e.classes, known.kinds, rule=known.rule)
        held = None
        if made is not None:
            early, none = task_head.embed(made.anchors.upto(**cut), session), np.zeros(0, dtype=str)
            held = task_head.Knowledge(early, made.anchors_label, early.take(NO_ROWS), none, early.take(NO_ROWS), none)
        centre = centre_of(bundle, held, options=options)
        anchor = task_head.physics(e.classes, held, centre=centre)
        read = task_head.examples(views, e, centre=centre)
        support = task_head.support_of(read, e.shots, anchor=anchor, made_of=made_of if covered.any() else None, unseen=not covered.all())
        score = task_head.score(read, support)
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
