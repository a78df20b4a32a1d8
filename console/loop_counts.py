"""What the stream says of the demo's packets, beside their truth → figures by phase; small enough for some ten thousand of them.

detections → `LoopCounts`: rows of numbers, and tables of recall and false calls
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from console.outcome_counts import TopicListener
from errors import RetryableError
from schemas.avro.wire import PacketError
from schemas.records import codec
from streams.kafka import topics

if TYPE_CHECKING:
    from console.night_file import Made
    from settings.model import Settings

PATIENCE = 60.0
"""How long is waited while no detection comes [s]."""


class Called(NamedTuple):
    """A detection, as short as the figures need it."""

    candid: int
    name: str
    """The class of the highest balanced probability."""
    entropy: float
    """Of the balanced probabilities [nat]."""
    model: str
    appended_ms: int


@dataclass(slots=True)
class LoopCounts:
    """What came out, in order."""

    rows: list[Called] = field(default_factory=list)
    rejected: int = 0

    @property
    def total(self) -> int:
        """Outcomes; no packet of the demo's comes twice."""
        return len(self.rows) + self.rejected

    def add(self, message: Any) -> None:
        """Count a message of one of the topics."""
        if message.topic == topics.REJECTED:
            self.rejected += 1
            return
        try:
            found = codec.decode_detection(message.value, message.key)
        except PacketError:
            return
        shares = np.array([one.probability for one in found.classes])
        entropy = float(-(shares * np.log(np.clip(shares, 1e-9, 1.0))).sum())
        self.rows.append(Called(found.candid, found.top_class, entropy, found.model, message.timestamp))


class Scores(NamedTuple):
    """How some calls stand beside the truth."""

    macro: float
    """Mean recall of the classes that were known before; NaN where there is none."""
    recall: float
    """Of the new class."""
    false_calls: float
    """Share of the other alerts that are called the new class."""
    n: int
    new: int
    """Alerts of the new class among them."""


def scores(calls: Iterable[tuple[str, str]], newcomer: str, *, least: int = 5) -> Scores:
    """Figures of (truth, called) pairs.

    Parameters
    ----------
    calls : iterable of (str, str)
    newcomer : str
        The class that was new.
    least : int
        Alerts that a class needs to count in the macro recall.
    """
    right: dict[str, list[bool]] = {}
    false = others = 0
    for truth, called in calls:
        right.setdefault(truth, []).append(truth == called)
        if truth != newcomer:
            others += 1
            false += called == newcomer
    old = [float(np.mean(hits)) for name, hits in right.items() if name != newcomer and len(hits) >= least]
    new = right.get(newcomer, [])
    return Scores(
        float(np.mean(old)) if old else math.nan, float(np.mean(new)) if new else math.nan, false / others if others else math.nan,
        others + len(new), len(new),
    )  # fmt: skip


def beside_truth(rows: Sequence[Called], truth: Mapping[int, Made]) -> list[tuple[str, str]]:
    """(truth, called) of the rows whose truth is known."""
    return [(truth[row.candid].label, row.name) for row in rows if row.candid in truth]


class Follower(TopicListener[LoopCounts]):
    """Reads detections and rejections into a `LoopCounts`."""

    TOPICS = (topics.DETECTIONS, topics.PRIVATE, topics.REJECTED)

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, LoopCounts())

    async def until_all(self, total: int) -> None:
        """Wait until so many outcomes are in.

        Raises
        ------
        RetryableError
            None came for `PATIENCE`.
        """
        if not await self.until(total, PATIENCE):
            raise RetryableError(f"{total - self.counts.total:,} of {total:,} packets did not come out within {PATIENCE:.0f} s")
