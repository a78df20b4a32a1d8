"""The significance of a difference has unit width everywhere, or else its noise is raised where it has not.

Difference → the same with noise and significance that hold in each cell

One width for a frame (`subtract`) is its median. Around a saturated star the halo's residual is coherent over tens of pixels, and at an
edge or in a gap of the masters the noise is not what the variance plane says: there a threshold in σ would be none.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from operators.images.planes import UNUSABLE, Difference
from operators.namespace import array_namespace, to_host
from operators.types import F64

CELL = 32
"""Side of a cell [pixel]: some thirty independent points of a matched filter's map."""
LEAST = 1.2
"""Width below which a cell's noise stays as it is: what chance makes of one."""
_STEP = 2
"""Every how many pixels in both directions the significance is looked at."""
_ENOUGH = 0.2
"""Share of a cell that must be measured."""
_SIGMA_OF_MEDIAN = 1.482602218505602


def widened(difference: Difference, *, cell: int = CELL) -> Difference:
    """Raise the noise where the significance is wider than one.

    Parameters
    ----------
    difference : Difference
    cell : int
        [pixel]
    """
    xp = array_namespace(difference.significance)
    widths = cell_widths(difference, cell=cell)
    if not (widths > 1).any():
        return difference
    h, w = difference.significance.shape
    grid = xp.asarray(widths.astype(np.float32))
    rows, columns = (xp.asarray(np.minimum(np.arange(n) // cell, m - 1)) for n, m in zip((h, w), widths.shape, strict=True))
    factor = xp.take(xp.take(grid, rows, axis=0), columns, axis=1)
    return replace(difference, significance=difference.significance / factor, noise=difference.noise * factor)


def cell_widths(difference: Difference, *, cell: int = CELL) -> F64:
    """(rows, columns) σ of the significance in each cell by the median of its size, 1 where that is not clearly more; on the host."""
    xp = array_namespace(difference.significance)
    h, w = difference.significance.shape
    rows, columns = max(1, h // cell), max(1, w // cell)  # what is left at the far edges goes with the last cells' factor
    part = (slice(0, rows * cell if h >= cell else h, _STEP), slice(0, columns * cell if w >= cell else w, _STEP))
    size = xp.abs(difference.significance[part])
    measured = ((difference.mask[part] & UNUSABLE) == 0) & xp.isfinite(size)
    size = xp.where(measured, size, xp.asarray(xp.inf, dtype=size.dtype))
    high, wide = size.shape[0] // rows, size.shape[1] // columns
    size = xp.reshape(size[: rows * high, : columns * wide], (rows, high, columns, wide))
    size = xp.sort(xp.reshape(xp.permute_dims(size, (0, 2, 1, 3)), (rows * columns, high * wide)), axis=1)
    count = xp.sum(xp.astype(xp.isfinite(size), xp.int64), axis=1)
    middle = xp.take_along_axis(size, xp.clip(count // 2, None, high * wide - 1)[:, None], axis=1)[:, 0]
    enough = np.asarray(to_host(count)) >= max(8, _ENOUGH * high * wide)
    width = _SIGMA_OF_MEDIAN * np.where(enough, np.asarray(to_host(middle), np.float64), 0.0)
    return np.where(width > LEAST, width, 1.0).reshape(rows, columns)
