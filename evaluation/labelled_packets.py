"""Labelled packets scored from their packets alone: history, cut-outs and surroundings, as the stream scores them.

a folder of packets with `LABELS.csv`, a bundle → one row an object, and recall by class
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from data.connectors.archives import Packet, packets_of
from errors import UserError
from gpu.session import Session
from learning.assessment import REAL_LABELS
from operators.head import judge
from operators.types import AlertBatch
from pipeline.embed import embed, gather
from registry.bundle import Bundle
from schemas.surveys.decode import Decoder

TABLE = "LABELS.csv"
CHUNK = 256
UNKNOWN_COLUMNS = f"{TABLE} needs the columns objectId and klass"


class PacketsError(UserError):
    """The folder cannot be used. One line."""


def labels_of(folder: Path) -> dict[str, str]:
    """Labels of a table: objectId → label.

    Raises
    ------
    PacketsError
        There is no table, or it lacks a column.
    """
    try:
        with (folder / TABLE).open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            if not {"objectId", "klass"} <= set(rows.fieldnames or ()):
                raise PacketsError(f"{folder}: {UNKNOWN_COLUMNS}")
            return {str(row["objectId"]): str(row["klass"] or "").strip() for row in rows}
    except OSError:
        raise PacketsError(f"{folder / TABLE} is not there: --packets takes a folder of packets and their {TABLE}") from None


def _batches(folder: Path) -> Iterator[AlertBatch]:
    decoder = Decoder()
    packets = (item.packet for item in packets_of([folder]) if isinstance(item, Packet))
    while group := list(islice(packets, CHUNK)):
        yield decoder.decode(group).batch


def score(folder: Path, bundle: Bundle, *, session: Session) -> dict[str, Any]:
    """Every labelled object once, from its latest packet.

    Returns
    -------
    dict
        ``objects``: rows with object_id, label, class (the slug it means, or None), detections, called, probability, novelty, nearest, set,
        right; ``recall`` and ``accuracy`` over those whose label is a class of the bundle (all packets, not only the latest: ``packets``).
    """
    known, classes = labels_of(folder), bundle.classes
    latest: dict[str, tuple[float, dict[str, Any]]] = {}
    counted, right = 0, 0.0
    counted_once: set[int] = set()
    for batch in _batches(folder):
        rows = [i for i, o in enumerate(batch.object_id) if known.get(o) and batch.candid[i] not in counted_once]
        if not rows:
            continue
        counted_once.update(batch.candid[i] for i in rows)
        judged = judge(gather([embed(batch, session)]).views, bundle.head)
        number = (batch.detected & batch.valid).sum(axis=1)
        for i in rows:
            row = _row(batch.object_id[i], known[batch.object_id[i]], detections=int(number[i]), judged=judged, i=i, classes=classes)
            if row["class"] is not None:
                counted, right = counted + 1, right + row["right"]
            if batch.object_id[i] not in latest or float(batch.mjd[i]) >= latest[batch.object_id[i]][0]:
                latest[batch.object_id[i]] = (float(batch.mjd[i]), row)
    objects = [row for _, row in sorted(latest.values(), key=lambda pair: (pair[1]["label"], pair[1]["object_id"]))]
    ours = [row for row in objects if row["class"] is not None]
    names = sorted({row["class"] for row in ours})
    return {
        "objects": objects,
        "classes": {c: sum(row["class"] == c for row in ours) for c in names},
        "recall": {c: float(np.mean([row["right"] for row in ours if row["class"] == c])) for c in names},
        "accuracy": float(np.mean([row["right"] for row in ours])) if ours else None,
        "packets": {"labelled": counted, "accuracy": right / counted if counted else None},
    }


def _row(name: str, label: str, *, detections: int, judged: Any, i: int, classes: tuple[str, ...]) -> dict[str, Any]:
    slug = REAL_LABELS.get(label)
    slug = slug if slug in classes else None
    probability = judged.probability[i]
    best = int(np.argmax(probability[: len(classes)]))
    return {
        "object_id": name,
        "label": label,
        "class": slug,
        "detections": detections,
        "called": classes[best],
        "probability": round(float(probability[best]), 4),
        "novelty": round(float(judged.novelty[i]), 4),
        "nearest": classes[int(judged.nearest[i])],
        "set": [c for c, held in zip((*classes, "other"), judged.conformal[i], strict=True) if held],
        "right": bool(slug is not None and classes[best] == slug),
    }
