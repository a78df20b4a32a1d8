"""Three counts of a night that do not know each other → whether every packet of it is accounted for.

the broker's offsets, what workers committed of them, the records that came of them → in, detections, rejected, duplicates, lost

The broker says how many packets arrived between two times. A worker commits beside its offset what it made of those before
(`streams.kafka.offset_ledger`). The history has the records themselves, each with the place of its packet. A packet without a record is
a duplicate if the worker counted as many, a mark of a transaction if it says so, and lost otherwise: also one that a worker says it sent.
A worker's counts are compared once everything that lay on the topics at their commit is in the history.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

State = Literal["balanced", "unknown", "loss"]
WORST: tuple[State, ...] = ("balanced", "unknown", "loss")


class Sample(NamedTuple):
    """What a group has committed of a partition: `next` with its ledger from `base` on."""

    topic: str
    partition: int
    base: int
    next: int
    detections: int
    rejected: int
    duplicates: int
    control: int
    aborted: int
    gone: int
    night: int
    """The night at the time of the sample."""


class Span(NamedTuple):
    """Offsets of a partition that were committed, with the worker's counts and the history's."""

    first: int
    next: int
    night: int
    detections: int
    rejected: int
    duplicates: int
    control: int
    aborted: int
    gone: int
    stored_detections: int | None
    """None: committed before this history began, with records that it does not have."""
    stored_rejected: int | None

    @property
    def empty(self) -> int:
        """Offsets that hold no packet."""
        return self.control + self.aborted + self.gone

    @property
    def lost(self) -> int:
        """Offsets of which neither a record nor a worker's word is there: acknowledged without an outcome."""
        detections, rejected = self.stored_detections, self.stored_rejected
        if detections is None or rejected is None:
            detections, rejected = self.detections, self.rejected
        return max(0, self.next - self.first - self.empty - self.duplicates - detections - rejected)


@dataclass(slots=True)
class PartitionNight:
    """What is known of a partition's offsets of one night."""

    first: int | None
    """Where the night begins; None: not known any more."""
    next: int | None
    """Where it ends, or the partition does now."""
    spans: list[Span] = field(default_factory=list)
    outcomes: Counter[int] = field(default_factory=Counter)
    """Outcome (`portion`) → offsets with a record, of the night and before `reached`."""

    @property
    def reached(self) -> int:
        """Up to where the night's offsets were committed and compared."""
        first, end = self.first or 0, self.next or 0
        return min(max([first, *(s.next for s in self.spans)]), end)


@dataclass(slots=True)
class TopicNight:
    """The counts of one topic of alerts in one night."""

    topic: str
    received: int = 0
    detections: int = 0
    rejected: int = 0
    duplicates: int = 0
    in_hand: int = 0
    """Received, and not committed and compared yet."""
    lost: int = 0
    uncounted: int = 0
    """Passed before anything was counted."""
    worker: Counter[str] = field(default_factory=Counter)
    """What the workers say of the same offsets."""
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def state(self) -> State:
        """Whether it adds up."""
        return "loss" if self.lost else "unknown" if self.uncounted else "balanced"

    def plain(self) -> dict[str, Any]:
        """For JSON; in = detections + rejected + duplicates + in_hand + lost + uncounted."""
        return {
            "topic": self.topic, "state": self.state, "in": self.received, "detections": self.detections, "rejected": self.rejected,
            "rejected_by_reason": dict(sorted(self.reasons.items())), "duplicates": self.duplicates, "in_hand": self.in_hand,
            "lost": self.lost, "uncounted": self.uncounted,
            "worker": {name: self.worker[name] for name in ("detections", "rejected", "duplicates")},
        }  # fmt: skip


def topic_night(topic: str, partitions: Iterable[PartitionNight], *, codes: Iterable[int], rejected: int) -> TopicNight:
    """Add up a topic's partitions.

    Parameters
    ----------
    topic : str
    partitions : iterable of PartitionNight
    codes : iterable of int
        Outcomes that the caller may see; detections of others are left out of what was received too.
    rejected : int
        The outcome of a rejected packet.
    """
    total, visible = TopicNight(topic), set(codes)
    for p in partitions:
        if p.first is None or p.next is None:
            continue
        spans = [s for s in p.spans if s.next > p.first and s.first < p.next]
        empty = sum(s.empty for s in spans if s.first >= p.first)  # a span is of one night but for the seconds of a sample at its beginning
        reached = p.reached
        found = sum(n for code, n in p.outcomes.items() if code != rejected)
        hidden = sum(n for code, n in p.outcomes.items() if code != rejected and code not in visible)
        lost = sum(s.lost for s in spans if s.first >= p.first)
        rest = max(0, reached - p.first - empty - found - p.outcomes[rejected] - lost)
        gaps = reached - p.first - sum(min(s.next, reached) - max(s.first, p.first) for s in spans)
        duplicates = rest
        if gaps or any(s.stored_detections is None for s in spans):  # then some may be what nothing is known of
            duplicates = min(rest, sum(s.duplicates for s in spans))
        total.received += p.next - p.first - empty - hidden
        total.detections += found - hidden
        total.rejected += p.outcomes[rejected]
        total.duplicates += duplicates
        total.uncounted += rest - duplicates
        total.lost += lost
        total.in_hand += p.next - reached
        for s in spans:
            total.worker.update(detections=s.detections, rejected=s.rejected, duplicates=s.duplicates)
        total.worker["detections"] -= hidden
    return total
