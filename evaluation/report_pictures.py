"""What a report holds so that pictures can be drawn of it: confusions, reliability, a map of the embedding. Plain numbers only."""

from __future__ import annotations

from typing import Any

import numpy as np

from evaluation.episodes import Episodes
from evaluation.measures import BINS
from evaluation.task_head import Views
from operators.head import centred
from operators.types import F64

MOST = 120
"""Objects of a class on the map."""


def confusion(score: F64, e: Episodes) -> list[list[float]]:
    """(k, k) shares of each true class's queries by the class called; a row sums to 1."""
    k = len(e.classes)
    called = score.argmax(axis=-1)
    return [[round(float((called[:, e.query_class == c] == j).mean()), 4) for j in range(k)] for c in range(k)]


def reliability(confidence: F64, right: F64) -> list[dict[str, float]]:
    """Mean confidence and share correct in the bins of equal mass that the calibration error is made of."""
    order = np.argsort(confidence.ravel(), kind="stable")
    parts = zip(np.array_split(confidence.ravel()[order], BINS), np.array_split(right.ravel()[order], BINS), strict=True)
    return [{"confidence": round(float(c.mean()), 4), "correct": round(float(h.mean()), 4)} for c, h in parts if len(c)]


def embedding_map(views: Views, labels: Any, *, middle: F64 | None, anchors: Views | None, anchors_label: Any, seed: int) -> dict[str, Any]:
    """The first two principal directions of the classes' means: where objects and simulated prototypes lie.

    Directions are those in which the classes' means differ (each class counting the same), so nothing is fitted to single objects.
    """
    names = sorted(set(labels.tolist()))
    z = centred(views.embedding, views.embedding.mean(axis=0) if middle is None else middle)
    means = np.stack([z[labels == c].mean(axis=0) for c in names])
    middle_of = means.mean(axis=0)
    axes = np.linalg.svd(means - middle_of, full_matrices=False)[2][:2]
    if len(axes) < 2:
        axes = np.concatenate([axes, np.zeros((2 - len(axes), z.shape[1]))])
    rng = np.random.default_rng(seed)
    out: dict[str, Any] = {"objects": {}, "prototypes": {}}
    for c in names:
        rows = np.flatnonzero(labels == c)
        rows = np.sort(rng.choice(rows, min(MOST, len(rows)), replace=False))
        out["objects"][c] = np.round((z[rows] - middle_of) @ axes.T, 3).tolist()
    if anchors is not None and middle is not None:
        a = centred(anchors.embedding, middle)
        for c in sorted(set(anchors_label.tolist())):
            out["prototypes"][c] = np.round((a[anchors_label == c].mean(axis=0) - middle_of) @ axes.T, 3).tolist()
    return out
