"""Labelled packets of the stream → what heads and encoders learn from.

packets, labels, ids → `Seen`: views of those that can be learnt from, by the stream's own decoder and encoder (law 1), each of a known
class or of a new one; → `LabelledAlerts` for `learning.recipe.train`
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from errors import one_line
from gpu.session import Session
from learning.dataset import I64, NAMES, SLUG_OF, Alerts, embed_alerts, from_batch, join
from learning.real_sky import RealAlerts
from operators.head import Views
from pipeline.examples import AT_ONCE, see_packets
from pipeline.select import select
from pipeline.state import ScoringState
from registry.taught_classes import name_problem
from schemas.records.class_record import MOST_EXAMPLES
from schemas.taxonomy import OTHER

LEAST_EXAMPLES = 3
"""Labels that make a class which was not taught; fewer may be one slip."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Packets of the stream with their labels; three lists of one length."""

    packets: list[bytes]
    labels: list[str]
    """Slugs of the model's classes, or names of new ones."""
    packet_ids: list[str]
    taught: Mapping[str, int] = field(default_factory=dict)
    """Class whose record names examples among them → the record's revision."""


@dataclass(frozen=True, slots=True)
class Window:
    """Recent packets of the stream without labels."""

    packets: list[bytes]


@dataclass(frozen=True, slots=True)
class Seen:
    """Labelled packets that can be learnt from; n of them, in the order of their packet ids."""

    packets: tuple[bytes, ...]
    packet_ids: tuple[str, ...]
    object_ids: tuple[str, ...]
    views: Views
    known: I64
    """(n,) class of the model, -1: a new one."""
    new: I64
    """(n,) row of `names`, -1: a class of the model."""
    names: tuple[str, ...]
    """The new classes, sorted."""
    left_out: Mapping[str, int]
    """Why packets are left out → how many."""

    def of_new(self, name: str) -> Views:
        """Views of a new class's examples."""
        return Views(*(column[self.new == self.names.index(name)] for column in self.views))

    @property
    def of_known(self) -> Views:
        """Views of the model's classes."""
        return Views(*(column[self.known >= 0] for column in self.views))


def see_labelled(labelled: Labelled, state: ScoringState, *, classes: Sequence[str]) -> Seen:
    """Embed labelled packets as the stream does.

    Parameters
    ----------
    labelled : Labelled
    state : ScoringState
        Whose decoder and encoder are used.
    classes : sequence of str
        The model's own.

    Raises
    ------
    gpu.session.EngineError
        The engine failed; the packets are not at fault.
    """
    left_out: Counter[str] = Counter()
    chosen: dict[str, tuple[bytes, str]] = {}
    count = Counter(labelled.labels)
    taken: Counter[str] = Counter()
    for packet_id, packet, label in sorted(zip(labelled.packet_ids, labelled.packets, labelled.labels, strict=True)):
        if (why := _problem(label, classes, count=count, taught=labelled.taught)) is not None:
            left_out[why] += 1
        elif packet_id in chosen:
            left_out["the packet is there twice"] += 1
        elif taken[label] >= MOST_EXAMPLES:
            left_out[f"more than {MOST_EXAMPLES} of a class"] += 1
        else:
            chosen[packet_id] = packet, label
            taken[label] += 1
    ids, packets, labels = list(chosen), [p for p, _ in chosen.values()], [label for _, label in chosen.values()]
    found = see_packets(packets, state)
    left_out.update(f"cannot be an example: {one_line(why, 100)}" for _, why in found.refused)
    rows = [row.position for row in found.rows if not row.private]
    left_out["not public"] += sum(row.private for row in found.rows)
    public = [i for i, row in enumerate(found.rows) if not row.private]
    kept = [labels[i] for i in rows]
    names = tuple(sorted(set(kept) - set(classes)))
    return Seen(
        packets=tuple(packets[i] for i in rows),
        packet_ids=tuple(ids[i] for i in rows),
        object_ids=tuple(found.rows[i].object_id for i in public),
        views=Views(*(column[public] for column in found.views)) if rows else found.views,
        known=np.array([classes.index(label) if label in classes else -1 for label in kept], dtype=np.int64),
        new=np.array([names.index(label) if label in names else -1 for label in kept], dtype=np.int64),
        names=names,
        left_out={why: n for why, n in left_out.items() if n},
    )


def _problem(label: str, classes: Sequence[str], *, count: Mapping[str, int], taught: Mapping[str, int]) -> str | None:
    """Why a label cannot be learnt from; None: it can."""
    if label in classes:
        return None
    if label == OTHER or name_problem(label, classes) is not None:
        return "its label is not a class"
    return f"fewer than {LEAST_EXAMPLES} of a class that was not taught" if count[label] < LEAST_EXAMPLES and label not in taught else None


@dataclass(frozen=True, slots=True)
class LabelledAlerts:
    """Labelled alerts as a training reads them."""

    known: Alerts | None
    """Of the model's classes, each labelled with the kind of its class that the champion finds most probable; None: none."""
    new: Alerts | None
    """Of classes beyond the kinds: the first has the number of kinds as its label, and so on; None: none."""
    object_ids: tuple[str, ...]
    """Of the known ones."""
    names: tuple[str, ...] = ()
    """Of the classes beyond the kinds."""

    def real(self, session: Session, before: RealAlerts | None) -> RealAlerts | None:
        """Real alerts for the head by the new encoder: these, behind those of a folder."""
        if self.known is None:
            return before
        views = embed_alerts(self.known, session).views
        star = np.zeros(len(self.known), dtype=bool)
        own = RealAlerts(views, SLUG_OF[self.known.label], star, self.known.number, self.object_ids)
        if before is None:
            return own
        joined = Views(*(np.concatenate(pair) for pair in zip(before.views, own.views, strict=True)))
        return RealAlerts(
            joined,
            np.concatenate([before.label, own.label]),
            np.concatenate([before.star, own.star]),
            np.concatenate([before.number, own.number]),
            (*before.object_id, *own.object_id),
        )


def labelled_alerts(seen: Seen, state: ScoringState) -> LabelledAlerts:
    """Decode what was seen into columns to train on."""
    logits = np.asarray(seen.views.logits)
    kind = np.zeros(len(seen.packets), dtype=np.int64)
    for i, known in enumerate(seen.known.tolist()):
        members = np.flatnonzero(known == SLUG_OF)
        kind[i] = members[logits[i, members].argmax()] if known >= 0 else len(NAMES) + seen.new[i]
    parts = [
        _columns(seen.packets[start : start + AT_ONCE], kind[start : start + AT_ONCE], state=state)
        for start in range(0, len(seen.packets), AT_ONCE)
    ]
    if not parts:
        return LabelledAlerts(None, None, ())
    whole = join(parts)
    known = seen.known >= 0
    return LabelledAlerts(
        known=whole.take(known) if known.any() else None,
        new=whole.take(~known) if not known.all() else None,
        object_ids=tuple(name for name, own in zip(seen.object_ids, known.tolist(), strict=True) if own),
        names=seen.names,
    )


def _columns(packets: Sequence[bytes], kind: I64, *, state: ScoringState) -> Alerts:
    batch = state.decoder.decode(packets).batch
    selected = select(batch)
    made = from_batch(batch, kind)
    made.dips[:] = selected.dips
    for row, view in selected.folded.items():
        made.folded[row] = view
    return made
