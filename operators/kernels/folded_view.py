"""One star's points as magnitudes, and its folded curve as the numbers that the encoder sees.

points of an alert (T,) → magnitudes (N,); magnitudes and a frequency → the channels of `operators.fold`, (V,) float64
"""

from __future__ import annotations

from typing import Any

import numpy as np

from operators.kernels.compiled import compiled
from operators.kernels.harmonics import HARMONICS, harmonic_fit, harmonic_value
from operators.kernels.order import different, median, percentile, stable_order

BINS = 32
LOG_PERIODS = np.array([-1.25, -0.9, -0.55, -0.3, -0.05, 0.3, 0.8, 1.4, 2.0, 2.5])
"""Centres of the soft indicator of log10 of the period [d]."""
JITTER = 0.015
"""[mag] added to the errors: calibration is never better over years."""
LEAST_POINTS = 40
LEAST_SPAN = 33.0
"""[d]. With fewer points, or within a shorter time, a curve is not folded: a packet of one month costs nothing."""
ONE_BAND = 80
"""Points of a band that is folded alone; below it the others join."""
OF_A_BAND = 8
"""Points that another band needs to join."""
_PERCENTILES = np.array([2.0, 10.0, 25.0, 50.0, 75.0, 90.0, 98.0])


@compiled
def brought_together(time, flux, flux_err, wavelength, valid, reference):  # type: ignore[no-untyped-def]
    """Times [d], magnitudes, weights, median error of a star, and whether no total flux is known; no times where it is not folded."""
    nothing = np.empty(0)
    zero = np.int64(0)
    points: Any = np.empty((4, len(time)))
    n = zero
    for j in range(len(time)):
        f, e = np.float64(flux[j]), np.float64(flux_err[j])
        if valid[j] and np.isfinite(time[j]) and abs(f) < 1e12 and e > 0 and e < 1e12:
            points[0, n], points[1, n], points[2, n], points[3, n] = time[j], f, e, wavelength[j]
            n += 1
    if n < LEAST_POINTS:
        return nothing, nothing, nothing, 0.0, False
    t, f, e, band = points[0, :n], points[1, :n], points[2, :n], points[3, :n]
    bands, n_bands = different(band, n)
    count = np.zeros(n_bands, np.int64)
    most = 0
    for b in range(n_bands):
        for j in range(n):
            count[b] += band[j] == bands[b]
        if count[b] > count[most]:
            most = b
    has_reference = np.isfinite(reference)
    total, work = np.empty(n), np.empty(n)
    for j in range(n):
        total[j] = f[j] + reference if has_reference else f[j]
        work[j] = total[j]
    low, at = percentile(work, zero, 2.0)
    scaled = not has_reference and low <= 0
    m, s = np.empty(n), np.empty(n)
    if scaled:
        high, at = percentile(work, at, 98.0)
        middle, spread = median(f), max(high - low, 1e-12)
        for j in range(n):
            m[j], s[j] = -(f[j] - middle) / spread, e[j] / spread
    else:
        for j in range(n):
            floor = max(total[j], 0.5 * e[j])
            m[j], s[j] = -2.5 * np.log10(floor), 1.0857 * e[j] / floor
    k = 0
    held: Any = np.empty((3, n))
    for b in range(n_bands):
        if b != most and (count[most] >= ONE_BAND or count[b] < OF_A_BAND):
            continue
        begin = k
        for j in range(n):
            if band[j] == bands[b]:
                held[0, k], held[1, k], held[2, k] = t[j], m[j], s[j]
                k += 1
        middle = median(held[1, begin:k])
        for j in range(begin, k):
            held[1, j] -= middle
    for j in range(k):
        m[j] = abs(held[1, j])
    limit = 10 * median(m[:k]) + 0.3
    kept = zero
    for j in range(k):
        if abs(held[1, j]) < limit:
            held[0, kept], held[1, kept], held[2, kept] = held[0, j], held[1, j], min(held[2, j], 1.0)
            kept += 1
    if kept < LEAST_POINTS:
        return nothing, nothing, nothing, 0.0, False
    order = stable_order(held[0], kept)
    start = held[0, order[0]]
    t, m, s, w = np.empty(kept), np.empty(kept), np.empty(kept), np.empty(kept)
    for j in range(kept):
        t[j], m[j], s[j] = held[0, order[j]] - start, held[1, order[j]], held[2, order[j]]
    low, high = extremes(m)
    if t[-1] < LEAST_SPAN or not high - low > 1e-6:
        return nothing, nothing, nothing, 0.0, False
    # A point much better than the others does not decide alone: the star's own scatter is part of its error.
    scatter = 0.1 * variance(m) ** 0.5
    whole = 0.0
    for j in range(kept):
        w[j] = 1 / (s[j] * s[j] + JITTER**2 + scatter * scatter)
        whole += w[j]
    mean_weight = whole / kept
    whole, weighted = 0.0, 0.0
    for j in range(kept):
        w[j] /= mean_weight
        weighted += m[j] * w[j]
        whole += w[j]
    mean = weighted / whole
    for j in range(kept):
        m[j] -= mean
    return t, m, w, median(s), scaled


@compiled
def mean_of(values):  # type: ignore[no-untyped-def]
    """The sum over the number."""
    total = 0.0
    for value in values:
        total += value
    return total / len(values)


@compiled
def variance(values):  # type: ignore[no-untyped-def]
    """The mean square distance from the mean."""
    mean = mean_of(values)
    squares = 0.0
    for value in values:
        squares += (value - mean) * (value - mean)
    return squares / len(values)


@compiled
def extremes(values):  # type: ignore[no-untyped-def]
    """The smallest and the largest."""
    low, high = values[0], values[0]
    for value in values:
        low, high = min(low, value), max(high, value)
    return low, high


@compiled
def describe(t, m, w, error, scaled, f, peak, slowest, out):  # type: ignore[no-untyped-def]
    """Fill the channels of a star folded at f [1/d]; out (V,)."""
    whole, square = 0.0, 0.0
    for j in range(len(m)):
        square += w[j] * m[j] * m[j]
        whole += w[j]
    total = square / whole
    once, twice = np.zeros(2 * HARMONICS + 1), np.zeros(2 * HARMONICS + 1)
    left = harmonic_fit(t, m, w, f, once)
    left2 = harmonic_fit(t, m, w, f / 2, twice)
    curve, curve2 = np.empty(BINS), np.empty(BINS)
    folded(t, m, w, f, once, 0.018, curve)
    folded(t, m, w, f / 2, twice, 0.014, curve2)
    low, high = extremes(curve)
    low2, high2 = extremes(curve2)
    amplitude, range2 = high - low + 1e-4, high2 - low2
    top, top2 = curve.argmax(), curve2.argmax()
    mean, mean2 = mean_of(curve), mean_of(curve2)
    for b in range(BINS):
        out[b] = (curve[(b + top) % BINS] - mean) / amplitude * 2
        out[BINS + b] = (curve2[(b + top2) % BINS] - mean2) / (range2 + 1e-4) * 2
    at = 2 * BINS
    log_p = -np.log10(f)
    for centre in LOG_PERIODS:
        out[at] = 2 * np.exp(-0.5 * ((log_p - centre) / 0.25) ** 2) - 0.5
        at += 1
    out[at] = log_p - 0.5
    out[at + 1] = 0.0 if scaled else 1.5 * (np.log10(amplitude) + 0.4)
    out[at + 2] = 1.5 * (np.log10(np.sqrt(left) / amplitude + 1e-3) + 0.8)
    out[at + 3] = 2 * np.sqrt(left / total) - 1
    out[at + 4] = 3 * np.sqrt(peak) - 2
    out[at + 5] = 3 * np.sqrt(slowest) - 1
    at += 6
    size, phase = np.empty(HARMONICS), np.empty(HARMONICS)
    for h in range(HARMONICS):
        size[h] = np.hypot(once[2 * h + 1], once[2 * h + 2]) + 1e-6
        phase[h] = np.arctan2(once[2 * h + 2], once[2 * h + 1])
    for h in range(1, 5):
        out[at] = 1.5 * (np.log10(size[h] / size[0] + 0.02) + 0.7)
        at += 1
    for h in range(2, 5):
        sure = min(1.0, 6 * size[h - 1] / size[0])
        relative = phase[h - 1] - h * phase[0]
        out[at], out[at + 1] = sure * np.cos(relative), sure * np.sin(relative)
        at += 2
    odd, even = 0.0, 0.0
    for h in range(HARMONICS):
        power = twice[2 * h + 1] ** 2 + twice[2 * h + 2] ** 2
        if h % 2 == 0:
            odd += power
        else:
            even += power
    other = -np.inf
    for k in range(5):
        other = max(other, curve2[(BINS // 2 - 2 + k + top2) % BINS])
    half = (other - median(curve2)) / range2 if range2 != 0 else mean2
    middle = 0.5 * (high + low)
    above = 0
    for b in range(BINS):
        above += curve[b] > middle
    sigma = variance(m) ** 0.5 + 1e-9
    third, fourth = 0.0, 0.0
    residual, work = np.empty(len(m)), np.empty(len(m))
    for j in range(len(m)):
        work[j] = m[j]
        z = m[j] / sigma
        third += z**3
        fourth += z**4
        residual[j] = m[j] - harmonic_value(once, (t[j] * f) % 1.0)
    out[at] = np.log10((odd + 1e-8) / (even + 1e-8)) + 1
    out[at + 1] = 5 * (1 - np.sqrt(left2 / left)) if left > 0 else 0.0
    out[at + 2] = 3 * half
    out[at + 3] = 4 * (above / BINS) - 1.5
    out[at + 4] = third / len(m)
    out[at + 5] = np.log(fourth / len(m) + 1e-3) - 1
    at += 6
    begin = np.int64(0)
    q = np.empty(len(_PERCENTILES))
    for k in range(len(q)):
        q[k], begin = percentile(work, begin, _PERCENTILES[k])
    spread = q[-1] - q[0] + 1e-3
    for k in range(len(q)):
        if k != len(q) // 2:
            out[at] = 2 * (q[k] - q[len(q) // 2]) / spread
            at += 1
    out[at] = 0.0 if scaled else 1.5 * (np.log10(spread) + 0.4)
    out[at + 1] = 1.5 * (np.log10(spread / error) - 1)
    out[at + 2] = 2 * roughness(t, m) - 1.5
    out[at + 3] = 2 * roughness(t, residual) - 1.5
    out[at + 4] = 0.0 if scaled else 1.0
    out[at + 5] = 1.0 if scaled else 0.0
    out[at + 6] = 1.0


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


@compiled
def roughness(t, m):  # type: ignore[no-untyped-def]
    """Root of the mean square step between neighbours within three days, over √2 σ: about 1 for noise, near 0 for a slow star."""
    close = 0
    squares = 0.0
    for j in range(1, len(t)):
        if t[j] - t[j - 1] < 3.0:
            close += 1
            squares += (m[j] - m[j - 1]) ** 2
    if close < 5:
        return 0.75
    return np.sqrt(squares / close / (2 * variance(m) + 1e-12))
