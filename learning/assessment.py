"""What the head says of labelled alerts → figures.

`Judged`, label (n,), detections (n,) → accuracy by number of detections, confusion, calibration, coverage; all plain numbers

Simulated alerts come from the demo's population: other parameters, dates and cadences than the training's. Real packets come labelled by
others; they are few and no threshold was set on them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from data.connectors.archives import Packet, packets_of
from gpu.session import Session
from learning.dataset import I64, Alerts, Bools, embed_alerts
from operators.head import Head, Judged, judge
from operators.types import F32, AlertBatch
from pipeline.embed import embed, gather
from schemas.catalogue_labels import meaning_of
from schemas.surveys.decode import Decoder

BINS: dict[str, tuple[int, int]] = {"1": (0, 1), "2-4": (2, 4), "5+": (5, 10**9)}
"""Detections in the packet's light curve."""


def judge_alerts(alerts: Alerts, session: Session, *, head: Head) -> tuple[Judged, F32]:
    """Run encoder and head; returns what they say and the embeddings."""
    seen = embed_alerts(alerts, session)
    return judge(seen.views, head), np.asarray(seen.embedding)


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


def real_packets(folder: Path, session: Session, *, head: Head, classes: Sequence[str]) -> dict[str, Any]:
    """Figures on labelled real ZTF packets.

    Parameters
    ----------
    folder : Path
        Packets, and a table `LABELS.csv` with the columns objectId and klass.
    """
    judged, label, number = [], [], []
    for batch, truth in _labelled(folder, classes):
        judged.append(judge(gather([embed(batch, session)]).views, head))
        label.append(truth)
        number.append((batch.detected & batch.valid).sum(axis=1))
    if not judged:
        return {}
    together = Judged(*(np.concatenate(columns) for columns in zip(*judged, strict=True)))
    return figures(together, np.concatenate(label), number=np.concatenate(number), classes=classes, least=1)


def _labelled(folder: Path, classes: Sequence[str]) -> Iterator[tuple[AlertBatch, I64]]:
    """Decoded packets whose object has a label of ours, each alert once; -1 never comes out."""
    with (folder / "LABELS.csv").open(encoding="utf-8", newline="") as table:
        meant = {row["objectId"]: meaning_of(row["klass"]) for row in csv.DictReader(table)}
    known = {name: meaning.slug for name, meaning in meant.items() if meaning.exact}
    decoder, seen = Decoder(), set()
    packets = (item.packet for item in packets_of([folder]) if isinstance(item, Packet))
    while group := list(islice(packets, 256)):
        batch = decoder.decode(group).batch
        rows = []
        for i, (object_id, candid) in enumerate(zip(batch.object_id, batch.candid, strict=True)):
            if known.get(object_id) in classes and candid not in seen:
                seen.add(candid)
                rows.append(i)
        if rows:
            yield select(batch, rows), np.array([classes.index(known[batch.object_id[i]] or "") for i in rows])


def select(batch: AlertBatch, rows: Sequence[int]) -> AlertBatch:
    """Some rows of a batch on the host."""
    index = list(rows)
    columns: dict[str, Any] = {}
    for field in fields(batch):
        value = getattr(batch, field.name)
        columns[field.name] = value[index] if isinstance(value, np.ndarray) else tuple(value[i] for i in index)
    return AlertBatch(**columns)
