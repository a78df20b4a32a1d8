"""The loops behind `operators.transits`: box least squares by sums of prefix sums, and what single transits show.

deviations of one target on a grid of cadences, (n + 1,) prefix sums → signal-to-noise and box a period; points (N,) → shape of transits

The sum of a folded curve over a box is a sum over cycles of differences of one prefix sum, so a period costs one look-up a bin and cycle:
no fold, no scatter of points, no second cumulative sum; a box that wraps is one addition. A prefix sum of deviations and one of weights are
one 64-bit number, in units of 2^-30 of their largest possible value: what adds or takes away the numbers does so with both halves, exactly.
"""

from __future__ import annotations

import numpy as np

from operators.kernels.compiled import compiled
from operators.kernels.detrend import lower_bound

_ONE = 1 << 30
"""What the largest possible sum is in the two halves of a packed number."""
_HALF = np.int64(1 << 32)
_LOWER = np.int64((1 << 32) - 1)
_WINDOW = 1.5
"""Durations on each side of a transit's middle in which its two halves are compared and its time is looked for."""
_TIMED = 4.0
"""[σ] of a single transit, from which on it has a time of its own."""
_FLANK = 0.75
"""Of the deepest box: the shifted boxes above it give the time."""


@compiled
def binned(t, r, w, most, start, width, packed, unit):  # type: ignore[no-untyped-def] # pragma: no cover
    """Prefix sums over a grid of w (r - mean) and of w, from 0, as upper and lower half of a number; start and width [d] of its bins.

    most: points above it do not count. Fills packed, and unit with those of the two halves.
    """
    total, mean = 0.0, 0.0
    for j in range(len(t)):
        if r[j] <= most:
            total += w[j]
            mean += w[j] * r[j]
    mean = mean / total if total > 0 else 0.0
    n = len(packed) - 1
    sums, weights = np.zeros(n), np.zeros(n)
    size = 0.0
    last = float(n - 1)
    for j in range(len(t)):
        if r[j] <= most:
            at = np.int64(min(max((t[j] - start) / width, 0.0), last))
            sums[at] += w[j] * (r[j] - mean)
            weights[at] += w[j]
            size += w[j] * abs(r[j] - mean)
    unit[0] = max(size, 1e-300) / _ONE
    unit[1] = max(total, 1e-300) / _ONE
    s, c = 0.0, 0.0
    packed[0] = 0
    for k in range(n):
        s += sums[k]
        c += weights[k]
        packed[k + 1] = np.int64(np.floor(s / unit[0] + 0.5)) * _HALF + np.int64(c / unit[1] + 0.5)


@compiled(reassociate=True)
def box_search(  # type: ignore[no-untyped-def] # pragma: no cover
    packed, unit, width, periods, bin_width, durations, shortest, longest, least, score, begin, length,
):  # fmt: skip
    """Squared signal-to-noise of the deepest box at each period, S² / (w (1 - w / W)) (Kovács et al. 2002, A&A 391, 369).

    packed, unit: of `binned`; width [d]: of the grid's bins; bin_width [d]: at most that of the phase's. Durations [d] between shortest and
    longest · P^(1/3) are tried, below half the period. least: weight that a box must hold. Fills score, and the box's begin and length [d].
    """
    n = len(packed) - 1
    total = packed[n] & _LOWER
    part = 1.0 / total
    floor = least / unit[1]
    scale = unit[0] * unit[0] / unit[1]
    most = 1
    for period in periods:
        most = max(most, int(period / bin_width) + 2)
    p, value = np.zeros(2 * most, np.int64), np.empty(most)
    for i in range(len(periods)):
        period = periods[i]
        m = int(np.ceil(period / bin_width))
        step = period / m / width
        for k in range(m):
            p[k] = 0
        cycles = int(np.ceil(n * width / period))
        for cycle in range(cycles):
            x = cycle * period / width + 0.999999  # the first grid edge not before the bin's
            if x + m * step < n:
                for k in range(m):
                    p[k] += packed[np.uint32(x + k * step)]
            else:
                for k in range(m):
                    p[k] += packed[np.uint32(min(x + k * step, float(n)))]
        for k in range(m):  # one cycle on: the whole sum is 0, the whole weight W
            p[m + k] = p[k] + total
        root = period ** (1.0 / 3.0)
        best, top_begin, top_length, before = 0.0, 0, 0, 0
        for duration in durations:
            q = int(duration / period * m + 0.5)
            if q < 1 or 2 * q >= m or q == before or duration < shortest * root or duration > longest * root:
                continue
            before = q
            top = 0.0
            for k in range(m):
                d = p[k + q] - p[k]
                depth = min(float(np.int32(d >> 32)), 0.0)
                inside = float(np.int32(d & _LOWER))
                x = depth * depth / (max(inside, floor) * max(1.0 - inside * part, 1e-9))
                value[k] = x
                top = max(top, x)
            if top > best:
                best, top_length = top, q
                for k in range(m):
                    if value[k] == top:
                        top_begin = k
        score[i] = best * scale
        begin[i] = top_begin * period / m
        length[i] = top_length * period / m


@compiled
def single_transits(  # type: ignore[no-untyped-def] # pragma: no cover
    t, r, w, edge, period, middle, duration, depth, base, scale, red, cadence, shape,
):  # fmt: skip
    """What single transits of a periodic box show; depths are below `base`, times from the first point [d].

    edge: times of points whose trend has half a window only, ascending; they may be among t. scale: variance of a point times its weight;
    red: variance that boxes of this duration have beyond it. Fills shape with: cycle of the first transit with a point, transits with
    points, depth of even ones, its variance, of odd ones, its variance (infinite: none), asymmetry, scatter of depths, scatter of times
    [d], share near an edge, depth of the middle third over that of the outer ones.
    """
    n = len(t)
    wide = min(_WINDOW * duration, period / 2)
    first = np.int64(np.floor((min(t[0], edge[0] if len(edge) else t[0]) - middle) / period))
    last = np.int64(np.ceil((max(t[n - 1], edge[-1] if len(edge) else t[n - 1]) - middle) / period))
    depths, variances = np.empty(last - first + 1), np.empty(last - first + 1)
    mids, cycles = np.empty(last - first + 1), np.empty(last - first + 1)
    whole, timed, seen, met, near = 0, 0, 0, 0, 0
    sums = np.zeros((6, 2))  # even, odd, first half, second half, middle third, outer thirds: Σ w, Σ w (base - r)
    full = duration / cadence
    for cycle in range(first, last + 1):
        centre = middle + cycle * period
        a = lower_bound(t, n, centre - wide)
        z = lower_bound(t, n, centre + wide)
        inside = np.zeros(2)
        held = 0
        for j in range(a, z):
            off, y = t[j] - centre, base - r[j]
            side = 2 if off < 0 else 3
            sums[side, 0] += w[j]
            sums[side, 1] += w[j] * y
            if abs(off) <= duration / 2:
                part = 4 if abs(off) <= duration / 6 else 5
                sums[part, 0] += w[j]
                sums[part, 1] += w[j] * y
                inside[0] += w[j]
                inside[1] += w[j] * y
                held += 1
        k = lower_bound(edge, len(edge), centre - duration / 2)
        at_edge = k < len(edge) and edge[k] <= centre + duration / 2
        met += held > 0 or at_edge
        near += at_edge
        if held == 0:
            continue
        if seen == 0:
            shape[0] = cycle
        seen += 1
        sums[cycle & 1, 0] += inside[0]
        sums[cycle & 1, 1] += inside[1]
        if 2 * held < full or inside[0] <= 0:
            continue
        depths[whole] = inside[1] / inside[0]
        # the noise of its points, that of all boxes, and that a box's ends fall between two points
        variances[whole] = scale / inside[0] + red + (depth / held) ** 2 / 6
        whole += 1
        mid = _shifted(t, r, w, a, z, duration, base, scale, red, cadence)
        if mid == mid:
            mids[timed], cycles[timed] = mid - centre, cycle
            timed += 1
    shape[1] = seen
    for parity in range(2):
        shape[2 + 2 * parity] = sums[parity, 1] / sums[parity, 0]
        shape[3 + 2 * parity] = 1 / sums[parity, 0]
    shape[6] = (sums[3, 1] / sums[3, 0] - sums[2, 1] / sums[2, 0]) / depth
    shape[7] = _scatter(depths, variances, whole)
    shape[8] = _timing(mids, cycles, timed)
    shape[9] = near / met if met > 0 else np.nan
    outer = sums[5, 1] / sums[5, 0]
    shape[10] = sums[4, 1] / sums[4, 0] / outer if outer > 0 else np.nan


@compiled
def _shifted(t, r, w, a, z, duration, base, scale, red, cadence):  # type: ignore[no-untyped-def] # pragma: no cover
    """Middle of the box that is deepest among t[a] … t[z - 1], by its flanks; NaN where it is below 4 σ or the points have a hole."""
    if z - a < 0.75 * (t[z - 1] - t[a]) / cadence or t[z - 1] - t[a] < 1.5 * duration:
        return np.nan
    value, centre = np.empty(z - a), np.empty(z - a)
    weight, moment, best, top = 0.0, 0.0, -1, 0.0
    m = a
    count = 0
    for k in range(a, z):
        while m < z and t[m] < t[k] + duration:
            weight += w[m]
            moment += w[m] * (base - r[m])
            m += 1
        if m == z and t[z - 1] + cadence < t[k] + duration:
            break  # it reaches beyond the window
        centre[count] = (t[k] + t[m - 1]) / 2
        value[count] = moment / weight if weight > 0 else 0.0
        if value[count] > top and value[count] ** 2 > _TIMED**2 * (scale / weight + red):
            best, top = count, value[count]
        count += 1
        weight -= w[k]
        moment -= w[k] * (base - r[k])
    if best < 0:
        return np.nan
    low = high = best
    while low > 0 and value[low - 1] > _FLANK * top:
        low -= 1
    while high + 1 < count and value[high + 1] > _FLANK * top:
        high += 1
    if (low == 0 and value[0] > _FLANK * top) or (high == count - 1 and value[high] > _FLANK * top):
        return np.nan  # a flank is not in the window
    total, mean = 0.0, 0.0
    for k in range(low, high + 1):
        x = value[k] - _FLANK * top
        total += x
        mean += x * centre[k]
    return mean / total


@compiled
def _scatter(values, variances, n):  # type: ignore[no-untyped-def] # pragma: no cover
    """χ² per degree of freedom of values about their weighted mean; NaN of fewer than two."""
    total, mean, chi = 0.0, 0.0, 0.0
    for k in range(n):
        total += 1 / variances[k]
        mean += values[k] / variances[k]
    mean /= total
    for k in range(n):
        chi += (values[k] - mean) ** 2 / variances[k]
    return chi / (n - 1) if n > 1 else np.nan


@compiled
def _timing(mids, cycles, n):  # type: ignore[no-untyped-def] # pragma: no cover
    """Spread of times about those of even steps, by n - 2 degrees of freedom; NaN of fewer than three."""
    if n < 3:
        return np.nan
    x0, y0, xx, xy, rest = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(n):
        x0 += cycles[k] / n
        y0 += mids[k] / n
    for k in range(n):
        xx += (cycles[k] - x0) ** 2
        xy += (cycles[k] - x0) * (mids[k] - y0)
    for k in range(n):
        rest += (mids[k] - y0 - xy / xx * (cycles[k] - x0)) ** 2
    return np.sqrt(rest / (n - 2))
