"""The figures of the status page, on a terminal.

A page that is served for the same broker is asked; where none is, we listen ourselves for some seconds.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx
import orjson
from rich.console import Console
from rich.table import Table

from console.report import cell, printable_json
from service.status.feed import Feed
from service.status.figures import OUTCOMES, Figures
from service.status.page_text import clock, number, rate, span

if TYPE_CHECKING:
    from settings.model import Settings

LEFT = ("class", "object", "alarm", "of", "reason", "topic", "on topic", "alias", "model", "by", "note")
"""Columns of words."""


def ask(settings: Settings) -> dict[str, Any] | None:
    """What a page on the configured port reports; None: none is there for this broker."""
    if settings.status_port == 0:
        return None
    host = f"[{settings.status_host}]" if ":" in settings.status_host else settings.status_host
    try:
        answer = httpx.get(f"http://{host}:{settings.status_port}/status.json", timeout=2.0, trust_env=False)
        snapshot = answer.json()
    except (httpx.HTTPError, ValueError):
        return None
    return snapshot if isinstance(snapshot, dict) and snapshot.get("broker") == settings.kafka else None


async def listen(settings: Settings, seconds: float) -> dict[str, Any]:
    """What the topics say within some seconds."""
    figures = Figures(time.time, settings.kafka or "")
    task = asyncio.ensure_future(Feed(settings, figures).run())
    await asyncio.sleep(seconds)
    snapshot = figures.snapshot()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return snapshot


def show(settings: Settings, *, as_json: bool, seconds: float) -> int:
    """Run the command; 1 if the broker does not answer, or packets are unaccounted for."""
    snapshot = ask(settings)
    if snapshot is None:
        Console(stderr=True).print(f"no status page serves this broker: listening for {seconds:g} s", style="dim")
        snapshot = asyncio.run(listen(settings, seconds))
    if as_json:
        sys.stdout.buffer.write(printable_json(orjson.dumps(snapshot, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)))
    else:
        render(Console(), snapshot)
    return 1 if snapshot["state"] == "down" or snapshot["balance"]["state"] == "loss" else 0


def render(console: Console, s: dict[str, Any]) -> None:
    """The figures as text. What records say of themselves is a cell or a `Text`: it neither drives the terminal nor is read as markup."""
    heard = cell(f"broker {s['broker']}, listening for {span(s['uptime_s'])}")
    console.print(cell(f"Protonova: {s['state_text']}", "bold red" if s["state"] in ("down", "loss") else "bold"), heard)
    if s["command"]:
        console.print(cell(f"  {s['command']}"))
    for a in s["active_alarms"]:
        way = f" {a['direction']}" if a["direction"] else ""
        console.print(
            cell(f"{a['what']}{way}, since {clock(a['since'])} UTC", "bold red" if a["severity"] == "bad" else "bold yellow"),
            soft_wrap=True,
        )
        if a["command"]:
            console.print(cell(f"  {a['command']}  {a['advice']}"), soft_wrap=True)
    console.print(
        cell(f"model {s['model'] or '–'}, scoring id {s['scoring_id'] or '–'}, {s['engine'] or 'engine not heard yet'}"), soft_wrap=True
    )
    flow = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("", "/s", "in all"):
        flow.add_column(name, justify="left" if not name else "right")
    for kind in OUTCOMES:
        flow.add_row(kind, rate(s["rates"][kind]), number(s["totals"][kind]))
    console.print(flow)
    render_balance(console, s["balance"])
    latency = s["latency_ms"]
    console.print(f"latency p50 {number(latency['p50'])} ms, p90 {number(latency['p90'])} ms, p99 {number(latency['p99'])} ms")
    console.print(f"lag {number(s['lag_total'])} packets, {s['workers_alive']} workers alive")
    for title, columns, rows in (
        (
            "Models",
            ("alias", "model", "since", "by", "note"),
            [(m["alias"], m["model"], f"{span(s['time'] - m['since'])} ago", m["author"], m["note"]) for m in s.get("models", ())],
        ),
        (
            "Mirrors and frames",
            ("", "state", "done", "rejected", "lost", "lag", "why"),
            [
                (p["part"], p["state"], *(number(p[name]) for name in ("done", "rejected", "lost", "lag")), p["why"])
                for p in s.get("parts", ())
            ],
        ),
        (
            "Latest alarms",
            ("UTC", "alarm", "of", "moved"),
            [
                (
                    clock(a["time"]),
                    a.get("diagnosis") or a.get("statistic", ""),
                    a.get("stratum", ""),
                    f"{_moved(a.get('before'))} → {_moved(a.get('after'))}",
                )
                for a in s["alarms"][:10]
            ],
        ),
        (
            "Classes",
            ("class", "on its topic", "below threshold"),
            [
                (k, number(n := s["published"].get(k, 0)), number(v - n))
                for k, v in sorted(s["classes"].items(), key=lambda kv: (-s["published"].get(kv[0], 0), -kv[1], kv[0]))
            ],
        ),
        ("Rejected by reason", ("reason", "packets"), [(k, number(v)) for k, v in s["rejected"].items()]),
        (
            "Lag by partition",
            ("topic", "partition", "acknowledged", "end", "lag"),
            [(r["topic"], str(r["partition"]), number(r["committed"]), number(r["end"]), number(r["lag"])) for r in s["lag"]],
        ),
        (
            "Last detections",
            ("class", "prior probability", "on topic", "object", "novelty"),
            [
                (d["class"], number(d["prior_probability"], 2), "yes" if d["published"] else "–", d["object_id"], number(d["novelty"], 2))
                for d in s["detections"][:10]
            ],
        ),
    ):
        if rows:
            table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="dim")
            for i, column in enumerate(columns):
                table.add_column(column, justify="left" if i == 0 or column in LEFT else "right")
            for cells in rows:
                table.add_row(*(cell(c, limit=60) for c in cells))
            console.print(table)
    if not s["alarms"]:
        console.print("no alarm lately")


def render_balance(console: Console, b: dict[str, Any]) -> None:
    """What the broker has, against what became of it."""
    style = {"balanced": "green", "unknown": "yellow", "loss": "bold red"}[b["state"]]
    unaccounted = f" + {number(b['unaccounted'])} UNACCOUNTED FOR" if b["unaccounted"] else ""
    console.print(
        cell(
            f"{number(b['in'])} in = {number(b['detections'])} detections + {number(b['rejected'])} rejected + "
            f"{number(b['duplicates'])} duplicates + {number(b['in_hand'])} in hand{unaccounted}:"
        ),
        cell(b["state"], style),
        cell(f"({b['why']})" if b["why"] else ""),
        soft_wrap=True,
    )


def _moved(value: object) -> str:
    return number(float(value), 3) if isinstance(value, int | float) else "–"
