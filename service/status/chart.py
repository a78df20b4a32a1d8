"""Series of numbers → an SVG line chart. Drawn here, so that it is on the page without JavaScript too.

Colours come from the style sheet (classes ``line-<name>``), because the page's content policy allows no inline style.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 640, 168
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 10, 22
"""The frame of the plot [px of the view box]."""


def nice_ceiling(value: float) -> float:
    """The next of 1, 2, 2.5, 5, 10 times a power of ten: an axis that ends at a number people read at a glance."""
    if not value > 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1.0, 2.0, 2.5, 5.0, 10.0) if value <= step * power * (1 + 1e-9))


def axis_label(value: float) -> str:
    """Two or three figures: 0, 0.25, 40, 1.5k."""
    if value >= 10_000:
        return f"{value / 1000:.0f}k"
    if value >= 1000:
        return f"{value / 1000:.3g}k"
    return f"{value:.3g}"


def _paths(values: Sequence[float | None], step: float, *, top: float) -> str:
    """One SVG path; None leaves a gap."""
    parts: list[str] = []
    pen = "M"
    for i, value in enumerate(values):
        if value is None:
            pen = "M"
            continue
        x = LEFT + i * step
        y = TOP + (HEIGHT - TOP - BOTTOM) * (1 - min(value, top) / top)
        parts.append(f"{pen}{x:.1f} {y:.1f}")
        pen = "L"
    return "".join(parts)


def line_chart(title: str, unit: str, *, series: Mapping[str, Sequence[float | None]], seconds: float) -> str:
    """A chart of series over the same span of time, ending now.

    Parameters
    ----------
    title, unit : str
        What is drawn and in which unit; both are part of the text a screen reader gets.
    series : mapping
        Name → values at equal steps, oldest first; None where nothing was measured.
    seconds : float
        Length of the span [s].
    """
    count = max((len(v) for v in series.values()), default=0)
    top = nice_ceiling(max((v for values in series.values() for v in values if v is not None), default=0.0))
    step = (WIDTH - LEFT - RIGHT) / max(count - 1, 1)
    base = HEIGHT - BOTTOM
    out = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
        f"<title>{escape(title)} [{escape(unit)}], the last {seconds / 60:.0f} minutes</title>"
    ]
    for i in range(5):
        y = TOP + (base - TOP) * i / 4
        out.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        if i % 2 == 0:
            out.append(f'<text class="tick end" x="{LEFT - 6}" y="{y + 3.5:.1f}">{axis_label(top * (1 - i / 4))}</text>')
    for i in range(6):
        x = LEFT + (WIDTH - LEFT - RIGHT) * i / 5
        minutes = seconds / 60 * (1 - i / 5)
        anchor = "start" if i == 0 else "end" if i == 5 else "mid"
        minor = " minor" if i in (1, 3) else ""  # a narrow window has no room for them
        out.append(f'<text class="tick {anchor}{minor}" x="{x:.1f}" y="{HEIGHT - 6}">{"now" if i == 5 else f"−{minutes:.0f} min"}</text>')
    for name, values in series.items():
        path = _paths(values, step, top=top)
        if path:
            out.append(f'<path class="line line-{escape(name)}" d="{path}"/>')
    out.append("</svg>")
    return "".join(out)
