"""``protonova models``: which models there are, what one is, and by what two differ."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING

import orjson
from rich.text import Text

from console import report as reports
from registry.bundle import Bundle
from registry.bundle import load as load_bundle
from registry.bundle_facts import differences, facts, thresholds
from streams.named_models import announced_models, model_named

if TYPE_CHECKING:
    from schemas.records.loop_event import LoopEvent
    from schemas.records.model_announced import ModelAnnounced
    from settings.model import Settings

SHOWN = 20
"""Models that are listed, the last ones."""


def when(ms: int) -> str:
    """A time as a table shows it [UTC]."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(ms / 1000))


def ls(settings: Settings, *, as_json: bool) -> int:
    """List the models that aliases name, and those that were announced before."""
    from streams.agents.teaching import read_events
    from streams.models import announced

    async def ask() -> tuple[dict[str, ModelAnnounced], list[LoopEvent]]:
        return await announced(settings), await read_events(settings)

    known, events = asyncio.run(ask())
    if as_json:
        for one in known.values():
            row = {name: getattr(one, name) for name in ("alias", "sha256", "model", "revision", "author", "note", "announced_ms")}
            sys.stdout.buffer.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        return 0
    console = reports.output()
    if not known:
        console.print(
            f"No model was announced: workers score with {load_bundle(settings.bundle).sha256[:16]}, the bundle of their settings",
            soft_wrap=True,
        )
        return 0
    table = reports.table()
    for title in ("alias", "model", "since (UTC)", "revision", "by", "note"):
        table.add_column(title)
    for one in sorted(known.values(), key=lambda one: one.alias):
        table.add_row(one.alias, one.model, when(one.announced_ms), str(one.revision), _cell(one.author, 24), _cell(one.note, 48))
    reports.show(console, "Models", table)
    aliases = {one.sha256 for one in known.values()}
    others = [one for one in announced_models(known, events) if one.sha256 not in aliases]
    if others:
        before = reports.table()
        for title in ("model", "last announced (UTC)", "by", "note"):
            before.add_column(title)
        for one in others[-SHOWN:]:
            before.add_row(one.model, when(one.announced_ms), _cell(one.author, 24), _cell(one.note, 48))
        reports.show(console, "Without an alias", before)
    return 0


def show(settings: Settings, name: str) -> int:
    """Say what a model is: how it was made, what it reached, its classes and their thresholds."""
    named = asyncio.run(model_named(settings, name))
    bundle, console = named.bundle(), reports.output()
    table = reports.table()
    for title in ("", ""):
        table.add_column(title)
    for key, value in facts(bundle).items():
        table.add_row(key, _cell(value, 120))
    if (announced := named.announced) is not None:
        table.add_row(
            announced.alias, f"revision {announced.revision}, {when(announced.announced_ms)} UTC, by {_cell(announced.author, 24)}"
        )
    reports.show(console, f"Model {bundle.sha256[:16]}", table)
    classes = reports.table()
    for title in ("class", "threshold"):
        classes.add_column(title)
    for slug, threshold in thresholds(bundle).items():
        classes.add_row(slug, f"{threshold:.4f}")
    reports.show(console, "Classes", classes)
    return 0


def diff(settings: Settings, *, a: str, b: str) -> int:
    """Say by what two models differ; exit status 1 where they do."""

    async def ask() -> tuple[Bundle, Bundle]:
        return (await model_named(settings, a)).bundle(), (await model_named(settings, b)).bundle()

    one, other = asyncio.run(ask())
    rows = list(differences(one, other))
    console = reports.output()
    if not rows:
        console.print(f"{one.sha256[:16]} and {other.sha256[:16]} score the same")
        return 0
    table = reports.table()
    for title in ("", one.sha256[:16], other.sha256[:16]):
        table.add_column(title)
    for key, left, right in rows:
        table.add_row(key, _cell(left, 48), _cell(right, 48))
    reports.show(console, "Differences", table)
    return 1


def _cell(text: str, limit: int) -> Text:
    return reports.cell(text, limit=limit)
