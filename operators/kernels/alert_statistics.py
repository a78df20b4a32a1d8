"""`operators.alert_statistics` as one loop an alert, and its sums by stratum as another."""

from __future__ import annotations

import numpy as np

from operators.kernels.compiled import compiled

_FINITE = 1.7976931348623157e308
_LOG2_E, _LN_2 = np.float32(1.4426950408889634), np.float32(0.6931471805599453)
_E0, _E2, _E3, _E4, _E5, _E6 = (np.float32(1 / x) for x in (1, 2, 6, 24, 120, 720))
"""Of exp's series: what is left within half a power of two is below 2e-7."""


@compiled
def _log10(x):  # type: ignore[no-untyped-def]
    return np.log10(x) if x > 0 else np.nan


@compiled(reassociate=True)
def _noise(image, begin, size, rows, outlier):  # type: ignore[no-untyped-def]
    """Mean absolute difference of neighbours in the upper and lower rows of a window, without outliers."""
    mean, bound = np.nan, np.float64(_FINITE)
    for _ in range(2):
        total, count = 0.0, 0.0
        for r in range(2 * rows):
            line = image[begin + (r if r < rows else size - 2 * rows + r), begin : begin + size]
            for x in range(1, size):  # no branch: as many neighbours at a time as the processor has lanes
                step = abs(np.float64(line[x]) - np.float64(line[x - 1]))
                there = step <= bound
                total += step if there else 0.0
                count += 1.0 if there else 0.0
        if count == 0:
            return np.nan
        mean = total / count
        bound = outlier * mean
    return mean


@compiled(reassociate=True)
def _exponentials(logits, top, part, bits, scale):  # type: ignore[no-untyped-def]
    """Sum of exp(logit - top): powers of two by their bits, the rest by a polynomial that is good to 1e-7."""
    for k in range(len(logits)):
        x = max((np.float32(logits[k]) - top) * _LOG2_E, np.float32(-100.0))
        whole = np.floor(x + np.float32(0.5))
        y = (x - whole) * _LN_2
        bits[k] = (np.int32(whole) + np.int32(127)) << np.int32(23)
        part[k] = _E0 + y * (_E0 + y * (_E2 + y * (_E3 + y * (_E4 + y * (_E5 + y * _E6)))))
    total = 0.0
    for k in range(len(logits)):
        total += np.float64(part[k] * scale[k])
    return total


@compiled
def fill_statistics(  # type: ignore[no-untyped-def]
    probability, logits, novelty, distance, time, valid, mjd, context, stamps, own_limit, zero_point, places, numbers, low,
    high, out,
):  # fmt: skip
    """Row by row, into the first columns of `out`; they are in the order of `operators.alert_statistics.STATISTICS`."""
    n, classes = probability.shape
    kinds = logits.shape[1]
    begin, size, rows, snr, visits, fwhm, real_bogus = places
    outlier, to_sigma, zero_magnitude, noise_slope, width_slope, expected = numbers
    images = stamps.shape[2] >= begin + size
    row = np.empty(len(low))
    part, bits = np.empty(kinds, np.float32), np.empty(kinds, np.int32)
    scale = bits.view(np.float32)
    for i in range(n):
        entropy, best = 0.0, 0.0
        for c in range(classes):
            p = np.float64(probability[i, c])
            entropy -= p * np.log(max(p, 1e-9))
            best = max(best, p)
        top = np.float32(logits[i, 0])
        for k in range(kinds):
            top = max(top, np.float32(logits[i, k]))
        whole = _exponentials(logits[i], top, part, bits, scale)
        points, first = 0, -1
        for j in range(valid.shape[1]):
            if valid[i, j]:
                first = j if points == 0 else first  # points are in the order of time
                points += 1
        noise = to_sigma * _noise(stamps[i, 2], begin, size, rows, outlier) if images else np.nan
        width, limit, stated = np.float64(context[i, fwhm]), np.float64(own_limit[i]), np.float64(zero_point[i])
        deep, log_width = zero_magnitude - 2.5 * _log10(limit), _log10(width)
        row[0] = entropy
        row[1] = top + np.log(whole)
        row[2] = novelty[i]
        row[3] = _log10(np.float64(context[i, snr]))
        row[4] = points
        row[5] = _log10((mjd[i] - time[i, first]) / points) if points > 1 else np.nan
        row[6] = _log10(np.float64(context[i, visits]))
        row[7] = log_width
        row[8] = deep - stated + noise_slope * _log10(noise) + width_slope * log_width + expected
        row[9] = stated
        row[10] = context[i, real_bogus]
        row[11] = distance[i]
        row[12] = deep
        row[13] = best
        for k in range(len(row)):
            x = row[k]
            out[i, k] = x if x != x else min(max(x, low[k]), high[k])


@compiled
def fill_rest(context, mjd, schema, conformal, begin, out):  # type: ignore[no-untyped-def]
    """What a row holds behind its statistics, from a column on: context, time, schema, 1 where the conformal set is empty; as 32-bit words.

    Numbers are given as their bits: (n, C) and (n, 2) for context and time, which are float32 and float64.
    """
    n, fields = context.shape
    for i in range(n):
        for j in range(fields):
            out[i, begin + j] = context[i, j]
        out[i, begin + fields] = mjd[i, 0]
        out[i, begin + fields + 1] = mjd[i, 1]
        out[i, begin + fields + 2] = schema[i]
        empty = True
        for c in range(conformal.shape[1]):
            empty = empty and not conformal[i, c]
        out[i, begin + fields + 3] = np.uint32(1 if empty else 0)


@compiled
def fill_sums(values, context, stratum, low, high, alerts, count, total, squares, histogram, nulls):  # type: ignore[no-untyped-def]
    """Add n alerts to the sums of their strata, in place; a null is what is not a finite number."""
    n, size = values.shape
    bins = histogram.shape[2]
    for i in range(n):
        k = stratum[i]
        alerts[k] += 1
        for j in range(size):
            x = np.float64(values[i, j])
            if x == x:
                count[k, j] += 1
                total[k, j] += x
                squares[k, j] += x * x
                histogram[k, j, min(bins - 1, max(0, int((x - low[j]) / (high[j] - low[j]) * bins)))] += 1
        for j in range(context.shape[1]):
            x = context[i, j]
            if x - x != 0:
                nulls[k, j] += 1


@compiled
def find_extremes(values):  # type: ignore[no-untyped-def]
    """Rows of the lowest and of the highest number of each column, the first of equal ones; -1 where there is none; (n, S) → (S,), (S,)."""
    n, size = values.shape
    low, high = np.full(size, -1, np.int64), np.full(size, -1, np.int64)
    for i in range(n):
        for j in range(size):
            x = values[i, j]
            if x == x:
                if low[j] < 0 or x < values[low[j], j]:
                    low[j] = i
                if high[j] < 0 or x > values[high[j], j]:
                    high[j] = i
    return low, high


@compiled
def whole_positions(positions, bins):  # type: ignore[no-untyped-def]
    """How many positions are 0, 1, 2 … bins - 1; those beyond count to the ends, what is not a number to the first."""
    out = np.zeros(bins, np.int64)
    for x in positions:
        out[int(min(max(x, 0.0), bins - 1.0)) if x == x else 0] += 1
    return out
