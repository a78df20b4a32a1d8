"""The loops behind `operators.fold`: extirpolation, periodogram, trial periods, the search among them.

magnitudes of one star, (N,) float64 → sums on a grid, power at frequencies, a period
"""

from __future__ import annotations

import numpy as np

from operators.kernels.compiled import compiled
from operators.kernels.harmonics import HARMONICS, harmonic_fit
from operators.kernels.order import different, stable_order

TRIAL_BINS = 16
OFFSETS = 13
"""Trials around each centre, `APART` of the span's own step from each other."""
APART = 0.05
PEAKS = 6
KEEP = 7
"""Centres whose best trial is fitted, and two peaks of the periodogram."""
MULTIPLES = np.array([1.0, 0.5, 2.0, 1 / 3, 3.0, 0.25])
WIDE = np.array([-0.06, 0.0, 0.06])
"""Steps of a fit around a frequency, of the span's own step."""
FINE = np.array([-0.03, -0.015, 0.015, 0.03])
NARROW = np.array([-0.03, 0.0, 0.03])
ALIAS = 0.005
"""Half-width [1/d] of what is masked around whole numbers of cycles a day."""
_WELL_SAMPLED = 0.9998**2
"""Of |Σ w exp 4πift|²: beyond it the points lie at two opposite phases, and a sine through them is bounded."""
_BITS = 52
_WHOLE = np.int64(1 << _BITS)
_SHIFT = np.int64(_BITS - 4)  # sixteen bins


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
        square = c2 * c2 + s2 * s2
        if square < _WELL_SAMPLED:
            # the same quadratic form without turning it to its axes
            form = 0.5 * (c * c * (1 - c2) + s * s * (1 + c2)) - c * s * s2
            power[k] = min(form / (0.25 * (1 - square) * total), 1.0)
            continue
        size = np.sqrt(square) + 1e-30
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
def dispersion(t, m, w, centre, apart, left):  # type: ignore[no-untyped-def]
    """Weighted variance left within phase bins, over the whole, at frequencies around a centre; fills left (OFFSETS,).

    Σ over bins of (Σ w m)² / Σ w, less its expectation from noise (analysis of variance: Schwarzenberg-Czerny 1989). Phases are integers,
    2^52 a turn: from one frequency to the next each is moved by the same step, and its first four bits are its bin.
    """
    n = len(t)
    phase, step, wm = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n)
    total = 0.0
    for j in range(n):
        x = t[j] * (centre - (OFFSETS // 2) * apart)
        phase[j] = np.int64((x - np.floor(x)) * _WHOLE)
        x = t[j] * apart
        step[j] = np.int64((x - np.floor(x)) * _WHOLE)
        wm[j] = w[j] * m[j]
        total += wm[j] * m[j]
    sums = np.empty((2, TRIAL_BINS, 2))
    for i in range(OFFSETS):
        sums[:] = 0.0
        for j in range(n):
            b = (phase[j] & (_WHOLE - 1)) >> _SHIFT
            sums[j & 1, b, 0] += wm[j]  # two sets in turn: one need not wait for the other
            sums[j & 1, b, 1] += w[j]
            phase[j] += step[j]
        between = 0.0
        filled = 0
        for b in range(TRIAL_BINS):
            weight = sums[0, b, 1] + sums[1, b, 1]
            if weight > 0:
                moment = sums[0, b, 0] + sums[1, b, 0]
                between += moment * moment / weight
                filled += 1
        left[i] = (total - between) / total * (n - 1) / max(n - filled, 1)


@compiled
def search(t, m, w, power, length, span, slow):  # type: ignore[no-untyped-def]
    """The frequency that folds best, the highest power, and the highest at the slow end; `power` at k / length, changed in place.

    Peaks of the power and of its harmonic sum, with their multiples, are tried by analysis of variance; the best are fitted by harmonics.
    """
    count = len(power)
    fastest = (count - 1) / length
    first = int(np.ceil(slow * length))
    slowest = 0.0
    for k in range(1, min(max(first, 2), count)):
        slowest = max(slowest, power[k])
    highest_power = 0.0
    for k in range(count):
        f = k / length
        if k < first or (f > 0.5 and abs(f - np.round(f)) < ALIAS):
            power[k] = 0.0
        highest_power = max(highest_power, power[k])
    total = np.empty(count)
    harmonic_sum(power, 5, total)
    peaks = np.zeros((2, PEAKS), np.int64)
    a = highest(power, first, 4, peaks[0])
    b = highest(total, first, 4, peaks[1])
    if a + b == 0:
        return slow, 0.0, slowest
    centres = np.empty((a + b) * len(MULTIPLES))
    n = np.int64(0)
    for k in range(a + b):
        f = (peaks[0, k] if k < a else peaks[1, k - a]) / length
        for multiple in MULTIPLES:
            if f * multiple >= slow and f * multiple <= fastest:
                centres[n] = f * multiple
                n += 1
    centres, n = different(centres, n)
    least, best = np.empty(n), np.empty(n)
    left = np.empty(OFFSETS)
    apart = APART / span
    for k in range(n):
        dispersion(t, m, w, centres[k], apart, left)
        i = np.argmin(left)
        least[k] = left[i]
        best[k] = centres[k] + (i - OFFSETS // 2) * apart
    order = stable_order(least, n)
    kept = min(KEEP, n)
    starts = np.empty(kept + 2)
    for k in range(kept):
        starts[k] = best[order[k]]
    for k in range(min(a, 2)):
        starts[kept] = peaks[0, k] / length
        kept += 1
    return refine(t, m, w, starts[:kept], span, slow, fastest), highest_power, slowest


@compiled
def refine(t, m, w, starts, span, slow, fastest):  # type: ignore[no-untyped-def]
    """The best of some frequencies by a fit of harmonics, and the shortest of its multiples' periods that explains the curve as well."""
    first, second = np.inf, np.inf  # variances and frequencies of the two best
    f, g = np.inf, np.inf
    for start in starts:
        variance, at = nearest(t, m, w, start, WIDE, span, np.inf)
        if variance < first or (variance == first and at < f):
            second, g = first, f
            first, f = variance, at
        elif variance < second or (variance == second and at < g):
            second, g = variance, at
    first, f = nearest(t, m, w, f, FINE, span, first)
    if second < np.inf:
        second, g = nearest(t, m, w, g, FINE, span, second)
        if second < first or (second == first and g < f):
            first, f = second, g
    # The shortest period that explains it: one whose multiple gains no more than its noise would.
    allowed = first * (1 + 12.0 / len(t)) + 1e-4
    for _ in range(2):
        for factor in (2.0, 3.0):
            if slow <= f * factor <= fastest:
                other, at = nearest(t, m, w, f * factor, NARROW, span, np.inf)
                if other <= allowed:
                    f = at
                    break
    return min(max(f, slow), fastest)


@compiled
def nearest(t, m, w, f, steps, span, known):  # type: ignore[no-untyped-def]
    """Variance and frequency of the best fit at steps / span from a frequency, whose variance may be known; of equal ones the lower."""
    coefficients = np.empty(2 * HARMONICS + 1)
    best, at = known, f
    for part in steps:
        step = part / span
        variance = harmonic_fit(t, m, w, f + step, coefficients)
        if variance < best or (variance == best and f + step < at):
            best, at = variance, f + step
    return best, at
