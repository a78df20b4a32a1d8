"""The detections' topic → a live table, or JSON lines. A subscriber without a group: it disturbs no other and keeps no offsets.

Each form of `schemas/records/dialects.py` is understood, whatever the settings say now.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import orjson
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from console.arguments import class_named
from console.report import cell, printable_json
from errors import UserError, one_line, say
from schemas.records.detection import Detection, to_row
from schemas.taxonomy import OTHER
from streams.bad_records import BadRecords
from streams.kafka.consumer import make_consumer
from streams.kafka.topics import ANOMALY, DETECTIONS, admin_client, class_topic

if TYPE_CHECKING:
    from aiokafka import TopicPartition

    from settings.model import Settings
    from streams.kafka.batches import Unreadable

Seen = tuple[float, Detection]
"""Append time [s since 1970], detection."""


async def topic_of(settings: Settings, klass: str | None) -> str:
    """The topic to listen to: of all detections, or of a class by any name that it has.

    Raises
    ------
    UserError
        The broker has no topics of ours, or the class is unknown.
    """
    async with admin_client(settings) as admin:
        there = await admin.list_topics()
    if DETECTIONS not in there:
        raise UserError("the broker has no topics of ours: start `protonova run`, or make them with `protonova topics --repair`")
    return topic_among(there, klass)


def topic_among(there: Iterable[str], klass: str | None) -> str:
    """The topic of a class by any name that it has, `other` among them; None: of all detections.

    Raises
    ------
    UserError
        The class has no topic there.
    """
    if klass is None:
        return DETECTIONS
    if klass.strip().casefold() == OTHER:
        return ANOMALY
    prefix = class_topic("")
    return class_topic(class_named(klass, [name.removeprefix(prefix) for name in there if name.startswith(prefix)]))


async def detections(settings: Settings, topic: str, *, from_beginning: bool) -> AsyncIterator[Seen]:
    """Detections of a topic as they come.

    Parameters
    ----------
    settings : Settings
        With a broker.
    topic : str
    from_beginning : bool
        Every one the topic holds, else those from now on.
    """
    consumer = make_consumer(settings, topic, report=report_unreadable, auto_offset_reset="earliest" if from_beginning else "latest")
    bad = BadRecords(say)
    try:
        await consumer.start()
        while True:
            for messages in (await consumer.getmany(timeout_ms=250, max_records=500)).values():
                for m in messages:
                    if (detection := bad.read(m, Detection)) is not None:
                        yield m.timestamp / 1000, detection
            bad.report()
    finally:
        await consumer.stop()


def report_unreadable(place: TopicPartition, found: Unreadable) -> None:
    """One line of what no client could read."""
    which = f"{found.first}" if found.records == 1 else f"{found.first} to {found.last}"
    say(f"{place.topic}[{place.partition}]@{which} cannot be read and is left out: {found.reason}")


def json_line(detection: Detection) -> bytes:
    """One line of JSON; the candid is text, for most readers of JSON round such numbers."""
    row = {**to_row(detection), "candid": str(detection.candid)}
    return printable_json(orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE))


class Column(NamedTuple):
    """A column of the live table."""

    name: str
    width: int
    justify: Literal["left", "right"]
    show: Callable[[float, Detection], Text]


def _certainty(d: Detection) -> str:
    """What is on its class's topic stands out."""
    return "" if d.decision is None or not d.decision.published else "bold green" if d.shown_class[1] >= 0.8 else "bold"


def _topic(d: Detection) -> str:
    """What the class's topic is called after `detections.`, where the detection is on it."""
    return class_topic(d.decision.class_name).removeprefix(class_topic("")) if d.decision is not None and d.decision.published else "–"


# What matters most comes first: a narrow terminal shows the first columns only.
COLUMNS = (
    Column("class", 16, "left", lambda at, d: cell(d.shown_class[0], _certainty(d), limit=16)),
    Column("prior", 5, "right", lambda at, d: cell(f"{d.shown_class[1]:.2f}", _certainty(d))),
    Column("on topic", 16, "left", lambda at, d: cell(_topic(d), limit=16)),
    Column("object", 20, "left", lambda at, d: cell(d.object_id, limit=20)),
    Column("UTC", 8, "left", lambda at, d: cell(time.strftime("%H:%M:%S", time.gmtime(at)))),
    Column("novelty", 7, "right", lambda at, d: cell(f"{d.novelty:.2f}")),
    Column("band", 4, "left", lambda at, d: cell(d.band, limit=4)),
    Column("flux µJy", 9, "right", lambda at, d: cell("–" if d.flux is None or d.flux != d.flux else f"{d.flux:.1f}", limit=9)),
    Column("points", 6, "right", lambda at, d: cell(d.n_detections, limit=6)),
    Column("balanced", 22, "left", lambda at, d: cell(f"{d.top_class[:16]} {d.top_probability:.2f}", limit=22)),
    Column("90 % set", 40, "left", lambda at, d: cell(", ".join(d.conformal_set[:3]) + " …" * (len(d.conformal_set) > 3), limit=40)),
)


def columns_that_fit(width: int) -> list[Column]:
    """The first columns that have room in so many characters, with a space between them; class and probability always."""
    fitting: list[Column] = []
    left = width + 1
    for column in COLUMNS:
        left -= column.width + 1
        if left < 0 and len(fitting) >= 2:
            break
        fitting.append(column)
    return fitting


def table(topic: str, rows: Sequence[Seen], *, total: int, since: float, width: int) -> Group:
    """The live table, no wider than `width` characters: the newest detection first."""
    if not rows:
        return Group(Text(f"listening on {topic}; nothing yet. Ctrl-C ends.", "dim"))
    shown = Table(expand=False, pad_edge=False, box=None, padding=(0, 1, 0, 0), header_style="dim")
    fitting = columns_that_fit(width)
    for column in fitting:
        shown.add_column(column.name, justify=column.justify, no_wrap=True, width=column.width)
    for at, d in reversed(rows):
        shown.add_row(*(column.show(at, d) for column in fitting))
    rate = total / max(time.monotonic() - since, 1e-3)
    return Group(shown, Text(f"{total:,} detections, {rate:,.1f}/s. Ctrl-C ends.", "dim"))


def watch(settings: Settings, klass: str | None, *, as_json: bool, from_beginning: bool, count: int | None) -> int:
    """Run the command; returns the exit status."""
    from streams.worker import configure_logging

    configure_logging("warning")  # on standard error
    with suppress(asyncio.CancelledError):
        asyncio.run(_watch(settings, klass, json=as_json, from_beginning=from_beginning, count=count))
    return 0


async def _watch(settings: Settings, klass: str | None, *, json: bool, from_beginning: bool, count: int | None) -> None:
    console = Console()
    topic = await topic_of(settings, klass)
    rows: deque[Seen] = deque(maxlen=max(5, min(40, console.height - 4)))
    since, total = time.monotonic(), 0
    drawn = not json and console.is_terminal
    if not drawn:
        say(f"listening on {topic}; Ctrl-C ends it")
    live = (
        Live(
            get_renderable=lambda: table(topic, tuple(rows), total=total, since=since, width=console.width),
            console=console,
            refresh_per_second=8,
        )
        if drawn
        else nullcontext()
    )
    with live:
        async for at, detection in detections(settings, topic, from_beginning=from_beginning):
            total += 1
            if json:
                sys.stdout.buffer.write(json_line(detection))
                sys.stdout.buffer.flush()
            elif drawn:
                rows.append((at, detection))
            else:
                print(_line(at, detection), flush=True)
            if count is not None and total >= count:
                break


def _line(at: float, d: Detection) -> str:
    """One detection where standard output is not a terminal."""
    fields: tuple[Any, ...] = (
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)),
        one_line(d.object_id, 40),
        one_line(d.shown_class[0], 40),
        f"prior={d.shown_class[1]:.3f}",
        f"topic={one_line(_topic(d), 40)}",
        f"balanced={one_line(d.top_class, 40)}:{d.top_probability:.3f}",
        f"novelty={d.novelty:.3f}",
        one_line(d.detection_id, 120),
    )
    return "\t".join(fields)
