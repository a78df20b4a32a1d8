"""The noise of a flux that is not the sky's, and what subtraction leaves of static sources.

flux of a point source at each pixel, the static light's share of it, the light's own noise, stars → flux less the mean misfit,
significance, noise

Zackay, Ofek & Gal-Yam 2016 (sections 3.3 and 3.4) assume how well images are registered; here the stars of the field show it: at each the
flux map is fitted by the static light, its slopes and its curvature. The mean over stars is taken out, their scatter is noise wherever
light is.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from operators.images.planes import Stars
from operators.kernels.detrend import SIGMA_OF_MAD
from operators.kernels.difference import RING, convolve_separable, judge_plane, widen
from operators.namespace import array_namespace, to_host
from operators.types import F32, F64, Array

_TAP = 0.003
"""Of the highest: taps below it are left off."""
_SNR = 30.0
"""Of static light at a star that takes part in the fit of misfits."""
_LEAST_STARS = 8
_MOST_STARS = 150
_WINDOW = 4
"""Half the side of the window of that fit [pixel]."""
_UNKNOWN = (0.02, 0.1, 0.1, 0.1, 0.05, 0.05, 0.02)
"""Scatter of the misfits where too few stars show it: share of the flux, shifts [pixel], curvatures [pixel²], share of the light around."""
_LEAST = (0.002, 0.005, 0.005, 0.005, 0.003, 0.003)
_FAR, _FAR_SIGMA = 0.9, 1.6449
"""So much of a normal distribution is within so many σ."""
_VARIABLE, _CLIPS = 4.0, 5
"""A star whose flux is so many σ off is taken for variable; how often that is asked."""
_HALVINGS = 40
_LEAST_AROUND = 0.002
_LATTICE = 4
"""Every how many pixels in both directions the significance's width is read off."""


def light_noise(light: Array, squares: F64, *, kernels: bool) -> Array:
    """Variance of the flux by the light's own noise: the light through the filters' squares, as one separable filter.

    Parameters
    ----------
    light : (h, w) float32
    squares : (n, n), n even
        Of what a pixel's electron adds to the flux at distances around the middle, n / 2.
    kernels : bool
        Whether the compiled loops may be used.
    """
    squares = squares[1:, 1:][::-1, ::-1]  # correlated, not convolved
    middle = squares.shape[0] // 2
    u, s, v = np.linalg.svd(squares)
    taps = []
    for t in (u[:, 0], v[0]):
        t = np.abs(t)
        reach = int(np.abs(np.flatnonzero(t > _TAP * t.max()) - middle).max())
        taps.append((np.float32(np.sqrt(s[0])) * t[middle - reach : middle + reach + 1]).astype(np.float32))
    n = max(len(t) for t in taps)
    taps_y, taps_x = (np.pad(t, (n - len(t)) // 2) for t in taps)
    if kernels:
        out = np.empty(light.shape, np.float32)
        convolve_separable(np.ascontiguousarray(light), taps_y, taps_x, out)
        return out
    return convolve_array(light, taps_y, taps_x=taps_x)


def convolve_array(image: Array, taps_y: npt.NDArray[np.float32], *, taps_x: npt.NDArray[np.float32]) -> Array:
    """Separable, 0 beyond the edges; any namespace: the oracle of the kernel."""
    xp = array_namespace(image)
    h, w = image.shape
    half = len(taps_y) // 2
    rim = xp.zeros((half, w), dtype=image.dtype)
    tall = xp.concat([rim, image, rim], axis=0)
    rows = sum((float(t) * tall[k : k + h, :] for k, t in enumerate(taps_y)), xp.zeros_like(image))
    rim = xp.zeros((h, half), dtype=image.dtype)
    wide = xp.concat([rim, rows, rim], axis=1)
    return sum((float(t) * wide[:, k : k + w] for k, t in enumerate(taps_x)), xp.zeros_like(image))


def misfits(
    flux: Array, static: Array, *, base: Array, light: Array, good: Array, stars: Stars, shift: float | None = None
) -> tuple[F32, F32]:
    """What subtraction leaves of static sources, by the stars of the field.

    Six terms: the static light (flux scale), its slopes in y and x (registration [pixel]), its curvature and two differences of curvatures
    (width and shape of the PSF [pixel²]). What is left then, in the stars' surroundings, is a share of the light around.

    Returns
    -------
    mean over stars of the six coefficients (6,), their variance and the share's square (7,)
    """
    xp = array_namespace(flux)
    h, w = flux.shape
    unknown = np.array(_UNKNOWN)
    if shift is not None:
        unknown[1:3] = shift
    nothing, spread = np.zeros(6, np.float32), (unknown**2).astype(np.float32)
    room = _WINDOW + RING
    y, x = np.rint(stars.y).astype(int), np.rint(stars.x).astype(int)
    chosen = np.flatnonzero((y >= room) & (x >= room) & (y < h - room) & (x < w - room) & (stars.flux > 0))
    if len(chosen) < _LEAST_STARS:
        return nothing, spread
    at = xp.asarray(y[chosen] * w + x[chosen])

    def read(plane: Array, index: Array, *shape: int) -> F64:
        return np.asarray(to_host(xp.take(xp.reshape(plane, (-1,)), index)), np.float64).reshape(-1, *shape)

    peak, own = read(static, at), read(base, at) + np.maximum(read(light, at), 0)
    chosen = chosen[peak > _SNR * np.sqrt(own)][:_MOST_STARS]
    d = np.arange(-room, room + 1)
    places = (y[chosen, None, None] + d[:, None]) * w + x[chosen, None, None] + d
    at, side = xp.asarray(places.ravel()), len(d)
    whole = read(good, at, side, side).all((1, 2))
    if whole.sum() < _LEAST_STARS:
        return nothing, spread
    at = xp.asarray(places[whole].ravel())
    g, f = read(static, at, side, side), read(flux, at, side, side)
    inner = slice(RING, -RING)
    at = xp.asarray(places[whole][:, inner, inner].ravel())
    var = read(base, at) + np.maximum(read(light, at), 0)
    f = f[:, inner, inner].reshape(len(g), -1)
    all_terms = np.stack(_terms_of(g), axis=-1)[:, inner, inner].reshape(len(g), -1, 7)
    terms, around = all_terms[..., :6], all_terms[..., 6]
    weight = 1 / var.reshape(len(f), -1)
    weighted = (terms * weight[..., None]).transpose(0, 2, 1)
    normal = weighted @ terms
    normal += np.eye(6) * 1e-9 * np.trace(normal, axis1=1, axis2=2)[:, None, None]
    solved = np.linalg.solve(normal, weighted @ f[..., None])[..., 0]
    # Neighbouring pixels of a matched filter's map share their noise: a coefficient's variance is that many times the fit's.
    shared = _shared(g[:, inner, inner])
    error = np.sqrt(np.einsum("kaa->ka", np.linalg.inv(normal)) * shared)
    middle = np.median(solved, axis=0)
    mean = np.where(np.abs(middle) > 2 * np.median(error, axis=0) / np.sqrt(len(f)), middle, 0)
    apart = np.abs(solved - mean)
    scatter = np.array([_beyond(apart[:, k], error[:, k], varies=k == 0) for k in range(6)])
    scatter = np.maximum(scatter, np.array(_LEAST))
    if shift is not None:
        scatter[1:3] = np.maximum(scatter[1:3], shift)
    rest = f - (terms @ solved[..., None])[..., 0]
    excess = ((rest**2).sum(1) - 1 / weight.mean(1) * rest.shape[1] * max(0.0, 1 - 6 * shared / rest.shape[1])) / (around**2).sum(1)
    share = max(float(np.median(excess)), _LEAST_AROUND**2)
    return mean.astype(np.float32), np.append(scatter**2, share).astype(np.float32)


def _beyond(apart: F64, error: F64, *, varies: bool) -> float:
    """σ that stars lie apart by beyond their own errors, each star's own.

    Where the PSF is known worst stars lie further apart than a normal distribution's, so its far end counts too. Of fluxes (`varies`) it
    must not: a star that is far off there varies, is what is looked for, and must not be the noise that hides it.
    """

    def width(scatter: float) -> float:
        z = apart / np.hypot(error, scatter)
        return max(SIGMA_OF_MAD * float(np.median(z)), float(np.quantile(z, _FAR)) / _FAR_SIGMA)

    for _ in range(_CLIPS if varies else 0):
        z = apart / np.hypot(error, _LEAST[0])
        steady = z <= _VARIABLE * max(1.0, SIGMA_OF_MAD * float(np.median(z)))
        if steady.all():
            break
        apart, error = apart[steady], error[steady]
    low, high = 0.0, float(apart.max()) + 1e-12
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if width(middle) > 1 else (low, middle)
    return high


def _terms_of(g: F64) -> list[F64]:
    """The terms of windows (k, n, n); near the windows' edges they are not valid."""

    def moved(dy: int, dx: int) -> F64:
        return np.roll(g, (-dy, -dx), (1, 2))

    up, down, left, right = moved(-1, 0), moved(1, 0), moved(0, -1), moved(0, 1)
    cross = (moved(1, 1) + moved(-1, -1) - moved(1, -1) - moved(-1, 1)) / 4
    around = (moved(-RING, 0) + moved(RING, 0) + moved(0, -RING) + moved(0, RING)) / 4
    return [g, (down - up) / 2, (right - left) / 2, up + down + left + right - 4 * g, up + down - left - right, cross, around]


def _shared(static: F64) -> float:
    """Pixels that share their noise: the area of the static light's own profile at stars."""
    mean = np.mean(static / static.max((1, 2), keepdims=True), axis=0)
    return float(np.clip(mean, 0, None).sum())


def judged(
    flux: Array, static: Array, *, light: Array, base: Array, good: Array, mean: F32, spread: F32, kernels: bool
) -> tuple[Array, Array]:
    """Take the mean misfit out of the flux and weigh the rest; significance of unit variance in empty sky, noise."""
    if kernels:
        significance, noise = np.empty_like(flux), np.empty_like(flux)
        judge_plane(flux, static, light, base, mean, spread, significance, noise)
        widen(significance, noise, np.float32(width_of(significance, good)))
        return significance, noise
    xp = array_namespace(flux)
    ratio, sigma = judge_array(flux, static, light=light, base=base, mean=mean, spread=spread)
    width = width_of(ratio, good)
    return xp.where(xp.isfinite(ratio), ratio / width, xp.zeros_like(ratio)), sigma * width


def judge_array(flux: Array, static: Array, *, light: Array, base: Array, mean: F32, spread: F32) -> tuple[Array, Array]:
    """The same for any namespace: the oracle of the kernel."""
    xp = array_namespace(flux)
    h, w = flux.shape
    wide = _edged(static, RING)

    def moved(dy: int, dx: int) -> Array:
        return wide[RING + dy : RING + dy + h, RING + dx : RING + dx + w]

    up, down, left, right = moved(-1, 0), moved(1, 0), moved(0, -1), moved(0, 1)
    terms = (
        static,
        (down - up) / 2,
        (right - left) / 2,
        up + down + left + right - 4 * static,
        up + down - left - right,
        (moved(1, 1) + moved(-1, -1) - moved(1, -1) - moved(-1, 1)) / 4,
        (moved(-RING, 0) + moved(RING, 0) + moved(0, -RING) + moved(0, RING)) / 4,
    )
    variance = base + xp.clip(light, 0.0, None)
    for m, v, term in zip((*mean, 0.0), spread, terms, strict=True):
        flux = flux - float(m) * term
        variance = variance + float(v) * term**2
    noise = xp.sqrt(variance)
    return flux / noise, noise


def _edged(plane: Array, width: int) -> Array:
    """With its outermost rows and columns repeated."""
    xp = array_namespace(plane)
    tall = xp.concat([plane[:1, :]] * width + [plane] + [plane[-1:, :]] * width, axis=0)
    return xp.concat([tall[:, :1]] * width + [tall] + [tall[:, -1:]] * width, axis=1)


def width_of(significance: Array, good: Array) -> float:
    """σ of the significance in the frame, by the median of its size: what resampling and a wrong noise leave of 1."""
    xp = array_namespace(significance)
    host = np.asarray(to_host(xp.astype(significance[::_LATTICE, ::_LATTICE], xp.float32)))
    use = np.asarray(to_host(good[::_LATTICE, ::_LATTICE])) & np.isfinite(host)
    if use.sum() < 100:
        return 1.0
    width = SIGMA_OF_MAD * float(np.median(np.abs(host[use])))
    return width if width > 0 else 1.0
