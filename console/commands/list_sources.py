"""``protonova sources``: the other clusters that are mirrored, as the mirror last described them."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from errors import one_line
from streams.source_states import SILENT_S, source_states

if TYPE_CHECKING:
    from settings.model import Settings


def show(settings: Settings, *, as_json: bool = False) -> int:
    """Print the sources; exit status 1 where one is configured and does not run."""
    found = asyncio.run(source_states(settings))
    configured = {source.name for source in settings.source}
    now = time.time()
    age = {name: now - state.updated_ms / 1000 for name, state in found.items()}
    running = {name for name in found if age[name] < SILENT_S and found[name].state == "running"}
    if as_json:
        for name, state in sorted(found.items()):
            print(json.dumps(asdict(state) | {"age_s": round(age[name], 1), "configured": name in configured}))
    elif not found and not configured:
        print("No source is configured: describe one as [[source]] in protonova.toml (docs/sources.md).")
    else:
        table = Table(box=None)
        for column in ("source", "state", "topics", "copied", "lag", "rejected", "lost", "heard"):
            table.add_column(column, justify="left" if column in ("source", "state") else "right")
        table.add_column("why", overflow="fold")
        for name in sorted(configured | found.keys()):
            if name not in found:
                table.add_row(name, "not started", *[""] * 6, "`protonova mirror` or `protonova run` starts it")
                continue
            state = found[name]
            word = state.state if age[name] < SILENT_S else "silent"
            table.add_row(
                one_line(name, 60), word, str(len(state.topics)), f"{state.copied:,}", f"{state.lag:,}", f"{state.rejected:,}",
                f"{state.lost:,}", f"{age[name]:.0f} s ago", one_line(state.error, 120),
            )  # fmt: skip
        Console().print(table)
    return 0 if configured <= running else 1
