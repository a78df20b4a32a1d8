"""`operators.images.calibrate.calibrated_planes_array` in one pass over the raw frame, with the same bits.

A row in parts that stay in the fastest cache; loops without a branch and with few arrays each, which the compiler does eight values at a
time. It does so only where it knows that a row's values lie side by side, so whole arrays come in, not parts of them.
"""

from __future__ import annotations

import numpy as np

from operators.images.planes import BAD, NO_DATA, NONLINEAR, SATURATED
from operators.kernels.compiled import compiled

F = np.float32
_BAD, _SATURATED, _NO_DATA, _NONLINEAR = np.uint8(BAD), np.uint8(SATURATED), np.uint8(NO_DATA), np.uint8(NONLINEAR)
_NONE = np.uint8(0)
_PART = 512
_ROWS = 64
"""Rows whose overscan is sorted at once."""


@compiled
def sort_columns(rows, n, count):  # type: ignore[no-untyped-def] # pragma: no cover
    """Sort the first n values of each of `count` columns: Batcher's network (1968), whose steps are the same for every column."""
    p = 1
    while p < n:
        k = p
        while k >= 1:
            for j in range(k % p, n - k, 2 * k):
                for i in range(j, j + min(k, n - j - k)):
                    if i // (2 * p) == (i + k) // (2 * p):
                        low, high = rows[i], rows[i + k]
                        for c in range(count):
                            a, b = low[c], high[c]
                            low[c] = a if a < b else b
                            high[c] = b if a < b else a
            k //= 2
        p *= 2


@compiled
def overscan_levels(raw, top, columns, out):  # type: ignore[no-untyped-def] # pragma: no cover
    """Fill `out` with the medians of the finite values of the overscan's rows from `top` on, NaN of none."""
    first, last = columns
    n = last - first
    work = np.empty((n, _ROWS), F)
    there = np.empty(_ROWS, np.int64)
    for begin in range(0, len(out), _ROWS):
        count = min(_ROWS, len(out) - begin)
        for i in range(count):
            there[i] = 0
            for j in range(n):
                value = F(raw[top + begin + i, first + j])
                finite = abs(value) < F(np.inf)
                there[i] += finite
                work[j, i] = value if finite else F(np.inf)
        sort_columns(work, n, count)
        for i in range(count):
            k = there[i]
            out[begin + i] = (work[(k - 1) // 2, i] + work[k // 2, i]) * F(0.5) if k > 0 else F(np.nan)


@compiled(reassociate=True)
def _any_not_finite(science, variance):  # type: ignore[no-untyped-def] # pragma: no cover
    total = F(0)
    for j in range(len(science)):
        total += science[j] * F(0) + variance[j] * F(0)
    return total != F(0)


@compiled
def calibrate_rows(raw, corner, levels, bias, dark, inverse_flat, bad, figures, science, variance, mask):  # type: ignore[no-untyped-def] # pragma: no cover
    """Fill the planes (h, w) from a raw frame whose image begins at `corner`, and the levels (h,) of its overscan.

    figures: gain, read noise squared, exposure times gain, saturation, end of the linear range, non-linearity.
    """
    h, w = science.shape
    gain, noise, dark_gain, saturation, linear_to, bend = figures
    top, left = corner
    zero, one, infinite = F(0), F(1), F(np.inf)
    for i in range(h):
        level = levels[i]
        for first in range(0, w, _PART):
            last = min(first + _PART, w)
            r = raw[top + i, left + first : left + last]
            b, d, f = bias[i, first:last], dark[i, first:last], inverse_flat[i, first:last]
            s, v, m, m0 = science[i, first:last], variance[i, first:last], mask[i, first:last], bad[i, first:last]
            for j in range(last - first):
                above = F(r[j]) - level - b[j]
                e = above * (one + bend * above) * gain
                s[j] = (e - d[j] * dark_gain) * f[j]
                v[j] = (max(e, zero) + noise) * f[j] * f[j]
            for j in range(last - first):
                x = F(r[j])
                lost = _SATURATED if x >= saturation else _NONE
                bent = _NONLINEAR if x - level - b[j] > linear_to else _NONE
                m[j] = m0[j] | lost | bent | (_NONE if f[j] > zero else _BAD)
            if _any_not_finite(s, v):
                for j in range(last - first):
                    if not (abs(s[j]) < infinite and abs(v[j]) < infinite):
                        s[j], v[j] = zero, zero
                        m[j] |= _NO_DATA
