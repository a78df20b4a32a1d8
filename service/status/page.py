"""A snapshot of the figures → the page, whole or only its live part. Readable without JavaScript: everything is in the HTML.

`static/live.js` fetches the live part each second and puts it in place; without it the page reloads itself every five seconds.
"""

from __future__ import annotations

from html import escape
from typing import Any

from schemas.records.model_announced import CHAMPION
from service.status.chart import line_chart
from service.status.drift_part import drift_part
from service.status.page_text import clock, number, rate, span, table

SHOWN_ALARMS = 4
"""Below the header; the rest are counted."""
Snapshot = dict[str, Any]
"""What `Figures.snapshot` returns and ``/status.json`` serves."""


def _readout(label: str, value: str, *, unit: str, note: str = "", series: str = "") -> str:
    swatch = f'<i class="swatch fill-{series}"></i>' if series else ""
    return (
        f'<div class="readout"><dt>{swatch}{escape(label)}</dt><dd><b>{value}</b> <span class="unit">{escape(unit)}</span>'
        f'<span class="note">{note}</span></dd></div>'
    )


def _readouts(s: Snapshot) -> str:
    rates, totals, latency = s["rates"], s["totals"], s["latency_ms"]
    parts = [
        _readout("in", rate(rates["in"]), unit="/s", note=f"{number(totals['in'])} in all", series="in"),
        _readout("detections", rate(rates["detections"]), unit="/s", note=f"{number(totals['detections'])} in all", series="detections"),
        _readout("rejected", rate(rates["rejected"]), unit="/s", note=f"{number(totals['rejected'])} in all", series="rejected"),
        _readout("duplicate", rate(rates["duplicates"]), unit="/s", note=f"{number(totals['duplicates'])} in all", series="duplicates"),
        _readout("lag", number(s["lag_total"]), unit="packets", note="not yet acknowledged"),
        _readout("latency p50", number(latency["p50"]), unit="ms", note=f"p90 {number(latency['p90'])} ms", series="p50"),
        _readout(
            "latency p99", number(latency["p99"]), unit="ms", note=f"of {number(latency['n'])} in {span(s['window_s'])}", series="p99"
        ),
    ]
    return f'<dl class="readouts">{"".join(parts)}</dl>'


TONES = {"balanced": "ok", "unknown": "warn", "loss": "bad"}


def _balance(s: Snapshot) -> str:
    """What the broker has against what became of it, in one line."""
    b = s["balance"]
    parts = [
        f"{number(b[key])} {name}"
        for key, name in (("detections", "detections"), ("rejected", "rejected"), ("duplicates", "duplicates"), ("in_hand", "in hand"))
    ]
    if b["unaccounted"]:
        parts.append(f"<strong>{number(b['unaccounted'])} unaccounted for</strong>")
    if b["history_lost"]:
        parts.append(f"<strong>{number(b['history_lost'])} lost by the history's records</strong>")
    why = f" <small>{escape(b['why'])}</small>" if b["why"] and b["state"] != "loss" else ""
    sums = f"{number(b['in'])} in = {' + '.join(parts)}" if b["topics"] else "in = detections + rejected + duplicates + in hand"
    return f'<p class="balance {TONES[b["state"]]}">{sums} <span>{b["state"]}</span>{why}</p>'


def _balance_by_topic(s: Snapshot) -> str:
    rows = [
        (
            escape(r["topic"]),
            f'<span class="verdict {TONES[r["state"]]}">{r["state"]}</span>',
            *(number(r[k]) for k in ("in", "detections", "rejected", "duplicates", "in_hand")),
            f"<b>{number(r['unaccounted'])}</b>" if r["unaccounted"] else "0",
            number(r["marks"] + r["aborted"] + r["gone"]),
            escape(r["why"]) or "–",
        )
        for r in s["balance"]["topics"]
        if r["in"] or r["state"] != "balanced"
    ]
    names = ("in", "detections", "rejected", "duplicates", "in hand", "unaccounted", "no packet")
    columns = [("topic", "text"), ("", "text"), *((name, "num") for name in names), ("why", "text")]
    body = table("Balance by topic", columns, rows=rows, empty="No input topic holds a packet.")
    return (
        '<section class="panel full"><h2>Balance by topic <small>what the broker has, against what the workers committed of it; '
        f"marks of transactions and aborted records hold no packet</small></h2>{body}</section>"
    )


def _active(s: Snapshot) -> str:
    """What asks for a person, below the header; nothing as long as all is well."""
    items = "".join(_alarm(a, s["time"]) for a in s["active_alarms"][:SHOWN_ALARMS])
    more = len(s["active_alarms"]) - SHOWN_ALARMS
    if more > 0:
        items += f"<li><p>and {more} more <code>protonova status</code></p></li>"
    return f'<ul class="alarms" aria-label="Alarms">{items}</ul>' if items else ""


def _alarm(a: dict[str, Any], now: float) -> str:
    way = f" {escape(a['direction'])}" if a["direction"] else ""
    since = f'<span class="since">since {clock(a["since"])} UTC, {span(now - a["since"])} ago.</span>'
    helps = f"<code>{escape(a['command'])}</code> {escape(a['advice'])}" if a["command"] else ""
    return f'<li class="{a["severity"]}"><i class="dot"></i><p><b>{escape(a["what"])}</b>{way} {since} {helps}</p></li>'


def _legend(*names: str) -> str:
    shown = {"duplicates": "duplicate"}
    return '<span class="legend">' + "".join(f'<i class="swatch fill-{n}"></i>{shown.get(n, n)}' for n in names) + "</span>"


def _charts(s: Snapshot) -> str:
    h = s["history"]
    seconds = h["step_s"] * max(len(h["in"]) - 1, 1)
    flow = line_chart("Packets a second", "1/s", series={k: h[k] for k in ("in", "detections", "rejected", "duplicates")}, seconds=seconds)
    late = line_chart(
        "Latency from a packet's append to its output's acknowledgement", "ms", series={k: h[k] for k in ("p50", "p99")}, seconds=seconds
    )
    return (
        f'<section class="panel wide"><h2>Packets a second{_legend("in", "detections", "rejected", "duplicates")}</h2>{flow}</section>'
        f'<section class="panel wide"><h2>Latency, append to acknowledgement [ms]{_legend("p50", "p99")}</h2>{late}</section>'
    )


def _lag(s: Snapshot) -> str:
    rows = [
        (escape(r["topic"]), str(r["partition"]), number(r["committed"]), number(r["end"]), f"<b>{number(r['lag'])}</b>") for r in s["lag"]
    ]
    columns = [("topic", "text"), ("partition", "num"), ("acknowledged", "num"), ("end", "num"), ("lag", "num")]
    quiet = f'<p class="empty">{s["lag_idle"]} more partitions hold nothing.</p>' if s["lag_idle"] else ""
    body = table("Lag", columns, rows=rows, empty="No input topic holds a packet.")
    return f'<section class="panel"><h2>Lag by partition</h2>{body}{quiet}</section>'


def _rejected(s: Snapshot) -> str:
    rows = [(f"<code>{escape(k)}</code>", f"<b>{number(v)}</b>") for k, v in sorted(s["rejected"].items(), key=lambda kv: -kv[1])]
    columns = [("reason", "text"), ("packets", "num")]
    body = table("Rejected by reason", columns, rows=rows, empty="None so far.")
    return f'<section class="panel"><h2>Rejected by reason</h2>{body}</section>'


def _bad(s: Snapshot) -> str:
    """Nothing as long as all is well."""
    if not s["bad_records"]:
        return ""
    rows = [(escape(r["topic"]), f"<code>{escape(r['error_class'])}</code>", f"<b>{number(r['records'])}</b>") for r in s["bad_records"]]
    columns = [("topic", "text"), ("reason", "text"), ("records", "num")]
    return f'<section class="panel"><h2>Bad records</h2>{table("Bad records by topic", columns, rows=rows, empty="None.")}</section>'


def _workers(s: Snapshot) -> str:
    rows = [
        (
            f'<i class="dot {"ok" if w["alive"] else "bad"}"></i>{escape(w["worker"])}',
            span(w["age_s"]) + " ago",
            rate(w["rate"]),
            number(w["total"]),
        )
        for w in s["workers"]
    ]
    columns = [("worker", "text"), ("heard", "text"), ("in /s", "num"), ("in, all", "num")]
    title = f"Workers <small>{s['workers_alive']} alive</small>"
    body = table("Workers", columns, rows=rows, empty="None heard yet: start one with `protonova worker`.")
    return f'<section class="panel"><h2>{title}</h2>{body}</section>'


def _parts(s: Snapshot) -> str:
    """Mirrors and the work on frames; nothing where none is heard."""
    if not s["parts"]:
        return ""
    rows = [
        (
            f'<i class="dot {"ok" if p["state"] == "running" and not p["why"] else "bad"}"></i>{escape(p["part"])}',
            escape(p["state"]),
            *(number(p[name]) for name in ("done", "rejected", "lost", "lag")),
            escape(p["why"]) or "–",
        )
        for p in s["parts"]
    ]
    columns = [("", "text"), ("state", "text"), *((name, "num") for name in ("done", "rejected", "lost", "lag")), ("why", "text")]
    body = table("Mirrors and frames", columns, rows=rows, empty="None heard yet.")
    return f'<section class="panel"><h2>Mirrors and frames</h2>{body}</section>'


def _models(s: Snapshot) -> str:
    """Which model each alias names; nothing where none was announced."""
    if not s["models"]:
        return ""
    rows = [
        (
            f"<b>{escape(m['alias'])}</b>" if m["alias"] == CHAMPION else escape(m["alias"]),
            f"<code>{escape(m['model'])}</code>",
            f"{span(s['time'] - m['since'])} ago",
            escape(m["author"]) or "–",
            escape(m["note"]) or "–",
        )
        for m in s["models"]
    ]
    columns = [("alias", "text"), ("model", "text"), ("since", "num"), ("by", "text"), ("note", "text")]
    return f'<section class="panel"><h2>Models</h2>{table("Models", columns, rows=rows, empty="None.")}</section>'


def _alarms(s: Snapshot) -> str:
    rows = [
        (
            clock(a["time"]),
            escape(str(a.get("diagnosis") or a.get("statistic", "")).replace("_", " ")),
            escape(str(a.get("stratum", ""))),
            f"{number(a.get('before'), 3)} → {number(a.get('after'), 3)}",
        )
        for a in s["alarms"]
    ]
    columns = [("UTC", "text"), ("alarm", "text"), ("of", "text"), ("moved", "num")]
    return f'<section class="panel"><h2>Latest alarms</h2>{table("Latest alarms", columns, rows=rows, empty="None lately.")}</section>'


def _classes(s: Snapshot) -> str:
    most, published = max(s["classes"].values(), default=0), s["published"]
    rows = [
        (escape(k), f"<b>{number(published.get(k, 0))}</b>", number(v - published.get(k, 0)),
         f'<meter min="0" max="{most}" value="{v}">{v}</meter>')
        for k, v in sorted(s["classes"].items(), key=lambda kv: (-published.get(kv[0], 0), -kv[1], kv[0]))
    ]  # fmt: skip
    columns = [("class", "text"), ("on its topic", "num"), ("below", "num"), ("", "bar")]
    body = table("Detections by decided class", columns, rows=rows, empty="No detection yet.")
    return (
        '<section class="panel"><h2>Classes <small>decided under the stream\'s prior; below: the threshold is not reached; '
        f"<i>other</i> is on <code>detections.anomaly</code></small></h2>{body}</section>"
    )


def _detections(s: Snapshot) -> str:
    rows = [
        (
            f"<b>{escape(d['class'])}</b>" if d["published"] else escape(d["class"]),
            number(d["prior_probability"], 2),
            "yes" if d["published"] else "not real" if d["real"] is False else "–",
            escape(d["object_id"]),
            clock(d["time"]),
            number(d["novelty"], 2),
            escape(d["band"]) or "–",
            number(d["flux"], 1),
            number(d["n_detections"]),
            escape(d["survey"]),
            f"{escape(d['balanced_class'])} {number(d['balanced_probability'], 2)}",
            escape(", ".join(d["conformal_set"])) or "–",
        )
        for d in s["detections"]
    ]
    columns = [
        # What matters most comes first: a phone shows the first columns only.
        ("class", "text"),
        ("prior prob.", "num"),
        ("on topic", "text"),
        ("object", "text"),
        ("UTC", "text"),
        ("novelty", "num"),
        ("band", "text"),
        ("flux µJy", "num"),
        ("points", "num"),
        ("survey", "text"),
        ("balanced prob.", "text"),
        ("90 % set", "text"),
    ]
    body = table("Last detections", columns, rows=rows, empty="No detection yet.")
    return f'<section class="panel full"><h2>Last detections</h2>{body}</section>'


def live(s: Snapshot) -> str:
    """The part of the page that changes."""
    identity = "".join(
        f"<div><dt>{escape(k)}</dt><dd>{escape(str(v)) or '–'}</dd></div>"
        for k, v in (
            ("model", s["model"]),
            ("scoring id", s["scoring_id"]),
            ("engine", s["engine"]),
            ("broker", s["broker"]),
            ("listening for", span(s["uptime_s"])),
            ("as of", clock(s["time"] if s["state"] != "down" else s["looked"]) + " UTC"),
        )
    )
    command = f" <code>{escape(s['command'])}</code>" if s["command"] else ""
    return (
        f'<header><h1>Protonova</h1><p class="state {escape(s["state"])}"><span><i class="dot"></i>{escape(s["state_text"])}</span>'
        f'{command}</p><dl class="identity">{identity}</dl></header>'
        f"{_active(s)}{_readouts(s)}{_balance(s)}"
        f'<div class="panels">{_charts(s)}{drift_part(s)}{_balance_by_topic(s)}<div class="column">{_lag(s)}{_rejected(s)}{_bad(s)}</div>'
        f'<div class="column">{_workers(s)}{_models(s)}{_parts(s)}{_alarms(s)}</div>'
        f'<div class="column">{_classes(s)}</div>{_detections(s)}</div>'
    )


def page(s: Snapshot) -> str:
    """The whole page."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Protonova: status</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        '<noscript><meta http-equiv="refresh" content="5"></noscript>'
        '<link rel="icon" href="/static/icon.svg" type="image/svg+xml"><link rel="stylesheet" href="/static/status.css">'
        '<script src="/static/live.js" defer></script></head>'
        f'<body><main id="live">{live(s)}</main><footer><a href="/status.json">status.json</a> <a href="/metrics">metrics</a> '
        '<a href="/readyz">readyz</a> <a href="/subjects">schema registry</a> '
        '<span id="link">reloads every 5 s; live with JavaScript</span>'
        "</footer></body></html>"
    )
