"""Real packets that help to fit the head and say how good it is: labelled ones, and stars by the catalogue alone.

a folder of ZTF packets with `LABELS.csv`, a session → `RealAlerts`: views, label, detections, which are catalogue stars

A simulated sky is not the sky: a head that has also seen a few hundred real alerts is better on those that it has not seen. What is
scored must not have been seen, hence the folds by object (`registry.bundle.fold_of`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from data.connectors.archives import only_packets
from data.label_table import TABLE, labels_of
from gpu.session import Session
from learning.dataset import I64, Bools
from learning.ridge import Sky
from operators.context import catalogue_star
from operators.head import Head, Judged, Views, judge
from operators.types import AlertBatch
from operators.whole_curves import Curves
from pipeline.embed import embed, gather
from registry.bundle import fold_of
from schemas.catalogue_labels import GROUP_OF, meaning_of
from schemas.surveys.decode import Decoder

STARS: tuple[str, ...] = tuple(name for name, group in GROUP_OF.items() if group == "star")
"""Classes that a star of a catalogue may be."""
CHUNK = 256


@dataclass(frozen=True, slots=True)
class RealAlerts:
    """r real alerts, each candid once: of labelled objects, and catalogue stars of objects without any label."""

    views: Views
    label: I64  # (r,) class; -1: none of ours
    star: Bools  # (r,) a catalogue star without a label
    number: I64  # (r,) detections in the packet's light curve
    object_id: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.label)

    def sky(self, classes: Sequence[str]) -> Sky:
        """What the ridge reads."""
        among = tuple(classes.index(name) for name in STARS if name in classes)
        return Sky(self.views, self.label, among, self.fold)

    @property
    def fold(self) -> I64:
        """(r,) the fold of each alert's object."""
        return np.array([fold_of(name) for name in self.object_id], dtype=np.int64)

    def judged(self, unseen: Sequence[Head]) -> Judged:
        """Judge each alert by the head that has not seen its fold."""
        by_fold = [judge(self.views, head) for head in unseen]
        row = np.arange(len(self))
        return Judged(*(np.stack(columns)[self.fold, row] for columns in zip(*by_fold, strict=True)))

    def stars(self, judged: Judged, classes: Sequence[str], *, least: int = 2) -> dict[str, float]:
        """What unlabelled catalogue stars with so many detections are called: shares."""
        called = np.array([*classes, "other"])[np.argmax(judged.probability[self.star & (self.number >= least)], axis=1)]
        if not len(called):
            return {"n": 0}
        shares = {"star": np.isin(called, STARS), "agn": called == "agn", "bogus": called == "bogus", "other": called == "other"}
        return {"n": len(called)} | {name: round(float(np.mean(rows)), 4) for name, rows in shares.items()}


def read(folder: Path, session: Session, *, classes: Sequence[str]) -> RealAlerts | None:
    """Embed the labelled packets of a folder and its catalogue stars; None where there are none.

    Parameters
    ----------
    folder : Path
        Packets, and a table `LABELS.csv` with the columns objectId and klass.
    session : Session
    classes : slugs

    Raises
    ------
    data.label_table.PacketsError
        The table lacks a column.
    """
    labels = labels_of(folder) if (folder / TABLE).is_file() else {}
    meant = {name: meaning_of(label) for name, label in labels.items()}
    position = {name: classes.index(m.slug) for name, m in meant.items() if m.exact and m.slug in classes}
    views, label, star, number, names = [], [], [], [], []
    for batch in _once(folder) if labels else ():
        known = np.array([position.get(name, -1) for name in batch.object_id], dtype=np.int64)
        unlabelled = np.array([not labels.get(name) for name in batch.object_id])
        on_star = np.asarray(catalogue_star(batch.context)) & unlabelled
        rows = np.flatnonzero((known >= 0) | on_star)
        if not len(rows):
            continue
        found = gather([embed(batch, session)]).views
        views.append(Views(*(np.asarray(column)[rows] for column in found)))
        label.append(known[rows])
        star.append(on_star[rows])
        number.append(np.sum(batch.detected & batch.valid, axis=1)[rows])
        names += [batch.object_id[i] for i in rows]
    if not names:
        return None
    together = Views(*(np.concatenate(columns) for columns in zip(*views, strict=True)))
    return RealAlerts(together, np.concatenate(label), np.concatenate(star), np.concatenate(number), tuple(names))


def _once(folder: Path) -> Iterator[AlertBatch]:
    """Decoded packets of a folder, each candid once."""
    decoder, seen = Decoder(), set()
    packets = only_packets([folder])
    while group := list(islice(packets, CHUNK)):
        batch = decoder.decode(group).batch
        rows = []
        for i, candid in enumerate(batch.candid):
            if candid not in seen:
                seen.add(candid)
                rows.append(i)
        if rows:
            yield select(batch, rows)


def select(batch: AlertBatch, rows: Sequence[int]) -> AlertBatch:
    """Some rows of a batch on the host."""
    index = list(rows)
    columns: dict[str, Any] = {}
    for field in fields(batch):
        value = getattr(batch, field.name)
        if value is None:
            continue
        if isinstance(value, Curves):
            columns[field.name] = Curves.of([value[i] for i in index])
        else:
            columns[field.name] = value[index] if isinstance(value, np.ndarray) else tuple(value[i] for i in index)
    return AlertBatch(**columns)
