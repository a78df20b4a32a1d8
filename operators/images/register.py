"""Brings an image onto the pixels of another.

positions of the same stars in both → the map between their pixels; image, mask → resampled

Maps are (2, 3) matrices on (y, x, 1) or, where the optics distort, (2, 6) ones on (y, x, 1, y², yx, x²). Resampling is Lanczos' with three
lobes (Duchon 1979): it keeps the light and most of the sharpness; pixels that the source does not have are NaN, in the mask NO_DATA.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.images.planes import NO_DATA, UNUSABLE
from operators.kernels.difference import TAPS, resample_plane
from operators.kernels.registration import fill_plane, mask_plane
from operators.namespace import array_namespace
from operators.types import F64, Array

I64 = npt.NDArray[np.int64]

PHASES = 1024
"""Of the kernel's table: a position is rounded to so many parts of a pixel, a twentieth of what centroids of bright stars are good for."""
_ROUNDS = 10
_LEAST_SCATTER = 0.02
"""[pixel] of the residuals, below which nothing is clipped."""
_CURVED_FROM = 40
"""Stars from which on a (2, 6) map is fitted by `map_between`."""
_LEAST_STARS = 3


def match(a_yx: F64, b_yx: F64, *, radius: float) -> tuple[I64, I64]:
    """Indices of pairs that are each other's nearest within a radius [pixel]."""
    from scipy.spatial import cKDTree

    a, b = np.asarray(a_yx, np.float64).reshape(-1, 2), np.asarray(b_yx, np.float64).reshape(-1, 2)
    if not (len(a) and len(b)):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    distance, to_b = cKDTree(b).query(a, distance_upper_bound=radius)
    _, to_a = cKDTree(a).query(b)
    i = np.flatnonzero(np.isfinite(distance))
    i = i[to_a[to_b[i]] == i]
    return i.astype(np.int64), to_b[i].astype(np.int64)


def offset_between(a_yx: F64, b_yx: F64, *, within: float, step: float = 2.0) -> F64:
    """The shift b - a [pixel] that most pairs share, (2,): a start for `match` where the pointing is known to `within` pixels only.

    Positions brightest first: of each list the first 150 count.
    """
    a, b = np.asarray(a_yx, np.float64)[:150], np.asarray(b_yx, np.float64)[:150]
    apart = (b[None, :, :] - a[:, None, :]).reshape(-1, 2)
    apart = apart[np.abs(apart).max(1, initial=0) <= within]
    if not len(apart):
        return np.zeros(2)
    cells = np.rint(apart / step).astype(np.int64)
    reach = int(within / step) + 2
    votes = np.zeros((2 * reach + 1, 2 * reach + 1))
    np.add.at(votes, (cells[:, 0] + reach, cells[:, 1] + reach), 1)
    padded = np.pad(votes, 1)
    sums = sum(padded[i : i + votes.shape[0], j : j + votes.shape[1]] for i in range(3) for j in range(3))
    best = np.array(np.unravel_index(np.argmax(sums), votes.shape)) - reach
    near = apart[np.abs(apart - best * step).max(1) <= 1.5 * step]
    return np.asarray(np.median(near, axis=0))


def affine_between(a_yx: F64, b_yx: F64) -> F64:
    """Fit b = M (y, x, 1) of matched positions, outliers left out; (2, 3).

    Two stars or one give a shift.

    Raises
    ------
    ValueError
        No stars.
    """
    return _fit(a_yx, b_yx, n=3)


def map_between(a_yx: F64, b_yx: F64) -> F64:
    """As `affine_between`, curved where there are stars enough: (2, 6), with zeros where not."""
    if len(a_yx) < _CURVED_FROM:
        return curved(_fit(a_yx, b_yx, n=3))
    return _fit(a_yx, b_yx, n=6)


def curved(affine: Any) -> F64:
    """The same map as a (2, 6) matrix."""
    m = np.asarray(affine, np.float64)
    return m if m.shape == (2, 6) else np.concatenate([m, np.zeros((2, 3))], axis=1)


def apply(affine: Any, yx: F64) -> F64:
    """Where positions (k, 2) come to lie."""
    return _terms(np.asarray(yx, np.float64).reshape(-1, 2), 6) @ curved(affine).T


def _terms(yx: F64, n: int) -> F64:
    y, x = yx[:, 0], yx[:, 1]
    return np.stack([y, x, np.ones(len(y)), y * y, y * x, x * x][:n], axis=1)


def _fit(a_yx: F64, b_yx: F64, *, n: int) -> F64:
    a, b = np.asarray(a_yx, np.float64).reshape(-1, 2), np.asarray(b_yx, np.float64).reshape(-1, 2)
    if not len(a):
        raise ValueError("no stars in common: the map between the images is not known")
    if len(a) < _LEAST_STARS:
        shift = np.mean(b - a, axis=0)
        return np.array([[1.0, 0, shift[0]], [0, 1.0, shift[1]]])
    scale = max(float(np.abs(a).max()), 1.0)
    terms = _terms(a / scale, n)
    keep = np.ones(len(a), np.bool_)
    for _ in range(_ROUNDS):
        m = np.linalg.lstsq(terms[keep], b[keep], rcond=None)[0].T
        off = np.hypot(*(b - terms @ m.T).T)
        before, keep = keep, off <= 3 * np.median(off[keep]) + _LEAST_SCATTER
        if keep.sum() < max(_LEAST_STARS, n) or (keep == before).all():
            break
    return np.asarray(m / np.array([scale, scale, 1, scale**2, scale**2, scale**2][:n]))


@lru_cache(maxsize=1)
def kernel_table() -> npt.NDArray[np.float32]:
    """(phases + 1, 6) weights of pixels -2 … 3 about the floor of a position; each row sums to 1."""
    at = np.arange(PHASES + 1)[:, None] / PHASES - np.arange(-2, 4)[None, :]
    weights = np.sinc(at) * np.sinc(at / 3) * (np.abs(at) < 3)
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)


def resample(image: Array, affine: Any, *, shape: tuple[int, int], fill: float = float("nan")) -> Array:
    """Read an image at the places where another's pixels lie: out(y, x) = image(affine (y, x, 1)).

    Parameters
    ----------
    image : (h', w') float32, finite
    affine : (2, 3) or (2, 6), of the host
        From the other's pixels to the image's.
    shape : (h, w) of the other
    fill : float
        Where the image has no pixels.

    Returns
    -------
    (h, w) float32
    """
    xp = array_namespace(image)
    if xp is np:
        m = curved(affine)[:, [2, 0, 1, 3, 4, 5]]
        out = np.empty(shape, np.float32)
        resample_plane(np.asarray(image, np.float32), np.ascontiguousarray(m), kernel_table(), np.float32(fill), out)
        return out
    return resample_array(image, affine, shape=shape, fill=fill)


def resample_array(image: Array, affine: Any, *, shape: tuple[int, int], fill: float = float("nan")) -> Array:
    """The same for any namespace: the oracle of the kernel."""
    xp = array_namespace(image)
    (y, x), inside = _places(xp, affine, shape=shape, source=image.shape)
    a, b = xp.floor(y), xp.floor(x)
    table = xp.asarray(kernel_table())
    phase_y, phase_x = (xp.astype(xp.reshape((v - low) * PHASES + 0.5, (-1,)), xp.int64) for v, low in ((y, a), (x, b)))
    zero = xp.asarray(0, dtype=xp.int64)
    corner_y, corner_x = (xp.where(inside, xp.astype(v, xp.int64) - 2, zero) for v in (a, b))
    flat = xp.reshape(xp.astype(image, xp.float32), (-1,))
    width = image.shape[1]
    total = xp.zeros(shape, dtype=xp.float32)
    for i in range(TAPS):
        row = xp.zeros(shape, dtype=xp.float32)
        for j in range(TAPS):
            values = xp.take(flat, xp.reshape((corner_y + i) * width + corner_x + j, (-1,)))
            row = row + xp.reshape(xp.take(table[:, j], phase_x) * values, shape)
        total = total + xp.reshape(xp.take(table[:, i], phase_y), shape) * row
    return xp.where(inside, total, xp.asarray(fill, dtype=xp.float32))


def resample_mask(mask: Array, affine: Any, *, shape: tuple[int, int]) -> Array:
    """The bits of the four pixels around each place; NO_DATA where the image has none."""
    if array_namespace(mask) is np:
        out = np.empty(shape, np.uint8)
        mask_plane(np.asarray(mask, np.uint8), np.ascontiguousarray(curved(affine)), np.uint8(NO_DATA), out)
        return out
    return resample_mask_array(mask, affine, shape=shape)


def resample_mask_array(mask: Array, affine: Any, *, shape: tuple[int, int]) -> Array:
    """The same for any namespace: the oracle of the kernel."""
    xp = array_namespace(mask)
    (y, x), inside = _places(xp, affine, shape=shape, source=mask.shape)
    zero = xp.asarray(0, dtype=xp.int64)
    a, b = (xp.where(inside, xp.astype(xp.floor(v), xp.int64), zero) for v in (y, x))
    flat, width = xp.reshape(mask, (-1,)), mask.shape[1]
    bits = xp.zeros(shape, dtype=xp.uint8)
    for i in (0, 1):
        for j in (0, 1):
            bits = bits | xp.reshape(xp.take(flat, xp.reshape((a + i) * width + b + j, (-1,))), shape)
    return xp.where(inside, bits, xp.asarray(NO_DATA, dtype=xp.uint8))


def _places(xp: Any, affine: Any, *, shape: tuple[int, int], source: tuple[int, ...]) -> tuple[tuple[Array, Array], Array]:
    """Where each pixel's place lies in the source, and whether the source has the pixels around it."""
    m = curved(affine)
    i, j = (xp.astype(xp.arange(n), xp.float64) for n in shape)
    i, j = i[:, None], j[None, :]
    y, x = (float(r[2]) + float(r[0]) * i + float(r[1]) * j + float(r[3]) * i * i + float(r[4]) * i * j + float(r[5]) * j * j for r in m)
    a, b = xp.floor(y), xp.floor(x)
    inside = (a >= 2) & (b >= 2) & (a <= source[0] - 4) & (b <= source[1] - 4)
    return (y, x), inside


def filled(image: Array, mask: Array, *, rounds: int = 8) -> Array:
    """Replace unusable pixels by the mean of usable neighbours, from the rim inwards; 0 where none is within `rounds` pixels.

    So that a bad pixel does not spread when it is resampled or transformed; the mask keeps saying that nothing was measured there.
    """
    if array_namespace(image, mask) is np:
        there = ((np.asarray(mask) & UNUSABLE) == 0) & np.isfinite(np.asarray(image))
        values = np.where(there, np.asarray(image, np.float32), np.float32(0))
        fill_plane(values, there.view(np.uint8), rounds)
        return values
    return filled_array(image, mask, rounds=rounds)


def filled_array(image: Array, mask: Array, *, rounds: int = 8) -> Array:
    """The same for any namespace: the oracle of the kernel."""
    xp = array_namespace(image, mask)
    good = ((mask & UNUSABLE) == 0) & xp.isfinite(image)
    zero = xp.asarray(0.0, dtype=xp.float32)
    values = xp.where(good, xp.astype(image, xp.float32), zero)
    if bool(xp.all(good)):
        return values
    there = xp.astype(good, xp.float32)
    for _ in range(rounds):
        total, count = _nine(values), _nine(there)
        new = (there == 0) & (count > 0)
        if not bool(xp.any(new)):
            break
        values = xp.where(new, total / xp.where(new, count, xp.asarray(1.0, dtype=xp.float32)), values)
        there = xp.where(new, xp.asarray(1.0, dtype=xp.float32), there)
    return values


def _nine(plane: Array) -> Array:
    """Sum over 3 × 3."""
    xp = array_namespace(plane)
    h, w = plane.shape
    row = xp.zeros((1, w), dtype=plane.dtype)
    tall = xp.concat([row, plane, row], axis=0)
    rows = tall[:-2, :] + tall[1:-1, :] + tall[2:, :]
    column = xp.zeros((h, 1), dtype=plane.dtype)
    wide = xp.concat([column, rows, column], axis=1)
    return wide[:, :-2] + wide[:, 1:-1] + wide[:, 2:]


def aligned(image: Array, mask: Array, *, affine: Any, shape: tuple[int, int]) -> tuple[Array, Array]:
    """Image and mask on the other's pixels: unusable pixels filled first, NaN and NO_DATA where the image has none."""
    return resample(filled(image, mask), affine, shape=shape), resample_mask(mask, affine, shape=shape)
