"""A rare class in a simulated stream, from ten examples; and how much of the final accuracy five detections give.

a bundle → purity at half completeness where the class is 1 % of the stream; accuracy by detections; what images and surroundings are worth

Alerts of the demo's population with cut-outs and surroundings: examples and queries; prototypes from the training's. The other classes are
as common among each other as the stated stream has them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from data.simulate.classes import SLUGS, STREAM_MIX
from evaluation import confidence, measures, task_head
from evaluation.episodes import Episodes, make
from gpu.session import Session
from learning.dataset import NAMES, SLUG_OF, Alerts, embed_alerts, simulate
from operators.head import softmax
from operators.support import left_out
from operators.types import F64
from registry.bundle import Bundle

RARE = ("kilonova", "afterglow", "tde", "slsn", "microlensing", "m-dwarf-flare", "sn-iin", "sn-ibc")
PRIOR = 0.01
COMPLETENESS = 0.5
FIVE, FINAL = (5, 7), 15
"""Detections of an alert that has five, and from which an alert counts as final."""


def rare(bundle: Bundle, session: Session, *, shots: int = 10, alerts: int = 24_000, episodes: int = 300, seed: int = 0) -> dict[str, Any]:
    """All figures of the study."""
    anchors, queries = (
        simulate(alerts, seed + 300, population="train", processes=1, surveys={"ztf": 1.0}),
        simulate(alerts, seed + 301, population="demo", processes=1, surveys={"ztf": 1.0}),
    )
    out: dict[str, Any] = {"shots": shots, "prior": PRIOR, "completeness": COMPLETENESS, "alerts": len(queries)}
    for name, blind in (
        ("whole", task_head.SEEING),
        ("no stamps", task_head.Blind(stamps=True)),
        ("no surroundings", task_head.Blind(context=True)),
        ("light curve alone", task_head.Blind(stamps=True, context=True)),
    ):
        out[name] = _figures(bundle, session, anchors=anchors, queries=queries, blind=blind, shots=shots, episodes=episodes, seed=seed)
    return out


def views_of(alerts: Alerts, session: Session, *, blind: task_head.Blind = task_head.SEEING) -> task_head.Views:
    """Embed alerts with all they carry."""
    return blind.views(embed_alerts(alerts, session, see=blind))


def _figures(
    bundle: Bundle, session: Session, *, anchors: Alerts, queries: Alerts, blind: task_head.Blind, shots: int, episodes: int, seed: int
) -> dict[str, Any]:
    known, seen = views_of(anchors, session, blind=blind), views_of(queries, session, blind=blind)
    slugs = np.array(SLUGS)
    anchor_label, label = slugs[SLUG_OF[anchors.label]], slugs[SLUG_OF[queries.label]]
    none = known.take(np.zeros(0, np.int64))
    knowledge = task_head.Knowledge(known, anchor_label, known, anchor_label, none, np.zeros(0, dtype=str))
    kinds = bundle.kinds
    e = make(label, shots, episodes=episodes, seed=seed)
    if e is None:
        return {}
    # Kinds of a class of the stream add up: the stream's alerts are as mixed as the training's.
    made_of = np.array([[k in _members(c) for c in e.classes] for k in kinds], dtype=np.float64)
    centre = knowledge.middle
    read, anchor = task_head.examples(seen, e, centre=centre), task_head.physics(e.classes, knowledge, centre=centre)
    support = task_head.support_of(read, shots, anchor=anchor, made_of=made_of, unseen=False)
    score = task_head.score(read, support)
    aside = np.asarray(left_out(support))
    temperature = confidence.temperatures(aside, e.support_class, calibration=confidence.NOTHING, episodes=len(e))
    probability = np.asarray(softmax(score, temperature[:, None, None]))
    right = measures.hits(score, e.query_class)
    number = queries.number[e.query]
    five, final = (number >= FIVE[0]) & (number <= FIVE[1]), number >= FINAL
    return {
        "accuracy": float(measures.per_class(right, e).mean()),
        "recall": dict(zip(e.classes, np.round(measures.per_class(right, e), 4).tolist(), strict=True)),
        "purity": {c: purity(probability, e, c=e.classes.index(c)) for c in RARE if c in e.classes},
        "detections": _early(right, e, five=five, final=final),
    }


def _members(slug: str) -> set[str]:
    return {slug, *(k for k, home in zip(NAMES, SLUG_OF, strict=True) if home >= 0 and SLUGS[home] == slug)}


def purity(probability: F64, e: Episodes, *, c: int, prior: float = PRIOR, completeness: float = COMPLETENESS) -> dict[str, float]:
    """Purity of what is called class c at a completeness; the others as common among each other as in the stated stream.

    One more false alert of each class is counted than there was: a rate below one in as many different alerts as were drawn cannot be seen.
    ``highest`` is the purity had none been false: what so many alerts can show.
    """
    p = probability[..., c]
    own = np.sort(p[:, e.query_class == c].ravel())
    threshold = own[int(np.floor((1 - completeness) * len(own)))]
    false, least, total = 0.0, 0.0, 0.0
    for o, name in enumerate(e.classes):
        if o != c:
            n = len(np.unique(e.query[:, e.query_class == o]))
            false += STREAM_MIX[name] * ((p[:, e.query_class == o] >= threshold).mean() * n + 1) / (n + 1)
            least += STREAM_MIX[name] / (n + 1)
            total += STREAM_MIX[name]
    found, false, least = float((own >= threshold).mean()), false / total, least / total
    pure, highest = (float(prior * found / (prior * found + (1 - prior) * x)) for x in (false, least))
    return {"purity": pure, "highest": highest, "threshold": float(threshold), "false": float(false)}


def _early(right: F64, e: Episodes, *, five: Any, final: Any) -> dict[str, Any]:
    """Macro accuracy of alerts with five detections and of those with many, over the classes that have both."""
    both = {}
    for c, name in enumerate(e.classes):
        own = np.broadcast_to(e.query_class == c, right.shape)
        if (own & five).sum() >= 20 and (own & final).sum() >= 20:
            both[name] = (float(right[own & five].mean()), float(right[own & final].mean()))
    if not both:
        return {}
    early, late = (float(np.mean([v[i] for v in both.values()])) for i in (0, 1))
    return {"classes": list(both), "five": early, "final": late, "share": early / late}
