"""Calibrated image → its cosmic rays, found by their sharp edges: L.A.Cosmic (van Dokkum 2001, PASP 113, 1420).

science (h, w) [e-], sky not subtracted, mask (h, w) → COSMIC_RAY where one is, and the image without them

Light comes through the optics, so no source is sharper than the PSF; a cosmic ray is. The Laplacian of the image on pixels cut in four, in
units of the noise that a median of 5 around states, less its own median (S'), is large at both; the fine structure, a median of 3 less one
of 7, only at sources. Cosmic rays are where S' is above `sigma` and `contrast` times the fine structure. Their neighbours need `sigma`
alone, then a share of it; flagged pixels are replaced by the mean of good ones around, and the search goes on until nothing new is found.

A saturated star and the column it bled into have edges as sharp: they, bad pixels and trails are excluded. A single saturated pixel is not
a star, and may be a cosmic ray.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.images.planes import BAD, COSMIC_RAY, NO_DATA, SATURATED, TRAIL
from operators.kernels.laplacian import LEAST_CONTRAST, LEAST_VARIANCE, RUN, STAR_SHARE, exclude, fill_holes, find
from operators.namespace import array_namespace
from operators.types import Array

MOST_ITERATIONS = 50
_ROWS = 128
"""Rows whose windows are sorted at once by the array form: 49 times their bytes."""


def cosmic_rays(
    science: Array,
    mask: Array,
    *,
    read_noise: float,
    sigma: float = 4.5,
    share: float = 0.3,
    contrast: float = 5.0,
    iterations: int = 4,
) -> tuple[Array, Array]:
    """Find cosmic rays.

    Parameters
    ----------
    science : (h, w) float32
        [e-], sky not subtracted.
    mask : (h, w) uint8
        Bits of `operators.images.planes`. Bad pixels and those that are not finite are filled from around before the search.
    read_noise : float
        [e-], with whatever other noise is not in the light.
    sigma : float
        Of S' of a cosmic ray.
    share : float
        Of sigma, that a neighbour of a cosmic ray needs.
    contrast : float
        Of S' to the fine structure; larger for undersampled stars.
    iterations : int
        At most so many; each finds what those before hid.

    Returns
    -------
    (h, w) uint8, (h, w) float32
        COSMIC_RAY or 0; the image without cosmic rays, holes filled.

    Raises
    ------
    ValueError
        Shapes differ, or a threshold is not a positive number.
    """
    if science.ndim != 2 or tuple(science.shape) != tuple(mask.shape):
        raise ValueError(f"image {tuple(science.shape)} and mask {tuple(mask.shape)} have different shapes, or not two axes")
    if not (read_noise >= 0 and sigma > 0 and 0 < share <= 1 and contrast > 0 and 1 <= iterations <= MOST_ITERATIONS):
        raise ValueError("read_noise, sigma, share (at most 1), contrast and iterations (1 to 50) are positive numbers")
    limits = tuple(float(np.float32(x)) for x in (read_noise**2, sigma, share * sigma, contrast))
    if array_namespace(science, mask) is np:
        return _by_candidates(np.asarray(science), np.asarray(mask), limits=limits, iterations=iterations)
    return cosmic_rays_array(science, mask, limits=limits, iterations=iterations)


def _by_candidates(science: npt.NDArray[Any], mask: npt.NDArray[Any], *, limits: tuple[float, ...], iterations: int) -> tuple[Array, Array]:
    clean = np.array(science, np.float32, order="C")
    bits = np.ascontiguousarray(mask, np.uint8).view()
    bits.flags.writeable = False  # one compiled variant, whether the caller's may be written or not
    hole, excluded, found = (np.zeros(clean.shape, np.uint8) for _ in range(3))
    fill_holes(clean, bits, hole)
    exclude(clean, bits, hole, excluded)
    find(clean, excluded, tuple(np.float32(x) for x in limits), iterations, found)
    return found, clean


def cosmic_rays_array(science: Array, mask: Array, *, limits: tuple[float, ...], iterations: int) -> tuple[Array, Array]:
    """As `cosmic_rays` in the array standard: the oracle of the kernel, and what other namespaces run.

    limits: read noise squared, sigma, share times sigma, contrast.
    """
    xp = array_namespace(science, mask)
    noise2, sigma, low, contrast = limits
    image = xp.astype(science, xp.float32)
    holes = ((mask & (BAD | NO_DATA)) != 0) | ~xp.isfinite(image)
    clean = _replaced(image, holes, out=holes)
    allowed = ~_excluded(clean, mask, holes=holes)
    found = xp.zeros(science.shape, dtype=xp.bool)
    for _ in range(iterations):
        median = window_median(clean, 2)
        noise = xp.sqrt(xp.clip(median + noise2, LEAST_VARIANCE, None))
        s = positive_laplacian(clean) / (2.0 * noise)
        excess = s - window_median(s, 2)
        small = window_median(clean, 1)
        fine = xp.clip((small - window_median(small, 3)) / noise, LEAST_CONTRAST, None)
        now = allowed & (excess > sigma) & (excess / fine > contrast)
        for least in (sigma, low):
            now = dilated(now, _square(1)) & allowed & (excess > least)
        if not bool(xp.any(now & ~found)):
            break
        found = found | now
        clean = _replaced(clean, found, out=found | ~allowed)
    return xp.astype(found, xp.uint8) * COSMIC_RAY, clean


def positive_laplacian(image: Any) -> Any:
    """The Laplacian on pixels cut in four, its negative parts left out, averaged again; 0 lies beyond the border."""
    xp = array_namespace(image)
    (above, left, right, below) = _shifted(image, ((-1, 0), (0, -1), (0, 1), (1, 0)))
    u, d = 2.0 * image - above, 2.0 * image - below
    parts = [xp.clip(a - b, 0.0, None) for a in (u, d) for b in (left, right)]
    return (parts[0] + parts[1] + parts[2] + parts[3]) * 0.25


def window_median(image: Any, r: int) -> Any:
    """(h, w) medians of squares of 2 r + 1; pixels nearer to the border keep their value."""
    xp = array_namespace(image)
    h, w = image.shape
    side = 2 * r + 1
    if h < side or w < side:
        return image
    parts = []
    for top in range(0, h - 2 * r, _ROWS):
        n = min(_ROWS, h - 2 * r - top)
        window = xp.stack([image[top + dy : top + dy + n, dx : w - 2 * r + dx] for dy in range(side) for dx in range(side)])
        parts.append(xp.sort(window, axis=0)[side * side // 2, ...])
    inner = xp.concat([image[r : h - r, :r], xp.concat(parts, axis=0), image[r : h - r, w - r :]], axis=1)
    return xp.concat([image[:r, :], inner, image[h - r :, :]], axis=0)


def dilated(where: Any, offsets: tuple[tuple[int, int], ...]) -> Any:
    """Where any pixel at one of the offsets is true."""
    grown = where
    for shifted in _shifted(where, offsets):
        grown = grown | shifted
    return grown


def _replaced(image: Any, where: Any, *, out: Any) -> Any:
    """Pixels get the mean of those within two that are not out; where all are, the median of the image's."""
    xp = array_namespace(image)
    zero = xp.zeros_like(image)
    good = xp.astype(~out, xp.float32)
    total, count = zero, zero
    summed = xp.where(out, zero, image)
    for value, n in zip(_shifted(summed, _square(2)), _shifted(good, _square(2)), strict=True):
        total, count = total + value, count + n
    level = zero + _median_level(image, out) if bool(xp.any(where & (count == 0))) else zero
    mean = xp.where(count > 0, total / xp.clip(count, 1.0, None), level)
    return xp.where(where, mean, image)


def _median_level(image: Any, out: Any) -> float:
    """The lower median of what is not out; 0 if all is."""
    xp = array_namespace(image)
    n = int(xp.sum(xp.astype(~out, xp.int64)))
    if n == 0:
        return 0.0
    infinite = xp.full_like(image, float("inf"))
    return float(xp.sort(xp.reshape(xp.where(out, infinite, image), (-1,)))[(n - 1) // 2])


def _excluded(image: Any, mask: Any, *, holes: Any) -> Any:
    """Where no cosmic ray is looked for: holes and trails with one pixel around, saturated stars and what they bled with four."""
    saturated = (mask & SATURATED) != 0
    run = saturated
    for step in range(1, RUN):  # true at the first pixel of a run
        run = run & next(_shifted(saturated, ((step, 0),)))
    run = dilated(run, tuple((-step, 0) for step in range(1, RUN)))
    star = saturated & (run | (window_median(image, 2) > STAR_SHARE * image))
    around = tuple((y, x) for y, x in _square(2) if abs(y) + abs(x) < 4)
    grown = dilated(dilated(star, around), around)
    return grown | dilated(holes | ((mask & TRAIL) != 0), _square(1))


def _square(r: int) -> tuple[tuple[int, int], ...]:
    return tuple((y, x) for y in range(-r, r + 1) for x in range(-r, r + 1))


def _shifted(image: Any, offsets: tuple[tuple[int, int], ...]) -> Iterator[Any]:
    """For each offset (y, x) the image whose pixel is what lies at that offset; beyond the border lies 0."""
    xp = array_namespace(image)
    h, w = image.shape
    r = max(max(abs(y), abs(x)) for y, x in offsets)
    flat = xp.zeros((r, w), dtype=image.dtype)
    high = xp.zeros((h + 2 * r, r), dtype=image.dtype)
    padded = xp.concat([high, xp.concat([flat, image, flat], axis=0), high], axis=1)
    for y, x in offsets:
        yield padded[r + y : r + y + h, r + x : r + x + w]
