"""``protonova compare``: two models on the same packets → where they agree, what each finds, how good each is by known labels."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from console import report as reports
from console.labels import Judge, read_labels
from errors import UserError
from streams.named_models import Named, model_named

if TYPE_CHECKING:
    from pipeline.state import ScoringState
    from settings.model import Settings
    from streams.model_comparison import Comparison, Side

SHOWN = 15
"""Pairs of classes that are listed."""


def compare(
    settings: Settings, *, a: str, b: str, night: Sequence[str], most: int | None, labels_file: Path | None, report: Path | None
) -> int:
    """Run the command; returns the exit status."""
    from console.commands.replay import ReplayCounts, sources
    from console.progress import progress
    from streams.model_comparison import Side, compare_on
    from streams.worker import configure_logging

    reports.check_writable(report)
    configure_logging("error")
    labels = read_labels(labels_file) if labels_file is not None else {}

    async def ask() -> tuple[Named, Named]:
        return await model_named(settings, a), await model_named(settings, b)

    one, other = (Side(_state(settings, named)) for named in asyncio.run(ask()))
    sides = one, other
    if one.state.scoring_id == other.state.scoring_id:
        raise UserError(f"{a} and {b} score the same: both have the scoring id {one.state.scoring_id}")
    judges = [Judge(labels), Judge(labels)]

    def judge_batch(k: int, scored: tuple[list[bytes], Sequence[Any]]) -> None:
        judges[k].add(*scored, state=sides[k].state)

    packets = islice((packet for _, packet in sources(settings, night, counts=ReplayCounts())), most)
    with progress("compare", unit="packets") as bar:
        found = compare_on(packets, sides, judge=judge_batch if labels else None, advance=bar.advance)
    if not found.packets:
        raise UserError(f"there is no packet in {', '.join(night)}")
    _show(found, sides)
    figures: dict[str, Any] = {
        "command": "compare", "packets": found.packets, "both": found.both, "same": found.same,
        "pairs": {f"{first} → {second}": n for (first, second), n in found.pairs.most_common()},
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
