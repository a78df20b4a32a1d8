"""What a filter would have passed of a night: how many, which classes, how pure, and which alerts.

a filter set of one filter, bodies of a night's records by the part, labels → `FilterPreview`

Purity is of the alerts that passed and have a label: the share whose label is one of the classes that the filter is meant for, with its
95 % interval (Wilson 1927). Labels are not drawn at random from a stream (people classify what is bright and new), so the interval holds
for alerts like the labelled ones; how many there are stands beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from data.areas.filter_set import FilterSet
from evaluation.measures import wilson
from schemas.records.codec import decode_detection
from schemas.records.detection import Detection
from schemas.records.key_fields import KeyFields, detection_fields
from schemas.records.parts import framing
from schemas.records.table import DETECTION

SAMPLES = 10
"""Alerts that are shown."""
MOST_COUNTED = 100_000
"""Passing alerts whose class and label are looked up."""
Label = Callable[[KeyFields], str | None]
"""A detection's key fields → its known label; None: it has none."""
_FRAME = framing(DETECTION)


class Purity(NamedTuple):
    """Of the labelled alerts that passed."""

    labelled: int
    right: int
    share: float | None
    """None: none has a label, or no class was named."""
    low: float
    high: float
    """95 % interval."""


@dataclass(frozen=True, slots=True)
class FilterPreview:
    """What a filter would have passed."""

    looked_at: int
    """Alerts of the night that the caller may see."""
    passed: int
    objects: int
    """Objects they are of."""
    classes: dict[str, int]
    """Decided class → alerts that passed."""
    labels: dict[str, int]
    """Known label → alerts that passed."""
    purity: Purity
    samples: tuple[Detection, ...]
    """The most probable ones."""
    over_budget: int
    """Alerts beyond the budget, which a night would not have passed."""


def preview_filter(
    asked: FilterSet, nights: Iterable[Sequence[bytes]], *, label: Label, targets: Collection[str] = (), budget: int = 1_000_000
) -> FilterPreview:
    """Ask a filter of a night.

    Parameters
    ----------
    asked : FilterSet
        Of one filter.
    nights : iterable of sequences of bytes
        Records of the night in the order of their arrival, without framing, by the part.
    label : callable
    targets : collection of str
        Classes that the filter is meant for; empty: nothing is said of purity.
    budget : int
        Alerts a night.
    """
    looked_at, passed, right = 0, 0, 0
    classes: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    objects: set[str] = set()
    best: list[tuple[float, int, bytes]] = []
    for bodies in nights:
        looked = asked.look(bodies)
        looked_at += int(looked.fine.sum())
        rows = np.flatnonzero(looked.hits[0]).tolist()
        for r in rows:
            passed += 1
            if passed > MOST_COUNTED:
                continue
            record = detection_fields(bodies[r])
            classes[record.class_name] += 1
            objects.add(record.object_id)
            known = label(record)
            if known is not None:
                labels[known] += 1
                right += known in targets
            best.append((record.probability, -passed, bodies[r]))
        best = sorted(best, key=lambda entry: entry[:2], reverse=True)[:SAMPLES]
    labelled = labels.total()
    low, high = wilson(right, labelled)
    share = right / labelled if labelled and targets else None
    return FilterPreview(
        looked_at, passed, len(objects), dict(classes.most_common()), dict(labels.most_common()), Purity(labelled, right, share, low, high),
        tuple(decode_detection(_FRAME + body) for _, _, body in best), max(0, passed - budget),
    )  # fmt: skip
