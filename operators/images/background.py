"""The sky of an image: its level and its noise, from boxes.

image (h, w), mask (h, w) → level (h, w), noise, noise map (h, w)

As SExtractor (Bertin & Arnouts 1996, A&AS 117, 393): in each box values further than 3 σ from the median are left out until none is,
the mode is 2.5 median - 1.5 mean where the two are near each other and the median where not; boxes through a 3 × 3 median, then a natural
cubic spline. `sep` is the oracle.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from operators.images.planes import UNUSABLE
from operators.namespace import array_namespace
from operators.types import Array

CLIP = 3.0
"""[σ]"""
_ROUNDS = 8
_LEAST = 0.25
"""Share of a box's pixels that must be usable."""
_CROWDED = 0.3
"""[σ] distance of mean and median from which on the mode is not estimated from them."""
_OF_CLIPPED = 0.9733
"""σ of a normal distribution's part within 3 σ of itself, over σ, squared (0.98657²)."""


def background(image: Array, mask: Array, *, box: int = 64) -> tuple[Array, float, Array]:
    """Measure the sky.

    Parameters
    ----------
    image : (h, w) float32
    mask : (h, w) uint8
        Bits of `UNUSABLE` take no part; neither do pixels that are not finite.
    box : int
        Side of a box [pixel].

    Returns
    -------
    level : (h, w) float32
    noise : float
        Median over boxes of 1 σ of the sky's pixels; NaN where no box is usable.
    noise map : (h, w) float32
    """
    xp = array_namespace(image, mask)
    h, w = image.shape
    rows, columns = -(-h // box), -(-w // box)
    good = ((mask & UNUSABLE) == 0) & xp.isfinite(image)
    values = xp.where(good, image, xp.asarray(xp.inf, dtype=image.dtype))
    if (rows * box, columns * box) != (h, w):
        values = _padded(values, rows * box, w=columns * box)
    values = xp.reshape(xp.permute_dims(xp.reshape(values, (rows, box, columns, box)), (0, 2, 1, 3)), (rows * columns, box * box))
    mode, sigma, enough = _modes(xp.astype(values, xp.float32), box * box)
    mode, sigma = (_smooth(xp, xp.reshape(v, (rows, columns)), enough=xp.reshape(enough, (rows, columns))) for v in (mode, sigma))
    up, across = (xp.asarray(_spline(n, m, box=box), dtype=xp.float32) for n, m in ((h, rows), (w, columns)))
    order = xp.sort(xp.reshape(sigma, (-1,)))
    n = order.shape[0]
    noise = float((order[(n - 1) // 2] + order[n // 2]) / 2)
    across = across.T
    return up @ mode @ across, noise, up @ sigma @ across


def _padded(values: Array, h: int, *, w: int) -> Array:
    """Fill with +inf up to whole boxes."""
    xp = array_namespace(values)
    right = xp.full((values.shape[0], w - values.shape[1]), xp.inf, dtype=values.dtype)
    values = xp.concat([values, right], axis=1)
    return xp.concat([values, xp.full((h - values.shape[0], w), xp.inf, dtype=values.dtype)], axis=0)


def _modes(values: Array, full: int) -> tuple[Array, Array, Array]:
    """(boxes, pixels), +inf for unusable ones → mode, σ, whether enough pixels are usable; each (boxes,)."""
    xp = array_namespace(values)
    values = xp.sort(values, axis=1)
    count = xp.sum(xp.astype(xp.isfinite(values), xp.int64), axis=1)
    enough = count >= max(1, int(_LEAST * full))
    start = _at(values, xp.zeros_like(count), high=xp.clip(count, 1, None))
    start = xp.where(enough, start, xp.zeros_like(start))
    offset = xp.where(xp.isfinite(values), values - start[:, None], xp.zeros_like(values))
    sums = xp.cumulative_sum(xp.astype(offset, xp.float64), axis=1, include_initial=True)
    squares = xp.cumulative_sum(xp.astype(offset, xp.float64) ** 2, axis=1, include_initial=True)
    low, high = xp.zeros_like(count), xp.clip(count, 1, None)
    for _ in range(_ROUNDS):
        median, mean, sigma = _figures(values, start, sums=sums, squares=squares, low=low, high=high)
        below = xp.astype(median - CLIP * sigma, xp.float32)[:, None]
        above = xp.astype(median + CLIP * sigma, xp.float32)[:, None]
        low = xp.sum(xp.astype(values < below, xp.int64), axis=1)
        high = xp.maximum(xp.sum(xp.astype(values <= above, xp.int64), axis=1), low + 1)
        high = xp.minimum(high, xp.clip(count, 1, None))
        low = xp.minimum(low, high - 1)
    median, mean, sigma = _figures(values, start, sums=sums, squares=squares, low=low, high=high)
    near = xp.abs(mean - median) < _CROWDED * sigma
    mode = xp.where(near, 2.5 * median - 1.5 * mean, median)
    return xp.astype(mode, xp.float32), xp.astype(sigma / _OF_CLIPPED**0.5, xp.float32), enough


def _at(values: Array, low: Array, *, high: Array) -> Array:
    """Median of each row's sorted values from low to before high."""
    xp = array_namespace(values)
    first = xp.take_along_axis(values, ((low + high - 1) // 2)[:, None], axis=1)
    second = xp.take_along_axis(values, ((low + high) // 2)[:, None], axis=1)
    return (first + second)[:, 0] / 2


def _figures(values: Array, start: Array, *, sums: Array, squares: Array, low: Array, high: Array) -> tuple[Array, Array, Array]:
    xp = array_namespace(values)
    n = xp.astype(high - low, xp.float64)

    def between(of: Array) -> Array:
        return (xp.take_along_axis(of, high[:, None], axis=1) - xp.take_along_axis(of, low[:, None], axis=1))[:, 0] / n

    mean = between(sums)
    variance = xp.clip(between(squares) - mean**2, 0.0, None)
    return xp.astype(_at(values, low, high=high), xp.float64), mean + xp.astype(start, xp.float64), xp.sqrt(variance)


def _smooth(xp: object, mesh: Array, *, enough: Array) -> Array:
    """Boxes without sky take what is nearest; then the median of 3 × 3. A few hundred values: done on the host."""
    from operators.namespace import to_host

    space = array_namespace(mesh)
    values, there = np.asarray(to_host(mesh), np.float64), np.asarray(to_host(enough))
    if not there.any():
        values = np.full_like(values, np.nan)
    elif not there.all():
        y, x = np.nonzero(there)
        for i, j in zip(*np.nonzero(~there), strict=True):
            values[i, j] = values[y, x][np.argmin((y - i) ** 2 + (x - j) ** 2)]
    edged = np.pad(values, 1, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(edged, (3, 3)).reshape(*values.shape, 9)
    host = np.median(windows, axis=-1).astype(np.float32)
    return host if space is np else space.asarray(host)


@lru_cache(maxsize=16)
def _spline(n: int, knots: int, *, box: int) -> npt.NDArray[np.float32]:
    """(n, knots) weights of a natural cubic spline through the middles of boxes, a straight line beyond the outermost."""
    at = (np.arange(n) + 0.5) / box - 0.5
    if knots == 1:
        return np.ones((n, 1), np.float32)
    k = np.clip(np.floor(at).astype(int), 0, knots - 2)
    curvature = np.zeros((knots, knots))
    if knots > 2:
        inner = 4 * np.eye(knots - 2) + np.eye(knots - 2, k=1) + np.eye(knots - 2, k=-1)
        second = np.zeros((knots - 2, knots))
        for i in range(knots - 2):
            second[i, i : i + 3] = (6, -12, 6)
        curvature[1:-1] = np.linalg.solve(inner, second)
    unit = np.eye(knots)
    inside = np.clip(at, 0, knots - 1)
    b = (inside - k)[:, None]
    a = 1 - b
    weights = a * unit[k] + b * unit[k + 1] + ((a**3 - a) * curvature[k] + (b**3 - b) * curvature[k + 1]) / 6
    slope_first = unit[1] - unit[0] - (2 * curvature[0] + curvature[1]) / 6
    slope_last = unit[-1] - unit[-2] + (2 * curvature[-1] + curvature[-2]) / 6
    weights += np.minimum(at, 0)[:, None] * slope_first + np.maximum(at - (knots - 1), 0)[:, None] * slope_last
    return weights.astype(np.float32)
