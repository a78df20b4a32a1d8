"""``protonova labels import --tns FILE``: what TNS has classified → labels of the alerts that the history has of these objects.

Classifications move by the hour, so they reach no score: they are labels, which gates, trainer, candidates and previews read.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from console import report as reports
from console.commands.teach import author_of
from data.history import engines
from data.history.store import HistoryStore
from data.tns_objects import TnsObject, read_tns
from errors import UserError
from schemas.records.known_label import KnownLabel
from schemas.taxonomy import slug_of

if TYPE_CHECKING:
    from settings.model import Settings

SOURCE = "tns"
RADIUS_DEG = 2.0 / 3600
"""Within which an object of the history is TNS' object [deg]."""
EVERY = frozenset({0, 2, 3})
CONFIDENCE = 1.0


def import_tns(settings: Settings, path: Path, *, author: str | None, dry_run: bool = False) -> int:
    """Write the labels of a dump; returns the exit status.

    Raises
    ------
    UserError
        It cannot be read, or there is no history.
    """
    from streams.known_labels import read_labels, write_labels
    from streams.worker import configure_logging

    configure_logging("error")
    objects = read_tns(path)
    if not engines.may_be_there(settings):
        raise UserError("there is no history to find the objects in: run `protonova historian` first")
    store = engines.reader(settings)
    try:
        found, left_out = labels_of(objects, store, author=author_of(author), now_ms=int(time.time() * 1000))
    finally:
        store.close()
    known = {} if dry_run else {one.key: one for one in asyncio.run(read_labels(settings))}
    new = []
    for label in found:
        before = known.get(label.key)
        if before is not None and before.source != SOURCE:
            left_out["labelled by others already"] += 1
        elif before is not None and before.label == label.label:
            left_out["known already"] += 1
        else:
            new.append(label)
    if new and not dry_run:
        asyncio.run(write_labels(settings, new))
    counts = dict(Counter(label.label for label in new))
    what = "would be written" if dry_run else "written"
    reports.show(reports.output(), f"{len(new):,} labels of TNS {what}", reports.count_table(counts, "class", second="objects"))
    if left_out:
        reports.show(reports.output(), "Left out", reports.count_table(dict(left_out), "why", second="objects"))
    return 0


def labels_of(objects: list[TnsObject], store: HistoryStore, *, author: str, now_ms: int) -> tuple[list[KnownLabel], Counter[str]]:
    """Labels of the latest alert of each object that the history has, and why others have none."""
    found, left_out = [], Counter[str]()
    for one in objects:
        name = slug_of(one.kind)
        if name is None:
            left_out["of a type that is not a class here"] += 1
            continue
        there = [near.object.object_id for near in store.cone(one.ra, one.dec, radius=RADIUS_DEG, private=EVERY, limit=10)]
        if one.ztf is not None and one.ztf not in there and store.object(one.ztf, private=EVERY) is not None:
            there.append(one.ztf)
        if not there:
            left_out["not in the history"] += 1
        for object_id in there:  # an object of each survey
            alerts = store.records(object_id, private=EVERY, limit=1)
            if alerts:
                summary = alerts[0].summary
                found.append(KnownLabel(summary.survey, summary.candid, object_id, name, SOURCE, CONFIDENCE, author, now_ms))
    return found, left_out
