"""`operators.images.frame_quality.bleeding_array`, a walk from each end of what is saturated."""

from __future__ import annotations

import numpy as np

from operators.images.planes import SATURATED
from operators.kernels.compiled import compiled
from operators.kernels.laplacian import RUN

F = np.float32
REACH = 64
"""Pixels that charge runs beyond what is saturated, at most."""
BESIDE = 3
"""Pixels to the side, where a column is compared with the light around."""
SIGMA = 5.0
_SATURATED = np.uint8(SATURATED)


@compiled
def stands_out(science, variance, i, j):  # type: ignore[no-untyped-def] # pragma: no cover
    """Whether a pixel is brighter than those beside it."""
    w = science.shape[1]
    left = science[i, j - BESIDE] if j >= BESIDE else F(-np.inf)
    right = science[i, j + BESIDE] if j + BESIDE < w else F(-np.inf)
    around = max(left, right)
    return around > F(-np.inf) and science[i, j] - around > F(SIGMA) * np.sqrt(variance[i, j])


@compiled
def follow_columns(science, variance, mask, out):  # type: ignore[no-untyped-def] # pragma: no cover
    """Set SATURATED in `out` beyond the ends of saturated runs; how many pixels."""
    h, w = science.shape
    count = 0
    for i in range(h):
        for j in range(w):
            if (mask[i, j] & _SATURATED) == 0 or (i > 0 and (mask[i - 1, j] & _SATURATED) != 0):
                continue
            end = i
            while end < h and (mask[end, j] & _SATURATED) != 0:
                end += 1
            if end - i < RUN:
                continue
            for step in (-1, 1):
                at = i - 1 if step < 0 else end
                left = REACH
                while left > 0 and 0 <= at < h and (mask[at, j] & _SATURATED) == 0 and stands_out(science, variance, at, j):
                    out[at, j] = out[at, j] | _SATURATED
                    count += 1
                    at += step
                    left -= 1
    return count
