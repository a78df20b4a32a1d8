"""Light curves of stars → the same without the star's own slow changes and the instrument's: what transits and flares are looked for in.

time [d], flux, error, quality bits of several targets of any length → relative flux, its error, trend, flags a point

A robust location in a sliding window: Tukey's biweight (Hippke et al. 2019, AJ 158, 143, who compare thirty methods for transits), the
median, or cosines with sigma clipping (Mazeh & Faigler 2010). Points with the mission's quality bits (momentum dumps, scattered light …)
take no part. A gap ends a window. At edges a window is half as long: that is flagged, and nothing is extrapolated. Dips and flares are
found by boxes of several lengths and kept out of the trend, in rounds, until nothing changes; only windows that a change touches are done
anew. The error of the result holds the measurement's and the trend's.

Runs on the host: a target is a loop over its own points, not a row of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from operators.kernels.detrend import SIGMA_OF_MAD, mark_events, sliding, window_touches
from operators.types import F64
from operators.whole_curves import I64, Curve, Curves

Flags: TypeAlias = npt.NDArray[np.uint8]
Bools: TypeAlias = npt.NDArray[np.bool_]

MASKED, HALF_WINDOW, NO_TREND, EVENT, DUPLICATE = (np.uint8(1 << k) for k in range(5))
"""Flags of a point: a quality bit, or not finite · the window reaches beyond an edge or gap · too few points, or a trend that is not
positive · kept out of the trend as part of a dip or flare · a time that stands before."""

QUALITY: Mapping[str, int] = MappingProxyType(
    {
        # attitude tweak, safe mode, coarse point, Earth point, argabrightening, momentum dump, manual exclude, impulsive outlier,
        # scattered light (two bits), planet search exclude, bad calibration, insufficient targets (TESS Science Data Products Description)
        "tess": sum(1 << bit for bit in (0, 1, 2, 3, 4, 5, 7, 9, 11, 12, 13, 14, 15)),
        # as before, zero crossing, argabrightening on a CCD, loss of sensitivity, detector anomaly, no fine point, no data,
        # thrusters (Kepler Archive Manual, sect. 2.3)
        "kepler": sum(1 << bit for bit in (0, 1, 2, 3, 4, 5, 6, 8, 10, 11, 12, 14, 15, 16, 19, 20)),
    }
)
"""Quality bits a mission sets where the flux is not the star's."""
_TOLERANCE = 1e-6
"""[MAD] where the biweight's steps end."""
_MOST_IN_EVENTS = 0.3
"""Share of a target's points: above it they are a variable star, and no events."""
_CLIPPINGS = 10
_LEAST_IN_BOX = 3
_SINGULAR = 1e-8
"""Of the largest singular value: cosines below it are not distinguished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detrending:
    """How light curves are detrended."""

    method: Literal["biweight", "median", "cosine"] = "biweight"
    window: float = 0.75
    """[d] length of the window; of cosines the shortest half period. Three times the longest transit looked for keeps 99 % of its depth."""
    cut: float = 5.0
    """[MAD] where the biweight's weight ends."""
    gap: float | None = None
    """[d] a longer one ends a segment; None: half the window."""
    step: int = 1
    """Points from one evaluation of the trend to the next, between which it is a straight line."""
    bin: float = 0.0
    """[d] to which points are averaged before a window's trend is sought, between whose bins it is a straight line; 0: they are not."""
    least: int = 5
    """Points (with `bin`: bins) that a window must hold."""
    quality: int = QUALITY["tess"]
    """Bits that take a point out."""
    threshold: float = 5.0
    """[σ of box means] of a dip or flare that is kept out of the trend; 0: none are."""
    boxes: tuple[float, ...] = (0.04, 0.1, 0.2)
    """[d] lengths of the boxes that look for them; those above a third of the window are left out."""
    rounds: int = 3
    clip: float = 3.0
    """[σ] of the cosines' sigma clipping."""

    @classmethod
    def quick(cls) -> Detrending:
        """For whole sectors of dense cadences: the trend of ten-minute means; how far it lies apart stands in docs/light-curves.md."""
        return cls(bin=10 / 1440)

    def __post_init__(self) -> None:
        for name, value in (("window", self.window), ("gap", 1.0 if self.gap is None else self.gap)):
            if not 0 < value < np.inf:
                raise ValueError(f"{name} is {value}, not a positive number of days")
        if not 0 <= self.bin <= self.window / 10:
            raise ValueError(f"bin is {self.bin}, not between 0 and a tenth of the window")
        if not (self.cut > 0 and self.step >= 1 and self.least >= 1 and self.clip > 0):
            raise ValueError("cut, step, least and clip are positive numbers")


class Detrended(NamedTuple):
    """What is left of light curves, in the order of their points; each (P,)."""

    flux: F64  # flux / trend - 1; NaN where flags has MASKED, NO_TREND or DUPLICATE
    flux_err: F64  # 1 σ, the trend's error in it; NaN where the error is not known
    trend: F64  # in the unit of the flux; also at masked points between good ones
    flags: Flags

    def of(self, curves: Curves, i: int) -> Detrended:
        """The part of target i."""
        rows = slice(int(curves.offsets[i]), int(curves.offsets[i + 1]))
        return Detrended(self.flux[rows], self.flux_err[rows], self.trend[rows], self.flags[rows])


def detrend(curves: Curves, *, how: Detrending | None = None) -> Detrended:
    """Take the slow changes out of light curves.

    Parameters
    ----------
    curves : Curves
        Targets of any length, an empty one too; what is not finite is masked.
    how : Detrending, optional
        None: the biweight in windows of 0.75 d.
    """
    how = how or Detrending()
    size = len(curves.time)
    out = Detrended(np.full(size, np.nan), np.full(size, np.nan), np.full(size, np.nan), np.zeros(size, np.uint8))
    for i in range(len(curves)):
        _one(curves[i], how, out=out.of(curves, i))
    return out


def _one(curve: Curve, how: Detrending, *, out: Detrended) -> None:
    """Fill the rows of one target."""
    rows: I64 | slice = slice(None)
    if not ((curve.time[1:] > curve.time[:-1]).all() and np.isfinite(curve.time).all()):
        timed = np.flatnonzero(np.isfinite(curve.time))
        rows = timed[np.argsort(curve.time[timed], kind="stable")]
    time, flux, err = curve.time[rows], curve.flux[rows], curve.flux_err[rows]
    good = np.isfinite(flux) & (curve.quality[rows] & how.quality == 0)
    flags = np.where(good, np.uint8(0), MASKED)
    if not isinstance(rows, slice):
        held = np.flatnonzero(good)
        again = held[1:][np.diff(time[held]) == 0] if len(held) else held
        flags[again] |= DUPLICATE
        good[again] = False

    trend, trend_err = np.full(len(time), np.nan), np.full(len(time), np.nan)
    if good.any():
        segments = _Segments(time, good, half=how.window / 2, gap=how.window / 2 if how.gap is None else how.gap)
        flags[segments.half_windows] |= HALF_WINDOW
        solve = _cosines if how.method == "cosine" else _means if how.bin > 1.5 * segments.cadence else _windows
        flags[solve(time, flux, good=good, segments=segments, how=how, trend=trend, error=trend_err)] |= EVENT
    usable = trend > 0  # relative to nothing or less there is no depth
    flags[~usable & (flags & (MASKED | DUPLICATE) == 0)] |= NO_TREND
    shown = flags & (MASKED | NO_TREND | DUPLICATE) == 0
    with np.errstate(all="ignore"):
        relative = np.where(shown, flux / trend - 1, np.nan)
        error = np.where(shown & (err > 0), np.hypot(err, flux / trend * trend_err) / trend, np.nan)
    out.flags[:] = MASKED
    out.flux[rows], out.flux_err[rows], out.trend[rows], out.flags[rows] = relative, error, trend, flags


class _Segments:
    """The runs of good points between gaps."""

    def __init__(self, time: F64, good: Bools, *, half: float, gap: float) -> None:
        t = time[good]
        self.edges = np.concatenate([[0], np.flatnonzero(np.diff(t) > gap) + 1, [len(t)]]).astype(np.int64)
        """(S + 1,) among the good points."""
        first, last = t[self.edges[:-1]], t[self.edges[1:] - 1]
        self.inside = np.stack([np.searchsorted(time, first), np.searchsorted(time, last, side="right")], axis=1).astype(np.int64)
        """(S, 2) where they lie among all points: a trend is known there and nowhere else."""
        self.cadence = cadence = float(np.median(np.diff(t))) if len(t) > 1 else 0.0
        """[d]"""
        which = np.clip(np.searchsorted(first, time, side="right") - 1, 0, None)
        low, high = first[which] + half - cadence, last[which] - half + cadence
        self.half_windows = (time < low) | (time > high)
        """(N,) of all points."""

    def among(self, good: Bools, used: Bools) -> I64:
        """(S + 1,) edges among those of the good points that are used."""
        return np.concatenate([[0], np.cumsum(used[good])])[self.edges].astype(np.int64)


def _windows(time: F64, flux: F64, *, good: Bools, segments: _Segments, how: Detrending, trend: F64, error: F64) -> Bools:
    """Trend by a sliding window and its error, filled; which points were kept out of it as parts of events."""
    n = len(time)
    scatter, count = np.full(n, np.nan), np.zeros(n, np.int64)
    cut = how.cut if how.method == "biweight" else 0.0
    half = how.window / 2

    def slide(used: Bools, needed: Bools) -> None:
        members = segments.among(good, used)
        x, y = time[used], flux[used]
        sliding(x, y, members, time, segments.inside, needed, half, cut, _TOLERANCE, how.least, how.step, trend, scatter, count)

    slide(good, np.ones(n, np.bool_))
    events = np.zeros(n, np.bool_)
    for _ in range(how.rounds if how.threshold > 0 else 0):
        found = _events(time, flux, trend=trend, good=good, segments=segments, how=how)
        changed = found ^ events
        if not changed.any():
            break
        events = found
        needed = np.empty(n, np.bool_)
        window_touches(time, time[changed], half, needed)
        slide(good & ~events, needed)
    variance = np.pi / 2 if cut == 0 else _inefficiency(cut)
    with np.errstate(all="ignore"):
        error[:] = SIGMA_OF_MAD * scatter * np.sqrt(variance / count)
    return events


def _means(time: F64, flux: F64, *, good: Bools, segments: _Segments, how: Detrending, trend: F64, error: F64) -> Bools:
    """As `_windows`, by means of the good points in bins; a segment's ends, half a bin at most, have the trend of its last bins."""
    t, y = time[good], flux[good]
    of = np.repeat(np.arange(len(segments.edges) - 1), np.diff(segments.edges))
    cell = ((t - t[segments.edges[of]]) / how.bin).astype(np.int64)
    new = np.r_[True, (np.diff(cell) != 0) | (np.diff(of) != 0)]
    starts = np.flatnonzero(new)
    count = np.diff(np.r_[starts, len(t)])
    at, mean = np.add.reduceat(t, starts) / count, np.add.reduceat(y, starts) / count
    whole = np.ones(len(at), np.bool_)
    gap = how.window / 2 if how.gap is None else how.gap
    few = _Segments(at, whole, half=how.window / 2, gap=gap)
    coarse, coarse_error = np.full(len(at), np.nan), np.full(len(at), np.nan)
    coarse_events = _windows(at, mean, good=whole, segments=few, how=how, trend=coarse, error=coarse_error)
    for s, (first, end) in enumerate(segments.inside):
        rows = np.flatnonzero((of[starts] == s) & np.isfinite(coarse))
        if len(rows):
            trend[first:end] = np.interp(time[first:end], at[rows], coarse[rows])
            error[first:end] = np.interp(time[first:end], at[rows], coarse_error[rows])
    events = np.zeros(len(time), np.bool_)
    events[good] = coarse_events[np.cumsum(new) - 1]
    return events


def _events(time: F64, flux: F64, *, trend: F64, good: Bools, segments: _Segments, how: Detrending) -> Bools:
    """(N,) points of dips and flares; none where they would be a large part of the curve."""
    out = np.zeros(len(time), np.bool_)
    widths = np.array([width for width in how.boxes if width <= how.window / 3])
    with np.errstate(all="ignore"):
        used = good & (trend > 0)
        left = flux[used] / trend[used] - 1
    if not len(left) or not len(widths):
        return out
    mark = np.empty(len(left), np.bool_)
    allowed = ~segments.half_windows[used]
    marked = mark_events(time[used], left, segments.among(good, used), allowed, widths, _LEAST_IN_BOX, how.threshold, mark)
    if marked <= _MOST_IN_EVENTS * len(left):
        out[used] = mark
    return out


def _cosines(time: F64, flux: F64, *, good: Bools, segments: _Segments, how: Detrending, trend: F64, error: F64) -> Bools:
    """Trend by a constant, a slope and waves of half periods down to the window, fitted with sigma clipping; which points were clipped."""
    clipped = np.zeros(len(time), np.bool_)
    for first, end in segments.inside:
        here = slice(first, end)
        t, y, used = time[here], flux[here], good[here].copy()
        span = t[-1] - t[0]
        waves = int(span / how.window)
        if used.sum() <= max(2 * waves + 2, how.least) or span <= 0:
            continue
        x = np.pi * (t - t[0])[:, None] / span * np.arange(1, waves + 1)
        matrix = np.concatenate([np.ones((len(t), 1)), (t - t[0])[:, None], np.sin(x), np.cos(x)], axis=1)
        matrix /= np.linalg.norm(matrix[used], axis=0)
        before = -1
        for _ in range(_CLIPPINGS):
            u, s, vt = np.linalg.svd(matrix[used], full_matrices=False)
            kept = s > _SINGULAR * s[0]
            turned = matrix @ (vt[kept].T / s[kept])
            fitted = turned @ (u[:, kept].T @ y[used])
            with np.errstate(all="ignore"):
                off = y / fitted - 1
            scale = SIGMA_OF_MAD * float(np.median(np.abs(off[used] - np.median(off[used]))))
            far = np.abs(off) > how.clip * scale if scale > 1e-9 else np.zeros(len(t), np.bool_)
            outside = int((far & good[here]).sum())
            if outside == before or (used & ~far).sum() <= matrix.shape[1]:
                break
            before = outside
            used &= ~far
        trend[here] = fitted
        error[here] = np.linalg.norm(turned, axis=1) * scale * np.abs(fitted)
        clipped[here] = good[here] & ~used
    return clipped


@lru_cache(maxsize=16)
def _inefficiency(cut: float) -> float:
    """Variance of the biweight over that of the mean, for normal points: E ψ² / (E ψ')² (Huber 1981, sect. 4.2)."""
    c = cut / SIGMA_OF_MAD
    x = np.linspace(-c, c, 4001)
    density = np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
    q = (x / c) ** 2
    return float(np.trapezoid((x * (1 - q) ** 2) ** 2 * density, x) / np.trapezoid((1 - q) * (1 - 5 * q) * density, x) ** 2)
