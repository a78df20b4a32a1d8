"""A champion's bundle with a head that was fitted to wrong labels: what gates are to refuse. For the demo of the closed loop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from operators.head import Views, judge
from registry.bundle import Parts, load, save

SWAPPED = (("rr-lyrae", "eclipsing-binary"), ("agn", "lpv"), ("sn-ia", "cv"), ("asteroid", "bogus"))
"""Classes whose labels were exchanged."""


def spoilt(champion: Path, to: Path) -> Path:
    """Write the bundle; returns its folder.

    Its weights are whole and its golden batch is its own answer: nothing but its calls says that it is bad.
    """
    bundle = load(champion)
    order = np.arange(len(bundle.classes))
    for first, second in SWAPPED:
        if first in bundle.classes and second in bundle.classes:
            a, b = bundle.classes.index(first), bundle.classes.index(second)
            order[[a, b]] = order[[b, a]]
    head = bundle.head
    owner = np.asarray(order)[np.asarray(head.prototype_class, dtype=np.int64)]
    rows = np.argsort(owner, kind="stable")
    head = replace(
        head,
        prototypes=np.asarray(head.prototypes)[rows],
        prototype_class=owner[rows].astype(np.float32),
        zero_shot=np.asarray(head.zero_shot)[:, order],
        zero_shot_weight=np.asarray(head.zero_shot_weight)[order],
        ridge=np.asarray(head.ridge)[order],
        offset=np.asarray(head.offset)[order],
    )
    views = Views(bundle.golden.embedding, bundle.golden.logits, bundle.golden.named)
    golden = replace(bundle.golden, probability=np.asarray(judge(_comparable(views), head).probability, dtype=np.float32))
    manifest = bundle.manifest.model_dump(exclude={"format", "files"})
    manifest["head_command"] = "console.commands.bad_challenger: classes exchanged, for a demonstration"
    save(to, Parts(manifest, bundle.encoder, head, bundle.reference, golden, ()))
    return to


def _comparable(views: Views) -> Views:
    return Views(*(np.ascontiguousarray(np.asarray(column, dtype=np.float32)) for column in views))
