"""Another head for the same encoder: what changes on packets, and what a class taught beside the known ones costs and finds.

a bundle, an earlier head's arrays, packets, labelled real curves → counts of changed classes, figures by class; false calls and recall

A real class is taught as the stream would be: its kinds are silenced in the logits, so that the network cannot name it, and the rest of the
curves is the sky it must not be called in. The window is half of those curves, without their labels; figures are of the other half.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from data.connectors.archives import only_packets
from data.label_table import labels_of
from data.tables import Curves
from evaluation import task_head
from gpu.session import Session
from operators.head import ARRAYS, Head, Judged, Views, head_of, judge
from operators.namespace import to_host
from operators.taught import Reference, teach
from pipeline.embed import embed
from registry.bundle import Bundle, of_format_3
from schemas.catalogue_labels import meaning_of
from schemas.surveys.decode import Decoder

SHOTS = (1, 5, 20)
SILENT = -1e4
"""Logit of a kind that the network may not name."""
CHUNK = 256


def earlier(path: Path, head: Head) -> Head:
    """A head of the same encoder from a bundle's `arrays.safetensors`; what that format did not have counts nothing."""
    arrays = safetensors.numpy.load_file(path)
    arrays = arrays if "prototype_class" in arrays else of_format_3(arrays)
    kept = {name: arrays[name] if name in arrays else _nothing(name, head) for name in ARRAYS}
    return head_of(kept)


def _nothing(name: str, head: Head) -> Any:
    value = getattr(head, name)
    return np.ones_like(value) if name == "kind_scale" else np.zeros_like(value)


def heads(
    bundle: Bundle,
    before: Head | None,
    *,
    session: Session,
    packets: Path | None,
    curves: Curves,
    labels: Mapping[str, str],
    seeds: int = 5,
) -> dict[str, Any]:
    """All figures of the study.

    Parameters
    ----------
    before : Head, optional
        What to compare the bundle's with.
    packets : Path, optional
        Folder of packets and their `LABELS.csv` to compare on.
    curves, labels
        Real light curves and the slugs of their classes.
    """
    return {
        "packets": _packets(bundle, before, session=session, folder=packets) if before is not None and packets is not None else None,
        "taught": _taught(bundle, session, curves=curves, labels=labels, seeds=seeds),
    }


def _packets(bundle: Bundle, before: Head, *, session: Session, folder: Path) -> dict[str, Any]:
    """Both heads on every packet once."""
    known, decoder = labels_of(folder), Decoder()
    seen: set[int] = set()
    old: list[Judged] = []
    new: list[Judged] = []
    truth: list[int] = []
    found = only_packets([folder])
    while group := list(islice(found, CHUNK)):
        batch = decoder.decode(group).batch
        rows = [i for i, candid in enumerate(batch.candid) if candid not in seen]
        seen.update(batch.candid)
        views = Views(*(to_host(column)[rows] for column in embed(batch, session).views))
        old.append(judge(views, before))
        new.append(judge(views, bundle.head))
        meant = (meaning_of(known.get(batch.object_id[i], "")) for i in rows)
        truth += [bundle.classes.index(m.slug) if m.exact and m.slug in bundle.classes else -1 for m in meant]
    a, b = (np.concatenate([judged.probability for judged in part]) for part in (old, new))
    label = np.array(truth)
    k = len(bundle.classes)
    right = {name: p[:, :k].argmax(axis=1) == label for name, p in (("before", a), ("after", b))}
    return {
        "packets": len(a),
        "top_changed": int((a.argmax(axis=1) != b.argmax(axis=1)).sum()),
        "largest_change": float(np.abs(a - b).max()),
        "median_largest_change": float(np.median(np.abs(a - b).max(axis=1))),
        "labelled": int((label >= 0).sum()),
        "accuracy": {name: float(hit[label >= 0].mean()) for name, hit in right.items()},
        "classes": {
            bundle.classes[c]: {"n": int((label == c).sum()), **{name: float(hit[label == c].mean()) for name, hit in right.items()}}
            for c in sorted(set(label[label >= 0].tolist()))
        },
    }


def _taught(bundle: Bundle, session: Session, *, curves: Curves, labels: Mapping[str, str], seeds: int) -> dict[str, Any]:
    seen = task_head.embed(curves, session)
    truth = np.array([bundle.classes.index(labels[name]) for name in curves.object_id])
    views = Views(*(np.asarray(column, dtype=np.float32) for column in (seen.embedding, seen.log_probability, seen.named)))
    out: dict[str, Any] = {}
    for slug in ("tde", "slsn"):
        c = bundle.classes.index(slug)
        silenced, reference = silence(views, bundle.head, c=c), bundle.reference
        reference = reference._replace(views=silence(reference.views, bundle.head, c=c)).keep(reference.label != c)
        lacking = without(bundle.head, c)
        base = judge(silenced, lacking).probability
        out[slug] = {}
        for k in SHOTS:
            figures = [
                _one(silenced, truth, c=c, shots=k, head=lacking, reference=shifted(reference, c), base=base, seed=seed)
                for seed in range(seeds)
            ]
            out[slug][str(k)] = {
                way: {name: float(np.mean([f[way][name] for f in figures])) for name in figures[0][way]} for way in figures[0]
            }
    return out


def _one(
    views: Views, truth: Any, *, c: int, shots: int, head: Head, reference: Reference, base: Any, seed: int
) -> dict[str, dict[str, float]]:
    """Figures of one draw of examples, with and without a window."""
    rng = np.random.default_rng([seed, shots, c])
    own = rng.permutation(np.flatnonzero(truth == c))
    rest = rng.permutation(np.setdiff1d(np.arange(len(truth)), own[:shots]))
    window, test = rest[::2], rest[1::2]

    def part(rows: Any) -> Views:
        return part_of(views, rows)

    label = truth[test] - (truth[test] > c)
    old = truth[test] != c
    new = head.ways
    out = {}
    for way, unlabelled in (("known alerts alone", None), ("and a window", part(window))):
        taught = teach(head, "taught", examples=part(own[:shots]), reference=reference, window=unlabelled)
        judged = judge(part(test), taught).probability
        # `other` aside, as in every figure of the stream
        best, before = judged[:, : new + 1].argmax(axis=1), base[test][:, :new].argmax(axis=1)
        present = sorted(set(truth[test][old].tolist()))
        macro = [np.mean([(called == label)[truth[test] == i].mean() for i in present]) for called in (before, best)]
        out[way] = {
            "recall": float((best[~old] == new).mean()),
            "false_calls": float((best[old] == new).mean()),
            "macro_change": float(macro[1] - macro[0]),
        }
    return out


def part_of(views: Views, rows: Any) -> Views:
    """Some of them."""
    return Views(*(column[rows] for column in views))


def silence(views: Views, head: Head, *, c: int) -> Views:
    """Views whose network cannot name the kinds of a class."""
    logits = np.array(views.logits, dtype=np.float32)
    logits[:, np.asarray(head.zero_shot[:, c]) > 0] = SILENT
    return views._replace(logits=logits)


def shifted(reference: Reference, c: int) -> Reference:
    """Labels as if there were no class c."""
    return reference._replace(label=reference.label - (reference.label > c))


def without(head: Head, c: int) -> Head:
    """The head as if it had never known class c."""
    keep, of = np.arange(head.ways) != c, np.asarray(head.prototype_class)
    per_class = ("zero_shot_weight", "ridge", "offset", "thresholds", "novelty_location", "novelty_scale", "novelty_share")
    rows = {name: getattr(head, name)[keep] for name in per_class}
    rows |= {"prototypes": head.prototypes[of != c], "prototype_class": (of - (of > c))[of != c].astype(of.dtype)}
    prior, star_prior = (mix[np.append(keep, True)] for mix in (head.prior, head.star_prior))
    return replace(head, **rows, zero_shot=head.zero_shot[:, keep], prior=prior / prior.sum(), star_prior=star_prior / star_prior.sum())
