"""`operators.stamps.normalise` as one loop a stamp."""

from __future__ import annotations

import numpy as np

from operators.kernels.compiled import compiled
from operators.kernels.order import kth_smallest
from operators.types import F32

LATTICE = 2
"""Every how many pixels, in both directions, background and noise are read off."""

SANE = 1e30
"""A larger pixel is not a flux (some ZTF packets mark bad ones with the largest float): it counts as missing, or sums would overflow."""


def normalise_stamps(image: F32) -> F32:
    """(n, 3, P, P), NaN where there is no pixel → (n, 4, P, P), the last channel the mask."""
    n, channels, height, width = image.shape
    out = np.empty((n, channels + 1, height, width), dtype=np.float32)
    _normalise(image, out)
    return out


@compiled
def _normalise(image, out):  # type: ignore[no-untyped-def]
    n, channels, height, width = image.shape
    zero = np.int64(0)
    sample = np.empty(((height + LATTICE - 1) // LATTICE) * ((width + LATTICE - 1) // LATTICE), dtype=np.float32)
    for i in range(n):
        out[i, channels] = 1.0
        for c in range(channels):
            count = 0
            for y in range(0, height, LATTICE):
                for x in range(0, width, LATTICE):
                    v = image[i, c, y, x]
                    if abs(v) < SANE:  # NaN is not
                        sample[count] = v
                        count += 1
            median = np.float32(0.0)
            sigma = np.float32(1e-6)
            if count > 0:
                # Three selections, each within what the one before left on its side.
                last = count - 1
                middle, low, high = last * 50 // 100, last * 16 // 100, last * 84 // 100
                median = kth_smallest(sample, zero, last, middle)
                lower = kth_smallest(sample, zero, middle, low)
                upper = kth_smallest(sample, middle, last, high)
                sigma = max((upper - lower) / np.float32(2.0), np.float32(1e-6))
            for y in range(height):
                for x in range(width):
                    v = image[i, c, y, x]
                    finite = abs(v) < SANE
                    z = (v - median) / sigma if finite else np.float32(0.0)
                    z = min(max(z, np.float32(-1e6)), np.float32(1e6))
                    size = np.sqrt(np.sqrt(np.float32(1.0) + abs(z))) - np.float32(1.0)
                    out[i, c, y, x] = -size if z < 0 else size
                    if not finite:
                        out[i, channels, y, x] = 0.0
