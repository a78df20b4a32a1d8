"""The wiring table beside the topics on the broker, as a table; with repair."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from console import report as reports
from streams.kafka.topics import Topic, check, declare

if TYPE_CHECKING:
    from settings.model import Settings


def classes_of(settings: Settings) -> tuple[str, ...]:
    """Slugs of the bundle's classes: each has a topic of its own."""
    from registry.bundle import load

    return load(settings.bundle).classes


def _kept(topic: Topic) -> str:
    if topic.cleanup == "compact":
        return "latest by key"
    hours = topic.retention_ms / 3_600_000
    return f"{hours / 24:g} d" if hours >= 24 else f"{hours:g} h"


def topics(settings: Settings, *, repair: bool) -> int:
    """Run the command; 1 if something differs and was not repaired."""
    console = reports.output()
    slugs = classes_of(settings)
    if repair:
        done = asyncio.run(declare(settings, slugs))
        for line in done or ["nothing to repair"]:
            console.print(line, soft_wrap=True, highlight=False)
    rows = asyncio.run(check(settings, slugs))
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("topic", "partitions", "records", "kept", "largest", "key", "state"):
        table.add_column(name, justify="right" if name in ("partitions", "records", "kept", "largest") else "left", no_wrap=name == "topic")
    for row in rows:
        state = Text("; ".join(row.problems), "yellow") if row.problems else Text("ok", "green")
        table.add_row(
            row.name,
            str(row.partitions),
            f"{row.records:,}",
            _kept(row.topic),
            f"{row.topic.max_bytes / 1e6:g} MB",
            row.topic.key,
            state,
        )
    console.print(table)
    wrong = sum(1 for row in rows if row.problems)
    if wrong:
        console.print(f"{wrong} topics differ from the table: `protonova topics --repair` makes and corrects them")
    return 1 if wrong else 0
