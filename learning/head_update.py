"""The known classes' part of a head, moved by a few labelled alerts of the stream; what the champion learnt from others' labels stays.

`Bundle`, views of labelled alerts → its head with another ridge, thresholds and conformal quantile, and the heads without a fold of them

A head fitted anew on what is at hand here would lose the real alerts that the champion's was fitted on elsewhere. So the champion's ridge
is where the new one is pulled to, and its thresholds move by what the same known alerts say before and after: without a label
nothing changes, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from learning.dataset import I64, Bools
from learning.head_calibration import thresholds
from learning.ridge import Ridge, Rows, Sky, joined, real_rows, ridge
from operators import taught
from operators.budget import quantile
from operators.head import Head, Views, conformal_scores, judge, scores, see
from operators.types import F32, F64
from registry.bundle import Bundle, fold_of

PULL = 3e-3
"""Strength of the pull toward the champion's ridge: ten times that of a ridge fitted on all there is, for these are a tenth of it."""
STEPS, STEPS_ON = 40, 12
"""Of the optimiser: from the champion's ridge, and from there to what differs by some of the rows."""
LOWEST, HIGHEST = 1e-6, 0.5
"""Of a threshold on the prior probability."""


def update(bundle: Bundle, views: Views, *, label: I64, object_id: Sequence[str]) -> tuple[Head, tuple[Head, ...]]:
    """Move a bundle's head by labelled alerts of its known classes.

    Parameters
    ----------
    bundle : Bundle
        Its taught classes play no part.
    views : Views
        Of n labelled alerts.
    label : (n,) int
        Class of each, 0 … k - 1.
    object_id : n names
        By which alerts belong to folds (`registry.bundle.fold_of`).

    Returns
    -------
    (Head, tuple of Head)
        The head without any taught class, and those that did without a fold of the objects; the champion's own where there is no alert.
    """
    head, unseen = taught.bare(bundle.head), tuple(taught.bare(one) for one in bundle.unseen)
    if not len(label):
        return head, unseen
    known = Views(*(np.asarray(column, dtype=np.float32) for column in bundle.reference.views))
    truth = bundle.reference.label
    fold = np.array([fold_of(name) for name in object_id], dtype=np.int64)
    sky = Sky(views, label, (), fold)

    def moved(of: Head, *, simulated: Bools, labelled: Bools, start: Ridge | None = None) -> Ridge:
        """What is added to a head's ridge for the sake of some rows."""
        rows = joined(_rows(known, truth, rows=simulated, head=of), _labelled(sky, of), rows=labelled)
        return ridge(rows, start=start, pull=PULL, steps=STEPS if start is None else STEPS_ON)

    everything, all_labelled = np.ones(len(truth), dtype=bool), np.ones(len(label), dtype=bool)
    whole = moved(head, simulated=everything, labelled=all_labelled)
    after = _shifted(head, whole)
    half = np.arange(len(truth)) % 2 == 0
    # Each known alert is judged by a ridge that has not seen it.
    halves = [(_shifted(head, moved(head, simulated=part, labelled=all_labelled, start=whole)), ~part) for part in (half, ~half)]
    after = _recalibrated(head, after, halves=halves, known=known, truth=truth, images=bundle.reference.images)
    parts = [_shifted(one, moved(one, simulated=everything, labelled=fold != i, start=whole)) for i, one in enumerate(unseen)]
    return after, tuple(replace(after, ridge=one.ridge, offset=one.offset) for one in parts)


def _rows(known: Views, truth: I64, *, rows: Bools, head: Head) -> Rows:
    """Known alerts, each class that is among them counting the same; the base holds the ridge that is moved."""
    chosen, label = Views(*(column[rows] for column in known)), truth[rows]
    seen = see(chosen, head.centre, kind_scale=head.kind_scale)
    count = np.maximum(np.bincount(label, minlength=head.ways), 1)
    weight = len(label) / (len(np.unique(label)) * count[label])
    return Rows(*map(_f64, (seen.view, scores(seen, head), np.eye(head.ways)[label], weight)))


def _labelled(sky: Sky, head: Head) -> Rows:
    return real_rows(see(sky.views, head.centre, kind_scale=head.kind_scale), sky, head=head, bare=head)


def _shifted(head: Head, by: Ridge) -> Head:
    return replace(head, ridge=_f32(head.ridge + by.weight), offset=_f32(head.offset + by.offset))


def _recalibrated(before: Head, after: Head, *, halves: list[tuple[Head, Bools]], known: Views, truth: I64, images: Bools) -> Head:
    """Thresholds and conformal quantile moved by as much as they differ on the known alerts with images."""
    k = before.ways
    first = judge(known, before)
    probability, prior_probability = np.array(first.probability), np.array(first.prior_probability)
    for head, rows in halves:
        found = judge(Views(*(column[rows] for column in known)), head)
        probability[rows], prior_probability[rows] = found.probability, found.prior_probability
    shares = np.asarray(before.prior, dtype=np.float64)
    old, new = (thresholds(p[images], truth[images], shares=shares) for p in (np.asarray(first.prior_probability), prior_probability))
    least = _logit(np.asarray(before.thresholds, dtype=np.float64)) + _logit(new) - _logit(old)
    quantiles = [
        quantile(conformal_scores(p[images])[np.arange(int(images.sum())), truth[images]])
        for p in (np.asarray(first.probability), probability)
    ]
    conformal = float(np.clip(float(before.conformal) + quantiles[1] - quantiles[0], 0.0, 1.0))
    moved = np.clip(1 / (1 + np.exp(-least)), LOWEST, HIGHEST)
    same = np.asarray(new == old)
    return replace(after, thresholds=_f32(np.where(same, before.thresholds, moved)[:k]), conformal=_f32(conformal))


def _logit(p: F64 | F32) -> F64:
    clipped = np.clip(np.asarray(p, dtype=np.float64), LOWEST, 1 - LOWEST)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _f32(x: object) -> F32:
    return np.asarray(x, dtype=np.float32)


def _f64(x: object) -> F64:
    return np.asarray(x, dtype=np.float64)
