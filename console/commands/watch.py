"""The detections' topic → a live table, or JSON lines. A subscriber without a group: it disturbs nobody and keeps no offsets.

Values in Confluent framing and object containers are both understood.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any

import orjson
from aiokafka import AIOKafkaConsumer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from console.arguments import class_named
from errors import UserError, one_line, say
from schemas.records.detection import Detection, to_row
from streams.bad_records import BadRecords
from streams.kafka.topics import DETECTIONS, admin_client, class_topic

if TYPE_CHECKING:
    from settings.model import Settings

Seen = tuple[float, Detection]
"""Append time [s since 1970], detection."""


async def topic_of(settings: Settings, klass: str | None) -> str:
    """The topic to listen to: of all detections, or of a class by any name that it has.

    Raises
    ------
    UserError
        The broker has no topics of ours, or there is no such class.
    """
    async with admin_client(settings) as admin:
        there = await admin.list_topics()
    if DETECTIONS not in there:
        raise UserError("the broker has no topics of ours: start `protonova run`, or make them with `protonova topics --repair`")
    prefix = class_topic("")
    slugs = [name.removeprefix(prefix) for name in there if name.startswith(prefix)]
    return DETECTIONS if klass is None else class_topic(class_named(klass, slugs))


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
    consumer = AIOKafkaConsumer(
        topic, **settings.client_options(), group_id=None, auto_offset_reset="earliest" if from_beginning else "latest"
    )
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


def json_line(detection: Detection) -> bytes:
    """One line of JSON; the candid is text, for most readers of JSON round such numbers."""
    return orjson.dumps(
        {**to_row(detection), "candid": str(detection.candid)}, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
    )


def table(topic: str, rows: Sequence[Seen], total: int, since: float) -> Group:
    """The live table: the newest detection first."""
    if not rows:
        return Group(Text(f"listening on {topic}; nothing yet. Ctrl-C ends.", "dim"))
    shown = Table(expand=False, pad_edge=False, box=None, header_style="dim")
    for name, justify in (
        ("UTC", "left"),
        ("object", "left"),
        ("class", "left"),
        ("prob.", "right"),
        ("novelty", "right"),
        ("90 % set", "left"),
        ("band", "left"),
        ("flux µJy", "right"),
        ("points", "right"),
    ):
        shown.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for at, d in reversed(rows):
        sure = "bold green" if d.top_probability >= 0.8 else "bold" if d.top_probability >= 0.5 else ""
        shown.add_row(
            time.strftime("%H:%M:%S", time.gmtime(at)),
            Text(one_line(d.object_id, 24)),
            Text(d.top_class, sure),
            f"{d.top_probability:.2f}",
            f"{d.novelty:.2f}",
            Text(", ".join(d.conformal_set[:3]) + (" …" if len(d.conformal_set) > 3 else "")),
            d.band,
            "–" if d.flux is None or d.flux != d.flux else f"{d.flux:.1f}",
            str(d.n_detections),
        )
    rate = total / max(time.monotonic() - since, 1e-3)
    return Group(shown, Text(f"{total:,} detections, {rate:,.1f}/s. Ctrl-C ends.", "dim"))


def watch(settings: Settings, klass: str | None, *, as_json: bool, from_beginning: bool, count: int | None) -> int:
    """Run the command; returns the exit status."""
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
        Live(get_renderable=lambda: table(topic, tuple(rows), total, since), console=console, refresh_per_second=8)
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
    """One detection where standard output is no terminal."""
    fields: tuple[Any, ...] = (
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)),
        one_line(d.object_id, 40),
        d.top_class,
        f"{d.top_probability:.3f}",
        f"novelty={d.novelty:.3f}",
        d.detection_id,
    )
    return "\t".join(fields)
