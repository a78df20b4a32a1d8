"""A class taught from five real objects: what it finds and costs on real curves, on real packets and on the simulated stream.

a bundle, labelled real curves, a folder of real packets → recall, false calls, change of the old classes; beside a head solved anew

TDE and SLSN are taught as classes that the model does not know: their kinds are silenced in the logits, and the head loses them. Examples
are real curves. Beside it stands `operators.support.solve` (`fewshot.taught` of the pathfinder): a head of twenty known alerts a class,
with and without images, and the examples; its new class has a threshold at which it makes as many false calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from data.connectors.archives import only_packets
from data.label_table import labels_of
from data.simulate import arrays
from data.simulate.classes import SLUGS, STREAM_MIX
from data.tables import Curves
from evaluation import task_head
from evaluation.studies.heads import CHUNK, part_of, shifted, silence, without
from gpu.session import Session
from operators.head import Head, Views, Weights, judge, scores, see
from operators.namespace import to_host
from operators.support import Support, solve
from operators.taught import FALSE_CALLS, FALSE_CALLS_IN_SIGHT, Reference, teach
from operators.types import AlertBatch
from pipeline.embed import embed
from registry.bundle import Bundle
from schemas.catalogue_labels import meaning_of
from schemas.surveys.decode import Decoder

TAUGHT = ("tde", "slsn")
SHOTS = 5
KNOWN = 20
"""Known alerts of each class, with and without images, of the head that is solved anew."""
STREAM, RARE = 3000, 150
"""Simulated alerts of the stream's mix, and of each taught class beside them."""
LEAST = 5
"""Alerts of a class that counts in a macro recall."""
Ints = npt.NDArray[np.int64]


class Sample(NamedTuple):
    """Embedded alerts or curves."""

    views: Views
    label: Ints  # (n,) class of the bundle; -1: not known


def teach_study(
    bundle: Bundle, session: Session, *, curves: Curves, labels: Mapping[str, str], packets: Path | None, seeds: int = 5, first: int = 0
) -> dict[str, Any]:
    """The table.

    Parameters
    ----------
    bundle, session
    curves, labels
        Real light curves and the slugs of their classes.
    packets : Path, optional
        Folder of real packets and their `LABELS.csv`.
    seeds, first : int
        Draws of examples, from which on; `first` is the simulated stream's seed too.
    """
    seen = task_head.embed(curves, session)
    table = Sample(
        Views(*(np.asarray(column, np.float32) for column in (seen.embedding, seen.log_probability, seen.named))),
        np.array([bundle.classes.index(labels[name]) for name in curves.object_id], np.int64),
    )
    where = {"real curves": table, "simulated stream": simulated(bundle, session, seed=first)}
    if packets is not None:
        where["real packets"] = real(bundle, session, folder=packets)
    out: dict[str, Any] = {"objects": {name: len(sample.label) for name, sample in where.items()}, "shots": SHOTS, "seeds": [first, seeds]}
    for slug in TAUGHT:
        c = bundle.classes.index(slug)
        hidden = {name: Sample(silence(sample.views, bundle.head, c=c), sample.label) for name, sample in where.items()}
        reference = bundle.reference
        reference = shifted(reference._replace(views=silence(reference.views, bundle.head, c=c)).keep(reference.label != c), c)
        head = without(bundle.head, c)
        rows = [_one(hidden, c=c, head=head, reference=reference, seed=seed) for seed in range(first, first + seeds)]
        out[slug] = {name: {way: _means([row[name][way] for row in rows]) for way in rows[0][name]} for name in rows[0]}
    return out


def simulated(bundle: Bundle, session: Session, *, seed: int) -> Sample:
    """Alerts of the stream's mix, then some of each taught class."""
    parts: list[Views] = []
    label: list[Ints] = []
    for k, (n, mix) in enumerate([(STREAM, STREAM_MIX), *((RARE, {slug: 1.0}) for slug in TAUGHT)]):
        columns = arrays.make(n, seed + 800 + k, population="demo", processes=1, surveys={"ztf": 1.0}, classes=mix)
        for start in range(0, n, CHUNK):
            chunk = {name: values[start : start + CHUNK] for name, values in columns.items()}
            parts.append(_views(arrays.to_batch(chunk), session))
        label.append(np.array([bundle.classes.index(SLUGS[i]) for i in columns["label"].tolist()], np.int64))
    return Sample(joined(parts), np.concatenate(label))


def real(bundle: Bundle, session: Session, *, folder: Path) -> Sample:
    """Every packet of a folder once."""
    known, decoder = labels_of(folder), Decoder()
    seen: set[int] = set()
    parts: list[Views] = []
    label: list[int] = []
    found = only_packets([folder])
    while group := list(islice(found, CHUNK)):
        batch = decoder.decode(group).batch
        rows = [i for i, candid in enumerate(batch.candid) if candid not in seen]
        seen.update(batch.candid)
        parts.append(part_of(_views(batch, session), np.array(rows, np.int64)))
        meant = (meaning_of(known.get(batch.object_id[i], "")) for i in rows)
        label += [bundle.classes.index(m.slug) if m.exact and m.slug in bundle.classes else -1 for m in meant]
    return Sample(joined(parts), np.array(label, np.int64))


def _views(batch: AlertBatch, session: Session) -> Views:
    return Views(*(np.asarray(to_host(column), np.float32) for column in embed(batch, session).views))


def joined(parts: Sequence[Views]) -> Views:
    """One after the other."""
    return Views(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _one(hidden: Mapping[str, Sample], *, c: int, head: Head, reference: Reference, seed: int) -> dict[str, dict[str, dict[str, float]]]:
    """One draw of examples among the real curves, everywhere."""
    rng = np.random.default_rng([seed, c, 11])
    table = hidden["real curves"]
    own = rng.permutation(np.flatnonzero(table.label == c))
    examples = part_of(table.views, own[:SHOTS])
    anew = solved(head, examples, reference=reference, rng=rng)
    out: dict[str, dict[str, dict[str, float]]] = {}
    for name, sample in hidden.items():
        mixed = np.arange(len(sample.label)) < (STREAM if name == "simulated stream" else len(sample.label))
        rest = np.flatnonzero(mixed) if sample is not table else np.setdiff1d(np.arange(len(mixed)), own[:SHOTS])
        rest = rng.permutation(rest)
        window, test = rest[::2], np.concatenate([rest[1::2], np.flatnonzero(~mixed & (sample.label == c))])
        views, label = part_of(sample.views, test), sample.label[test]
        old = label != c
        label = label - (label > c)
        before = judge(views, head).probability[:, : head.ways].argmax(axis=1)
        ways: dict[str, dict[str, float]] = {}
        for way, unlabelled in (("alone", None), ("window", part_of(sample.views, window))):
            share = FALSE_CALLS if unlabelled is None else FALSE_CALLS_IN_SIGHT
            made = teach(head, "taught", examples=examples, reference=reference, window=unlabelled, false_calls=share)
            called = judge(views, made).probability[:, : head.ways + 1].argmax(axis=1)
            ways[way] = figures(called, before, label=label, old=old, new=head.ways)
            ways[f"{way}, solved anew"] = beside(
                anew, views, head=head, label=label, old=old, before=before, share=ways[way]["false_calls"]
            )
        out[name] = ways
    return out


def solved(head: Head, examples: Views, *, reference: Reference, rng: np.random.Generator) -> Weights:
    """A whole head of known alerts, `KNOWN` of each class and stratum, and the examples."""
    k = head.ways
    pick = [
        rng.permutation(np.flatnonzero((reference.label == i) & (reference.images == images)))[:KNOWN]
        for i in range(k) for images in np.unique(reference.images)
    ]  # fmt: skip
    rows = np.concatenate(pick)
    views = joined([Views(*(np.asarray(column[rows], np.float32) for column in reference.views)), examples])
    shots = examples.embedding.shape[0]
    label = np.eye(k + 1, dtype=np.float32)[np.concatenate([reference.label[rows], np.full(shots, k)])]
    kinds = np.concatenate([head.zero_shot, np.zeros((head.zero_shot.shape[0], 1), np.float32)], axis=1)
    return solve(Support(see(views, head.centre, kind_scale=head.kind_scale), label, shots, zero_shot=kinds))


def beside(
    weights: Weights, views: Views, *, head: Head, label: Ints, old: npt.NDArray[np.bool_], before: Ints, share: float
) -> dict[str, float]:
    """Figures of a head solved anew, its new class above the threshold with as many false calls."""
    score = np.asarray(scores(see(views, head.centre, kind_scale=head.kind_scale), weights))
    margin = score[:, -1] - score[:, :-1].max(axis=1)
    bound = np.quantile(margin[old], 1 - share, method="higher") if share else margin[old].max()
    called = np.where(margin > bound, head.ways, score[:, :-1].argmax(axis=1))
    return figures(called, before, label=label, old=old, new=head.ways)


def figures(called: Ints, before: Ints, *, label: Ints, old: npt.NDArray[np.bool_], new: int) -> dict[str, float]:
    """Recall (NaN: none is there), share of the others called the class, change of their macro recall, and over how many classes."""
    counts = np.bincount(label[old & (label >= 0)], minlength=new)
    there = np.flatnonzero(counts >= LEAST)
    macro = [float(np.mean([(one[old] == label[old])[label[old] == i].mean() for i in there])) for one in (before, called)]
    recall = float((called[~old] == new).mean()) if (~old).any() else float("nan")
    return {"recall": recall, "false_calls": float((called[old] == new).mean()), "macro_change": macro[1] - macro[0], "classes": len(there)}


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    out: dict[str, float | None] = {}
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        out[name] = round(float(values.mean()), 4) if np.isfinite(values).all() else None
    return out
