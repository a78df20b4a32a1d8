"""A query to an archive on the web → whole, verified files in a folder, and on request their packets in the alert topics."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from console import report as reports
from console.progress import transfers
from data.connectors.dust_map import open_map
from data.connectors.web.download import Fetched
from data.connectors.web.fetch_query import fetch as ask
from data.connectors.web.mast_archive import TIC_FILE
from data.connectors.web.source_query import Query, parse
from data.connectors.web.source_table import SOURCES
from errors import FAILED, UserError, nearest, one_line, say, usage

if TYPE_CHECKING:
    from console.commands.publish import Pace
    from settings.model import Settings

LONGEST_TOKEN = 4096


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a query is to be answered."""

    folder: Path | None = None
    offline: bool = False
    again: bool = False
    dvc: bool = False
    publish: bool = False
    dust: tuple[Path, ...] = ()
    """Files of a map of dust."""


@dataclass(slots=True)
class Counts:
    """What became of the files."""

    states: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    rows: int = 0
    rejects: Counter[str] = field(default_factory=Counter)
    """Rows (of a night: packets of its sample) that cannot be used, by reason."""
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    """(file, state, reason)"""
    paths: list[str] = field(default_factory=list)
    """Of files that may hold packets."""

    def add(self, fetched: Fetched) -> None:
        """Count a file."""
        self.states[fetched.state] += 1
        if fetched.state in ("rejected", "failed"):
            self.failures.append((fetched.remote.name, fetched.state, fetched.reason))
        elif fetched.path is not None and not TIC_FILE.fullmatch(fetched.remote.name):
            self.paths.append(str(fetched.path))
        if fetched.record is not None and fetched.state != "rejected":
            self.bytes += fetched.record.size
            self.rows += fetched.record.rows or 0
            self.rejects.update(fetched.record.rejects)

    def figures(self) -> dict[str, Any]:
        """For the report."""
        return {
            "files": dict(self.states),
            "bytes": self.bytes,
            "rows": self.rows,
            "rejected": dict(self.rejects),
            "failures": [{"file": f, "state": s, "reason": r} for f, s, r in self.failures],
        }


def query_of(source: str, arguments: Sequence[str], *, mirror: str | None, token_file: Path | None, publish: bool = False) -> Query:
    """Check what was typed, before anything is asked or written.

    Raises
    ------
    UserError
        With exit status 2.
    """
    found = SOURCES.get(source)
    if found is None:
        close = nearest(source, SOURCES, cutoff=0.5)
        guess = f"did you mean {close}? " if close else ""
        raise usage(f"{one_line(source, 60)!r} is not a source: {guess}Sources are {', '.join(SOURCES)}")
    if not arguments:
        raise usage(f"{source} needs a query, such as: protonova fetch {source} {found.example}")
    if publish and found.no_packets:
        raise usage(f"{source} gives no packets ({found.no_packets}): leave --publish away, and name a folder by --to")
    return parse(source, arguments, keys=found.keys, base=mirror or found.base, token=_token(found.token, token_file))


def _token(variable: str | None, file: Path | None) -> str | None:
    if file is None:
        text = os.environ.get(variable, "") if variable else ""
    elif variable is None:
        raise usage("--token-file: this source needs no token")
    else:
        try:
            with file.open("rb") as opened:
                text = opened.read(LONGEST_TOKEN + 1).decode("ascii", "replace")
        except OSError as error:
            raise usage(f"{one_line(file, 200)} cannot be read: {error.strerror or error}") from None
    text = text.strip()
    if len(text) > LONGEST_TOKEN or not all("!" <= c <= "~" for c in text):
        raise usage(f"{file if file is not None else variable} holds no token: one word of printable characters")
    return text or None


def list_sources() -> int:
    """Print the sources."""
    console = reports.output()
    table = reports.table()
    for column in ("source", "gives", "keys", "such as"):
        table.add_column(column, overflow="fold")
    for source in SOURCES.values():
        keys = ", ".join(f"{key}=" for key in source.keys)
        table.add_row(source.name, source.summary, keys, f"protonova fetch {source.name} {source.example}")
    reports.show(console, "Archives that can be asked (docs/fetch.md)", table)
    return 0


def fetch(settings: Settings, query: Query, *, wanted: Wanted, pace: Pace | None = None, report: Path | None = None) -> int:
    """Run the command; returns the exit status."""
    reports.check_writable(report)
    folder = wanted.folder or settings.state / "fetched" / query.source
    if wanted.dvc:
        from console.dvc_pointer import check_repository

        check_repository(folder)
    dust = open_map(list(wanted.dust)) if wanted.dust else None
    counts = Counts()
    try:
        with transfers(query.source) as shown:
            for fetched in ask(
                query,
                folder,
                offline=wanted.offline,
                again=wanted.again,
                dust=dust,
                progress=shown.progress,
                planned=shown.planned,
                say=shown.say,
            ):
                counts.add(fetched)
                shown.done(fetched.remote.name)
    except KeyboardInterrupt:
        say(f"interrupted: what came is kept in {folder}, the same command goes on")
        raise
    _print(counts, folder)
    failed = bool(counts.failures)
    if wanted.dvc and not failed:
        from console.dvc_pointer import add

        pointer = add(folder)
        reports.output().print(f"DVC pointer: {pointer}", soft_wrap=True)
    published = _publish(settings, counts.paths, pace=pace, wanted=wanted)
    figures = {"command": "fetch", "query": query.text, **counts.figures(), "packets": None, "detections": None, "duplicates": None}
    reports.write(report, {**figures, "skipped": None})
    return FAILED if failed else published


def _publish(settings: Settings, paths: Sequence[str], *, pace: Pace | None, wanted: Wanted) -> int:
    if not wanted.publish:
        return 0
    if not paths:
        raise UserError("there is nothing to publish")
    from console.commands.publish import Pace, publish

    return publish(settings, paths, pace=pace or Pace())


def _print(counts: Counts, folder: Path) -> None:
    console = reports.output()
    states = ", ".join(f"{n:,} {state}" for state, n in counts.states.items()) or "no file"
    console.print(f"{states}: {counts.bytes / 1e6:,.1f} MB and {counts.rows:,} rows in {folder}", soft_wrap=True)
    if counts.rejects:
        reports.show(console, "Rows that cannot be used", reports.count_table(counts.rejects, "reason"))
    if counts.failures:
        table = reports.table()
        for column in ("file", "what", "why"):
            table.add_column(column, overflow="fold")
        for name, state, reason in counts.failures[:50]:
            table.add_row(reports.cell(name), state, reports.cell(reason, limit=300))
        reports.show(console, f"Not fetched: {len(counts.failures):,}", table)
