"""Numbers and rows as the page shows them: value → text or HTML."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from html import escape


def number(value: float | None, digits: int = 0) -> str:
    """A number as a reader wants it: thin spaces between thousands, a dash for nothing."""
    if value is None or value != value:
        return "–"
    return f"{value:,.{digits}f}".replace(",", "\u2009").replace("-", "−")


def rate(value: float | None) -> str:
    """A rate [1/s]: one decimal below 100."""
    return number(value, 0 if value is not None and abs(value) >= 99.95 else 1)


def span(seconds: float | None) -> str:
    """A length of time: 12 s, 4 min 10 s, 3 h 05 min, 2 d 4 h."""
    if seconds is None:
        return "–"
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def clock(timestamp: float | None) -> str:
    """Time of day [UTC]."""
    return "–" if timestamp is None else time.strftime("%H:%M:%S", time.gmtime(timestamp))


def table(name: str, columns: Sequence[tuple[str, str]], *, rows: Iterable[Sequence[str]], empty: str) -> str:
    """An HTML table; a column's kind is ``text`` or ``num``. Cells are HTML already."""
    body = "".join(
        "<tr>" + "".join(f'<td class="{kind}">{cell}</td>' for (_, kind), cell in zip(columns, row, strict=True)) + "</tr>" for row in rows
    )
    if not body:
        return f'<p class="empty">{escape(empty)}</p>'
    head = "".join(f'<th scope="col" class="{kind}">{escape(title)}</th>' for title, kind in columns)
    label = escape(name)
    # A region that can be focused, so that it scrolls by the arrow keys without a mouse.
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table aria-label="{label}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
