"""Detrended light curves → what dips and flares in them: single events, periodic transits, flares, with the figures that distinguish them.

time [d], relative flux, error of several targets (`operators.detrend`) → `Figures` a target

Single-event statistics are cheap and made of every target: the deepest box by the scatter of boxes of its length, so that red noise
counts (Pont et al. 2006, MNRAS 373, 231). Periodic transits by box least squares (Kovács et al. 2002, A&A 391, 369) on a coarse grid of
frequencies, even in f^(1/3) since durations go with P^(1/3) (Ofir 2014, A&A 561, A138); its peaks are refined, the best box is fitted to
the points. Odd against even transits and the deepest dip elsewhere in phase show eclipsing binaries. Flares are runs above the noise that
rise faster than they fall.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from operators.detrend import HALF_WINDOW, I64, Curves, Detrended
from operators.kernels.detrend import SIGMA_OF_MAD, box_means, significance
from operators.kernels.transits import binned, box_search, folded_box, single_transits
from operators.types import F64

SUN = 0.0758
"""[d]: duration of a central transit of a star of the Sun's density at a period of a day; it goes with P^(1/3) (Winn 2010, eq. 19)."""
_MOST_BINS = 1 << 22
_MOST_LOOKUPS = 1e9
"""Of the coarse search: beyond it short periods are left out, and the figures state from where on it went."""
_FINE = 10
"""Bins a shortest duration, as astropy's."""
_UPWARD = 4.0
"""[σ]: points above it are flares or faults and do not count in the search; dips always do."""
_LEAST_POINTS = 20
_LEAST_IN_BOX = 3
_ELSEWHERE = 1.5
"""Durations around the transit that a secondary eclipse must lie outside of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Searching:
    """How transits are looked for."""

    shortest: float = 0.5
    """[d] period."""
    longest: float | None = None
    """[d]; None: half the span, so that two transits are seen."""
    durations: tuple[float, ...] = (0.045, 0.07, 0.1, 0.15, 0.22, 0.33)
    """[d] of the boxes, ascending."""
    densities: tuple[float, float] = (0.35, 2.2)
    """Durations that are tried at a period, in those of the Sun's density; the shorter ones are grazing or of dwarfs."""
    drift: float = 1.0
    """Of a duration: how far transits may shift over the span from one coarse frequency to the next."""
    coarse: int = 4
    """Bins of phase a shortest duration in the coarse search."""
    peaks: int = 4
    """Periods that are refined."""
    half_windows: bool = False
    """Points whose trend has half a window only, at edges and gaps, count too: there a trend that rises leaves dips."""
    least_single: float = 0.0
    """[σ]: targets whose deepest single event is below it are not searched for periods; 0: all are."""

    def __post_init__(self) -> None:
        if not (self.shortest > 0 and (self.longest is None or self.longest > self.shortest)):
            raise ValueError(f"periods from {self.shortest} to {self.longest} d cannot be searched")
        if not self.durations or self.durations[0] <= 0 or list(self.durations) != sorted(self.durations):
            raise ValueError("durations are positive and ascending")


@dataclass(frozen=True, slots=True)
class SingleEvent:
    """The deepest dip of a light curve."""

    time: float
    """[d] of its middle."""
    duration: float
    """[d] of the box."""
    depth: float
    """Relative flux, positive for a dip."""
    significance: float
    """Depth over the scatter of all boxes of that length."""


@dataclass(frozen=True, slots=True)
class Transit:
    """The periodic box that fits a light curve best."""

    period: float
    """[d]"""
    epoch: float
    """[d] of the middle of the first transit, in the light curve's time."""
    duration: float
    """[d]"""
    depth: float
    """Relative flux."""
    depth_err: float
    """1 σ, of white noise."""
    signal_to_noise: float
    """Depth over its error."""
    red_signal_to_noise: float
    """The same by the scatter of boxes of that length: with red noise."""
    transits: int
    """Transits with points in them."""
    odd_even: float
    """[σ] difference in depth of odd and even transits; NaN where one kind was not seen."""
    secondary_depth: float
    """Of the deepest box elsewhere in phase; 0: nothing dips."""
    secondary_phase: float
    """From the transit, 0 … 1; NaN where nothing dips."""
    secondary_signal_to_noise: float
    density: float
    """Duration in that of a central transit of the Sun's density."""
    searched_from: float
    """[d] shortest period that was searched."""
    asymmetry: float
    """Mean depth of the 1.5 durations behind the middle less that of those before it, over the depth: above 0 for a comet's tail."""
    depth_scatter: float
    """χ² per degree of freedom of single transits' depths about their mean, red noise in their errors; NaN of fewer than two."""
    timing_scatter: float
    """[d] spread of single transits' times about a strict period, of those of 4 σ and more; NaN of fewer than three."""
    near_gap: float
    """Share of transits within half a window of a gap or edge (flag HALF_WINDOW); those whose points did not count are in it."""
    grazing: float
    """Depth in the middle third of the box over that in the outer thirds: about 1 of a planet, 2.5 of a V; NaN where these do not dip."""


@dataclass(frozen=True, slots=True)
class Flare:
    """A run of points above the noise."""

    start: float
    """[d]"""
    peak: float
    """[d]"""
    end: float
    """[d]"""
    amplitude: float
    """Relative flux of the peak."""
    equivalent_duration: float
    """[s] in which the quiet star gives the flare's light."""
    significance: float
    """Of all its points together [σ]."""
    impulsive: bool
    """It rises faster than it falls."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a light curve holds."""

    single: SingleEvent | None
    """None: too few points."""
    transit: Transit | None
    """None: not searched, or nothing dips."""
    flares: tuple[Flare, ...]


class Points:
    """The usable points of one target in order of time, flux as deviations, weights 1 / σ²."""

    def __init__(self, time: F64, left: Detrended, *, half_windows: bool = False) -> None:
        counted = np.isfinite(left.flux) & np.isfinite(time)
        half = left.flags & HALF_WINDOW != 0
        self.half_window_times = np.sort(time[counted & half])
        if not half_windows:
            counted &= ~half
        rows = np.flatnonzero(counted)
        rows = rows[np.argsort(time[rows], kind="stable")]
        self.t = time[rows]
        self.r = left.flux[rows]
        self.noise = SIGMA_OF_MAD * float(np.median(np.abs(self.r - np.median(self.r)))) if len(rows) else 0.0
        err = left.flux_err[rows]
        known = np.isfinite(err) & (err > 0)
        with np.errstate(all="ignore"):
            self.w = np.where(known, 1 / err**2, 1 / self.noise**2 if self.noise > 0 else 0.0)
        self.cadence = float(np.median(np.diff(self.t))) if len(rows) > 1 else 0.0

    @property
    def usable(self) -> bool:
        """Whether there is enough to search in."""
        return len(self.t) >= _LEAST_POINTS and self.noise > 0 and self.cadence > 0

    def edges(self, gap: float) -> I64:
        """(S + 1,) where runs without a gap begin, and the number of points."""
        return np.concatenate([[0], np.flatnonzero(np.diff(self.t) > gap) + 1, [len(self.t)]]).astype(np.int64)


def figures(curves: Curves, left: Detrended, *, how: Searching | None = None) -> list[Figures]:
    """Look for dips and flares in detrended light curves; one result a target, in order."""
    how = how or Searching()
    out = []
    for i in range(len(curves)):
        points = Points(curves[i].time, left.of(curves, i), half_windows=how.half_windows)
        single = single_event(points, how=how) if points.usable else None
        searched = single is not None and single.significance >= how.least_single
        out.append(Figures(single, transit(points, how=how) if searched else None, flares(points) if points.usable else ()))
    return out


def single_event(points: Points, *, how: Searching) -> SingleEvent | None:
    """The deepest dip among boxes of all durations; None where none holds three points."""
    mean, count = np.empty(len(points.t)), np.empty(len(points.t), np.int64)
    best: SingleEvent | None = None
    for width in how.durations:
        box_means(points.t, points.r, points.edges(width), width, max(_LEAST_IN_BOX, int(0.5 * width / points.cadence)), mean, count)
        per = float(significance(mean))
        if per == 0.0:
            continue
        k = int(np.nanargmin(mean))
        if best is None or -mean[k] * per > best.significance:
            best = SingleEvent(float(points.t[k]), width, -float(mean[k]), -float(mean[k]) * per)
    return best


def signal_to_noise(points: Points, periods: F64, *, durations: F64, oversample: int = _FINE) -> F64:
    """Signal-to-noise of the deepest box at each period, as `astropy.timeseries.BoxLeastSquares` has it (``depth_snr``).

    Parameters
    ----------
    points : Points
        One target.
    periods : (F,) array
        [d]
    durations : (D,) array
        [d] all are tried at all periods that are at least twice as long.
    oversample : int
        Bins of phase a shortest duration.
    """
    score, _, _ = _search(points, periods, durations=durations, bins=oversample, densities=(0.0, np.inf))
    return np.sqrt(score)


def _search(points: Points, periods: F64, *, durations: F64, bins: int, densities: tuple[float, float]) -> tuple[F64, F64, F64]:
    """Squared signal-to-noise at periods, and the begin (from the first point) and length of the best box [d]."""
    counted = points.r <= _UPWARD * points.noise
    span = float(points.t[-1] - points.t[0])
    bin_width = float(durations[0]) / bins
    width = max(min(points.cadence, bin_width), span / _MOST_BINS)
    sums, weights = np.empty((2, int(span / width) + 2))
    binned(points.t[counted], points.r[counted], points.w[counted], points.t[0], width, sums, weights)
    least = _LEAST_IN_BOX * float(np.median(points.w))
    score, begin, length = np.zeros((3, len(periods)))
    box_search(
        sums, weights, width, periods, max(bin_width, width), durations, densities[0] * SUN, densities[1] * SUN, least, score, begin, length
    )
    return score, begin, length


def frequencies(span: float, *, how: Searching) -> F64:
    """(F,) frequencies [1/d] of the coarse search, descending period: even in f^(1/3)."""
    longest = how.longest or span / 2
    if longest <= how.shortest:
        return np.empty(0)
    # a shift of drift · d over the span: df = drift · d f / span with d = c f^(-1/3)
    step = how.drift * max(SUN * how.densities[0], 1e-4) / span / 3
    low, high = longest ** (-1 / 3), how.shortest ** (-1 / 3)
    lookups = span / (how.durations[0] / how.coarse)
    count = int(min((high - low) / step, max(_MOST_LOOKUPS / lookups, 1))) + 1
    return (low + step * np.arange(count)) ** 3


def transit(points: Points, *, how: Searching) -> Transit | None:
    """The periodic box that fits best; None where nothing dips, or the span is shorter than two periods."""
    span = float(points.t[-1] - points.t[0])
    grid = frequencies(span, how=how)
    if len(grid) < 2:
        return None
    durations = np.array(how.durations)
    score, _, _ = _search(points, 1 / grid, durations=durations, bins=how.coarse, densities=how.densities)
    best, top = 0.0, 0.0
    for k in _peaks(score, how.peaks):
        step = float(grid[min(k + 1, len(grid) - 1)] - grid[max(k - 1, 0)]) / 2
        near = 1 / (grid[k] + step * np.linspace(-1.5, 1.5, 25))
        fine, _, _ = _search(points, near, durations=durations, bins=_FINE, densities=how.densities)
        if fine.max() > top:
            top, best = float(fine.max()), float(near[fine.argmax()])
    if best <= 0:
        return None
    best = _polished(points, best, step=float(grid[1] - grid[0]) * best ** -(2 / 3) / float(grid[0]) ** (2 / 3) / 8, how=how)
    return _describe(points, best, how=how, searched_from=float(1 / grid[-1]))


def _peaks(score: F64, count: int) -> list[int]:
    """Indices of the highest local maxima, each at least three steps from a higher one."""
    inner = np.flatnonzero((score >= np.r_[0, score[:-1]]) & (score >= np.r_[score[1:], 0]) & (score > 0))
    out: list[int] = []
    for k in inner[np.argsort(-score[inner], kind="stable")]:
        if all(abs(int(k) - other) > 2 for other in out):
            out.append(int(k))
        if len(out) == count:
            break
    return out


def _polished(points: Points, period: float, *, step: float, how: Searching) -> float:
    """The period near another whose box holds the points themselves best; step [1/d]: of the search that found it."""
    t, r, w = points.t - points.t[0], np.minimum(points.r, _UPWARD * points.noise), points.w
    box, best, found = np.zeros(5), 0.0, period
    folded_box(t, r, w, period, np.array(how.durations), _LEAST_IN_BOX, box)
    duration = np.array([box[2]])
    for near in 1 / (1 / period + step * np.linspace(-2, 2, 17)):
        folded_box(t, r, w, near, duration, _LEAST_IN_BOX, box)
        if box[0] > best:
            best, found = float(box[0]), float(near)
    return found


def _describe(points: Points, period: float, *, how: Searching, searched_from: float) -> Transit | None:
    """The box at a period, fitted to the points, and what distinguishes a planet's."""
    counted = points.r <= _UPWARD * points.noise
    t, r, w = points.t[counted] - points.t[0], points.r[counted], points.w[counted]
    box = np.zeros(5)
    tried = np.geomspace(how.durations[0] * 0.7, how.durations[-1] * 1.4, 24)
    folded_box(t, r, w, period, tried, _LEAST_IN_BOX, box)
    if box[0] <= 0:
        return None
    squared, middle, duration, depth, variance = (float(x) for x in box)
    off = (t - middle + period / 2) % period - period / 2
    inside = np.abs(off) <= duration / 2

    elsewhere = np.abs(off) > min(_ELSEWHERE * duration, 0.25 * period)
    second = np.zeros(5)
    folded_box(t, r, np.where(elsewhere, w, 0.0), period, np.array([duration]), _LEAST_IN_BOX, second)

    mean, count = np.empty(len(t)), np.empty(len(t), np.int64)
    quiet = np.where(inside, 0.0, r)  # the transits themselves are not noise
    edges = np.concatenate([[0], np.flatnonzero(np.diff(t) > duration) + 1, [len(t)]]).astype(np.int64)
    box_means(t, quiet, edges, duration, _LEAST_IN_BOX, mean, count)
    per = float(significance(mean))

    outside = float(w[~inside].sum())
    base = float((w * r)[~inside].sum()) / outside if outside > 0 else 0.0
    scale = points.noise**2 * float(np.median(w))
    red = max(1 / per**2 - points.noise**2 * points.cadence / duration, 0.0) if per > 0 else 0.0
    shape = np.full(11, np.nan)
    edge = points.half_window_times - points.t[0]
    single_transits(t, r, w, edge, period, middle, duration, depth, base, scale, red, points.cadence, shape)
    first, seen, even, even_variance, odd, odd_variance, asymmetry, depth_scatter, timing_scatter, near_gap, grazing = (
        float(x) for x in shape
    )
    error = np.sqrt(even_variance + odd_variance + 2 / outside) if outside > 0 else np.nan
    return Transit(
        period=period,
        epoch=float(points.t[0]) + middle + first * period,
        duration=duration,
        depth=depth,
        depth_err=float(np.sqrt(variance)),
        signal_to_noise=float(np.sqrt(squared)),
        red_signal_to_noise=depth * per * float(np.sqrt(seen)),
        transits=int(seen),
        odd_even=float(abs(even - odd) / error),
        secondary_depth=float(second[3]),
        secondary_phase=float((second[1] - middle) / period % 1) if second[0] > 0 else np.nan,
        secondary_signal_to_noise=float(np.sqrt(second[0])),
        density=duration / (SUN * period ** (1 / 3)),
        searched_from=searched_from,
        asymmetry=asymmetry,
        depth_scatter=depth_scatter,
        timing_scatter=timing_scatter,
        near_gap=near_gap,
        grazing=grazing,
    )


def flares(points: Points, *, sigma: float = 3.0, least: int = 3) -> tuple[Flare, ...]:
    """Runs of at least `least` points above `sigma` of the noise (Chang et al. 2015, ApJ 814, 35) and the points above 1 σ that follow."""
    t, r = points.t, points.r
    edges = points.edges(5 * points.cadence)
    broken = np.zeros(len(t), np.bool_)
    broken[edges[1:-1]] = True  # a run does not cross a gap
    high = r > sigma * points.noise
    out = []
    start = 0
    while start < len(t):
        if not high[start]:
            start += 1
            continue
        end = start + 1
        while end < len(t) and high[end] and not broken[end]:
            end += 1
        if end - start >= least:
            while end < len(t) and r[end] > points.noise and not broken[end]:
                end += 1
            peak = start + int(np.argmax(r[start:end]))
            light = float(r[start:end].sum())
            out.append(
                Flare(
                    start=float(t[start]),
                    peak=float(t[peak]),
                    end=float(t[end - 1]),
                    amplitude=float(r[peak]),
                    equivalent_duration=light * points.cadence * 86_400.0,
                    significance=light / points.noise / float(np.sqrt(end - start)),
                    impulsive=bool(t[peak] - t[start] <= t[end - 1] - t[peak]),
                )
            )
        start = end
    return tuple(out)
