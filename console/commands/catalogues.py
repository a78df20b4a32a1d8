"""``protonova catalogue add | ls | rm | check``: catalogues made of tables, those there are, and whether they are as they were made.

FILE or URL, whose it is → a folder below the state folder's `catalogues`
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from console import report as reports
from console.arguments import existing
from errors import UserError, nearest, one_line, say, usage

if TYPE_CHECKING:
    from settings.model import Settings

LARGEST_RADIUS = 600.0
"""[arcsec]"""
EPOCHS = (1800.0, 2200.0)
FETCHED = "fetched"
"""Folder of downloaded tables, beside the catalogues."""
LARGEST_FILE = 64 << 30


class How(NamedTuple):
    """How a table is taken; None: as its kind says."""

    name: str | None = None
    radius: float | None = None
    epoch: float | None = None
    columns: Mapping[str, str] = {}
    hours: bool = False
    degrees: bool = False
    skip_bad: bool = False


def add(settings: Settings, file: str, *, kind_name: str, how: How) -> int:
    """Make a catalogue; returns the exit status.

    Raises
    ------
    UserError
        The table cannot be used: nothing is left behind.
    """
    from data.catalogues.catalogue_build import build
    from data.catalogues.catalogue_kinds import KINDS
    from data.catalogues.catalogue_rows import checked
    from data.catalogues.catalogue_store import NAME, open_catalogue
    from data.catalogues.catalogue_tables import read_rows

    kind = KINDS.get(kind_name)
    if kind is None:
        close = nearest(kind_name, KINDS, cutoff=0.6)
        guess = f"did you mean {close}? " if close else ""
        raise usage(f"--as {one_line(repr(kind_name), 40)}: {guess}It is one of {', '.join(KINDS)}")
    name = how.name or kind_name
    if NAME.fullmatch(name) is None:
        raise usage(f"--name {one_line(repr(name), 60)}: a name has small letters, digits and _, 32 at most, a letter first")
    radius = kind.radius if how.radius is None else how.radius
    if not (math.isfinite(radius) and 0 < radius <= LARGEST_RADIUS):
        raise usage(f"--radius {radius:g} is not above 0 and at most {LARGEST_RADIUS:g} arcsec")
    epoch = kind.epoch if how.epoch is None else how.epoch
    if not EPOCHS[0] <= epoch <= EPOCHS[1]:
        raise usage(f"--epoch {epoch:g} is not a Julian year between {EPOCHS[0]:g} and {EPOCHS[1]:g}")
    folder = settings.catalogue_path()
    path = _fetched(file, folder) if "://" in file else Path(file)
    existing([path], "a table of a catalogue")
    say(f"reading {path}")
    rows, left_out = checked(read_rows(path, kind, given=how.columns), kind, hours=how.hours, degrees=how.degrees, skip_bad=how.skip_bad)
    made = build(
        rows, kind, name=name, kind_name=kind_name, folder=folder, epoch=epoch, radius=radius,
        origin={"file": file, "added": datetime.now(UTC).isoformat(timespec="seconds"), "left_out": left_out},
    )  # fmt: skip
    opened = open_catalogue(made)
    skipped = f"; {left_out:,} bad rows left out" if left_out else ""
    reports.output().print(
        f"{made.name}: {len(opened):,} sources ({kind.title}), matched within {radius:g} arcsec{skipped}.\n"
        f"Alerts are matched with it from the next start on with PROTONOVA_CATALOGUES={','.join([*settings.catalogues, made.name])}",
        soft_wrap=True, highlight=False, markup=False,
    )  # fmt: skip
    return 0


def ls(settings: Settings, *, as_json: bool = False) -> int:
    """Print the catalogues there are; returns the exit status."""
    from data.catalogues.catalogue_store import facts, resolve

    folder = settings.catalogue_path()
    rows = facts(folder)
    used = set()
    for name in settings.catalogues:
        try:
            used.add(resolve(folder, name).name)
        except UserError as error:
            say(str(error))
    if as_json:
        for row in rows:
            print(json.dumps({**row, "used": row["catalogue"] in used}))
        return 0
    if not rows:
        none = f"no catalogue in {folder}: `protonova catalogue add FILE --as KIND` makes one"
        reports.output().print(none, soft_wrap=True, markup=False)
        return 0
    table = reports.table()
    for title in ("catalogue", "sources", "epoch", "radius [arcsec]", "MB", "matched", "of"):
        table.add_column(title)
    for row in rows:
        matched = "yes" if row["catalogue"] in used else "no"
        if "problem" in row:
            table.add_row(row["catalogue"], "", "", "", "", matched, reports.cell(row["problem"], limit=120))
            continue
        table.add_row(
            row["catalogue"], f"{row['rows']:,}", f"{row['epoch']:g}", f"{row['radius']:g}", f"{row['bytes'] / 1e6:,.1f}", matched,
            reports.cell(row["title"], limit=60),
        )  # fmt: skip
    reports.show(reports.output(), f"Catalogues in {folder}", table)
    return 0


def remove(settings: Settings, names: Sequence[str]) -> int:
    """Remove catalogues; returns the exit status.

    Raises
    ------
    UserError
        One of them is not there: none is removed.
    """
    from data.catalogues.catalogue_store import remove as removed
    from data.catalogues.catalogue_store import resolve

    folder = settings.catalogue_path()
    full = [resolve(folder, name).name for name in dict.fromkeys(names)]
    for name in dict.fromkeys(full):
        removed(folder, name)
        reports.output().print(f"{name} removed", highlight=False)
        if name in settings.catalogues or name.rpartition("-")[0] in settings.catalogues:
            say(f"PROTONOVA_CATALOGUES still names {name}: no worker starts until it does not")
    return 0


def check(settings: Settings, names: Sequence[str]) -> int:
    """Compare catalogues with their digests; returns 1 where one differs."""
    from data.catalogues.catalogue_store import CatalogueError, found, open_catalogue, resolve

    folder = settings.catalogue_path()
    paths = [resolve(folder, name) for name in names] or list(found(folder).values())
    status = 0
    for path in paths:
        try:
            opened = open_catalogue(path, verify=True)
        except CatalogueError as error:
            say(str(error))
            status = 1
        else:
            reports.output().print(f"{path.name}: as it was made, {len(opened):,} sources", highlight=False)
    return status


def _fetched(url: str, folder: Path) -> Path:
    """The file of a URL, kept beside the catalogues."""
    from data.connectors.web.download import Downloader, Origin, Remote, Verdict
    from data.connectors.web.holdings import Holdings, safe_name
    from data.connectors.web.http_client import HttpClient, Request, check_url
    from data.connectors.web.throttle import Clock

    check_url(url)
    name = safe_name(url.partition("?")[0].rstrip("/").rpartition("/")[2] or "table.csv")
    say(f"fetching {one_line(url, 200)}")
    with HttpClient(Clock(), say=say) as client, Holdings(folder / FETCHED) as holdings:
        files = Downloader(
            client, holdings, origin=Origin("catalogue", url, "as its authors say"),
            check=lambda path, remote: Verdict(usable=path.stat().st_size > 0, reason="it is empty"),
        )  # fmt: skip
        fetched = files.fetch(Remote(Request(url), name, "catalogue", most=LARGEST_FILE), again=True)
        if fetched.path is None:
            raise UserError(fetched.reason)
        return fetched.path
