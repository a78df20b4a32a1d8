"""``protonova compare``: two models on the same packets → where they agree, what each finds, how good each is by known labels."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from console import report as reports
from console.labels import Judge, read_labels
from console.model_names import Named, model_named
from errors import UserError
from schemas.records.detection import Detection

if TYPE_CHECKING:
    from pipeline.state import ScoringState
    from settings.model import Settings

SHOWN = 15
"""Pairs of classes that are listed."""


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


def compare(
    settings: Settings, *, a: str, b: str, night: Sequence[str], most: int | None, labels_file: Path | None, report: Path | None
) -> int:
    """Run the command; returns the exit status."""
    from console.commands.replay import ReplayCounts, sources
    from console.progress import progress
    from pipeline.score import score
    from streams.scorer import BATCH_SIZE
    from streams.worker import configure_logging

    reports.check_writable(report)
    configure_logging("error")
    labels = read_labels(labels_file) if labels_file is not None else {}

    async def ask() -> tuple[Named, Named]:
        return await model_named(settings, a), await model_named(settings, b)

    sides = [Side(_state(settings, named)) for named in asyncio.run(ask())]
    if sides[0].state.scoring_id == sides[1].state.scoring_id:
        raise UserError(f"{a} and {b} score the same: both have the scoring id {sides[0].state.scoring_id}")
    found, judges = Comparison(), [Judge(labels), Judge(labels)]
    packets = islice((packet for _, packet in sources(settings, night, counts=ReplayCounts())), most)
    with progress("compare", unit="packets") as bar:
        for batch in _batches(packets, BATCH_SIZE):
            outcomes = []
            for k in range(2):
                k = (k + found.packets // BATCH_SIZE) % 2  # they take turns in going first: the second finds the packets in the cache
                started = time.perf_counter()
                outcomes.append((k, score(batch, sides[k].state)))
                sides[k].seconds += time.perf_counter() - started
            by_side = dict(outcomes)
            for k, side in enumerate(sides):
                _count(side, by_side[k])
                if labels:
                    judges[k].add(batch, by_side[k], state=side.state)
            for one, other in zip(by_side[0], by_side[1], strict=True):
                found.add(one, other)
            bar.advance(len(batch))
    if not found.packets:
        raise UserError(f"there is no packet in {', '.join(night)}")
    _show(found, sides)
    figures: dict[str, Any] = {
        "command": "compare", "packets": found.packets, "both": found.both, "same": found.same,
        "pairs": {f"{one} → {other}": n for (one, other), n in found.pairs.most_common()},
        "a": sides[0].figures(found.packets), "b": sides[1].figures(found.packets),
    }  # fmt: skip
    if labels:
        for side, judge in zip(sides, judges, strict=True):
            judge.show(reports.output(), f"Against the labels: {side.state.model}")
        figures["labels"] = [judge.figures() for judge in judges]
    reports.write(report, figures)
    return 0


def _state(settings: Settings, named: Named) -> ScoringState:
    from pipeline.state import load

    return load(named.folder, settings.engine)


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


def _show(found: Comparison, sides: Sequence[Side]) -> None:
    console = reports.output()
    share = 100 * found.same / max(1, found.both)
    costs = ", ".join(f"{side.state.model} {1e6 * side.seconds / found.packets:.0f} µs a packet" for side in sides)
    console.print(f"{found.packets:,} packets, {found.both:,} scored by both: {share:.2f} % decided alike; {costs}", soft_wrap=True)
    table = reports.table()
    for title in ("class", *(f"{what} {side.state.model[:8]}" for what in ("decided", "published") for side in sides)):
        table.add_column(title)
    names = sorted(set(sides[0].classes) | set(sides[1].classes), key=lambda name: -sides[0].classes[name] - sides[1].classes[name])
    for name in names:
        table.add_row(name, *(f"{side.classes[name]:,}" for side in sides), *(f"{side.published[name]:,}" for side in sides))
    reports.show(console, "Classes as decided", table)
    if found.pairs:
        pairs = reports.table()
        for title in (sides[0].state.model, sides[1].state.model, "alerts"):
            pairs.add_column(title)
        for (one, other), n in found.pairs.most_common(SHOWN):
            pairs.add_row(one, other, f"{n:,}")
        reports.show(console, "Decided otherwise", pairs)
