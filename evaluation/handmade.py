"""Light curves → the hand-made features of the baselines: `light-curve`, shape, colours; and the bookkeeping that must not decide.

`Curves` → (n, d) float64, NaN where a feature is not defined. The set, and the way bands are chosen, are those of `prototypes/kshot`.
"""

from __future__ import annotations

import multiprocessing
import warnings
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

from data.tables import SEEN, Curves
from errors import UserError
from operators.types import F64

SPLIT = 5600.0
"""Between a blue and a red band [Å]."""
PERIODIC = 40
"""Points from which a periodogram is made."""
FREQUENCIES = 2**17 + 1
CHUNK = 1000
"""Curves that a process takes at once."""
TOP = 20.0
"""Highest frequency of the periodogram [1/d]."""


class FeaturesError(UserError):
    """The library of the features is not installed. One line."""


def _library() -> Any:
    try:
        import light_curve
    except ImportError:
        raise FeaturesError("the baselines need the package light-curve: pip install 'protonova[astro]', or --baselines none") from None
    return light_curve


def _extractors() -> tuple[Any, Any]:
    lc = _library()
    shapes = lc.Extractor(
        lc.Amplitude(), lc.BeyondNStd(1), lc.Cusum(), lc.Eta(), lc.EtaE(), lc.Kurtosis(), lc.LinearTrend(),
        lc.MagnitudePercentageRatio(0.4, 0.05), lc.MagnitudePercentageRatio(0.2, 0.05), lc.MaximumSlope(), lc.Mean(), lc.Median(),
        lc.MedianAbsoluteDeviation(), lc.PercentAmplitude(), lc.ReducedChi2(), lc.Skew(), lc.StandardDeviation(), lc.StetsonK(),
        lc.WeightedMean(), lc.Duration(),
    )  # fmt: skip
    frequency = 2 * np.pi * np.linspace(0.0, TOP, FREQUENCIES)
    periods = lc.Extractor(
        lc.Periodogram(peaks=3, freqs=frequency, fast=True), lc.InterPercentileRange(0.1), lc.InterPercentileRange(0.25),
        lc.OtsuSplit(), lc.AndersonDarlingNormal(),
    )  # fmt: skip
    return shapes, periods


def hand_made(curves: Curves, many: bool | None = None, *, processes: int = 1) -> F64:
    """(n, d): statistics of a blue and a red band, their shape around the peak, colours, and periods where points suffice.

    Of each group of bands the one with the most detections serves. Limits play no part.

    Parameters
    ----------
    many : bool, optional
        Whether periods are among them; by default where most curves have `PERIODIC` points.
    """
    if many is None:
        many = periodic(curves)
    if processes > 1 and len(curves) > 2 * CHUNK:
        _library()
        parts = [curves.take(np.arange(i, min(i + CHUNK, len(curves)))) for i in range(0, len(curves), CHUNK)]
        with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
            return np.concatenate(list(pool.map(hand_made, parts, [many] * len(parts))))
    shapes, periods = _extractors()
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NaN of an empty band
        for i in range(len(curves)):
            views = [_view(curves, i, blue=blue) for blue in (True, False)]
            row = [_statistics(shapes, v) for v in views] + [_shape(v[0], v[1]) for v in views] + [_colours(*views)]
            if many:
                row.append(_statistics(periods, max(views, key=lambda v: len(v[0]))))
            rows.append(np.concatenate(row))
    return np.array(rows, dtype=np.float64)


def periodic(curves: Curves) -> bool:
    """Whether most curves have points enough for a period."""
    return bool((np.diff(curves.start) >= PERIODIC).mean() > 0.5) if len(curves) else False


def bookkeeping(curves: Curves) -> F64:
    """(n, 5): points, bands, median cadence [d], median relative error, span [d]: what says nothing about the source."""
    rows = []
    for i in range(len(curves)):
        part = slice(curves.start[i], curves.start[i + 1])
        good = np.isfinite(curves.flux[part])
        time, flux, error = curves.time[part][good], curves.flux[part][good], curves.flux_err[part][good]
        steps = np.diff(time)
        steps = steps[steps > 1e-3]
        rows.append(
            [
                len(time),
                len(np.unique(curves.wavelength[part][good])),
                np.median(steps) if len(steps) else np.nan,
                np.median(np.abs(error / np.where(flux == 0, 1e-9, flux))) if len(time) else np.nan,
                np.ptp(time) if len(time) else np.nan,
            ]
        )
    return np.array(rows, dtype=np.float64)


def impute(support: F64, query: F64) -> tuple[F64, F64]:
    """Fill what is missing with the support's medians (0 where it has none)."""
    a, b = np.where(np.isfinite(support), support, np.nan), np.where(np.isfinite(query), query, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        middle = np.nan_to_num(np.nanmedian(a, axis=0))
    return np.clip(np.where(np.isnan(a), middle, a), -1e30, 1e30), np.clip(np.where(np.isnan(b), middle, b), -1e30, 1e30)


def scale(support: F64, query: F64) -> tuple[F64, F64]:
    """asinh, then mean and spread of the support; a feature that does not vary there counts for nothing."""
    a, b = np.arcsinh(support), np.arcsinh(query)
    mean, spread = a.mean(axis=0), a.std(axis=0)
    spread = np.where(spread < 1e-9, np.inf, spread)
    return np.clip((a - mean) / spread, -5, 5), np.clip((b - mean) / spread, -5, 5)


def _view(curves: Curves, i: int, *, blue: bool) -> tuple[F64, F64, F64]:
    part = slice(curves.start[i], curves.start[i + 1])
    wavelength, flux, error = curves.wavelength[part], curves.flux[part], curves.flux_err[part]
    group = np.isfinite(flux) & ((wavelength < SPLIT) == blue)
    best, most = 0.0, 0
    for candidate in np.unique(wavelength[group]):
        number = int((group & (wavelength == candidate) & (flux > SEEN * error)).sum())
        if number > most:
            best, most = float(candidate), number
    use = group & (wavelength == best)
    return curves.time[part][use], flux[use].astype(np.float64), error[use].astype(np.float64)


def _statistics(extractor: Any, view: tuple[F64, F64, F64]) -> F64:
    blank = np.full(len(extractor.names), np.nan)
    time, flux, error = view
    time, first = np.unique(time, return_index=True)
    if len(time) < 2:
        return blank
    try:
        return np.asarray(extractor(time, flux[first], error[first], sorted=True, check=False, fill_value=np.nan), dtype=np.float64)
    except ValueError:  # too few points for one of them
        return blank


def _shape(time: F64, flux: F64) -> F64:
    """Days to the peak, half-rise and half-decline [d], days to a peak whose rise was not seen, flux 15 and 30 d later and first."""
    if len(time) < 3:
        return np.full(7, np.nan)
    k = int(np.argmax(flux))
    peak, at = flux[k], time[k]

    def crossing(step: int) -> float:
        j = k
        while 0 <= j + step < len(time):
            if flux[j + step] < 0.5 * peak:
                share = (flux[j] - 0.5 * peak) / (flux[j] - flux[j + step])
                return float(abs(time[j] + share * (time[j + step] - time[j]) - at))
            j += step
        return float("nan")

    def later(days: float) -> float:
        return float(np.interp(at + days, time, flux) / peak) if at + days <= time[-1] else float("nan")

    rise = crossing(-1)
    return np.array([at - time[0], rise, crossing(1), np.nan if np.isfinite(rise) else at - time[0], later(15), later(30), flux[0] / peak])


def _colours(blue: tuple[F64, F64, F64], red: tuple[F64, F64, F64]) -> F64:
    """log10(blue / red) at the peak, 20 and 40 d after, and the change over 20 d."""
    if not len(blue[0]) or not len(red[0]):
        return np.full(4, np.nan)
    base = red if len(red[0]) >= len(blue[0]) else blue
    peak = base[0][int(np.argmax(base[1]))]

    def at(days: float) -> float:
        b, r = _near(peak + days, blue), _near(peak + days, red)
        return float(np.log10(b / r)) if b > 0 and r > 0 else float("nan")

    values = [at(0), at(20), at(40)]
    return np.array([*values, values[1] - values[0]])


def _near(when: float, view: tuple[F64, F64, F64], *, most: float = 8.0) -> float:
    time, flux = view[0], view[1]
    if when < time[0] or when > time[-1]:
        j = int(np.argmin(np.abs(time - when)))
        return float(flux[j]) if abs(time[j] - when) <= most else float("nan")
    return float(np.interp(when, time, flux))
