"""Detrended light curves → what dips and flares in them: single events, periodic transits, flares, with the figures that distinguish them.

time [d], relative flux, error of several targets (`operators.detrend`) → `Figures` a target

Single-event statistics are cheap and made of every target: the deepest box by the scatter of boxes of its length, so that red noise
counts (Pont et al. 2006, MNRAS 373, 231). Periodic transits by box least squares (Kovács et al. 2002, A&A 391, 369) on a coarse grid of
frequencies, even in f^(1/3) since durations go with P^(1/3) (Ofir 2014, A&A 561, A138), of points averaged to a sixth of the shortest
duration; its peaks are refined, the best box is fitted to the points. Odd against even transits and the deepest dip elsewhere in phase show
eclipsing binaries. Flares are runs above the noise that rise faster than they fall.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from operators.detrend import HALF_WINDOW, Bools, Detrended
from operators.kernels.detrend import SIGMA_OF_MAD, box_means, significance
from operators.kernels.transits import binned, box_search, single_transits
from operators.transit_figures import Figures, Flare, SingleEvent, Transit
from operators.types import F64
from operators.whole_curves import I64, Curves

SUN = 0.0758
"""[d]: duration of a central transit of a star of the Sun's density at a period of a day; it goes with P^(1/3) (Winn 2010, eq. 19)."""
_MOST_BINS = 1 << 22
_MOST_LOOKUPS = 1e9
"""Of the coarse search: beyond it short periods are left out, and the figures state from where on it went."""
_FINE = 10
"""Bins a shortest duration, as astropy's."""
_FINEST = 20
"""The same where the box is fitted to the points."""
_AVERAGED = 6
"""Bins a shortest duration that points are averaged to before the search."""
_UPWARD = 4.0
"""[σ]: points above it are flares or faults and do not count in the search; dips always do."""
_LEAST_POINTS = 20
_LEAST_IN_BOX = 3
_AROUND = np.linspace(-1.5, 1.5, 25)
"""Periods around a peak that are tried when it is refined, in steps of the coarse grid."""
_BESIDE = np.linspace(-1.0, 1.0, 5)
"""The same where peaks are chosen among, in bins of a `_SIEVED`-th of a shortest duration; then refined by `_AROUND_SIEVED`."""
_SIEVED = 4
_AROUND_SIEVED = np.linspace(-0.375, 0.375, 13)
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
    candidates: int = 0
    """Highest peaks of the coarse search that are looked at in finer bins, to choose those that are refined among; 0: as many as these."""
    peaks: int = 4
    """Periods that are refined."""
    bin: float = 0.0
    """[d] to which points are averaged before dips are looked for; 0: they are not. Flares are looked for among the points themselves."""
    half_windows: bool = False
    """Points whose trend has half a window only, at edges and gaps, count too: there a trend that rises leaves dips."""
    least_single: float = 0.0
    """[σ]: targets whose deepest single event is below it are not searched for periods; 0: all are."""

    @classmethod
    def quick(cls) -> Searching:
        """For whole sectors: half the periods, ten-minute means; its recall stands in docs/light-curves.md."""
        return cls(drift=2.0, coarse=2, candidates=16, peaks=3, bin=10 / 1440)

    def __post_init__(self) -> None:
        if not (self.shortest > 0 and (self.longest is None or self.longest > self.shortest)):
            raise ValueError(f"periods from {self.shortest} to {self.longest} d cannot be searched")
        if not self.durations or self.durations[0] <= 0 or list(self.durations) != sorted(self.durations):
            raise ValueError("durations are positive and ascending")
        if not 0 <= self.bin <= min(self.durations, default=0) / 4:
            raise ValueError(f"bin is {self.bin}, not between 0 and a quarter of the shortest duration")


class Points:
    """The usable points of one target in order of time, flux as deviations, weights 1 / σ²."""

    def __init__(self, time: F64, left: Detrended, *, half_windows: bool = False) -> None:
        counted = np.isfinite(left.flux) & np.isfinite(time)
        half = left.flags & HALF_WINDOW != 0
        self.half_window_times = np.sort(time[counted & half])
        if not half_windows:
            counted &= ~half
        rows = np.flatnonzero(counted)
        self.t = time[rows]
        if not (self.t[1:] >= self.t[:-1]).all():
            rows = rows[np.argsort(self.t, kind="stable")]
            self.t = time[rows]
        self.r = left.flux[rows]
        self.noise = SIGMA_OF_MAD * float(np.median(np.abs(self.r - np.median(self.r)))) if len(rows) else 0.0
        err = left.flux_err[rows]
        known = np.isfinite(err) & (err > 0)
        with np.errstate(all="ignore"):
            self.w = np.where(known, 1 / err**2, 1 / self.noise**2 if self.noise > 0 else 0.0)
        self.cadence = float(np.median(np.diff(self.t))) if len(rows) > 1 else 0.0

    def averaged(self, width: float) -> Points:
        """The same in bins of a width [d], empty ones left out; themselves where the cadence is not finer."""
        if len(self.t) < 2 or width < 1.5 * self.cadence:
            return self
        cell = ((self.t - self.t[0]) / width).astype(np.int64)
        starts = np.flatnonzero(np.r_[True, cell[1:] != cell[:-1]])
        out = object.__new__(Points)
        out.w = np.add.reduceat(self.w, starts)
        with np.errstate(all="ignore"):
            out.r = np.where(out.w > 0, np.add.reduceat(self.w * self.r, starts) / out.w, 0.0)
        out.t = self.t[0] + (cell[starts] + 0.5) * width
        out.noise = SIGMA_OF_MAD * float(np.median(np.abs(out.r - np.median(out.r))))
        out.cadence, out.half_window_times = width, self.half_window_times
        return out

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
        out.append(figures_of(points, how=how) if points.usable else Figures(None, None, ()))
    return out


def figures_of(points: Points, *, how: Searching) -> Figures:
    """Look for dips and flares in the usable points of one target."""
    few = points.averaged(how.bin) if how.bin > 0 else points
    single = single_event(few, how=how)
    searched = single is not None and single.significance >= how.least_single
    return Figures(single, transit(few, how=how) if searched else None, flares(points))


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
    return np.sqrt(_Grid(points, finest=float(durations[0]) / oversample, lead=0.0).search(periods, durations, bins=oversample)[0])


class _Grid:
    """Prefix sums of the points of one target, made once for several searches."""

    def __init__(self, points: Points, *, finest: float, lead: float = 0.5) -> None:
        span = float(points.t[-1] - points.t[0])
        self.width = max(min(points.cadence, finest), span / _MOST_BINS)
        self.start = (
            float(points.t[0]) - lead * self.width
        )  # half: points of an even cadence lie in the middle of bins; astropy's lead is 0
        self.least = _LEAST_IN_BOX * float(np.median(points.w))
        self.packed, self.unit = np.empty(int(span / self.width) + 3, np.int64), np.empty(2)
        binned(points.t, points.r, points.w, _UPWARD * points.noise, self.start, self.width, self.packed, self.unit)

    def search(self, periods: F64, durations: F64, *, bins: int, densities: tuple[float, float] = (0.0, np.inf)) -> tuple[F64, F64, F64]:
        """Squared signal-to-noise at periods, begin (from the grid's) and length of the best box [d]; bins of phase a shortest duration."""
        bin_width = max(float(durations[0]) / bins, self.width)
        low, high = densities[0] * SUN, densities[1] * SUN
        score, begin, length = np.zeros((3, len(periods)))
        box_search(self.packed, self.unit, self.width, periods, bin_width, durations, low, high, self.least, score, begin, length)
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
    coarse = _Grid(points.averaged(how.durations[0] / _AVERAGED), finest=how.durations[0] / _FINE)
    score, _, _ = coarse.search(1 / grid, durations, bins=how.coarse, densities=how.densities)
    found = np.array(_peaks(score, max(how.candidates, how.peaks)), np.int64)
    if not len(found):
        return None
    centre = grid[found]
    step = (grid[np.minimum(found + 1, len(grid) - 1)] - grid[np.maximum(found - 1, 0)]) / 2
    around = _AROUND
    if how.candidates > how.peaks:  # coarse bins distort heights: which peaks are the highest, finer ones say
        near = centre[:, None] + step[:, None] * _BESIDE
        score, _, _ = coarse.search(1 / near.ravel(), durations, bins=_SIEVED, densities=how.densities)
        score = score.reshape(near.shape)
        highest = np.argsort(-score.max(axis=1), kind="stable")[: how.peaks]
        centre, step = near[highest, score[highest].argmax(axis=1)], step[highest]
        around = _AROUND_SIEVED
    near = (1 / (centre[:, None] + step[:, None] * around)).ravel()
    fine, _, length = coarse.search(near, durations, bins=_FINE, densities=how.densities)
    i = int(fine.argmax())
    best, width = float(near[i]), float(length[i])
    if fine[i] <= 0:
        return None
    # the same among the points themselves
    whole = _Grid(points, finest=how.durations[0] / _FINEST)
    step = float(grid[1] - grid[0]) * best ** -(2 / 3) / float(grid[0]) ** (2 / 3) / 8
    near = 1 / (1 / best + step * np.linspace(-2, 2, 17))
    fine, _, _ = whole.search(near, np.array([width]), bins=_FINEST)
    period = float(near[fine.argmax()]) if fine.max() > 0 else best
    tried = np.geomspace(how.durations[0] * 0.7, how.durations[-1] * 1.4, 24)
    fine, begin, length = whole.search(np.array([period]), tried, bins=_FINEST)
    if fine[0] <= 0:
        return None
    middle = whole.start - float(points.t[0]) + float(begin[0]) + float(length[0]) / 2
    return _describe(points, period, middle=middle % period, duration=float(length[0]), searched_from=float(1 / grid[-1]))


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


def _describe(points: Points, period: float, *, middle: float, duration: float, searched_from: float) -> Transit | None:
    """Depth of a box and what distinguishes a planet's; middle [d] from the first point."""
    counted = points.r <= _UPWARD * points.noise
    t, r, w = points.t[counted] - points.t[0], points.r[counted], points.w[counted]
    off = (t - middle + period / 2) % period - period / 2
    inside = np.abs(off) <= duration / 2
    a, outside = float(w[inside].sum()), float(w[~inside].sum())
    if not (a > 0 and outside > 0):
        return None
    base = float((w * r)[~inside].sum()) / outside
    depth, variance = base - float((w * r)[inside].sum()) / a, 1 / a + 1 / outside
    if depth <= 0:
        return None

    elsewhere = object.__new__(Points)
    away = np.abs(off) > min(_ELSEWHERE * duration, 0.25 * period)
    elsewhere.t, elsewhere.r, elsewhere.w = t, r, np.where(away, w, 0.0)
    elsewhere.noise, elsewhere.cadence = points.noise, points.cadence
    other = _Grid(elsewhere, finest=duration / _FINEST)
    score, begin, length = other.search(np.array([period]), np.array([duration]), bins=_FINEST)
    second_middle = other.start + float(begin[0]) + float(length[0]) / 2
    second = away & (np.abs((t - second_middle + period / 2) % period - period / 2) <= duration / 2)
    second_depth = _below(r, w, inside=second, outside=away & ~second) if score[0] > 0 else 0.0

    mean, count = np.empty(len(t)), np.empty(len(t), np.int64)
    quiet = np.where(inside, 0.0, r)  # the transits themselves are not noise
    edges = np.concatenate([[0], np.flatnonzero(np.diff(t) > duration) + 1, [len(t)]]).astype(np.int64)
    box_means(t, quiet, edges, duration, _LEAST_IN_BOX, mean, count)
    per = float(significance(mean))

    scale = points.noise**2 * float(np.median(w))
    red = max(1 / per**2 - points.noise**2 * points.cadence / duration, 0.0) if per > 0 else 0.0
    shape = np.full(11, np.nan)
    edge = points.half_window_times - points.t[0]
    single_transits(t, r, w, edge, period, middle, duration, depth, base, scale, red, points.cadence, shape)
    first, seen, even, even_variance, odd, odd_variance, asymmetry, depth_scatter, timing_scatter, near_gap, grazing = (
        float(x) for x in shape
    )
    error = np.sqrt(even_variance + odd_variance)
    return Transit(
        period=period,
        epoch=float(points.t[0]) + middle + first * period,
        duration=duration,
        depth=depth,
        depth_err=float(np.sqrt(variance)),
        signal_to_noise=depth / float(np.sqrt(variance)),
        red_signal_to_noise=depth * per * float(np.sqrt(seen)),
        transits=int(seen),
        odd_even=float(abs(even - odd) / error),
        secondary_depth=second_depth,
        secondary_phase=(second_middle - middle) / period % 1 if score[0] > 0 else np.nan,
        secondary_signal_to_noise=float(np.sqrt(score[0])),
        density=duration / (SUN * period ** (1 / 3)),
        searched_from=searched_from,
        asymmetry=asymmetry,
        depth_scatter=depth_scatter,
        timing_scatter=timing_scatter,
        near_gap=near_gap,
        grazing=grazing,
    )


def _below(r: F64, w: F64, *, inside: Bools, outside: Bools) -> float:
    """Depth of some points below others; 0 where there are none, or they are higher."""
    a, b = float(w[inside].sum()), float(w[outside].sum())
    return max(float((w * r)[outside].sum()) / b - float((w * r)[inside].sum()) / a, 0.0) if a > 0 and b > 0 else 0.0


def flares(points: Points, *, sigma: float = 3.0, least: int = 3) -> tuple[Flare, ...]:
    """Runs of at least `least` points above `sigma` of the noise (Chang et al. 2015, ApJ 814, 35) and the points above 1 σ that follow."""
    t, r = points.t, points.r
    broken = np.r_[True, np.diff(t) > 5 * points.cadence]  # a run does not cross a gap
    high = r > sigma * points.noise
    starts = np.flatnonzero(high & (broken | ~np.r_[False, high[:-1]]))
    stops = np.flatnonzero(high & np.r_[broken[1:] | ~high[1:], True]) + 1
    quiet = np.r_[np.flatnonzero((r <= points.noise) | broken), len(t)]
    long = stops - starts >= least
    out = []
    done = 0
    for start, stop in zip(starts[long], stops[long], strict=True):
        if start < done:
            continue
        done = end = int(quiet[np.searchsorted(quiet, stop)])
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
    return tuple(out)
