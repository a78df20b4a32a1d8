"""New minus reference, each brought to the other's PSF: proper image subtraction (Zackay, Ofek & Gal-Yam 2016, ApJ 830, 27).

new image, its PSF, its noise, the reference (prepared once) → difference, significance, flux and its noise at each pixel

Works in tiles, each with the PSF in its middle, so that the PSF may change over the frame and transforms fit a processor's cache. A
source's noise is more than the sky's: its own light in both images, and what registration, PSF and flux scale leave of a static source
(`source_noise`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.images.planes import UNUSABLE, Difference, Reference
from operators.images.psf import psf_grid
from operators.images.register import filled
from operators.images.source_noise import judged, light_noise, misfits, width_of
from operators.kernels.difference import products
from operators.namespace import array_namespace, to_host
from operators.types import F64, Array

TILE = 256
"""Side of a tile that is aimed at [pixel]."""
MARGIN = 32
"""How far tiles reach into each other [pixel]: the filters' wings."""
_FLOOR = 1e-10
"""Of the largest denominator: frequencies that neither image has."""
_STARS_OF_A_PSF = 16
"""Clean stars of a reference, below which its PSF is taken as it came."""
_SMALL = 64
"""Side of the grid on which the filters' shapes are made [pixel]."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of the frame and what of the reference's transforms it needs."""

    y0: int
    y1: int
    x0: int
    x1: int
    """Of the frame's pixels that this tile fills."""
    image: Array
    """(f, f / 2 + 1) transform of the reference with margins."""
    psf: Array
    """(f, f / 2 + 1)"""
    power: Array
    """|psf|²"""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A reference and what depends on it only."""

    reference: Reference
    tiles: tuple[Tile, ...]
    grid: tuple[int, int]
    """Rows and columns of tiles."""
    size: tuple[int, int]
    """Of a tile's transform [pixel]."""
    psf: npt.NDArray[np.float32]
    """(rows, columns, s, s), on the host."""
    filled: Array
    """(h, w) float32, masked pixels filled."""


def prepare(reference: Reference, *, tile: int = TILE) -> Prepared:
    """Transform a reference; done once a field and filter.

    Parameters
    ----------
    reference : Reference
    tile : int
        Side of a tile that is aimed at [pixel].
    """
    image = filled(reference.image, reference.mask)
    xp = array_namespace(image)
    fft = _fft(xp)
    h, w = image.shape
    rows, columns = (max(1, round(n / tile)) for n in (h, w))
    size = (_fast(-(-h // rows) + 2 * MARGIN), _fast(-(-w // columns) + 2 * MARGIN))
    psf = _psf_over(reference, image, (rows, columns))
    tiles = []
    for i, (y0, y1) in enumerate(_cuts(h, rows)):
        for j, (x0, x1) in enumerate(_cuts(w, columns)):
            p = _transform_psf(xp, fft, psf[i, j], size)
            power = xp.real(p) ** 2 + xp.imag(p) ** 2
            tiles.append(Tile(y0, y1, x0, x1, fft.rfftn(_window(image, y0, x0, size)), p, power))
    return Prepared(reference, tuple(tiles), (rows, columns), size, psf, image)


def subtract(
    new: Array,
    mask: Array,
    *,
    psf: Array,
    noise: float,
    scale: float,
    prepared: Prepared,
    variance: Array | None = None,
    shift: float | None = None,
    fused: bool = True,
) -> Difference:
    """Subtract the reference from an image on its pixels.

    Parameters
    ----------
    new : (h, w) float32 [e-]
        Sky subtracted; NaN where it has no pixels.
    mask : (h, w) uint8
    psf : (s, s), or (rows, columns, s, s) of the tiles of `prepared.grid`
        Of the new image, sum 1.
    noise : float
        1 σ of its sky's pixels [e-].
    scale : float
        Flux in the new image over flux in the reference.
    prepared : Prepared
    variance : (h, w) float32, optional
        Of the new image's pixels [e-²], its light's own noise in it; None: `noise`² and the light itself.
    shift : float, optional
        1 σ of the registration in each direction [pixel]; None: measured at the stars.
    fused : bool
        False: the array form in NumPy too, the oracle of the kernels.

    Raises
    ------
    ValueError
        Shapes differ, or noise or scale is not a positive number.
    """
    xp = array_namespace(new, mask)
    reference = prepared.reference
    if new.shape != prepared.filled.shape or mask.shape != new.shape:
        raise ValueError(f"an image of {new.shape} with a mask of {mask.shape} against a reference of {prepared.filled.shape}")
    if not (np.isfinite(noise) and noise > 0 and np.isfinite(scale) and scale > 0):
        raise ValueError(f"noise {noise} and flux scale {scale} must be positive numbers")
    both = mask | reference.mask
    good = ((both & UNUSABLE) == 0) & xp.isfinite(new)
    image = xp.where(good, xp.astype(new, xp.float32), prepared.filled * xp.asarray(scale, dtype=xp.float32))
    kernels = fused and xp is np
    grid = _grid_of(psf, prepared.grid)
    difference, flux, static, base = _tiled(image, grid, noise, scale, prepared, kernels=kernels)
    light = image if variance is None else xp.where(good, xp.astype(variance, xp.float32) - noise**2, xp.zeros_like(image))
    light = light_noise(light, _squares(grid, prepared, noise, scale), kernels=kernels)
    mean, spread = misfits(flux, static, base=base, light=light, good=good, stars=reference.stars, shift=shift)
    flux, significance, sigma = judged(flux, static, light=light, base=base, mean=mean, spread=spread, kernels=kernels)
    widen = width_of(significance, good)
    zero = xp.zeros_like(significance)
    sane = xp.isfinite(significance)
    mean_psf = _difference_psf(grid, prepared, noise, scale)
    return Difference(
        difference=difference,
        significance=xp.where(sane, significance / widen, zero),
        noise=sigma * widen,
        mask=xp.where(xp.isfinite(new), both, both | xp.asarray(8, dtype=xp.uint8)),
        psf=mean_psf if xp is np else xp.asarray(mean_psf),
    )


def _cuts(n: int, parts: int) -> list[tuple[int, int]]:
    edges = [round(k * n / parts) for k in range(parts + 1)]
    return list(pairwise(edges))


def _fast(n: int) -> int:
    """The next even length whose prime factors are 2, 3 and 5."""
    n += n % 2
    while True:
        rest = n
        for p in (2, 3, 5):
            while rest % p == 0:
                rest //= p
        if rest == 1:
            return n
        n += 2


def _fft(xp: Any) -> Any:
    """The namespace's transforms; SciPy's in NumPy's place where it is installed, which take single precision in a quarter of the time."""
    if xp is np:
        try:
            import scipy.fft
        except ImportError:
            return np.fft
        return scipy.fft
    return xp.fft


def _window(image: Array, y0: int, x0: int, size: tuple[int, int]) -> Array:
    """The image from (y0, x0) less the margin on, 0 beyond its edges."""
    xp = array_namespace(image)
    h, w = image.shape
    top, left = y0 - MARGIN, x0 - MARGIN
    a, b = max(top, 0), min(top + size[0], h)
    c, d = max(left, 0), min(left + size[1], w)
    if xp is np:
        out = np.zeros(size, np.float32)
        out[a - top : b - top, c - left : d - left] = image[a:b, c:d]
        return out
    part = image[a:b, c:d]
    part = xp.concat([xp.zeros((b - a, c - left), dtype=part.dtype), part, xp.zeros((b - a, left + size[1] - d), dtype=part.dtype)], axis=1)
    rows = [xp.zeros((a - top, size[1]), dtype=part.dtype), part, xp.zeros((top + size[0] - b, size[1]), dtype=part.dtype)]
    return xp.concat(rows, axis=0)


def _around_origin(p: npt.NDArray[Any], n: int, axis: int) -> npt.NDArray[Any]:
    """Pad to a length, the middle at index 0."""
    half = p.shape[axis] // 2
    width = [(0, 0)] * p.ndim
    width[axis] = (0, n - p.shape[axis])
    return np.roll(np.pad(p, width), -half, axis=axis)


def _transform_psf(xp: Any, fft: Any, p: npt.NDArray[np.float32], size: tuple[int, int]) -> Array:
    """Of a PSF on the origin: its few rows first."""
    rows = fft.rfft(xp.asarray(_around_origin(p, size[1], 1)), axis=1)
    s, half = p.shape[0], p.shape[0] // 2
    gap = xp.zeros((size[0] - s, rows.shape[1]), dtype=rows.dtype)
    return fft.fft(xp.concat([rows[half:, :], gap, rows[:half, :]], axis=0), axis=0)


def _psf_over(reference: Reference, image: Array, grid: tuple[int, int]) -> npt.NDArray[np.float32]:
    """The reference's PSF in each tile: of its own stars, or where they are too few the one it came with."""
    given = np.asarray(to_host(reference.psf), np.float32)
    if grid == (1, 1) or np.count_nonzero(reference.stars.flags == 0) < _STARS_OF_A_PSF:
        return np.broadcast_to(given, (*grid, *given.shape))
    try:
        return np.asarray(to_host(psf_grid(image, reference.stars, grid, size=given.shape[0])), np.float32)
    except ValueError:
        return np.broadcast_to(given, (*grid, *given.shape))


def _grid_of(psf: Array, grid: tuple[int, int]) -> npt.NDArray[np.float32]:
    p = np.asarray(to_host(psf), np.float32)
    if p.ndim == 2:
        return np.broadcast_to(p, (*grid, *p.shape))
    if p.shape[:2] != grid:
        raise ValueError(f"PSFs of {p.shape[:2]} tiles, the reference has {grid}")
    return p


def _tiled(
    image: Array, grid: npt.NDArray[np.float32], noise: float, scale: float, prepared: Prepared, *, kernels: bool
) -> tuple[Array, Array, Array, Array]:
    """Difference [e-], flux of a point source at each pixel [e-], the static light's share of it, variance of the flux in empty sky."""
    xp = array_namespace(image)
    fft = _fft(xp)
    size, columns = prepared.size, prepared.grid[1]
    var_new, var_ref = np.float32(noise**2), np.float32(prepared.reference.noise**2)
    beta = np.float32(scale)
    to_electrons = float(np.sqrt(var_new + beta**2 * var_ref))
    parts: list[tuple[Array, Array, Array, Array]] = []
    planes = tuple(np.empty(image.shape, np.float32) for _ in range(4)) if xp is np else ()
    for n, tile in enumerate(prepared.tiles):
        p = _transform_psf(xp, fft, grid[divmod(n, columns)], size)
        new = fft.rfftn(_window(image, tile.y0, tile.x0, size))
        form = _products if kernels else products_array
        d, s, g, power = form(new, p, tile, beta, var_new, var_ref)
        unit = power / (size[0] * size[1])  # response of the matched filter to a source of one electron in the reference, and its variance
        ys, xs = slice(MARGIN, MARGIN + tile.y1 - tile.y0), slice(MARGIN, MARGIN + tile.x1 - tile.x0)
        to_flux = float(beta) / unit
        three = [
            fft.irfftn(v, s=size, axes=(0, 1))[ys, xs] * xp.asarray(f, dtype=xp.float32)
            for v, f in ((d, to_electrons), (s, to_flux), (g, to_flux))
        ]
        base = float(beta) ** 2 / unit
        if planes:
            for plane, value in zip(planes, (*three, base), strict=True):
                plane[tile.y0 : tile.y1, tile.x0 : tile.x1] = value
        else:
            parts.append((three[0], three[1], three[2], xp.full(three[0].shape, base, dtype=xp.float32)))
    if planes:
        return planes[0], planes[1], planes[2], planes[3]
    made = []
    for k in range(4):
        rows = [xp.concat([p[k] for p in parts[i : i + columns]], axis=1) for i in range(0, len(parts), columns)]
        made.append(xp.concat(rows, axis=0))
    return made[0], made[1], made[2], made[3]


def _products(new: Any, p: Any, tile: Any, beta: Any, var_new: Any, var_ref: Any) -> tuple[Array, Array, Array, float]:
    d, s, g = np.empty_like(new), np.empty_like(new), np.empty_like(new)
    floor = np.float32(_FLOOR * (var_new + beta * beta * var_ref))
    power = products(new, np.asarray(p, np.complex64), tile.image, tile.psf, tile.power, beta, var_new, var_ref, floor, d, s, g)
    return d, s, g, float(power)


def products_array(new: Array, p: Array, tile: Tile, beta: Any, var_new: Any, var_ref: Any) -> tuple[Array, Array, Array, float]:
    """Equations 13 and 17 and the part of the latter that holds the reference; any namespace: the oracle of the kernel."""
    xp = array_namespace(new)
    beta, var_new, var_ref = float(beta), float(var_new), float(var_ref)
    b = xp.real(p) ** 2 + xp.imag(p) ** 2
    inverse = 1 / xp.clip(var_new * tile.power + var_ref * beta**2 * b, _FLOOR * (var_new + beta**2 * var_ref), None)
    reference = xp.conj(tile.psf) * tile.image * (beta**2 * b * inverse)
    matched = xp.conj(p) * new * (beta * tile.power * inverse) - reference
    difference = (tile.psf * new - p * tile.image * beta) * xp.sqrt(inverse)
    power = beta**2 * tile.power * b * inverse
    total = 2 * xp.sum(power, dtype=xp.float64) - xp.sum(power[:, 0], dtype=xp.float64) - xp.sum(power[:, -1], dtype=xp.float64)
    return difference, matched, reference, float(total)


def _small_filters(grid: npt.NDArray[np.float32], prepared: Prepared, noise: float, scale: float) -> tuple[F64, F64, F64, float]:
    """Of the mean PSFs, on a small grid of the host: filters of the new and the reference image, the difference's PSF, response."""
    new, ref = (np.fft.rfft2(_around_origin(_around_origin(p.mean((0, 1)), _SMALL, 0), _SMALL, 1)) for p in (grid, prepared.psf))
    var_new, var_ref, beta = noise**2, prepared.reference.noise**2, scale
    a, b = np.abs(ref) ** 2, np.abs(new) ** 2
    den = np.maximum(var_new * a + beta**2 * var_ref * b, _FLOOR * (var_new + beta**2 * var_ref))
    shape = (_SMALL, _SMALL)
    of_new = np.fft.irfft2(beta * a * np.conj(new) / den, s=shape)
    of_ref = np.fft.irfft2(beta**2 * b * np.conj(ref) / den, s=shape)
    of_difference = np.fft.irfft2(new * ref / np.sqrt(den), s=shape)
    response = np.fft.irfft2(beta**2 * a * b / den, s=shape)[0, 0]
    return of_new, of_ref, of_difference, float(response)


def _difference_psf(grid: npt.NDArray[np.float32], prepared: Prepared, noise: float, scale: float) -> npt.NDArray[np.float32]:
    of_difference = _small_filters(grid, prepared, noise, scale)[2]
    size = grid.shape[2]
    half = size // 2
    p = np.roll(of_difference, (half, half), (0, 1))[:size, :size]
    return np.asarray(p / p.sum(), np.float32)


def _squares(grid: npt.NDArray[np.float32], prepared: Prepared, noise: float, scale: float) -> F64:
    """Variance that one electron's noise adds to the flux at each distance, in both images; the middle at half the side."""
    of_new, of_ref, _, response = _small_filters(grid, prepared, noise, scale)
    squares = (of_new**2 + of_ref**2 / (scale * prepared.reference.depth)) * (scale / response) ** 2
    return np.asarray(np.roll(squares, (_SMALL // 2, _SMALL // 2), (0, 1)))
