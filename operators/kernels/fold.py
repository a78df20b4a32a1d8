"""The loops behind `operators.fold`: extirpolation, periodogram, trial periods, harmonic fits, folded curves.

magnitudes of one star, (N,) float64 → sums on a grid, power at frequencies, a period, a curve against phase
"""

from __future__ import annotations

import numpy as np

from operators.kernels.compiled import compiled

HARMONICS = 8
"""Of the fitted curve: enough for the rise of an RRab and the eclipses of a close binary."""
_RIDGE = 2e-4
"""Strength of the prior on harmonic h, times h²: keeps gaps in phase from being filled with waves."""


@compiled
def extirpolate(t, value, span, turns, table, fine, grid):  # type: ignore[no-untyped-def]
    """Spread values over the grid points around `turns` t; the grid is one turn of `span` [d].

    `table` holds the spreading function from 0 to half its width, `fine` values a grid step.
    """
    size = len(grid)
    half = (len(table) - 2) / fine
    for j in range(len(t)):
        x = t[j] / span * size * turns
        first = int(np.ceil(x - half))
        last = int(np.floor(x + half))
        for g in range(first, last + 1):
            at = abs(g - x) * fine
            k = int(at)
            grid[g % size] += value[j] * (table[k] + (at - k) * (table[k + 1] - table[k]))


@compiled
def lomb_scargle(data, window, correction, total, count, power):  # type: ignore[no-untyped-def]
    """Normalised power, 0 … 1, from the transforms of w m at f and of w at 2 f (Lomb 1976, Scargle 1982); power[0] = 0."""
    power[0] = 0.0
    for k in range(1, count):
        # The transform has exp(-i): sines change their sign. `correction` undoes the spreading.
        c, s = data[k].real * correction[k], -data[k].imag * correction[k]
        c2, s2 = window[k].real * correction[k], -window[k].imag * correction[k]
        size = np.sqrt(c2 * c2 + s2 * s2) + 1e-30
        cosine2 = c2 / size
        # cos and sin of ω τ from those of 2 ω τ
        co = np.sqrt(max(0.5 * (1 + cosine2), 0.0))
        si = np.sqrt(max(0.5 * (1 - cosine2), 0.0))
        if s2 < 0:
            si = -si
        yc = c * co + s * si
        ys = s * co - c * si
        cc = 0.5 * (1 + size)
        ss = max(0.5 * (1 - size), 1e-4)
        power[k] = min((yc * yc / cc + ys * ys / ss) / total, 1.0)


@compiled
def harmonic_sum(power, most, out):  # type: ignore[no-untyped-def]
    """Σ_h P(h f) for h = 1 … most, each the highest within the width that f's own step leaves open; harmonics above the end count 0."""
    count = len(power)
    for k in range(count):
        value = power[k]
        for h in range(2, most + 1):
            low, high = h * k - h // 2, h * k + h // 2
            if high >= count:
                break
            best = 0.0
            for i in range(low, high + 1):
                best = max(best, power[i])
            value += best
        out[k] = value


@compiled
def highest(power, first, apart, peaks):  # type: ignore[no-untyped-def]
    """Indices of the highest local maxima from `first` on, more than `apart` from each other; the number found is returned."""
    n = len(peaks)
    height = np.zeros(n)
    found = 0
    for k in range(max(first, 1), len(power) - 1):
        p = power[k]
        if p <= 0 or p < power[k - 1] or p < power[k + 1] or (found == n and p <= height[found - 1]):
            continue
        near = -1
        for i in range(found):
            if abs(peaks[i] - k) <= apart:
                near = i
                break
        if near >= 0:
            if height[near] >= p:
                continue
            for i in range(near, found - 1):
                peaks[i], height[i] = peaks[i + 1], height[i + 1]
            found -= 1
        at = found if found < n else n - 1
        while at > 0 and height[at - 1] < p:
            if at < n:
                peaks[at], height[at] = peaks[at - 1], height[at - 1]
            at -= 1
        peaks[at], height[at] = k, p
        found = min(found + 1, n)
    return found


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
    """The value of a harmonic series at a phase in cycles."""
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
