"""Two models on the same packets → where they decide alike, what each finds, what it costs.

packets, two `ScoringState`s → `Comparison` with its two `Side`s
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from pipeline.score import score
from schemas.records.detection import Detection
from streams.scorer import BATCH_SIZE

if TYPE_CHECKING:
    from pipeline.state import ScoringState


@dataclass(slots=True)
class Side:
    """What one of the two made of the packets."""

    state: ScoringState
    classes: Counter[str] = field(default_factory=Counter)
    published: Counter[str] = field(default_factory=Counter)
    rejected: int = 0
    seconds: float = 0.0

    def figures(self, packets: int) -> dict[str, Any]:
        """For the report."""
        return {
            "model": self.state.model,
            "scoring_id": self.state.scoring_id,
            "classes": dict(self.classes),
            "published": dict(self.published),
            "rejected": self.rejected,
            "us_per_packet": 1e6 * self.seconds / max(1, packets),
        }


@dataclass(slots=True)
class Comparison:
    """Both sides, packet by packet."""

    packets: int = 0
    both: int = 0
    """Packets that both scored."""
    same: int = 0
    """Of these, decided alike."""
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(class by the first, class by the second) of those decided otherwise."""

    def add(self, one: Any, other: Any) -> None:
        """Take what became of a packet."""
        self.packets += 1
        if isinstance(one, Detection) and isinstance(other, Detection):
            self.both += 1
            pair = one.shown_class[0], other.shown_class[0]
            if pair[0] == pair[1]:
                self.same += 1
            else:
                self.pairs[pair] += 1


Judge = Callable[[int, tuple[list[bytes], Sequence[Any]]], None]
"""Gets the side; a batch with its outcomes."""


def compare_on(
    packets: Iterable[bytes], sides: tuple[Side, Side], *, judge: Judge | None = None, advance: Callable[[int], object] = lambda n: None
) -> Comparison:
    """Score packets by both.

    Parameters
    ----------
    packets : iterable of bytes
    sides : (Side, Side)
        Filled.
    judge, advance : callable
        Get each batch's outcomes, and its size.

    Raises
    ------
    gpu.session.EngineError
        An engine failed.
    """
    found = Comparison()
    for number, batch in enumerate(_batches(iter(packets), BATCH_SIZE)):
        outcomes: dict[int, Sequence[Any]] = {}
        for k in ((0, 1), (1, 0))[number % 2]:  # they take turns in going first: the second finds the packets in the cache
            started = time.perf_counter()
            outcomes[k] = score(batch, sides[k].state)
            sides[k].seconds += time.perf_counter() - started
        for k, side in enumerate(sides):
            _count(side, outcomes[k])
            if judge is not None:
                judge(k, (batch, outcomes[k]))
        for one, other in zip(outcomes[0], outcomes[1], strict=True):
            found.add(one, other)
        advance(len(batch))
    return found


def _batches(packets: Iterator[bytes], size: int) -> Iterator[list[bytes]]:
    while batch := list(islice(packets, size)):
        yield batch


def _count(side: Side, outcomes: Sequence[Any]) -> None:
    for outcome in outcomes:
        if not isinstance(outcome, Detection):
            side.rejected += 1
            continue
        klass, _ = outcome.shown_class
        side.classes[klass] += 1
        if outcome.decision is not None and outcome.decision.published:
            side.published[klass] += 1
