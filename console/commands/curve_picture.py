"""A light curve of a star → a picture of three panels: as measured with its trend, detrended with what was found, folded at the period."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from operators.detrend import EVENT, HALF_WINDOW

if TYPE_CHECKING:
    from console.commands.show_curves import Seen
    from operators.transits import Transit
    from operators.types import F64

INK, FAINT, LINE, MARK, HOT = "#222222", "#9aa5b1", "#b23a48", "#1f6fb4", "#d9822b"
BINS = 60
"""Of the folded curve."""
AROUND = 4.0
"""Durations on each side of the transit that are shown."""
MOST_FLARES = 40
"""That are marked."""


def picture(one: Seen) -> bytes:
    """The picture as PNG."""
    with mpl.rc_context({"font.size": 8, "axes.edgecolor": INK, "axes.grid": True, "grid.color": "#e5e5e5", "grid.linewidth": 0.5}):
        figure = Figure(figsize=(10.5, 8.0), layout="constrained")
        raw, flat, folded = figure.subplots(3, 1)
        flat.sharex(raw)
        figure.suptitle(_title(one), fontsize=9.5, x=0.01, ha="left")
        _raw(raw, one)
        _flat(flat, one)
        _folded(folded, one)
        out = io.BytesIO()
        figure.savefig(out, dpi=90, metadata={"Software": None})
    return out.getvalue()


def _title(one: Seen) -> str:
    found, known = one.figures.transit, one.nearest
    head = f"{one.star.name}, {one.star.observed}"
    if one.star.magnitude is not None:
        head += f", {one.star.magnitude:.1f} mag"
    flares = len(one.figures.flares)
    head += f"; {len(one.points.t):,} points of {one.cadence:.1f} min, {one.noise:,.0f} ppm an hour, flares: {flares}"
    if found is None:
        return head + "\nno periodic dip"
    second = (
        f"{found.period:.5f} d, {1e6 * found.depth:,.0f} ppm, {24 * found.duration:.2f} h, {found.transits} transits, S/N "
        f"{found.signal_to_noise:.1f} (red {found.red_signal_to_noise:.1f}), odd–even {found.odd_even:.1f} σ, secondary "
        f"{1e6 * found.secondary_depth:,.0f} ppm ({found.secondary_signal_to_noise:.1f} σ)"
    )
    if known is not None:
        second += f"\nknown: {known.name}, {known.period:.5f} d; found / known {found.period / known.period:.5f}"
    return f"{head}\n{second}"


def _raw(axis: Any, one: Seen) -> None:
    curve, left = one.star.curve, one.left
    good = np.isfinite(left.flux)
    masked = ~good & np.isfinite(curve.flux) & np.isfinite(curve.time)
    if masked.any():
        axis.plot(curve.time[masked], curve.flux[masked], ".", ms=1.5, color=HOT, label="by quality left out", rasterized=True)
    axis.plot(curve.time[good], curve.flux[good], ".", ms=1.5, color=FAINT, rasterized=True)
    order = np.argsort(curve.time)
    time, trend = curve.time[order], left.trend[order]
    gaps = np.flatnonzero(np.diff(time) > 0.2)  # a trend is not known across a gap
    axis.plot(np.insert(time, gaps + 1, np.nan), np.insert(trend, gaps + 1, np.nan), color=LINE, lw=1, label="trend")
    if good.any():
        axis.set_ylim(*_limits(curve.flux[good]))
    axis.set_ylabel("flux [e-/s]")
    _legend(axis)


def _flat(axis: Any, one: Seen) -> None:
    time, left, found = one.star.curve.time, one.left, one.figures.transit
    good = np.isfinite(left.flux)
    half = good & (left.flags & HALF_WINDOW != 0)
    whole = good & ~half
    axis.plot(time[whole], 1e3 * left.flux[whole], ".", ms=1.5, color=FAINT, rasterized=True)
    if half.any():
        axis.plot(time[half], 1e3 * left.flux[half], ".", ms=1.5, color="#d7dbe0", label="half a window, not searched", rasterized=True)
    kept = whole & (left.flags & EVENT != 0)
    if kept.any():
        axis.plot(time[kept], 1e3 * left.flux[kept], ".", ms=2, color=MARK, label="event, not in the trend", rasterized=True)
    low, high = _limits(1e3 * left.flux[good]) if good.any() else (-1.0, 1.0)
    shown = one.figures.flares[:MOST_FLARES]
    if shown:
        high += 0.08 * (high - low)
        axis.plot([f.peak for f in shown], [high - 0.03 * (high - low)] * len(shown), "v", ms=4, color=HOT, label="flare")
    if found is not None:
        low -= 0.08 * (high - low)
        at = _transit_times(found, one.points.t)
        axis.plot(at, [low + 0.03 * (high - low)] * len(at), "^", ms=4, color=LINE, label="transit")
    axis.set_ylim(low, high)
    axis.set_ylabel("flux / trend − 1 [10⁻³]")
    axis.set_xlabel("BJD − 2457000 [d]")
    _legend(axis)


def _transit_times(found: Transit, time: F64) -> F64:
    count = int((time[-1] - found.epoch) / found.period) + 1
    return found.epoch + found.period * np.arange(count, dtype=np.float64)


def _folded(axis: Any, one: Seen) -> None:
    found, points = one.figures.transit, one.points
    if found is None:
        axis.text(0.5, 0.5, "no periodic dip", ha="center", va="center", transform=axis.transAxes)
        axis.set_axis_off()
        return
    reach = min(AROUND * found.duration, found.period / 2)
    off = (points.t - found.epoch + found.period / 2) % found.period - found.period / 2
    near = np.abs(off) <= reach
    hours, flux = 24 * off[near], 1e3 * points.r[near]
    axis.plot(hours, flux, ".", ms=1.5, color=FAINT, rasterized=True)
    edges = np.linspace(-24 * reach, 24 * reach, BINS + 1)
    which = np.clip(np.digitize(hours, edges) - 1, 0, BINS - 1)
    bins = [(float(hours[which == k].mean()), flux[which == k]) for k in range(BINS) if (which == k).sum() > 2]
    middle = np.array([float(np.median(values)) for _, values in bins])
    error = np.array([1.2533 * float(values.std()) / np.sqrt(len(values)) for _, values in bins])
    axis.errorbar([t for t, _ in bins], middle, error, fmt="o", ms=3.5, color=MARK, elinewidth=0.8, label="median of a bin")
    half, depth = 12 * found.duration, -1e3 * found.depth
    axis.plot([-24 * reach, -half, -half, half, half, 24 * reach], [0, 0, depth, depth, 0, 0], color=LINE, lw=1.2, label="best box")
    if len(middle):
        spread = max(float(np.ptp(middle)), -depth, 2e3 * points.noise / np.sqrt(max(len(hours) / BINS, 1)))
        axis.set_ylim(min(float(middle.min()), depth) - 0.6 * spread, float(middle.max()) + 0.6 * spread)
    axis.set_xlim(-24 * reach, 24 * reach)
    axis.set_ylabel("flux / trend − 1 [10⁻³]")
    axis.set_xlabel(f"hours from mid-transit, folded at {found.period:.5f} d")
    _legend(axis)


def _limits(values: F64) -> tuple[float, float]:
    """All but the outermost points, with a margin; a deep transit or a flare stays in the picture."""
    low, high = np.quantile(values, [0.0005, 0.9995])
    margin = 0.08 * max(float(high - low), 1e-9)
    return float(low) - margin, float(high) + margin


def _legend(axis: Any) -> None:
    """Above the panel, where it hides nothing."""
    axis.legend(fontsize=7, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.1, frameon=False, ncols=4, markerscale=1.6)
