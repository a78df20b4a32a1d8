"""`operators.alert_statistics` as one loop an alert, and its sums by stratum as another."""

from __future__ import annotations

import numpy as np

from operators.kernels.compiled import compiled


@compiled
def _log10(x):  # type: ignore[no-untyped-def]
    return np.log10(x) if x > 0 else np.nan


@compiled
def _noise(image, begin, size, rows, outlier):  # type: ignore[no-untyped-def]
    """Mean absolute difference of neighbours in the upper and lower rows of a window, without outliers."""
    mean = np.inf
    for _ in range(2):
        total, count, bound = 0.0, 0, outlier * mean
        for r in range(2 * rows):
            y = begin + (r if r < rows else size - 2 * rows + r)
            for x in range(begin + 1, begin + size):
                step = abs(np.float64(image[y, x]) - np.float64(image[y, x - 1]))
                if step <= bound and step < np.inf:
                    total += step
                    count += 1
        if count == 0:
            return np.nan
        mean = total / count
    return mean


@compiled
def fill_statistics(  # type: ignore[no-untyped-def]
    probability, logits, novelty, distance, time, valid, mjd, context, stamps, own_limit, zero_point, places, numbers, low,
    high, out,
):  # fmt: skip
    """Row by row; the columns in the order of `operators.alert_statistics.STATISTICS`."""
    n, classes = probability.shape
    kinds = logits.shape[1]
    begin, size, rows, snr, visits, fwhm, real_bogus = places
    outlier, to_sigma, zero_magnitude, noise_slope, width_slope, expected = numbers
    images = stamps.shape[2] >= begin + size
    row = np.empty(out.shape[1])
    for i in range(n):
        entropy, best = 0.0, 0.0
        for c in range(classes):
            p = np.float64(probability[i, c])
            entropy -= p * np.log(max(p, 1e-9))
            best = max(best, p)
        top = np.float64(logits[i, 0])
        for k in range(kinds):
            top = max(top, np.float64(logits[i, k]))
        whole = 0.0
        for k in range(kinds):
            whole += np.exp(np.float64(logits[i, k]) - top)
        points, first = 0, np.inf
        for j in range(valid.shape[1]):
            if valid[i, j]:
                points += 1
                first = min(first, time[i, j])
        noise = to_sigma * _noise(stamps[i, 2], begin, size, rows, outlier) if images else np.nan
        width, limit, stated = np.float64(context[i, fwhm]), np.float64(own_limit[i]), np.float64(zero_point[i])
        deep = zero_magnitude - 2.5 * _log10(limit)
        row[0] = entropy
        row[1] = top + np.log(whole)
        row[2] = novelty[i]
        row[3] = _log10(np.float64(context[i, snr]))
        row[4] = points
        row[5] = _log10((mjd[i] - first) / points) if points > 1 else np.nan
        row[6] = _log10(np.float64(context[i, visits]))
        row[7] = _log10(width)
        row[8] = deep - stated + noise_slope * _log10(noise) + width_slope * _log10(width) + expected
        row[9] = stated
        row[10] = context[i, real_bogus]
        row[11] = distance[i]
        row[12] = deep
        row[13] = best
        for k in range(len(row)):
            x = row[k]
            out[i, k] = x if x != x else min(max(x, low[k]), high[k])


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
