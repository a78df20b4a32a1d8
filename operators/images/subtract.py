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

from operators.images.planes import NO_DATA, UNUSABLE, Difference, Reference
from operators.images.psf import psf_grid
from operators.images.register import filled
from operators.images.source_noise import judged, light_noise, misfits
from operators.kernels.difference import fill_masked, products
from operators.namespace import array_namespace, to_host
from operators.types import F64, Array

LEAST_SHARE_ERR = 0.015
"""A source's own flux is known no better, as a share of it: its place lies between pixels, its PSF between stars."""
TILE = 256
"""Side of a tile that is aimed at [pixel]."""
MARGIN = 22
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
    psf = _psf_over(reference, image, grid=(rows, columns))
    tiles = []
    for i, (y0, y1) in enumerate(_cuts(h, rows)):
        for j, (x0, x1) in enumerate(_cuts(w, columns)):
            p = fft.rfftn(xp.asarray(_around_origin(psf[i, j], size)))
            power = xp.real(p) ** 2 + xp.imag(p) ** 2
            tiles.append(Tile(y0, y1, x0, x1, fft.rfftn(_window(image, y0, x0=x0, size=size)), p, power))
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
    kernels = fused and xp is np
    image, both, good = _usable(new, mask, prepared=prepared, scale=scale, kernels=kernels)
    grid = _grid_of(psf, prepared.grid)
    small = _small_filters(grid, prepared, noise=noise, scale=scale)
    difference, flux, static, base = _tiled(image, grid, noise=noise, scale=scale, prepared=prepared, kernels=kernels)
    light = image if variance is None else xp.where(good, xp.astype(variance, xp.float32) - noise**2, xp.zeros_like(image))
    light = light_noise(light, _squares(small, scale=scale, depth=reference.depth), kernels=kernels)
    mean, spread = misfits(flux, static, base=base, light=light, good=good, stars=reference.stars, shift=shift)
    significance, sigma = judged(flux, static, light=light, base=base, good=good, mean=mean, spread=spread, kernels=kernels)
    mean_psf = _difference_psf(small, grid.shape[2])
    return Difference(
        difference=difference,
        significance=significance,
        noise=sigma,
        mask=both,
        psf=mean_psf if xp is np else xp.asarray(mean_psf),
        share_err=max(float(spread[0]) ** 0.5, LEAST_SHARE_ERR),
    )


def _usable(new: Array, mask: Array, *, prepared: Prepared, scale: float, kernels: bool) -> tuple[Array, Array, Array]:
    """The image with the reference's light where either has no usable pixel, the mask of both, where both are usable."""
    reference = prepared.reference
    if kernels:
        image, both, good = np.empty(new.shape, np.float32), np.empty(new.shape, np.uint8), np.empty(new.shape, np.bool_)
        fill_masked(
            np.asarray(new, np.float32), np.asarray(mask), np.asarray(reference.mask), np.asarray(prepared.filled), np.float32(scale),
            np.uint8(UNUSABLE), np.uint8(NO_DATA), image, both, good,
        )  # fmt: skip
        return image, both, good
    xp = array_namespace(new, mask)
    there = xp.isfinite(new)
    both = mask | reference.mask
    both = xp.where(there, both, both | xp.asarray(NO_DATA, dtype=xp.uint8))
    good = (both & UNUSABLE) == 0
    return xp.where(good, xp.astype(new, xp.float32), prepared.filled * xp.asarray(scale, dtype=xp.float32)), both, good


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


def _window(image: Array, y0: int, *, x0: int, size: tuple[int, int]) -> Array:
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


def _around_origin(p: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """On a larger grid, the middle at (0, 0)."""
    half = p.shape[0] // 2
    out = np.zeros(size, p.dtype)
    for to_y, from_y in ((slice(0, half + 1), slice(half, None)), (slice(-half, None), slice(0, half))):
        out[to_y, : half + 1] = p[from_y, half:]
        out[to_y, -half:] = p[from_y, :half]
    return out


def _psf_over(reference: Reference, image: Array, *, grid: tuple[int, int]) -> npt.NDArray[np.float32]:
    """The reference's PSF in each tile: of its own stars, or where they are too few the one it came with."""
    given = np.asarray(to_host(reference.psf), np.float32)
    if grid == (1, 1) or np.count_nonzero(reference.stars.flags == 0) < _STARS_OF_A_PSF:
        return np.broadcast_to(given, (*grid, *given.shape))
    try:
        return np.asarray(to_host(psf_grid(image, reference.stars, tiles=grid, size=given.shape[0])), np.float32)
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
    image: Array, grid: npt.NDArray[np.float32], *, noise: float, scale: float, prepared: Prepared, kernels: bool
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
        p = fft.rfftn(xp.asarray(_around_origin(grid[divmod(n, columns)], size)))
        new = fft.rfftn(_window(image, tile.y0, x0=tile.x0, size=size))
        form = _products if kernels else products_array
        d, s, g, power = form(new, p, tile=tile, beta=beta, var_new=var_new, var_ref=var_ref)
        unit = power / (size[0] * size[1])  # response of the matched filter to a source of one electron in the reference, and its variance
        ys, xs = slice(MARGIN, MARGIN + tile.y1 - tile.y0), slice(MARGIN, MARGIN + tile.x1 - tile.x0)
        to_flux = float(beta) / unit
        base = float(beta) ** 2 / unit
        made = [(fft.irfftn(v, s=size, axes=(0, 1))[ys, xs], f) for v, f in ((d, to_electrons), (s, to_flux), (g, to_flux))]
        if planes:
            for plane, (part, factor) in zip(planes, made, strict=False):
                np.multiply(part, np.float32(factor), out=plane[tile.y0 : tile.y1, tile.x0 : tile.x1])
            planes[3][tile.y0 : tile.y1, tile.x0 : tile.x1] = base
        else:
            one, two, three = (part * xp.asarray(factor, dtype=xp.float32) for part, factor in made)
            parts.append((one, two, three, xp.full(one.shape, base, dtype=xp.float32)))
    if planes:
        return planes[0], planes[1], planes[2], planes[3]

    def whole(k: int) -> Array:
        rows = [xp.concat([p[k] for p in parts[i : i + columns]], axis=1) for i in range(0, len(parts), columns)]
        return xp.concat(rows, axis=0)

    return whole(0), whole(1), whole(2), whole(3)


def _products(new: Any, p: Any, *, tile: Any, beta: Any, var_new: Any, var_ref: Any) -> tuple[Array, Array, Array, float]:
    d, s, g = np.empty_like(new), np.empty_like(new), np.empty_like(new)
    floor = np.float32(_FLOOR * (var_new + beta * beta * var_ref))
    parts = [np.asarray(v, np.complex64).view(np.float32) for v in (new, p, tile.image, tile.psf)]
    out = [v.view(np.float32) for v in (d, s, g)]
    power = products(*parts, tile.power, beta, var_new, var_ref, floor, *out)
    return d, s, g, float(power)


def products_array(new: Array, p: Array, *, tile: Tile, beta: Any, var_new: Any, var_ref: Any) -> tuple[Array, Array, Array, float]:
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


def _small_filters(grid: npt.NDArray[np.float32], prepared: Prepared, *, noise: float, scale: float) -> tuple[F64, F64, F64, float]:
    """Of the mean PSFs, on a small grid of the host: filters of the new and the reference image, the difference's PSF, response."""
    new, ref = (np.fft.rfft2(_around_origin(p.mean((0, 1)), (_SMALL, _SMALL))) for p in (grid, prepared.psf))
    var_new, var_ref, beta = noise**2, prepared.reference.noise**2, scale
    a, b = np.abs(ref) ** 2, np.abs(new) ** 2
    den = np.maximum(var_new * a + beta**2 * var_ref * b, _FLOOR * (var_new + beta**2 * var_ref))
    shape = (_SMALL, _SMALL)
    of_new = np.fft.irfft2(beta * a * np.conj(new) / den, s=shape)
    of_ref = np.fft.irfft2(beta**2 * b * np.conj(ref) / den, s=shape)
    of_difference = np.fft.irfft2(new * ref / np.sqrt(den), s=shape)
    response = np.fft.irfft2(beta**2 * a * b / den, s=shape)[0, 0]
    return of_new, of_ref, of_difference, float(response)


def _difference_psf(small: tuple[F64, F64, F64, float], size: int) -> npt.NDArray[np.float32]:
    half = size // 2
    p = np.roll(small[2], (half, half), (0, 1))[:size, :size]
    return np.asarray(p / p.sum(), np.float32)


def _squares(small: tuple[F64, F64, F64, float], *, scale: float, depth: float) -> F64:
    """Variance that one electron's noise adds to the flux at each distance, in both images; the middle at half the side."""
    of_new, of_ref, _, response = small
    squares = (of_new**2 + of_ref**2 / (scale * depth)) * (scale / response) ** 2
    return np.asarray(np.roll(squares, (_SMALL // 2, _SMALL // 2), (0, 1)))
