"""The point-spread function of an image, from its stars.

image (h, w), stars → (s, s), sum 1, centred; or one of each tile of the frame, (rows, columns, s, s)

Stamps of isolated bright stars, moved to a common centre, are combined with the outliers of each pixel left out. Over the frame each
pixel of the PSF is a plane, or with many stars a surface of second order, in the position. Its wings, where single pixels are noise, are
their mean round the centre.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from operators.images.detect import cut
from operators.images.planes import Stars
from operators.images.register import kernel_table
from operators.images.stars import APERTURE, EXTENDED, NO_FIT, take
from operators.kernels.difference import resample_plane
from operators.namespace import array_namespace, to_host
from operators.types import F64, Array

MOST_STARS = 200
_LEAST_STARS = 3
_LINEAR_FROM, _QUADRATIC_FROM = 20, 60
"""Stars from which on the PSF may change over the frame."""
_WINGS = 2.0
"""[FWHM] from the centre, beyond which a pixel of the PSF is the mean round the centre; between it and 3/4 of it the two are mixed."""
_CLIP = 3.5
_LEAST_SCATTER = 0.01
"""Of the PSF's peak: below it stars differ by more than noise, and nothing is left out."""
_MODEL = 0.02
"""What the brightest stars, too, differ by: how a PSF changes over a frame is not the low orders alone."""
_SNR = 30.0
"""Least of a star's aperture flux, if there are enough such stars."""


def psf_of(image: Array, stars: Stars, *, size: int = 31) -> Array:
    """The mean PSF of an image.

    Parameters
    ----------
    image : (h, w) float32
        Sky subtracted.
    stars : Stars
        Of this image, or of one on the same pixels: their positions define the centre.
    size : int
        Side [pixel], odd.

    Returns
    -------
    (s, s) float32

    Raises
    ------
    ValueError
        No stars to make it of.
    """
    return psf_grid(image, stars, tiles=(1, 1), size=size)[0, 0, :, :]


def psf_grid(image: Array, stars: Stars, *, tiles: tuple[int, int], size: int = 31) -> Array:
    """The PSF in the middle of each tile of a frame cut into rows × columns; (rows, columns, s, s) float32.

    With fewer than twenty good stars it is the same in all of them.
    """
    xp = array_namespace(image)
    if size % 2 == 0:
        raise ValueError(f"a PSF of {size} pixels has no centre: an odd number is needed")
    h, w = image.shape
    stamps, weight, y, x = _stamps(image, stars, size=size)
    made = _grid(stamps, weight, y=y, x=x, h=h, w=w, tiles=tiles)
    return made if xp is np else xp.asarray(made)


def fwhm_of(psf: Array) -> float:
    """Full width at half maximum [pixel] by the area above half of the peak, a pixel counted by how far it reaches above."""
    p = np.asarray(to_host(psf), np.float64)
    return float(2 * np.sqrt(_area_above_half(p) / np.pi))


def aperture_share(psf: Array, radius: float = APERTURE) -> float:
    """Share of a star's light within a radius [pixel] of its centre, of that within the PSF's stamp."""
    p = np.asarray(to_host(psf), np.float64)
    half = p.shape[0] // 2
    fine = (np.arange(5 * p.shape[0]) + 0.5) / 5 - 0.5 - half
    inside = (fine[:, None] ** 2 + fine[None, :] ** 2 < radius**2).reshape(p.shape[0], 5, p.shape[1], 5).mean((1, 3))
    return float((p * inside).sum() / p.sum())


def _area_above_half(p: F64) -> float:
    """Of the image read on a grid five times as fine."""
    half = p.shape[0] // 2
    reach = np.arange(-8 * 5, 8 * 5 + 1) / 5
    reach = reach[np.abs(reach) < half - 3]
    m = np.zeros((2, 6))
    m[0, 0] = m[1, 0] = half + reach[0]
    m[0, 1] = m[1, 2] = 0.2
    out = np.empty((len(reach), len(reach)), np.float32)
    resample_plane(np.ascontiguousarray(p, np.float32), m, kernel_table(), np.float32(0), out)
    return float((out > out.max() / 2).sum() / 25)


def _stamps(image: Array, stars: Stars, *, size: int) -> tuple[F64, F64, F64, F64]:
    """Normalised stamps (k, s, s) of good stars on a common centre, their weights (k,) and positions (k,), (k,)."""
    usable = np.flatnonzero((stars.flags == 0) & (stars.flux > 0))
    if len(usable) < _LEAST_STARS:  # blended ones are better than none
        usable = np.flatnonzero((stars.flags.astype(np.int64) & (EXTENDED | NO_FIT) == 0) & (stars.flux > 0))
    good = usable[stars.flux[usable] > _SNR * stars.flux_err[usable]]
    chosen = take(stars, (good if len(good) >= _LINEAR_FROM else usable)[:MOST_STARS])
    if not len(chosen.y):
        raise ValueError("no isolated star to make the PSF of")
    margin = 4
    yx = np.stack([chosen.y, chosen.x], axis=1)
    raw = np.asarray(to_host(cut(image, yx, size=size + 2 * margin)), np.float32)
    whole = np.isfinite(raw).all((1, 2))
    if not whole.any():
        raise ValueError("no star whose surroundings are whole to make the PSF of")
    half = size // 2
    out = np.empty((int(whole.sum()), size, size))
    moved = np.empty((size, size), np.float32)
    for k, i in enumerate(np.flatnonzero(whole)):
        m = np.zeros((2, 6))
        m[0, 0], m[0, 1] = margin + chosen.y[i] - np.rint(chosen.y[i]), 1
        m[1, 0], m[1, 2] = margin + chosen.x[i] - np.rint(chosen.x[i]), 1
        resample_plane(np.ascontiguousarray(raw[i]), m, kernel_table(), np.float32(0), moved)
        out[k] = moved
    kept = take(chosen, np.flatnonzero(whole))
    d = np.arange(size) - half
    r = np.hypot(d[:, None], d[None, :])
    rim = (r > half - 2.5) & (r <= half)
    out -= np.median(out[:, rim], axis=1)[:, None, None]  # what neighbours' wings and the sky's error leave
    core = r <= min(APERTURE, half)
    total = out[:, core].sum(1)
    good_sum = np.asarray(total > 0)
    if not good_sum.any():
        raise ValueError("no star with light in it to make the PSF of")
    out, kept, total = out[good_sum], take(kept, np.flatnonzero(good_sum)), total[good_sum]
    snr = np.maximum(kept.flux / np.where(kept.flux_err > 0, kept.flux_err, np.inf), 1)
    return out / total[:, None, None], 1 / (snr**-2 + _MODEL**2), kept.y, kept.x


def _grid(stamps: F64, weight: F64, *, y: F64, x: F64, h: int, w: int, tiles: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Fit the stamps' pixels over the frame, evaluate in the tiles' middles."""
    k, size = stamps.shape[:2]
    order = 0 if tiles == (1, 1) or k < _LINEAR_FROM else 1 if k < _QUADRATIC_FROM else 2
    terms = _terms(y / h * 2 - 1, x / w * 2 - 1, order=order)
    a = terms.shape[1]
    products = (terms[:, :, None] * terms[:, None, :]).reshape(k, a * a)
    pixels = stamps.reshape(k, -1)
    middle = np.median(pixels, axis=0)
    fit = np.broadcast_to(middle, pixels.shape)
    coefficients: Any = None
    for _ in range(4):
        off = np.abs(pixels - fit)
        scatter = 1.4826 * np.median(off, axis=0) + _LEAST_SCATTER * middle.max()
        weights = np.where(off < _CLIP * scatter, weight[:, None], 0)
        normal = (weights.T @ products).reshape(-1, a, a) + 1e-9 * weight.sum() * np.eye(a)
        right = (weights * pixels).T @ terms
        coefficients = np.linalg.solve(normal, right[..., None])[..., 0]
        fit = terms @ coefficients.T
    rows, columns = tiles
    at_y, at_x = ((np.arange(n) + 0.5) / n * 2 - 1 for n in (rows, columns))
    grid_y, grid_x = (a.ravel() for a in np.meshgrid(at_y, at_x, indexing="ij"))
    made = (_terms(grid_y, grid_x, order=order) @ coefficients.T).reshape(-1, size, size)
    return np.stack([_finished(p) for p in made]).reshape(rows, columns, size, size)


def _terms(u: F64, v: F64, *, order: int) -> F64:
    columns = [np.ones_like(u)]
    if order > 0:
        columns += [u, v]
    if order > 1:
        columns += [u * u, u * v, v * v]
    return np.stack(columns, axis=1)


def _finished(p: F64) -> npt.NDArray[np.float32]:
    """Smooth the wings round the centre, let them end at 0 on the rim, make the sum 1."""
    size = p.shape[0]
    half = size // 2
    d = np.arange(size) - half
    r = np.hypot(d[:, None], d[None, :])
    fwhm = max(2 * np.sqrt(max((p > p[half, half] / 2).sum(), 1) / np.pi), 1.5)
    ring = np.minimum(np.rint(r).astype(int), half + 1)
    count = np.bincount(ring.ravel())
    profile = np.bincount(ring.ravel(), weights=p.ravel()) / np.maximum(count, 1)
    profile[half + 1 :] = 0
    profile = np.maximum(profile, 0)
    smooth = np.interp(r, np.arange(len(profile)), profile)
    end = max(_WINGS * fwhm, 5.0)
    share = np.clip((r / end - 0.75) / 0.25, 0, 1)
    p = (1 - share) * p + share * smooth
    p = np.where(r <= half, p, 0)
    return np.asarray(p / p.sum(), np.float32)
