"""What the head says of labelled alerts → figures.

`Judged`, label (n,), detections (n,) → accuracy by number of detections, confusion, calibration, coverage; all plain numbers

Simulated alerts come from the demo's population: other parameters, dates and cadences than the training's. Real packets come labelled by
others; they are few and no threshold was set on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpu.session import Session
from learning.dataset import I64, Alerts, Bools, embed_alerts
from operators.head import Head, Judged, judge
from operators.types import F32

BINS: dict[str, tuple[int, int]] = {"1": (0, 1), "2-4": (2, 4), "5+": (5, 10**9)}
"""Detections in the packet's light curve."""


def judge_alerts(alerts: Alerts, session: Session, *, head: Head) -> tuple[Judged, F32]:
    """Run encoder and head; returns what they say and the embeddings."""
    seen = embed_alerts(alerts, session)
    return judge(seen.views, head, star=np.asarray(alerts.dips[:, -1] > 0)), np.asarray(seen.embedding)


def figures(judged: Judged, label: I64, *, number: I64, classes: Sequence[str], least: int = 10) -> dict[str, Any]:
    """All figures of one labelled set.

    Parameters
    ----------
    judged, label, number : what the head said, the truth, and the detections in the packet's light curve
    classes : slugs
    least : a class with fewer alerts in a bin has no recall there, and no part in the macro average

    Returns
    -------
    dict
        ``accuracy`` (of the best class of ours, `other` aside), ``macro`` and ``n`` by bin of `BINS`; ``recall`` by bin and class;
        ``confusion`` at 5+ as rows of the true class; ``ece``; ``coverage`` and ``set_size`` of the conformal set; ``called_new``.
    """
    k = len(classes)
    best = judged.probability[:, :k].argmax(axis=1)
    right = best == label
    inside: dict[str, Bools] = {name: (number >= low) & (number <= high) for name, (low, high) in BINS.items()}
    recall = {
        name: {classes[i]: round(float(right[rows & (label == i)].mean()), 4) for i in range(k) if (rows & (label == i)).sum() >= least}
        for name, rows in inside.items()
    }
    late = inside["5+"]
    confusion = np.zeros((k, k), dtype=np.int64)
    np.add.at(confusion, (label[late], best[late]), 1)
    return {
        "n": {name: int(rows.sum()) for name, rows in inside.items()},
        "accuracy": {name: round(float(right[rows].mean()), 4) for name, rows in inside.items() if rows.any()},
        "macro": {name: round(float(np.mean(list(values.values()))), 4) for name, values in recall.items() if values},
        "recall": recall,
        "confusion": confusion.tolist(),
        "ece": round(calibration_error(np.max(judged.probability[:, :k], axis=1), right), 4),
        "coverage": round(float(judged.conformal[np.arange(len(label)), label].mean()), 4),
        "set_size": round(float(np.sum(judged.conformal, axis=1).mean()), 3),
        "called_new": round(float((judged.novelty > 0.5).mean()), 4),
    }


def calibration_error(confidence: F32, right: Bools, *, bins: int = 15) -> float:
    """Expected calibration error over bins of equal mass (Naeini et al. 2015; Nixon et al. 2019)."""
    order = np.argsort(confidence, kind="stable")
    parts = [p for p in np.array_split(order, bins) if len(p)]
    return float(sum(len(p) * abs(float(confidence[p].mean()) - float(right[p].mean())) for p in parts) / max(len(right), 1))
