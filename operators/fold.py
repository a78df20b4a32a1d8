"""Light curve of a star → its folded view: period, shape against phase, amplitude. What tokens cannot show of a periodic signal.

columns of an `AlertBatch`, (n, T) → (n, V) float32; all zeros where there is nothing to fold

Forty tokens of a variable star say little, because the order of its phases is lost between the nights. So long curves are folded: a
Lomb–Scargle periodogram by spreading and FFT (Press & Rybicki 1989, ApJ 338, 277), its peaks and those of its harmonic sum with
their multiples tried by analysis of variance (Schwarzenberg-Czerny 1989) and refined by a fit of eight harmonics. A curve is
folded at the shortest period that explains it and, beside that, at twice it: a close binary's two minima look alike.

Work is done on magnitudes of the total flux, difference + reference. It runs on the host whatever the namespace: few alerts pass the
gate, and a periodogram an alert is not a batch. Everything is causal: the packet's points only. Scales are fixed; nothing is learned here.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from operators.kernels.fold import (
    HARMONICS,
    dispersion,
    extirpolate,
    folded,
    harmonic_fit,
    harmonic_sum,
    harmonic_value,
    highest,
    lomb_scargle,
)
from operators.namespace import array_namespace, to_host
from operators.types import CONTEXT, F32, F64, AlertBatch, Array

LEAST_POINTS = 40
LEAST_SPAN = 33.0
"""[d]. With fewer points, or within a shorter time, a curve is not folded: a packet of one month costs nothing."""
REFERENCE_WITHIN = 1.5
"""[arcsec]: a nearer source of the reference image is the star itself."""
FASTEST = 20.0
"""Highest frequency searched [1/d]; less where the curve is so long that the grid would grow beyond `_GRID`."""
_GRID = 2**18
_FINE = 256
_OVER = 1.8
"""Frequencies a 1/span."""
_SLOWEST = 1000.0
"""Longest period [d]; also at most the span over 1.3."""
_ALIAS = 0.005
"""Half-width [1/d] of what is masked around whole numbers of cycles a day."""
_BINS = 32
_TRIAL_BINS = 16
_PEAKS = 6
_MULTIPLES = (1.0, 0.5, 2.0, 1 / 3, 3.0, 0.25)
_KEEP = 7
_JITTER = 0.015
"""[mag] added to the errors: calibration is never better over years."""

FOLD: tuple[str, ...] = (
    *(f"curve {k}/32" for k in range(_BINS)),
    *(f"curve at 2 P {k}/32" for k in range(_BINS)),
    *(f"log P near {x:g}" for x in (-1.25, -0.9, -0.55, -0.3, -0.05, 0.3, 0.8, 1.4, 2.0, 2.5)),
    "log P",
    "log amplitude",
    "log residual / amplitude",
    "explained",
    "peak power",
    "power at slow frequencies",
    *(f"log a{h} / a1" for h in range(2, 6)),
    *(f"{wave} phase {h}1" for h in range(2, 5) for wave in ("cos", "sin")),
    "odd / even harmonics at 2 P",
    "gain from 2 P",
    "depth at half phase",
    "faint share of phase",
    "skewness",
    "kurtosis",
    *(f"percentile {q}" for q in (2, 10, 25, 75, 90, 98)),
    "log spread",
    "log spread / error",
    "change from night to night",
    "residual change from night to night",
    "reference",
    "scaled by range",
    "folded",
)
"""Names of the channels. The last one is 1 where there is a folded view; elsewhere all are 0."""
_LOG_P = np.array([float(name.rpartition(" ")[2]) for name in FOLD if name.startswith("log P near")])


class Magnitudes(NamedTuple):
    """One star, in one band or brought to one band: what is folded."""

    t: F64  # (N,) [d], from 0
    m: F64  # (N,) [mag], weighted mean 0
    w: F64  # (N,) weights, mean 1
    error: float  # median error [mag]
    scaled: bool  # no total flux is known: m is flux over its own range


def fold(batch: AlertBatch) -> Array:
    """Fold the light curves that are long enough.

    Returns
    -------
    (n, V) float32 array of the batch's namespace; channels as in `FOLD`.
    """
    xp = array_namespace(batch.flux)
    out = np.zeros((len(batch), len(FOLD)), dtype=np.float32)
    for i in np.flatnonzero(_host(gate(batch))):
        star = magnitudes(batch, int(i))
        if star is not None:
            out[i] = view(star)
    return out if xp is np else xp.asarray(out)


def gate(batch: AlertBatch) -> Array:
    """(n,) bool: enough points that show the source, over a long enough time.

    A point shows it if the survey detected it, or, with a reference, if difference + reference does at 5 σ.
    """
    xp = array_namespace(batch.flux)
    if batch.flux.shape[1] < LEAST_POINTS:
        return xp.zeros(len(batch), dtype=xp.bool)
    measured = batch.valid & xp.isfinite(batch.flux) & (batch.flux_err > 0)
    shown = measured & (batch.detected | (batch.flux + _reference(batch)[:, None] > 5 * batch.flux_err))
    time = batch.time
    span = xp.max(xp.where(shown, time, -xp.inf), axis=1) - xp.min(xp.where(shown, time, xp.inf), axis=1)
    return (xp.sum(xp.astype(shown, xp.int32), axis=1) >= LEAST_POINTS) & (span >= LEAST_SPAN)


def _reference(batch: AlertBatch) -> Array:
    """(n,) flux of the star in the reference image [µJy]; NaN where there is none."""
    xp = array_namespace(batch.context)
    flux = batch.context[:, CONTEXT.index("reference_flux")]
    near = batch.context[:, CONTEXT.index("reference_distance")] < REFERENCE_WITHIN
    return xp.where(near & (flux > 0), flux, xp.asarray(xp.nan, dtype=flux.dtype))


def _host(array: Array) -> npt.NDArray[np.generic]:
    return np.asarray(to_host(array))


def magnitudes(batch: AlertBatch, i: int) -> Magnitudes | None:
    """The points of alert i as magnitudes of the total flux; None where too few are left.

    The band with most points; where that has fewer than 80, the others join it, each shifted by its median. Without a reference the flux
    itself is the total if it is positive throughout; else it is flux over its own range, which has a shape but no amplitude.
    """
    time, flux = _host(batch.time[i, :]).astype(np.float64), _host(batch.flux[i, :]).astype(np.float64)
    error, wavelength = _host(batch.flux_err[i, :]).astype(np.float64), _host(batch.wavelength[i, :])
    reference = float(_reference(batch)[i])
    with np.errstate(invalid="ignore"):
        good = _host(batch.valid[i, :]).astype(bool) & np.isfinite(time) & np.isfinite(flux) & (error > 0) & np.isfinite(error)
    good &= (np.abs(np.where(good, flux, 0)) < 1e12) & (np.where(good, error, 0) < 1e12)
    time, flux, error, wavelength = time[good], flux[good], error[good], wavelength[good]
    if len(time) < LEAST_POINTS:
        return None
    bands, counts = np.unique(wavelength, return_counts=True)
    main = bands[int(np.argmax(counts))]
    if counts.max() >= 80:
        bands = bands[counts == counts.max()][:1]
    bands = [b for b in bands if b == main or counts[list(bands).index(b)] >= 8]
    total = flux + reference if np.isfinite(reference) else flux
    scaled = not np.isfinite(reference) and bool(np.percentile(total, 2) <= 0)
    if scaled:
        low, high = np.percentile(flux, [2, 98])
        m = -(flux - np.median(flux)) / max(high - low, 1e-12)
        s = error / max(high - low, 1e-12)
    else:
        floor = np.maximum(total, 0.5 * error)
        m = -2.5 * np.log10(floor)
        s = 1.0857 * error / floor
    pieces = []
    for b in bands:
        own = np.flatnonzero(wavelength == b)
        pieces.append(np.stack([time[own], m[own] - np.median(m[own]), s[own]]))
    t, m, s = np.concatenate(pieces, axis=1)
    keep = np.abs(m) < 10 * np.median(np.abs(m)) + 0.3
    t, m, s = t[keep], m[keep], np.minimum(s[keep], 1.0)
    if len(t) < LEAST_POINTS or np.ptp(t) < LEAST_SPAN or not np.ptp(m) > 1e-6:
        return None
    order = np.argsort(t, kind="stable")
    t, m, s = t[order] - t.min(), m[order], s[order]
    # A point much better than the others does not decide alone: the star's own scatter is part of its error.
    w = 1 / (s**2 + _JITTER**2 + (0.1 * np.std(m)) ** 2)
    w /= w.mean()
    return Magnitudes(t, m - np.average(m, weights=w), w, float(np.median(s)), scaled)


def periodogram(star: Magnitudes) -> tuple[F64, F64]:
    """Lomb–Scargle power on an even grid of frequencies.

    Returns
    -------
    (F,), (F,)
        Frequencies [1/d], from 0 on; power 0 … 1, the share of the variance that a sine explains.
    """
    length = _OVER * max(float(star.t[-1]), LEAST_SPAN)
    size = int(min(_GRID, 2 ** int(np.ceil(np.log2(2.4 * FASTEST * length)))))
    count = int(min(FASTEST * length, size / 2.4))
    table, correction = _spreading(size)
    weight = star.w.sum()
    data, window = np.zeros(size), np.zeros(size)
    extirpolate(star.t, star.w * star.m / weight, length, 1, table, _FINE, data)
    extirpolate(star.t, star.w / weight, length, 2, table, _FINE, window)
    power = np.empty(count)
    variance = float((star.w * star.m**2).sum() / weight)
    lomb_scargle(np.fft.rfft(data), np.fft.rfft(window), correction, variance, count, power)
    return np.arange(count) / length, power


@cache
def _spreading(size: int) -> tuple[F64, F64]:
    """The Kaiser–Bessel function on a fine grid, and 1 over its transform (Fessler & Sutton 2003).

    Good where a grid has only 1.2 times the points that its frequencies need, so that it stays small; Lagrange's weights would need four
    times.
    """
    width, beta = 8, np.pi * 8 * (1 - 1 / 2.4) * 0.98
    x = np.arange(width // 2 * _FINE + 2) / _FINE
    table = np.i0(beta * np.sqrt(np.maximum(1 - (2 * x / width) ** 2, 0)))
    table[2 * x > width] = 0
    root = np.sqrt(beta**2 - (np.pi * width * np.arange(size // 2 + 1) / size) ** 2 + 0j)
    return table, np.real(root / np.sinh(root)) / width


def period(star: Magnitudes) -> tuple[float, float, float]:
    """The frequency that folds the curve best, and the highest power of the search and of the slow end.

    Returns
    -------
    float, float, float
        [1/d]; 0 … 1; 0 … 1.
    """
    frequency, power = periodogram(star)
    step, span = frequency[1], max(float(star.t[-1]), LEAST_SPAN)
    slow = max(1 / _SLOWEST, 1.3 / span)
    first = int(np.ceil(slow / step))
    slowest = float(power[1 : max(first, 2)].max(initial=0.0))
    near = np.abs(frequency - np.round(frequency)) < _ALIAS
    power[near & (frequency > 0.5)] = 0
    power[:first] = 0
    total = np.empty_like(power)
    harmonic_sum(power, 5, total)
    peaks = np.zeros(2 * _PEAKS, dtype=np.int64)
    a = highest(power, first, 4, peaks[:_PEAKS])
    b = highest(total, first, 4, peaks[_PEAKS:])
    found = frequency[np.unique(np.concatenate([peaks[:a], peaks[_PEAKS : _PEAKS + b]]))]
    if not len(found):
        return slow, 0.0, slowest
    centres = np.unique(np.multiply.outer(np.array(_MULTIPLES), found))
    centres = centres[(centres >= slow) & (centres <= frequency[-1])]
    offsets = np.arange(-6, 7) * 0.05 / span
    trials = (centres[:, None] + offsets).ravel()
    left = dispersion(star.t, star.m, star.w, trials, _TRIAL_BINS, np.empty((2, _TRIAL_BINS)))
    grid = left.reshape(len(centres), -1)
    order = np.argsort(grid.min(axis=1), kind="stable")[:_KEEP]
    starts = [trials.reshape(grid.shape)[k, int(grid[k].argmin())] for k in order]
    starts += [float(frequency[k]) for k in peaks[: min(a, 2)]]
    return _refine(star, np.array(starts), span, slow, float(frequency[-1])), float(power.max()), slowest


def _refine(star: Magnitudes, starts: F64, span: float, slow: float, fastest: float) -> float:
    coefficients = np.empty(2 * HARMONICS + 1)
    n = len(star.t)

    def near(f: float, steps: tuple[float, ...]) -> tuple[float, float]:
        tried = [(harmonic_fit(star.t, star.m, star.w, f + x / span, coefficients), f + x / span) for x in steps]
        return min(tried)

    best = sorted(near(f, (-0.06, 0.0, 0.06)) for f in starts)
    variance, f = min(near(f, (-0.03, -0.015, 0.0, 0.015, 0.03)) for _, f in best[:2])
    # The shortest period that explains it: one whose multiple gains no more than its noise would.
    allowed = variance * (1 + 12.0 / n) + 1e-4
    for _ in range(2):
        for factor in (2.0, 3.0):
            if slow <= f * factor <= fastest:
                other, g = near(f * factor, (-0.03, 0.0, 0.03))
                if other <= allowed:
                    f = g
                    break
    return float(np.clip(f, slow, fastest))


def view(star: Magnitudes) -> F32:
    """(V,) channels of one star."""
    f, peak, slowest = period(star)
    total = float((star.w * star.m**2).sum() / star.w.sum())
    once, twice = np.zeros(2 * HARMONICS + 1), np.zeros(2 * HARMONICS + 1)
    left = harmonic_fit(star.t, star.m, star.w, f, once)
    left2 = harmonic_fit(star.t, star.m, star.w, f / 2, twice)
    curve, curve2 = np.empty(_BINS), np.empty(_BINS)
    folded(star.t, star.m, star.w, f, once, 0.018, curve)
    folded(star.t, star.m, star.w, f / 2, twice, 0.014, curve2)
    curve, curve2 = np.roll(curve, -int(curve.argmax())), np.roll(curve2, -int(curve2.argmax()))
    amplitude = float(np.ptp(curve)) + 1e-4
    shape = (curve - curve.mean()) / amplitude * 2
    shape2 = (curve2 - curve2.mean()) / (float(np.ptp(curve2)) + 1e-4) * 2

    size, phase = np.hypot(once[1::2], once[2::2]) + 1e-6, np.arctan2(once[2::2], once[1::2])
    relative = [phase[h - 1] - h * phase[0] for h in range(2, 5)]
    sure = [min(1.0, 6 * size[h - 1] / size[0]) for h in range(2, 5)]
    power2 = np.hypot(twice[1::2], twice[2::2]) ** 2
    q = np.percentile(star.m, [2, 10, 25, 50, 75, 90, 98])
    spread = float(q[-1] - q[0]) + 1e-3
    z = star.m / (star.m.std() + 1e-9)
    residual = star.m - np.array([harmonic_value(once, x) for x in (star.t * f) % 1.0])
    log_p = -np.log10(f)
    half = curve2.mean() if not np.ptp(curve2) else (curve2[_BINS // 2 - 2 : _BINS // 2 + 3].max() - np.median(curve2)) / np.ptp(curve2)
    out = np.concatenate(
        [
            shape,
            shape2,
            2 * np.exp(-0.5 * ((log_p - _LOG_P) / 0.25) ** 2) - 0.5,
            [
                log_p - 0.5,
                0 if star.scaled else 1.5 * (np.log10(amplitude) + 0.4),
                1.5 * (np.log10(np.sqrt(left) / amplitude + 1e-3) + 0.8),
                2 * np.sqrt(left / total) - 1,
                3 * np.sqrt(peak) - 2,
                3 * np.sqrt(slowest) - 1,
            ],
            1.5 * (np.log10(size[1:5] / size[0] + 0.02) + 0.7),
            np.ravel([[s * np.cos(x), s * np.sin(x)] for s, x in zip(sure, relative, strict=True)]),
            [
                np.log10((power2[0::2].sum() + 1e-8) / (power2[1::2].sum() + 1e-8)) + 1,
                5 * (1 - np.sqrt(left2 / left)) if left > 0 else 0.0,
                3 * half,
                4 * float(np.mean(curve > 0.5 * (curve.max() + curve.min()))) - 1.5,
                np.mean(z**3),
                np.log(np.mean(z**4) + 1e-3) - 1,
            ],
            2 * (q[[0, 1, 2, 4, 5, 6]] - q[3]) / spread,
            [
                0 if star.scaled else 1.5 * (np.log10(spread) + 0.4),
                1.5 * (np.log10(spread / star.error) - 1),
                2 * _roughness(star.t, star.m) - 1.5,
                2 * _roughness(star.t, residual) - 1.5,
                0.0 if star.scaled else 1.0,
                1.0 if star.scaled else 0.0,
                1.0,
            ],
        ]
    )
    scaled: F32 = np.clip(np.nan_to_num(out), -3, 3).astype(np.float32)
    return scaled


def _roughness(t: F64, m: F64) -> float:
    """Root of the mean square step between neighbours within three days, over √2 σ: about 1 for noise, near 0 for a slow star."""
    close = np.diff(t) < 3.0
    if close.sum() < 5:
        return 0.75
    return float(np.sqrt(np.mean(np.diff(m)[close] ** 2) / (2 * m.var() + 1e-12)))
