"""What the broker has of the input topics, and what the group has committed of them → whether every packet came to an outcome.

offsets of the broker, ledgers in the group's commits → packets in, out, in hand and unaccounted for, by topic

The span of offsets is the broker's. What became of them is in the ledger that the workers commit beside each offset
(`streams.kafka.offset_ledger`), with the marks and aborted records that batch heads announced. So nothing is fetched for it, both can be
compared at any moment, also after a kill or a restart of this page, and what is missing is never guessed from a gap: an offset that was
passed and that no ledger counts is a loss. What nothing is known of is unknown, and not balanced.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from streams.kafka.offset_ledger import Ledger

State = Literal["balanced", "unknown", "loss"]
WORST: tuple[State, ...] = ("balanced", "unknown", "loss")
PARTS = ("in", "detections", "rejected", "duplicates", "in_hand", "unaccounted", "uncounted", "marks", "aborted", "gone")
"""Of a topic's row. in = detections + rejected + duplicates + in_hand + unaccounted; the rest holds no packet, or is not known."""


class Partition(NamedTuple):
    """A partition of an input topic as the broker has it now."""

    topic: str
    partition: int
    identity: str
    """Another one where the topic was made anew; empty: unknown."""
    start: int
    end: int
    committed: int | None
    """None: the group has committed nothing of it."""
    ledger: Ledger | None
    marked: bool = True
    """Whether a worker of ours wrote the commit."""


@dataclass(slots=True)
class Loss:
    """Packets that were passed without an outcome."""

    topic: str
    partition: int
    first: int
    next: int
    """They lie before this offset, from `first` on."""
    packets: int
    since: float
    """When it was seen [s since 1970]."""


@dataclass(slots=True)
class _Known:
    """What this page remembers of a partition."""

    identity: str
    reached: int | None
    """Up to where the group was seen; None: it was never seen."""
    origin: int
    """From where the counts below are."""
    covered: int
    """From where on it is known what became of the offsets, as counted or as lost."""
    base: int | None = None
    """Of the ledger that was seen last."""
    last: Ledger | None = None
    before: Counter[str] = field(default_factory=Counter)
    """Counts of the ledgers before it, of offsets that are not read again."""
    deficit: int = 0
    losses: list[Loss] = field(default_factory=list)


class Balance:
    """Compares, look by look, and remembers what was seen: a committed offset that jumps is a loss only beside the one before."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], _Known] = {}
        self._rows: dict[str, Counter[str]] = {}
        self._surplus: dict[str, int] = {}

    def observe(self, partitions: Iterable[Partition], now: float) -> None:
        """Take a look at all partitions."""
        rows: dict[str, Counter[str]] = {}
        self._surplus = {}
        there = set()
        for p in partitions:
            there.add((p.topic, p.partition))
            known = self._known.get((p.topic, p.partition))
            if known is None or (p.identity and known.identity and known.identity != p.identity):
                known = self._known[p.topic, p.partition] = _first(p)
            known.identity = p.identity or known.identity
            self._follow(p, known, now=now)
            rows.setdefault(p.topic, Counter()).update(self._row(p, known))
        self._known = {place: known for place, known in self._known.items() if place in there}
        self._rows = rows

    def _follow(self, p: Partition, known: _Known, *, now: float) -> None:
        """Compare with the look before."""
        if p.committed is None:
            return
        begins = p.committed if p.ledger is None else p.ledger.base
        if p.ledger is None and p.marked:  # of an earlier release, which counts nothing
            known.origin = known.covered = begins
            known.before, known.last, known.base, known.deficit = Counter(), None, None, 0
        elif p.ledger is None or p.ledger.base != known.base:
            # The group goes on from an offset that was set by hand, or counts anew.
            known.covered = begins if known.reached is None else min(known.covered, begins)
            if known.reached is None:
                known.origin = begins
            elif begins > known.reached:
                known.losses.append(Loss(p.topic, p.partition, known.reached, begins, begins - known.reached, now))
            else:  # what lies behind is read again, and counted then
                known.losses = [loss for loss in known.losses if loss.first < begins]
            if known.reached is not None and begins < known.reached:
                known.origin, known.before = begins, Counter()
            elif known.last is not None:
                known.before.update(_counts(known.last))
            known.base, known.last, known.deficit = (None if p.ledger is None else begins), None, 0
        if p.ledger is not None:
            deficit = p.ledger.unaccounted(p.committed)
            if deficit > known.deficit:
                first = p.ledger.base if known.reached is None or known.last is None else max(known.reached, p.ledger.base)
                known.losses.append(Loss(p.topic, p.partition, first, p.committed, deficit - known.deficit, now))
            known.deficit, known.last = max(known.deficit, deficit), p.ledger
            if deficit < 0:
                self._surplus[p.topic] = self._surplus.get(p.topic, 0) - deficit
        known.reached = p.committed

    def _row(self, p: Partition, known: _Known) -> Counter[str]:
        row = Counter(known.before)
        if known.last is not None:
            row.update(_counts(known.last))
        reached = known.origin if known.reached is None else known.reached
        # What retention took before it was read; where the group goes on, its ledger misses the same.
        expired = max(0, p.start - reached)
        row["in_hand"] = p.end - max(reached, p.start)
        row["unaccounted"] = sum(loss.packets for loss in known.losses) + expired
        row["in"] = row["detections"] + row["rejected"] + row["duplicates"] + row["in_hand"] + row["unaccounted"]
        row["uncounted"] = max(0, known.covered - p.start)
        return row

    @property
    def losses(self) -> list[Loss]:
        """All that is missing, the latest first."""
        return sorted((loss for known in self._known.values() for loss in known.losses), key=lambda loss: -loss.since)

    def snapshot(self) -> dict[str, Any]:
        """State, why, sums, rows by topic and losses, as ``/status.json`` serves them."""
        rows = [{"topic": topic, **self._verdict(topic, row), **{k: row[k] for k in PARTS}} for topic, row in self._rows.items()]
        worst: State = max((row["state"] for row in rows), key=WORST.index, default="unknown")
        why = "; ".join(f"{row['topic']}: {row['why']}" for row in rows if row["state"] == worst and row["why"])
        sums = {k: sum(row[k] for row in rows) for k in PARTS}
        losses = [
            {"topic": x.topic, "partition": x.partition, "first": x.first, "next": x.next, "packets": x.packets, "since": x.since}
            for x in self.losses
        ]
        return {"state": worst, "why": why if rows else "the input topics were not looked at yet", **sums, "topics": rows, "losses": losses}

    def _verdict(self, topic: str, row: Counter[str]) -> dict[str, Any]:
        surplus = self._surplus.get(topic, 0)
        if row["unaccounted"]:
            return {"state": "loss", "why": f"{row['unaccounted']:,} packets were passed without an outcome"}
        if surplus:
            return {"state": "loss", "why": f"{surplus:,} outcomes more than packets"}
        if row["uncounted"]:
            return {"state": "unknown", "why": f"{row['uncounted']:,} offsets were passed before anything was counted"}
        if row["gone"]:
            return {"state": "unknown", "why": f"{row['gone']:,} offsets are missing in the broker's log (compaction, or damage)"}
        return {"state": "balanced", "why": ""}


def _first(p: Partition) -> _Known:
    """The first look at a partition."""
    return _Known(p.identity, p.start if p.committed is None else None, p.start, p.start)


def _counts(ledger: Ledger) -> dict[str, int]:
    return {
        "detections": ledger.detections,
        "rejected": ledger.rejected,
        "duplicates": ledger.duplicates,
        "marks": ledger.control,
        "aborted": ledger.aborted,
        "gone": ledger.compacted + ledger.absent,
    }
