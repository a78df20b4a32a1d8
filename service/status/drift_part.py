"""Alarms of drift → their part of the page: what it comes from, since when, how far, histograms before and after, alerts that moved.

snapshot → HTML; nothing where no alarm carries histograms
"""

from __future__ import annotations

from html import escape
from typing import Any

from service.status.histogram import histogram_chart
from service.status.page_text import clock, number, span

SHOWN = 4
"""Alarms that are drawn, the latest first."""
NAMED = 3
"""Alerts of each that are named."""


def drift_part(s: dict[str, Any]) -> str:
    """Panels of the latest alarms that carry histograms."""
    drawn = [alarm for alarm in s["alarms"] if alarm.get("edges") and alarm.get("before_bins") and alarm.get("after_bins")]
    return "".join(_panel(alarm, s["time"]) for alarm in drawn[:SHOWN])


def _panel(alarm: dict[str, Any], now: float) -> str:
    statistic, stratum = str(alarm["statistic"]).replace("_", " "), str(alarm["stratum"])
    chart = histogram_chart(f"{statistic} of {stratum}", edges=alarm["edges"], before=alarm["before_bins"], after=alarm["after_bins"])
    since = float(alarm["since_ms"]) / 1000
    facts = [
        f"<b>{escape(str(alarm['diagnosis']) or 'drift')}</b>",
        f"{number(alarm['before'], 3)} → {number(alarm['after'], 3)}, {number(alarm['severity'], 1)} spreads of usual windows",
        f"since {clock(since)} UTC, {span(max(0.0, now - since))} ago" if since else "",
        f"with {escape(', '.join(other[1:]).replace('_', ' '))}" if len(other := [str(x) for x in alarm["moved"]]) > 1 else "",
    ]
    named = ", ".join(f"<code>{escape(str(name).rpartition(':')[0] or str(name))}</code>" for name in alarm["examples"][:NAMED])
    alarm_id = escape(str(alarm["alarm_id"]))
    return (
        f'<section class="panel wide"><h2>{escape(statistic)} of {escape(stratum)} <small>alarm <code>{alarm_id}</code>'
        '</small><span class="legend"><i class="swatch fill-before"></i>before<i class="swatch fill-after"></i>after</span></h2>'
        f'{chart}<p class="drift">{"; ".join(filter(None, facts))}.{f" Farthest: {named}." if named else ""}</p></section>'
    )
