"""Named features of a light curve, in the definitions of the `light-curve` library, which is the oracle in the tests.

columns of an `AlertBatch` → (n, len(FEATURES)) float32, NaN where a band has too few points

Source: Malanchev et al. 2021, MNRAS 502, 5147 (and the library's documentation). They are computed on the signed difference flux
[µJy], measurements only, for a blue (below 5,600 Å) and a red view of the curve.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from operators.kernels.features import fill_features
from operators.namespace import array_namespace, stable_argsort
from operators.types import AlertBatch, Array

SPLIT = 5600.0
"""Wavelength between the blue and the red view [Å]."""

NAMES: tuple[str, ...] = (
    "points",
    "mean",  # [µJy]
    "weighted_mean",  # [µJy]
    "standard_deviation",  # [µJy]
    "amplitude",  # half of maximum minus minimum [µJy]
    "skew",
    "kurtosis",
    "reduced_chi2",
    "beyond_1_std",
    "cusum",
    "eta",
    "stetson_k",
    "excess_variance",
    "maximum_slope",  # [µJy/d]
    "linear_trend",  # slope of the straight line through the points [µJy/d]
    "time_since_peak",  # of the brightest point before the alert [d]
)
FEATURES: tuple[str, ...] = tuple(f"{view}_{name}" for view in ("blue", "red") for name in NAMES)

TYPICAL: dict[str, tuple[float, float]] = {
    "mean": (4.5, 2.2),
    "weighted_mean": (4.3, 2.2),
    "standard_deviation": (4.0, 2.0),
    "amplitude": (4.2, 2.1),
    "skew": (0.35, 0.9),
    "kurtosis": (0.3, 1.5),
    "reduced_chi2": (3.3, 2.2),
    "beyond_1_std": (0.27, 0.13),
    "cusum": (0.33, 0.09),
    "eta": (0.95, 0.5),
    "stetson_k": (0.75, 0.1),
    "excess_variance": (1.1, 2.3),
    "maximum_slope": (4.0, 2.8),
    "linear_trend": (0.05, 1.8),
    "time_since_peak": (2.7, 2.1),
}
"""Middle and spread of asinh(feature) between simulated alerts of all kinds and brighter catalogued light curves (tests hold them to
it; the head is not sensitive to them). The number of points is not among them: it depends on the survey, not of the source."""
_USED = [i for i, name in enumerate(FEATURES) if name.split("_", 1)[1] in TYPICAL]
_MIDDLE, _SPREAD = ([TYPICAL[FEATURES[i].split("_", 1)[1]][part] for i in _USED] for part in (0, 1))
COMPARABLE = len(_USED)
_COLUMNS, _MIDDLE_F32, _SPREAD_F32 = np.array(_USED), np.asarray(_MIDDLE, np.float32), np.asarray(_SPREAD, np.float32)


def features(batch: AlertBatch) -> Array:
    """Compute every feature of `FEATURES`.

    Returns
    -------
    (n, len(FEATURES)) float32; NaN where the feature is not defined for the points there are.
    """
    xp = array_namespace(batch.flux)
    if xp is np:
        return fill_features(batch, SPLIT, len(NAMES))
    return features_array(batch)


def comparable(values: Array) -> Array:
    """Features as the few-shot head reads them: asinh, in units of `TYPICAL`, within ±3 spreads, 0 where undefined.

    Parameters
    ----------
    values : (n, len(FEATURES))

    Returns
    -------
    (n, COMPARABLE) float32; a typical row has length 1.
    """
    xp = array_namespace(values)
    if xp is np and values.dtype == np.float32:  # the same without making the constants anew
        z = (np.arcsinh(values.take(_COLUMNS, axis=1)) - _MIDDLE_F32) / _SPREAD_F32  # type: ignore[attr-defined]
        return np.where(np.isnan(z), 0.0, z).clip(-3.0, 3.0) / COMPARABLE**0.5
    used = xp.stack([values[:, i] for i in _USED], axis=1)
    middle, spread = (xp.asarray(x, dtype=used.dtype) for x in (_MIDDLE, _SPREAD))
    z = (xp.asinh(used) - middle) / spread
    z = xp.where(xp.isnan(z), 0.0, z)
    return xp.clip(z, -3.0, 3.0) / COMPARABLE**0.5


def features_array(batch: AlertBatch) -> Array:
    """The same for any namespace: the oracle of the kernel."""
    xp = array_namespace(batch.flux)
    measured = batch.valid & xp.isfinite(batch.flux) & (batch.flux_err > 0)
    blue = batch.wavelength < SPLIT
    views = [_view(xp, batch, keep=measured & blue), _view(xp, batch, keep=measured & ~blue)]
    return xp.astype(xp.concat(views, axis=1), xp.float32)


def _view(xp: Any, batch: AlertBatch, *, keep: Array) -> Array:
    """(n, len(NAMES)) float64 of the points that `keep` marks."""
    # Kept points move to the front, in time order, so that neighbours are neighbours.
    order = stable_argsort(xp.astype(~keep, xp.int8))
    keep = xp.take_along_axis(keep, order, axis=1)
    width = max(int(xp.max(xp.sum(xp.astype(keep, xp.int64), axis=1))), 2) if keep.shape[0] else 2
    keep, order = keep[:, :width], order[:, :width]
    time = xp.take_along_axis(batch.time, order, axis=1) - batch.mjd[:, None]
    flux = xp.astype(xp.take_along_axis(batch.flux, order, axis=1), xp.float64)
    err = xp.astype(xp.take_along_axis(batch.flux_err, order, axis=1), xp.float64)
    t, m = xp.where(keep, time, 0.0), xp.where(keep, flux, 0.0)
    w = xp.where(keep, 1 / xp.where(keep, err, 1.0) ** 2, 0.0)

    def total(x: Array) -> Array:
        return xp.sum(xp.where(keep, x, 0.0), axis=1, keepdims=True)

    n = xp.sum(xp.astype(keep, xp.float64), axis=1, keepdims=True)

    def need(least: int, x: Array) -> Array:
        return xp.where(n >= least, x, xp.nan)

    some = xp.clip(n, 1.0, None)
    mean = total(m) / some
    weighted = total(w * m) / _safe(xp, total(w))
    d = m - mean
    variance = total(d**2) / xp.clip(n - 1, 1.0, None)
    deviation = xp.sqrt(variance)
    chi = xp.where(keep, (m - weighted) * xp.sqrt(w), 0.0)
    chi2 = total(chi**2)
    third, fourth = total(d**3), total(d**4)

    largest = xp.max(xp.where(keep, flux, -xp.inf), axis=1, keepdims=True)
    smallest = xp.min(xp.where(keep, flux, xp.inf), axis=1, keepdims=True)
    running = xp.cumulative_sum(xp.where(keep, d, 0.0), axis=1) / _safe(xp, some * deviation)
    span = xp.max(xp.where(keep, running, -xp.inf), axis=1, keepdims=True) - xp.min(xp.where(keep, running, xp.inf), axis=1, keepdims=True)

    pair = keep[:, 1:]
    step, rise = xp.where(pair, m[:, 1:] - m[:, :-1], 0.0), xp.where(pair, t[:, 1:] - t[:, :-1], 1.0)
    eta = xp.sum(step**2, axis=1, keepdims=True) / _safe(xp, (n - 1) * variance)
    slope = xp.max(xp.where(pair & (rise > 0), xp.abs(step) / xp.where(rise > 0, rise, 1.0), 0.0), axis=1, keepdims=True)
    t_mean = total(t) / some
    dt = xp.where(keep, t - t_mean, 0.0)
    trend = total(dt * d) / _safe(xp, total(dt**2))
    brightest = xp.argmax(xp.where(keep, flux, -xp.inf), axis=1, keepdims=True)

    columns = [
        n,
        need(1, mean),
        need(1, weighted),
        need(2, deviation),
        need(1, (largest - smallest) / 2),
        need(3, n * xp.sqrt(xp.clip(n - 1, 0.0, None)) / _safe(xp, n - 2) * third / _safe(xp, total(d**2) ** 1.5)),
        need(4, _kurtosis(xp, n, fourth=fourth, second=total(d**2))),
        need(2, chi2 / _safe(xp, n - 1)),
        need(2, total(xp.astype(xp.abs(d) > deviation, xp.float64)) / some),
        need(2, span),
        need(2, eta),
        need(2, total(xp.abs(chi)) / xp.sqrt(_safe(xp, some * chi2))),
        need(2, (variance - total(xp.where(keep, err, 0.0) ** 2) / some) / _safe(xp, mean**2)),
        need(2, slope),
        need(2, trend),
        need(1, -xp.take_along_axis(t, brightest, axis=1)),
    ]
    return xp.concat(columns, axis=1)


def _kurtosis(xp: Any, n: Array, *, fourth: Array, second: Array) -> Array:
    """Sample excess kurtosis G2, as `light-curve` has it."""
    ratio = fourth / _safe(xp, second**2)
    lead = n * (n + 1) * (n - 1) / _safe(xp, (n - 2) * (n - 3))
    return lead * ratio - 3 * (n - 1) ** 2 / _safe(xp, (n - 2) * (n - 3))


def _safe(xp: Any, x: Array) -> Array:
    """A divisor that is NaN instead of zero, so that an undefined feature is NaN without a warning."""
    return xp.where(x == 0, xp.nan, x)
