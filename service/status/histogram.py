"""Two histograms over the same bins → an SVG: what was usual as an area, what is now as a line.

Drawn here, so that it is on the page without JavaScript too; colours come from the style sheet.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from service.status.chart import nice_ceiling

WIDTH, HEIGHT = 640, 168
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 10, 22
"""The frame of the plot [px of the view box]."""
TICKS = 6


def histogram_chart(title: str, *, edges: Sequence[float], before: Sequence[float], after: Sequence[float]) -> str:
    """Draw two histograms, cut to the bins that hold something.

    Parameters
    ----------
    title : str
        Part of the text that a screen reader gets.
    edges : sequence of m + 1 float
        Ascending.
    before, after : sequence of m float
        Shares.
    """
    filled = [i for i, pair in enumerate(zip(before, after, strict=True)) if max(pair) > 0]
    if not filled:
        return ""
    first, last = max(0, filled[0] - 1), min(len(before), filled[-1] + 2)
    left, right = edges[first], edges[last]
    top = nice_ceiling(max(*before[first:last], *after[first:last]))
    base, high = HEIGHT - BOTTOM, HEIGHT - TOP - BOTTOM

    def x(value: float) -> str:
        return f"{LEFT + (WIDTH - LEFT - RIGHT) * (value - left) / (right - left):.1f}"

    def steps(shares: Sequence[float]) -> str:
        parts = [f"M{x(left)} {base}"]
        for i in range(first, last):
            y = f"{base - high * min(shares[i], top) / top:.1f}"
            parts.append(f"L{x(edges[i])} {y}L{x(edges[i + 1])} {y}")
        return "".join((*parts, f"L{x(right)} {base}"))

    out = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{escape(title)}: shares of alerts before and after</title>'
    ]
    for i in range(3):
        y = TOP + high * i / 2
        out.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(f'<text class="tick end" x="{LEFT - 6}" y="{y + 3.5:.1f}">{100 * top * (1 - i / 2):.3g}%</text>')
    for i in range(TICKS):
        value = left + (right - left) * i / (TICKS - 1)
        anchor = "start" if i == 0 else "end" if i == TICKS - 1 else "mid"
        minor = " minor" if i in (1, 3) else ""  # a narrow window has no room for them
        out.append(f'<text class="tick {anchor}{minor}" x="{x(value)}" y="{HEIGHT - 6}">{value:.3g}</text>')
    out.append(f'<path class="area" d="{steps(before)}Z"/><path class="line line-after" d="{steps(after)}"/></svg>')
    return "".join(out)
