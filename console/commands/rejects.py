"""``protonova rejects ls | show | redrive``: the packets on `alerts.rejected`, one decoded, and the way back to their alert topic."""

from __future__ import annotations

import asyncio
import datetime
import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from console.report import cell, printable_json
from errors import UserError, one_line, usage
from schemas.avro.error_classes import ERROR_CLASSES
from schemas.avro.packet_view import bounded_view
from streams.agents import redrive as dead_letters

if TYPE_CHECKING:
    from settings.model import Settings

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def since_ms(text: str | None, now: float) -> int | None:
    """``2h``, ``30m``, ``7d`` or a time (ISO 8601, UTC where it names no zone) → ms since 1970.

    Raises
    ------
    UserError
        It is neither.
    """
    if text is None:
        return None
    span = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if span:
        return int((now - int(span[1]) * _UNITS[span[2]]) * 1000)
    try:
        at = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise usage(f"--since takes 30m, 2h, 7d or a time such as 2026-11-23T04:00:00, not {text!r}") from None
    return round((at if at.tzinfo else at.replace(tzinfo=datetime.UTC)).timestamp() * 1000)


def reasons(given: Sequence[str]) -> tuple[str, ...]:
    """Error classes as they were given.

    Raises
    ------
    UserError
        One is not of the closed list.
    """
    for name in given:
        if name not in ERROR_CLASSES:
            import difflib

            near = difflib.get_close_matches(name, ERROR_CLASSES, 1, 0.5)
            raise usage(
                f"{name!r} is not a reason"
                + (f"; did you mean {near[0]}?" if near else "")
                + f" (known: {', '.join(sorted(ERROR_CLASSES))})"
            )
    return tuple(given)


def ls(settings: Settings, wanted: Sequence[str], *, since: int | None, as_json: bool, limit: int) -> int:
    """List rejected packets: counts by reason, then the newest."""

    async def collect() -> tuple[list[dead_letters.RejectedPacket], set[str]]:
        packets = [p async for p in dead_letters.rejected(settings, since_ms=since, reasons=wanted)]
        return packets, await dead_letters.redriven(settings)

    packets, known = asyncio.run(collect())
    if as_json:
        for packet in packets:
            print(json.dumps(_row(packet, known)))
        return 0
    console = Console()
    if not packets:
        console.print("No rejected packets.")
        return 0
    counts = Counter(p.error_class for p in packets)
    waiting = Counter(p.error_class for p in packets if p.id not in known)
    table = Table(title=f"{len(packets):,} rejected packets", title_justify="left", box=None)
    for column in ("reason", "packets", "not re-driven", "what to do"):
        table.add_column(column, justify="right" if column in ("packets", "not re-driven") else "left")
    for name, number in counts.most_common():
        table.add_row(cell(name, limit=40), f"{number:,}", f"{waiting[name]:,}", ERROR_CLASSES.get(name, "not a reason of this release"))
    console.print(table)
    latest = Table(title=f"The newest {min(limit, len(packets))}", title_justify="left", box=None)
    for column in ("id", "rejected (UTC)", "reason", "from", "bytes", "attempt", "why"):
        latest.add_column(
            column, overflow="ellipsis", no_wrap=column != "why", justify="right" if column in ("bytes", "attempt") else "left"
        )
    for packet in sorted(packets, key=lambda p: p.rejected_ms)[-limit:]:
        mark = " (re-driven)" if packet.id in known else ""
        latest.add_row(
            cell(packet.id), _time(packet.rejected_ms), cell(packet.error_class, limit=40), cell(packet.origin, limit=60),
            f"{packet.size:,}", f"{packet.attempt}{mark}", cell(packet.reason),
        )  # fmt: skip
    console.print(latest)
    return 0


def show(settings: Settings, wanted: str) -> int:
    """Print one rejected packet: where it came from, why it was rejected, and what can be decoded of it."""

    async def find() -> dead_letters.RejectedPacket | None:
        async for packet in dead_letters.rejected(settings):
            if packet.id == wanted:
                return packet
        return None

    packet = asyncio.run(find())
    if packet is None:
        raise UserError(f"no rejected packet has the id {one_line(wanted, 60)}: `protonova rejects ls` lists them by id")
    facts = _row(packet, set()) | {"what_to_do": ERROR_CLASSES.get(packet.error_class, ""), "packet": bounded_view(packet.value)}
    del facts["redriven"]
    print(printable_json(json.dumps(facts, indent=2, ensure_ascii=False).encode()).decode())
    return 0


def redrive(settings: Settings, wanted: Sequence[str], *, since: int | None, only: Sequence[str], dry_run: bool, most_attempts: int) -> int:
    """Send rejected packets to their topics again, each once."""
    done = asyncio.run(
        dead_letters.redrive(settings, since_ms=since, reasons=wanted, only=only, dry_run=dry_run, most_attempts=most_attempts)
    )
    parts = [f"{'would send' if dry_run else 'sent'} {done.sent:,} packets to their topics again"]
    parts += [f"{done.before:,} were re-driven before"] if done.before else []
    parts += [f"{done.exhausted:,} were rejected {most_attempts} times or more (--most-attempts)"] if done.exhausted else []
    parts += [f"of {done.incomplete:,} only the beginning was kept"] if done.incomplete else []
    parts += [f"{done.no_topic:,} have no alert topic"] if done.no_topic else []
    print("; ".join(parts))
    return 0


def _row(packet: dead_letters.RejectedPacket, known: set[str]) -> dict[str, object]:
    return {
        "id": packet.id,
        "rejected": _time(packet.rejected_ms),
        "error_class": packet.error_class,
        "reason": packet.reason,
        "survey": packet.survey,
        "from": packet.origin,
        "attempt": packet.attempt,
        "bytes": packet.size,
        "complete": packet.complete,
        "redriven": packet.id in known,
    }


def _time(milliseconds: int) -> str:
    return datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")
