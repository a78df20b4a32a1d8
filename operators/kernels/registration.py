"""The loops behind registration: unusable pixels filled from their neighbours, the mask's bits on another image's pixels.

The array forms in `operators/images/register.py` are their oracles, to the bit.
"""

from __future__ import annotations

import numpy as np

from operators.kernels.compiled import compiled


@compiled
def fill_plane(values, there, rounds):  # type: ignore[no-untyped-def] # pragma: no cover
    """Replace values (h, w) where `there` (h, w) uint8 is 0 by the mean of the neighbours that are there, round by round.

    Values are 0 where they are not there. Both arrays are changed.
    """
    h, w = values.shape
    left = np.empty((h * w, 2), np.int64)
    n = 0
    for i in range(h):
        for j in range(w):
            if there[i, j] == 0:
                left[n, 0], left[n, 1] = i, j
                n += 1
    made = np.empty(n, np.float32)
    for _ in range(rounds):
        kept = 0
        found = 0
        at = np.empty((n, 2), np.int64)
        for k in range(n):
            i, j = left[k, 0], left[k, 1]
            total, count = np.float32(0.0), np.float32(0.0)
            for x in range(j - 1, j + 2):
                column, many = np.float32(0.0), np.float32(0.0)
                if x >= 0 and x < w:
                    for y in range(i - 1, i + 2):
                        if y >= 0 and y < h:
                            column += values[y, x]
                            many += np.float32(there[y, x])
                total += column
                count += many
            if count > 0:
                made[found] = total / count
                at[found, 0], at[found, 1] = i, j
                found += 1
            else:
                left[kept, 0], left[kept, 1] = i, j
                kept += 1
        for k in range(found):
            values[at[k, 0], at[k, 1]] = made[k]
            there[at[k, 0], at[k, 1]] = 1
        n = kept
        if found == 0 or n == 0:
            break


@compiled
def mask_plane(mask, m, nothing, out):  # type: ignore[no-untyped-def] # pragma: no cover
    """The bits of the four pixels of `mask` around m @ (y, x, 1, y², yx, x²)ᵀ; `nothing` where it has no pixels for a value there."""
    h, w = mask.shape
    for i in range(out.shape[0]):
        y = np.float64(i)
        for j in range(out.shape[1]):
            x = np.float64(j)
            at_y = m[0, 2] + m[0, 0] * y + m[0, 1] * x + m[0, 3] * y * y + m[0, 4] * y * x + m[0, 5] * x * x
            at_x = m[1, 2] + m[1, 0] * y + m[1, 1] * x + m[1, 3] * y * y + m[1, 4] * y * x + m[1, 5] * x * x
            a, b = np.int64(np.floor(at_y)), np.int64(np.floor(at_x))
            if a < 2 or b < 2 or a > h - 4 or b > w - 4:
                out[i, j] = nothing
            else:
                out[i, j] = mask[a, b] | mask[a, b + 1] | mask[a + 1, b] | mask[a + 1, b + 1]
