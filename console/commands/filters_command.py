"""``protonova filters ls, add, preview, rm``: the filters on the broker, and what one would have passed of a night."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from console.arguments import existing
from console.report import cell
from data.areas.area_ranges import MOST_BYTES
from data.areas.drafts import draft_filter
from data.areas.filter_set import filter_set
from data.history import engines
from data.history.nights import DAY_MS, night_of, parse_night
from data.history.portion import HistoryError
from data.history.store import HistoryStore
from errors import UserError, one_line, say
from evaluation.filter_preview import FilterPreview
from evaluation.filter_preview import preview_filter as preview_of
from schemas.records.filter_defined import owned_key
from schemas.records.table import DETECTION
from streams.filter_definitions import DefinitionFollower, write_definition
from streams.kafka import topics
from streams.known_labels import Labels, read_labels
from streams.safe_post import allowed_networks, check_address
from streams.webhooks import key_of

if TYPE_CHECKING:
    from settings.model import Settings

EVERYTHING = frozenset({0, 2, 3})
NIGHTS_BACK = 30


async def _known(settings: Settings) -> DefinitionFollower:
    found = DefinitionFollower(settings)
    await found.catch_up()
    return found


def list_filters(settings: Settings, *, as_json: bool = False) -> int:
    """Print the filters."""
    found = sorted(asyncio.run(_known(settings)).filters.values(), key=lambda one: (one.owner, one.name))
    if as_json:
        for one in found:
            row = {"owner": one.owner, "name": one.name, "revision": one.revision, "expression": one.expression, "area": one.area,
                   "watchlists": one.watchlists, "private": one.private_rights, "budget": one.budget, "webhook": one.webhook,
                   "active": one.active, "topic": topics.filter_topic(one.owner, one.name).name}  # fmt: skip
            print(json.dumps(row))
        return 0
    if not found:
        print("No filter is defined: `protonova filters add NAME WHERE`, or PUT /v1/filters/NAME.")
        return 0
    table = Table(box=None)
    for column in ("owner", "name", "revision", "budget", "asks for", "area", "watchlists", "topic"):
        table.add_column(column, justify="right" if column in ("revision", "budget") else "left", overflow="fold")
    for one in found:
        table.add_row(
            cell(one.owner), one.name, str(one.revision), f"{one.budget:,}", cell(one.expression), cell(one.area),
            cell(", ".join(one.watchlists)), topics.filter_topic(one.owner, one.name).name,
        )  # fmt: skip
    Console().print(table)
    return 0


def add_filter(
    settings: Settings, name: str, *, expression: str, owner: str, moc: str | None, sky_map: Path | None, level: float,
    watchlists: list[str], private: bool, budget: int, webhook: str, backfill_days: float, note: str,
) -> int:  # fmt: skip
    """Define a filter, or another revision of it.

    Raises
    ------
    UserError
        It is not a filter.
    """
    if sky_map is not None:
        existing([sky_map], "a FITS file of a MOC or a sky map")
        if sky_map.stat().st_size > MOST_BYTES:
            raise UserError(f"{sky_map} has more than {MOST_BYTES:,} bytes", 2)
    draft = draft_filter(
        owner, name, expression=expression, moc=moc, fits=None if sky_map is None else sky_map.read_bytes(), level=level,
        watchlists=watchlists, private_rights=private, budget=budget, webhook=webhook, backfill_days=backfill_days, note=note,
    )  # fmt: skip
    secret = settings.filters_webhook_key
    if webhook:
        check_address(webhook, allowed_networks(settings))
        if secret is None:
            raise UserError("webhooks are signed: set PROTONOVA_FILTERS_WEBHOOK_KEY", 2)

    async def define() -> int:
        await topics.ensure_filters(settings)
        known = await _known(settings)
        if missing := [one for one in watchlists if owned_key(owner, one) not in known.watchlists]:
            raise UserError(f"{owner} has no watchlist {missing[0]}", 2)
        before = known.filters.get(draft.key)
        record = replace(draft, revision=1 if before is None else before.revision + 1, made_ms=int(1000 * time.time()))
        await write_definition(settings, topics.FILTERS_DEFINED, key=record.key, record=record)
        return record.revision

    revision = asyncio.run(define())
    say(f"filter {name} of {owner}, revision {revision}: its matches come to {topics.filter_topic(owner, name).name}")
    if webhook and secret is not None:
        print(f"its webhook is signed by the key {key_of(secret.get_secret_value(), owner, name=name)}")
    return 0


def remove_filter(settings: Settings, name: str, *, owner: str) -> int:
    """Take a filter away.

    Raises
    ------
    UserError
        There is no such filter.
    """

    async def remove() -> None:
        if owned_key(owner, name) not in (await _known(settings)).filters:
            raise UserError(f"{owner} has no filter {name[:60]}: `protonova filters ls` lists them", 2)
        await write_definition(settings, topics.FILTERS_DEFINED, key=owned_key(owner, name), record=None)

    asyncio.run(remove())
    say(f"filter {name} of {owner} is taken away")
    return 0


def preview_filter(
    settings: Settings, expression: str, *, night: str | None, targets: list[str], private: bool, as_json: bool = False
) -> int:
    """Print what a filter would have passed of a night.

    Raises
    ------
    UserError
        It is not a filter, or there is no history.
    """
    asked = filter_set([draft_filter("operator", "asked", expression=expression)], {})
    if asked.faults:
        raise UserError(asked.faults[0][1], 2)
    rights = EVERYTHING if private else frozenset[int]()
    labels = Labels() if settings.kafka is None else asyncio.run(read_labels(settings))
    reader = engines.reader(settings)
    try:
        chosen = _chosen(reader, night, rights=rights)
        parts = (
            [body for schema_id, body in reader.bodies(chosen, private=rights, first=p.first, last=p.last) if schema_id == DETECTION]
            for p in reader.parts(chosen, private=rights, rows=5_000)
        )
        found = preview_of(asked, parts, label=lambda d: labels.of(d.survey, d.candid, object_id=d.object_id), targets=targets)
    except HistoryError:
        raise UserError(f"there is no history in {settings.history_path()}: `protonova historian` keeps one") from None
    finally:
        reader.close()
    _show(found, chosen, targets=targets, as_json=as_json)
    return 0


def _chosen(reader: HistoryStore, night: str | None, *, rights: frozenset[int]) -> int:
    if night is not None:
        try:
            return parse_night(night)
        except ValueError:
            raise UserError(f"{night[:40]!r} is not a night: a date as 2026-11-29", 2) from None
    now = int(1000 * time.time())
    nights = [night_of(now - back * DAY_MS, "") for back in range(NIGHTS_BACK)]
    return next((one for one in nights if reader.parts(one, private=rights, rows=1_000_000)), nights[0])


def _show(found: FilterPreview, night: int, *, targets: list[str], as_json: bool) -> None:
    p = found.purity
    if as_json:
        row = {
            "night": night, "looked_at": found.looked_at, "passed": found.passed, "objects": found.objects, "classes": found.classes,
            "labels": found.labels, "purity": p._asdict(), "samples": [f"{d.survey}:{d.candid}" for d in found.samples],
        }  # fmt: skip
        print(json.dumps(row))
        return
    print(f"night {night}: {found.passed:,} of {found.looked_at:,} alerts pass, of {found.objects:,} objects")
    print("classes: " + (", ".join(f"{one_line(name, 60)} {n:,}" for name, n in found.classes.items()) or "none"))
    if found.labels:
        print("known labels: " + ", ".join(f"{one_line(name, 60)} {n:,}" for name, n in found.labels.items()))
    if targets and p.share is not None:
        meant = one_line(" or ".join(targets), 120)
        print(f"purity: {p.share:.2f} of {p.labelled:,} labelled ones are {meant} (95 %: {p.low:.2f} to {p.high:.2f})")
    for d in found.samples:
        name, probability = d.shown_class
        shown = f"{one_line(d.object_id, 60)}  {one_line(d.survey, 20)}:{d.candid}  {one_line(name, 60)} {probability:.2f}"
        print(f"  {shown}  ra {d.ra:.5f} dec {d.dec:+.5f}")
