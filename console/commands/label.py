"""``protonova label`` and ``protonova labels``: what people know of alerts, written to the topic that trainer and gates read.

a number and a class, or a table of them → `labels.known`
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from console import report as reports
from console.commands.teach import author_of
from console.csv_tables import SHOWN, rows_of
from data.identifiers import InexactIdError, whole
from errors import UserError, one_line, say, usage
from schemas.records.known_label import KnownLabel
from schemas.taxonomy import SLUGS, class_name_problem, slug_of

if TYPE_CHECKING:
    from settings.model import Settings

MOST_ROWS = 1_000_000
COLUMNS = {
    "candid": ("candid", "diasourceid"),
    "label": ("label", "klass", "class", "type"),
    "survey": ("survey",),
    "object_id": ("objectid", "diaobjectid", "object"),
    "confidence": ("confidence",),
    "source": ("source",),
}
"""What a table's columns may be called, in small letters without underscores."""


class Given(NamedTuple):
    """A label as it was given."""

    candid: int
    label: str
    survey: str = ""
    """Empty: to be looked up."""
    object_id: str = ""
    confidence: float = 1.0
    source: str = ""


def label(settings: Settings, given: Sequence[Given], *, source: str, author: str | None, search: int, withdraw: Sequence[int] = ()) -> int:
    """Write labels, or take them back; returns the exit status.

    Raises
    ------
    UserError
        An alert is on no topic and its survey is not named; nothing is written.
    """
    from streams.known_labels import read_labels, write_labels
    from streams.worker import configure_logging

    configure_logging("error")
    places = asyncio.run(_places(settings, [row for row in given if not row.survey], search=search))
    now_ms = int(time.time() * 1000)
    labels = []
    for row in given:
        survey, object_id = (row.survey, row.object_id) if row.survey else places[row.candid]
        labels.append(KnownLabel(survey, row.candid, object_id, row.label, row.source or source, row.confidence, author_of(author), now_ms))
    known = asyncio.run(read_labels(settings))
    before = {one.key: one for one in known}
    gone = [one.key for one in known if one.candid in set(withdraw)]
    if missing := sorted(set(withdraw) - {one.candid for one in known}):
        raise UserError(f"no label is known of {', '.join(map(str, missing[:SHOWN]))}: `protonova labels` lists them")
    for one in labels:
        old = before.get(one.key)
        if old is not None and old.label != one.label:
            say(f"{one.survey} {one.candid} was {old.label} by {one_line(old.author, 40)} ({one_line(old.source, 40)}): now {one.label}")
    if new := sorted({one.label for one in labels} - set(SLUGS)):
        say(f"not classes of the taxonomy, taken as new ones: {', '.join(new[:10])}")
    asyncio.run(write_labels(settings, labels, withdrawn=gone))
    done = [f"{len(labels):,} label{'s' if len(labels) != 1 else ''} written"] if labels else []
    done += [f"{len(gone):,} taken back"] if gone else []
    reports.output().print(", ".join(done), soft_wrap=True)
    return 0


def one(candid: int, name: str, *, survey: str | None, object_id: str | None, confidence: float) -> Given:
    """A label from what was typed.

    Raises
    ------
    UserError
        The name can be no class.
    """
    found = slug_of(name) or name
    if (problem := class_name_problem(found)) is not None:
        raise usage(problem)
    return Given(candid, found, survey or "", object_id or "", confidence)


def of_file(path: Path, *, survey: str | None, confidence: float) -> list[Given]:
    """The labels of a table with a header: candid and class, and if it likes survey, objectId, confidence, source.

    Raises
    ------
    UserError
        It cannot be read, lacks a column, or a line of it is none: then nothing of it is taken.
    """

    def columns_of(header: Sequence[str]) -> dict[str, str]:
        names = {name.lower().replace("_", ""): name for name in header}
        return {what: next(names[n] for n in known if n in names) for what, known in COLUMNS.items() if any(n in names for n in known)}

    def row_of(cells: Mapping[str, str]) -> Given:
        return _row(dict.fromkeys(COLUMNS, "") | dict(cells), survey=survey, confidence=confidence)

    return rows_of(path, what="label", columns_of=columns_of, needed=("candid", "label"), row_of=row_of, most=MOST_ROWS)


def _row(cells: dict[str, str], *, survey: str | None, confidence: float) -> Given:
    try:
        candid = whole(cells["candid"], "candid")
    except InexactIdError as error:
        raise ValueError(str(error)) from None
    if candid is None or not -(2**63) <= candid < 2**63:
        raise ValueError(f"candid is {cells['candid'][:40]!r}")
    sure = float(cells["confidence"]) if cells["confidence"] else confidence
    if not 0 <= sure <= 1:
        raise ValueError(f"confidence is {sure}, not between 0 and 1")
    given = one(candid, cells["label"], survey=cells["survey"] or survey, object_id=cells["object_id"], confidence=sure)
    return given._replace(source=cells["source"])


async def _places(settings: Settings, rows: Iterable[Given], *, search: int) -> dict[int, tuple[str, str]]:
    """Survey and object of alerts, from the questions for labels and from recent detections."""
    from streams.known_labels import read_wanted
    from streams.recent import recent_alerts

    wanted = {row.candid for row in rows}
    if not wanted:
        return {}
    found = {q.candid: (q.survey, q.object_id) for q in await read_wanted(settings) if q.candid in wanted}
    if wanted - found.keys():
        found |= await recent_alerts(settings, wanted - found.keys(), most=search)
    if missing := sorted(wanted - found.keys()):
        raise UserError(
            f"not among the last {search:,} detections: {', '.join(map(str, missing[:SHOWN]))}"
            f"{' …' if len(missing) > SHOWN else ''}; name the survey with --survey, or look further back with --search"
        )
    return found


def wanted(settings: Settings, *, as_json: bool = False) -> int:
    """Print the alerts whose label is wanted; returns the exit status."""
    from streams.known_labels import read_wanted

    found = asyncio.run(read_wanted(settings))
    if as_json:
        for question in found:
            print(json.dumps(asdict(question)))
        return 0
    console = reports.output()
    table = reports.table()
    for title in ("candid", "survey", "object", "now called", "challenger", "gain", "why"):
        table.add_column(title)
    for q in found:
        table.add_row(
            str(q.candid), reports.cell(q.survey, limit=10), reports.cell(q.object_id, limit=24), reports.cell(q.champion_class, limit=24),
            reports.cell(q.challenger_class, limit=24), f"{q.gain:.2f}", reports.cell(q.why, limit=60),
        )  # fmt: skip
    reports.show(console, "Labels that would decide: `protonova label CANDID CLASS`", table)
    return 0


def ls(settings: Settings, *, as_json: bool = False) -> int:
    """Print the labels that are known; returns the exit status."""
    from streams.known_labels import read_labels

    known = asyncio.run(read_labels(settings))
    if as_json:
        for found in known:
            print(json.dumps(asdict(found)))
        return 0
    counts: dict[str, int] = {}
    for found in known:
        counts[found.label] = counts.get(found.label, 0) + 1
    ordered = dict(sorted(counts.items(), key=lambda item: -item[1]))
    reports.show(reports.output(), f"{len(known):,} labels", reports.count_table(ordered, "class", second="alerts"))
    return 0
