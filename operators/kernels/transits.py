"""The loops behind `operators.transits`: box least squares by sums of prefix sums, and one box fitted to a folded curve.

deviations of one target on a grid of cadences, (n + 1,) prefix sums → signal-to-noise a period; points (N,) → the box that fits them best

The sum of a folded curve over a box is a sum over cycles of differences of one prefix sum, so a period costs one look-up a bin and cycle:
no fold, no scatter of points, no second cumulative sum; a box that wraps is one addition.
"""

from __future__ import annotations

import numpy as np

from operators.kernels.compiled import compiled
from operators.kernels.order import stable_order


@compiled
def binned(t, r, w, start, width, sums, weights):  # type: ignore[no-untyped-def] # pragma: no cover
    """Prefix sums over a grid of w (r - mean) and of w, from 0; start and width [d] of its bins. Returns the weighted mean."""
    total, mean = 0.0, 0.0
    for j in range(len(t)):
        total += w[j]
        mean += w[j] * r[j]
    mean = mean / total if total > 0 else 0.0
    sums[:] = 0.0
    weights[:] = 0.0
    last = float(len(sums) - 2)
    for j in range(len(t)):
        at = np.int64(min(max((t[j] - start) / width, 0.0), last)) + 1
        sums[at] += w[j] * (r[j] - mean)
        weights[at] += w[j]
    for k in range(1, len(sums)):
        sums[k] += sums[k - 1]
        weights[k] += weights[k - 1]
    return mean


@compiled(reassociate=True)
def box_search(  # type: ignore[no-untyped-def] # pragma: no cover
    sums, weights, width, periods, bin_width, durations, shortest, longest, least, score, begin, length,
):  # fmt: skip
    """Squared signal-to-noise of the deepest box at each period, S² / (w (1 - w / W)) (Kovács et al. 2002, A&A 391, 369).

    width [d]: of the grid's bins; bin_width [d]: at most that of the phase's. Durations [d] between shortest and longest · P^(1/3) are
    tried, below half the period. least: weight that a box must hold. Fills score, and the box's begin and length [d].
    """
    n = len(sums) - 1
    total = weights[n]
    part = 1.0 / total
    most = 1
    for period in periods:
        most = max(most, int(period / bin_width) + 2)
    s, w, value = np.zeros(2 * most), np.zeros(2 * most), np.empty(most)
    for i in range(len(periods)):
        period = periods[i]
        m = int(np.ceil(period / bin_width))
        step = period / m / width
        for k in range(m):
            s[k] = 0.0
            w[k] = 0.0
        cycles = int(np.ceil(n * width / period))
        for cycle in range(cycles):
            x = cycle * period / width + 0.999999  # the first grid edge not before the bin's
            if x + m * step < n:
                for k in range(m):
                    at = np.uint32(x + k * step)
                    s[k] += sums[at]
                    w[k] += weights[at]
            else:
                for k in range(m):
                    at = np.uint32(min(x + k * step, float(n)))
                    s[k] += sums[at]
                    w[k] += weights[at]
        for k in range(m):  # one cycle on: the whole sum is 0, the whole weight W
            s[m + k] = s[k]
            w[m + k] = w[k] + total
        root = period ** (1.0 / 3.0)
        best, top_begin, top_length, before = 0.0, 0, 0, 0
        for duration in durations:
            q = int(duration / period * m + 0.5)
            if q < 1 or 2 * q >= m or q == before or duration < shortest * root or duration > longest * root:
                continue
            before = q
            top = 0.0
            for k in range(m):
                depth = min(s[k + q] - s[k], 0.0)
                inside = w[k + q] - w[k]
                x = depth * depth / (max(inside, least) * max(1.0 - inside * part, 1e-9))
                value[k] = x
                top = max(top, x)
            if top > best:
                best, top_length = top, q
                for k in range(m):
                    if value[k] == top:
                        top_begin = k
        score[i] = best
        begin[i] = top_begin * period / m
        length[i] = top_length * period / m


@compiled
def folded_box(t, r, w, period, durations, least, box):  # type: ignore[no-untyped-def] # pragma: no cover
    """The deepest box of the points themselves, without bins; w may be 0 where a point must not count.

    Boxes begin at a point. Fills box with squared signal-to-noise, time of its middle [d], duration [d], depth, its variance; all 0 where
    nothing dips. least: points that it must hold.
    """
    n = len(t)
    phase = np.empty(n)
    total, mean = 0.0, 0.0
    for j in range(n):
        phase[j] = t[j] - np.floor(t[j] / period) * period
        total += w[j]
        mean += w[j] * r[j]
    mean = mean / total if total > 0 else 0.0
    order = stable_order(phase, n)
    s, c, held = np.empty(2 * n + 1), np.empty(2 * n + 1), np.empty(2 * n + 1, np.int64)
    s[0], c[0], held[0] = 0.0, 0.0, 0
    for k in range(2 * n):
        j = order[k if k < n else k - n]
        s[k + 1] = s[k] + w[j] * (r[j] - mean)
        c[k + 1] = c[k] + w[j]
        held[k + 1] = held[k] + (1 if w[j] > 0 else 0)
    for k in range(5):
        box[k] = 0.0
    for duration in durations:
        if 2 * duration >= period:
            continue
        z = 0
        for k in range(n):
            low = phase[order[k]]
            while z < k + n and (phase[order[z]] if z < n else phase[order[z - n]] + period) < low + duration:
                z += 1
            inside = c[z] - c[k]
            sum_of = s[z] - s[k]
            if sum_of >= 0 or held[z] - held[k] < least or inside >= total * 0.999:
                continue
            x = sum_of * sum_of / (inside * (1 - inside / total))
            if x > box[0]:
                box[0] = x
                last = phase[order[z - 1]] if z <= n else phase[order[z - 1 - n]] + period
                box[1] = (low + last) / 2
                box[2] = duration
                box[3] = -sum_of / inside / (1 - inside / total)
                box[4] = 1 / inside + 1 / (total - inside)
