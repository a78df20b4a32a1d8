"""``protonova history``: what the loop around the model did, step by step, from its topics."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from console import report as reports
from console.commands.explain import steps_table

if TYPE_CHECKING:
    from settings.model import Settings
    from streams.loop_history import Step


def history(
    settings: Settings, *, since_ms: int | None, kinds: list[str] | None, model: str | None, as_json: bool, limit: int, report: Path | None
) -> int:
    """Run the command; returns the exit status."""
    from streams.loop_history import led_to, of_model, read_loop
    from streams.worker import configure_logging

    configure_logging("error")
    reports.check_writable(report)
    steps = asyncio.run(read_loop(settings, since_ms=since_ms))
    chosen = steps
    if model is not None:
        wanted = {id(one) for step in of_model(steps, model) for one in led_to(steps, step)}
        chosen = [step for step in steps if id(step) in wanted]
    if kinds:
        chosen = [step for step in chosen if step.kind in kinds]
    rows = [_row(step) for step in chosen]
    if as_json:
        for row in rows[-limit:]:
            sys.stdout.write(orjson.dumps(row).decode() + "\n")
    else:
        console = reports.output()
        if not chosen:
            console.print("nothing happened in the loop: no alarm, no command, no class, no model")
        else:
            shown = f"the last {limit} of {len(chosen)}" if len(chosen) > limit else f"{len(chosen)}"
            reports.show(console, f"Steps of the loop: {shown}", steps_table(chosen[-limit:]))
    reports.write(report, {"command": "history", "steps": rows})
    return 0


def _row(step: Step) -> dict[str, Any]:
    from streams.loop_history import plain

    return {
        "at_ms": step.at_ms, "kind": step.kind, "subject": step.subject, "text": step.text, "author": step.author, "id": step.id,
        "because": step.because, "record": plain(step.record),
    }  # fmt: skip
