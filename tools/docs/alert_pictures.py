"""An alert's light curve → SVG, its cut-outs → PNG, shares → bars: what a page of its own holds, without any file beside it.

arrays → text (SVG, data URIs)
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from evaluation.wrong_alerts import LightCurve, Near
from operators.types import F32, WAVELENGTH
from service.api.stamp_picture import greys, png

WIDTH, HEIGHT = 560, 250
LEFT, RIGHT, TOP, BOTTOM = 66, 10, 10, 44
"""The frame of the plot [px of the view box]."""
SHAPES = ("circle", "square", "triangle")
"""Of the points by band, so that they are distinguished without colour."""


def band_of(wavelength: float) -> str:
    """Name of the band at a wavelength [Å]."""
    named = ((abs(w - wavelength), band) for survey in WAVELENGTH.values() for band, w in survey.items())
    away, band = min(named)
    return band if away < 1 else f"{wavelength:.0f} Å"


def ticks(low: float, high: float, *, most: int = 5) -> list[float]:
    """Round numbers within a range, `most` at most."""
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low]
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(s * power for s in (1.0, 2.0, 2.5, 5.0, 10.0, 20.0) if span / (s * power) <= most)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 10) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def light_curve(curve: LightCurve, *, title: str) -> str:
    """Flux against days before the alert, with errors; upper limits as arrows."""
    measured, limited = np.isfinite(curve.flux), np.isfinite(curve.limit) & ~np.isfinite(curve.flux)
    error = np.where(np.isfinite(curve.flux_err), curve.flux_err, 0.0)
    heights = [*(curve.flux - error)[measured], *(curve.flux + error)[measured], 0.0]
    low, high = float(min(heights)), float(max(heights))
    if not measured.any() and limited.any():
        high = float(np.median(curve.limit[limited]))
    margin = 0.08 * ((high - low) or 1.0)
    low, high = low - margin, high + margin
    first = float(min(curve.days.min(initial=0.0), -1.0))
    left, right = first * 1.03, -first * 0.03

    def x(day: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (day - left) / (right - left)

    def y(flux: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - (flux - low) / (high - low))

    out = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    for value in ticks(low, high):
        out.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        out.append(f'<text class="axis" x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in ticks(left, right):
        out.append(f'<line class="grid" x1="{x(value):.1f}" x2="{x(value):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        out.append(f'<text class="axis" x="{x(value):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{value:g}</text>')
    out.append(f'<line class="zero" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(0):.1f}" y2="{y(0):.1f}"/>')
    out.append(f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 4}" text-anchor="middle">days from the alert</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    out.append(f'<text class="axis" transform="translate(17 {middle:.0f}) rotate(-90)" text-anchor="middle">difference flux [µJy]</text>')
    for wavelength in np.unique(curve.wavelength):
        band, own = band_of(float(wavelength)), curve.wavelength == wavelength
        known = band if band in ("g", "r", "i") else "x"
        shape = SHAPES[{"g": 0, "r": 1}.get(band, 2)]
        for i in np.flatnonzero(own & limited):
            top = float(np.clip(curve.limit[i], low, high))
            at, tip = x(float(curve.days[i])), y(top)
            out.append(f'<path class="limit band-{known}" d="M{at - 4:.1f} {tip:.1f}h8m-4 0v9m-3 -4l3 4l3 -4"/>')
        for i in np.flatnonzero(own & measured):
            at, level, e = x(float(curve.days[i])), y(float(curve.flux[i])), float(error[i])
            faint = "" if curve.detected[i] else " forced"
            out.append(f'<g class="point band-{known}{faint}">')
            out.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y(float(curve.flux[i]) - e):.1f}" y2="{y(float(curve.flux[i]) + e):.1f}"/>')
            out.append(_point(shape, at, y=level) + "</g>")
    return "".join(out) + "</svg>"


def _point(shape: str, x: float, *, y: float) -> str:
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.4"/>'
    if shape == "square":
        return f'<rect x="{x - 3:.1f}" y="{y - 3:.1f}" width="6" height="6"/>'
    return f'<path d="M{x:.1f} {y - 4:.1f}l4 7h-8z"/>'


def legend(curve: LightCurve) -> str:
    """The bands of a curve, each with its mark."""
    out = []
    for wavelength in np.unique(curve.wavelength):
        band = band_of(float(wavelength))
        known = band if band in ("g", "r", "i") else "x"
        mark = _point(SHAPES[{"g": 0, "r": 1}.get(band, 2)], 6, y=6)
        drawn = f'<svg class="mark" viewBox="0 0 12 12" aria-hidden="true"><g class="point band-{known}">{mark}</g></svg>'
        out.append(f"<span>{drawn} {escape(band)}</span>")
    if (np.isfinite(curve.limit) & ~np.isfinite(curve.flux)).any():
        out.append("<span>⊤ 5 σ limit</span>")
    if ((curve.detected == 0) & np.isfinite(curve.flux)).any():
        out.append("<span>pale: measured, not detected</span>")
    return " ".join(out)


def stamp(image: F32) -> str:
    """A cut-out as a data URI: greys between the 1st and the 99.5th percentile, missing pixels transparent."""
    real = np.isfinite(image)
    if not real.any():
        return ""
    return "data:image/png;base64," + base64.b64encode(png(greys(image))).decode()


def bars(rows: Iterable[tuple[str, float, str]], *, right: Sequence[str] = (), most: float = 1.0) -> str:
    """Names, values and what is written behind them, as bars; those that are right are marked."""
    out = ['<div class="bars">']
    for name, value, text in rows:
        width = 100 * min(max(value / most, 0.0), 1.0)
        mark = ' class="right"' if name in right else ""
        out.append(f'<span{mark}>{escape(name)}</span><span class="bar"><i style="width:{width:.1f}%"></i></span>')
        out.append(f'<span class="value">{escape(text)}</span>')
    return "".join(out) + "</div>"


def distances(near: Sequence[Near], *, right: Sequence[str]) -> str:
    """Nearest things with their distances; the longer the bar, the nearer."""
    return bars(((n.name, 1 - n.distance, f"{n.distance:.2f}") for n in near), right=right)
