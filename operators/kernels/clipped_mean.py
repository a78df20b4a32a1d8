"""`operators.images.combine.combine_array` pixel by pixel: the values of one pixel in all frames fit into the fastest cache."""

from __future__ import annotations

import numpy as np

from operators.kernels.compiled import compiled
from operators.kernels.order import kth_smallest

F = np.float32
_FIRST = np.int64(0)


@compiled
def middle(work, n):  # type: ignore[no-untyped-def] # pragma: no cover
    """The median of the first n values, which are moved."""
    upper = kth_smallest(work, _FIRST, np.int64(n - 1), np.int64(n >> 1))
    if n & 1:
        return upper
    lower = work[0]
    for j in range(1, n >> 1):
        lower = max(lower, work[j])
    return (lower + upper) * F(0.5)


@compiled
def medians(frames, sigma, median, spread):  # type: ignore[no-untyped-def] # pragma: no cover
    """Fill median and spread (p,) of the finite values of frames (n, p); NaN of none.

    sigma: (1 sigma) / (median deviation) of so many values.
    """
    n, pixels = frames.shape
    work = np.empty(n, F)
    for p in range(pixels):
        count = 0
        for k in range(n):
            if abs(frames[k, p]) < F(np.inf):
                work[count] = frames[k, p]
                count += 1
        if count == 0:
            median[p], spread[p] = F(np.nan), F(np.nan)
            continue
        m = middle(work, count)
        for k in range(count):
            work[k] = abs(work[k] - m)
        median[p] = m
        spread[p] = middle(work, count) * sigma


@compiled
def clipped(frames, median, reach, mean, variance, left_out):  # type: ignore[no-untyped-def] # pragma: no cover
    """Fill mean and sample variance (p,) of what lies within `reach` of the median; count per frame what does not."""
    n, pixels = frames.shape
    for p in range(pixels):
        total, count = 0.0, 0
        for k in range(n):
            value = frames[k, p]
            if abs(value) < F(np.inf):
                if abs(value - median[p]) <= reach[p]:
                    total += value
                    count += 1
                else:
                    left_out[k] += 1
        if count == 0:
            mean[p], variance[p] = F(np.nan), F(np.nan)
            continue
        average = total / count
        squares = 0.0
        for k in range(n):
            value = frames[k, p]
            if abs(value) < F(np.inf) and abs(value - median[p]) <= reach[p]:
                squares += (value - average) ** 2
        mean[p] = F(average)
        variance[p] = F(squares / (count - 1) / count) if count > 1 else F(np.nan)
