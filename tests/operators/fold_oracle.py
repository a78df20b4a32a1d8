"""The period search as it was written first, in NumPy and plain loops: the oracle of `operators.fold`, slow and obvious.

A grid of a power of two in double precision, phases in floating point, normal equations summed term by term, every trial for itself.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from operators.fold import FASTEST, FOLD, Magnitudes, _host, _reference
from operators.kernels.compiled import compiled
from operators.kernels.fold import extirpolate, harmonic_sum, highest, lomb_scargle
from operators.kernels.folded_view import LEAST_POINTS, LEAST_SPAN
from operators.types import F32, F64, AlertBatch

HARMONICS = 8
_RIDGE = 2e-4
_GRID = 2**18
_FINE = 256
_OVER = 1.8
_SLOWEST = 1000.0
_ALIAS = 0.005
_BINS = 32
_TRIAL_BINS = 16
_PEAKS = 6
_MULTIPLES = (1.0, 0.5, 2.0, 1 / 3, 3.0, 0.25)
_KEEP = 7
_JITTER = 0.015
_LOG_P = np.array([float(name.rpartition(" ")[2]) for name in FOLD if name.startswith("log P near")])


@compiled
def dispersion(t, m, w, frequency, bins, sums):  # type: ignore[no-untyped-def]
    """Weighted variance left within phase bins, over the whole, for each frequency; the bins are as good as they are filled.

    Σ over bins of (Σ w m)² / Σ w, less its expectation from noise (analysis of variance: Schwarzenberg-Czerny 1989).
    """
    n = len(t)
    total = 0.0
    for j in range(n):
        total += w[j] * m[j] * m[j]
    out = np.empty(len(frequency))
    for i in range(len(frequency)):
        for b in range(bins):
            sums[0, b] = 0.0
            sums[1, b] = 0.0
        f = frequency[i]
        for j in range(n):
            x = t[j] * f
            b = int((x - np.floor(x)) * bins)
            if b >= bins:
                b = bins - 1
            sums[0, b] += w[j] * m[j]
            sums[1, b] += w[j]
        between = 0.0
        filled = 0
        for b in range(bins):
            if sums[1, b] > 0:
                between += sums[0, b] * sums[0, b] / sums[1, b]
                filled += 1
        free = max(n - filled, 1)
        out[i] = (total - between) / total * (n - 1) / free
    return out


@compiled
def harmonic_fit(t, m, w, f, coefficients):  # type: ignore[no-untyped-def]
    """Weighted least squares on 1, cos, sin of h 2πft; fills `coefficients` (2 H + 1) and returns Σ w r² / Σ w."""
    size = len(coefficients)
    count = (size - 1) // 2
    matrix = np.zeros((size, size))
    right = np.zeros(size)
    row = np.empty(size)
    weight = 0.0
    square = 0.0
    for j in range(len(t)):
        x = 2 * np.pi * ((t[j] * f) % 1.0)
        c1, s1 = np.cos(x), np.sin(x)
        row[0] = 1.0
        c, s = 1.0, 0.0
        for h in range(count):
            c, s = c * c1 - s * s1, s * c1 + c * s1
            row[2 * h + 1] = c
            row[2 * h + 2] = s
        for a in range(size):
            wa = w[j] * row[a]
            right[a] += wa * m[j]
            for b in range(a + 1):
                matrix[a, b] += wa * row[b]
        weight += w[j]
        square += w[j] * m[j] * m[j]
    for a in range(1, size):
        h = (a - 1) // 2 + 1
        matrix[a, a] += _RIDGE * weight * h * h
    matrix[0, 0] += 1e-9 * weight
    # Cholesky in place, then both substitutions
    for a in range(size):
        for b in range(a + 1):
            v = matrix[a, b]
            for k in range(b):
                v -= matrix[a, k] * matrix[b, k]
            if a == b:
                matrix[a, a] = np.sqrt(max(v, 1e-300))
            else:
                matrix[a, b] = v / matrix[b, b]
    for a in range(size):
        v = right[a]
        for k in range(a):
            v -= matrix[a, k] * row[k]
        row[a] = v / matrix[a, a]
    for a in range(size - 1, -1, -1):
        v = row[a]
        for k in range(a + 1, size):
            v -= matrix[k, a] * coefficients[k]
        coefficients[a] = v / matrix[a, a]
    left = 0.0
    for j in range(len(t)):
        r = m[j] - harmonic_value(coefficients, (t[j] * f) % 1.0)
        left += w[j] * r * r
    return left / weight


@compiled
def harmonic_value(coefficients, phase):  # type: ignore[no-untyped-def]
    x = 2 * np.pi * phase
    c1, s1 = np.cos(x), np.sin(x)
    c, s = 1.0, 0.0
    value = coefficients[0]
    for h in range((len(coefficients) - 1) // 2):
        c, s = c * c1 - s * s1, s * c1 + c * s1
        value += coefficients[2 * h + 1] * c + coefficients[2 * h + 2] * s
    return value


@compiled
def folded(t, m, w, f, coefficients, width, curve):  # type: ignore[no-untyped-def]
    """The curve at evenly spaced phases: a local mean (Gaussian of `width` turns) pulled to the harmonic fit by two points' weight."""
    bins = len(curve)
    prior = 0.0
    for j in range(len(t)):
        prior += w[j]
    prior *= 2.0 / len(t)
    up = np.zeros(bins)
    down = np.zeros(bins)
    reach = int(np.ceil(3 * width * bins))
    for j in range(len(t)):
        x = t[j] * f
        x = (x - np.floor(x)) * bins
        near = int(x)
        for b in range(near - reach, near + reach + 2):
            off = (x - b) / bins / width
            k = w[j] * np.exp(-0.5 * off * off)
            up[b % bins] += k * m[j]
            down[b % bins] += k
    for b in range(bins):
        curve[b] = (up[b] + prior * harmonic_value(coefficients, b / bins)) / (down[b] + prior)


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
    """The Kaiser–Bessel function on a fine grid, and 1 over its transform (Fessler & Sutton 2003): good where a grid has only 1.2
    times the points that its frequencies need, so that it stays small; Lagrange's weights would need four times.
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
