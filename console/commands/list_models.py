"""``protonova models``: which models there are, what one is, and by what two differ."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from rich.text import Text

from console import report as reports
from console.model_names import announced_models, model_named
from operators.head import ARRAYS
from operators.namespace import to_host
from registry.bundle import Bundle
from registry.bundle import load as load_bundle

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


def facts(bundle: Bundle) -> dict[str, str]:
    """What a bundle says of itself."""
    manifest = bundle.manifest
    reached = {f"{name}, {key}": value for name in ("demo", "real") for key, value in _macro(manifest.figures.get(name)).items()}
    return {
        "sha256": bundle.sha256,
        "made": f"{manifest.created_on} by {manifest.created_by}",
        "command": manifest.command,
        "head": manifest.head_command or "made with the encoder",
        "encoder": f"{manifest.files['encoder.onnx'].sha256[:16]}, {manifest.parameters:,} parameters",
        "classes": str(len(bundle.classes)),
        "seed": str(manifest.seed),
        **{key: f"{value:.4g}" for key, value in reached.items()},
    }


def differences(one: Bundle, other: Bundle) -> Iterator[tuple[str, str, str]]:
    """What differs, on the left and on the right: encoder, classes, thresholds, arrays of the head, plan, figures."""
    left, right = one.manifest, other.manifest
    files = (left.files["encoder.onnx"].sha256[:16], right.files["encoder.onnx"].sha256[:16])
    if files[0] != files[1]:
        yield "encoder", *files
    for slug in (*one.classes, *(slug for slug in other.classes if slug not in one.classes)):
        was, now = (thresholds(bundle).get(slug) for bundle in (one, other))
        if was != now:
            yield f"threshold of {slug}", _number(was), _number(now)
    for name in ARRAYS:
        a, b = to_host(getattr(one.head, name)), to_host(getattr(other.head, name))
        if a.shape != b.shape:
            yield f"head: {name}", str(a.shape), str(b.shape)
        elif not np.array_equal(a, b) and name != "thresholds":
            yield f"head: {name}", "", f"differs by {float(np.max(np.abs(a - b))):.3g} at most"
    for section, pair in {"plan": (left.plan, right.plan), "figures": (left.figures, right.figures)}.items():
        was_in, now_in = (dict(_flat(values or {})) for values in pair)
        for key in sorted(was_in.keys() | now_in.keys()):
            if was_in.get(key) != now_in.get(key):
                yield f"{section}: {key}", str(was_in.get(key, "–")), str(now_in.get(key, "–"))


def thresholds(bundle: Bundle) -> dict[str, float]:
    """Class → its threshold on the prior probability."""
    return dict(zip(bundle.classes, to_host(bundle.head.thresholds).tolist(), strict=True))


def _number(threshold: float | None) -> str:
    return "no such class" if threshold is None else f"{threshold:.4f}"


def _macro(figures: Any) -> Mapping[str, float]:
    found = figures.get("macro") if isinstance(figures, Mapping) else None
    return {f"macro at {n} detections": value for n, value in found.items()} if isinstance(found, Mapping) else {}


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Numbers and words of nested mappings by their path; longer things, such as confusions, are left out."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        elif isinstance(value, int | float | str):
            yield f"{before}{key}", value


def _cell(text: str, limit: int) -> Text:
    return reports.cell(text, limit=limit)
