"""Candidates of a difference image, their shapes, fluxes at given positions, cut-outs.

Difference → peaks of its significance with what separates a source from an artefact, and which of them are accepted

A candidate is accepted that is as bright as the threshold, positive or negative, and looks like the difference's PSF: no partner of the
other sign beside it, few masked pixels, not much wider or narrower or longer than a point, the rest beside the PSF no larger than the
noise explains. Why one is not stands in its bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from operators.images.planes import SATURATED, UNUSABLE, Candidates, Difference
from operators.kernels.difference import cut_stamps, find_peaks
from operators.namespace import array_namespace, to_host
from operators.types import F64, Array

STAMP = 63
"""Side of a cut-out [pixel]."""
MOST = 20_000
"""Peaks of a frame that are looked at."""
DIPOLE, MASKED, EDGE, SHAPE, MISFIT, NEAR_SATURATED = (1 << k for k in range(6))
"""Why a candidate is not accepted: a partner of the other sign · masked pixels in its core · at the frame's edge · wider, narrower or
longer than a point · not the PSF's profile · within reach of a saturated star."""
REASON_NAMES = {
    DIPOLE: "dipole",
    MASKED: "masked",
    EDGE: "edge",
    SHAPE: "shape",
    MISFIT: "misfit",
    NEAR_SATURATED: "near_saturated",
}
_HALF = 7
"""Half the side of the window that shapes are measured in [pixel]."""
_REACH = 4
"""Half the side of the part of a window that the PSF is fitted in [pixel]."""
_MOST_LOST = 0.5
_MOST_MASKED = 0.3
_MODEL = 0.1
"""Share of a pixel of a bright source that the PSF is not known to."""
_MOST_CHI2 = 1.5
_NEGATIVE = (0.1, 1.5)
_LOG_WIDTH = (0.1, 1.7)
_LENGTH = (1.3, 6.0)
"""Limits a + b / (S/N) of `negative`, of |ln(FWHM over the PSF's)|, of elongation: faint sources scatter more. On simulated skies (sparse,
with hosts, crowded, winged and varying PSFs, bleeding) 98 % of sources and 15 % of artefacts are within all of them."""
_OF_MASKED = 0.7
"""How much a share of masked pixels widens the limits, as 1 / (S/N) does."""
_SATURATED_REACH = 5
_FWHM_OF_SIGMA = 2.3548200450309493


def detect(difference: Difference, *, threshold: float = 5.0, fused: bool = True) -> Candidates:
    """Find what changed.

    Parameters
    ----------
    difference : Difference
    threshold : float
        [σ]
    fused : bool
        False: the array form in NumPy too, the oracle of the kernel.

    Returns
    -------
    Candidates
        Positive and negative, those that are not accepted with their reasons among them; on the host.
    """
    xp = array_namespace(difference.significance)
    form = peaks if fused and xp is np else peaks_array
    peak = form(difference.significance, threshold)
    strongest = np.abs(np.asarray(to_host(_windows(difference.significance, peak, half=0)), np.float64)[:, 0, 0])
    peak, yx, snr, flux, flux_err = _centred(difference, peak)
    snr = np.sign(snr) * np.maximum(np.abs(snr), strongest)
    shape, reasons = _shapes(difference, peak, yx=yx, snr=snr, flux=flux, flux_err=flux_err)
    whole_err = np.hypot(flux_err, difference.share_err * flux)
    return Candidates(y=yx[:, 0], x=yx[:, 1], snr=snr, flux=flux, flux_err=whole_err, shape=shape, reasons=reasons)


def peaks(significance: Array, threshold: float) -> npt.NDArray[np.int64]:
    """(k, 2) rows and columns of maxima of |significance| above a threshold, in reading order."""
    return np.asarray(find_peaks(np.ascontiguousarray(to_host(significance)), np.float32(threshold), MOST))


def peaks_array(significance: Array, threshold: float) -> npt.NDArray[np.int64]:
    """The same for any namespace: the oracle of the kernel."""
    xp = array_namespace(significance)
    size = xp.abs(significance)
    h, w = size.shape
    inner = size[2 : h - 2, 2 : w - 2]
    top = inner > threshold
    for y in range(-2, 3):
        for x in range(-2, 3):
            if y == 0 and x == 0:
                continue
            other = size[2 + y : h - 2 + y, 2 + x : w - 2 + x]
            top = top & ((inner > other) if (y < 0 or (y == 0 and x < 0)) else (inner >= other))
    found = np.stack([np.asarray(to_host(v), np.int64) + 2 for v in xp.nonzero(top)], axis=1)
    return found[:MOST]


def forced(difference: Difference, yx: Any) -> tuple[F64, F64]:
    """Flux of a point source and its error at given positions [e-]; NaN beyond the frame and where too little was measured.

    What masked pixels hold of the source is made up for by the rest, as long as that is half of what counts.

    Parameters
    ----------
    difference : Difference
    yx : (k, 2)
        Positions [pixel].
    """
    at = np.asarray(yx, np.float64).reshape(-1, 2)
    near = np.where(np.isfinite(at), np.rint(at), -1e6).astype(np.int64)
    parts = [np.asarray(to_host(_windows(p, near, half=2)), np.float64) for p in (difference.significance, difference.noise)]
    flux_map, noise = parts[0] * parts[1], parts[1][:, 2, 2]
    off = np.where(np.isfinite(at), at - near, 0)
    weights = [_cubic(off[:, k]) for k in (0, 1)]
    flux = np.einsum("kyx,ky,kx->k", flux_map, weights[0], weights[1])
    left = 1 - _lost(difference, near)
    known = (left > 1 - _MOST_LOST) & np.isfinite(flux) & np.isfinite(noise)
    left = np.where(known, left, 1)
    flux, err = np.where(known, flux / left, np.nan), np.where(known, noise / left, np.nan)
    return flux, np.hypot(err, difference.share_err * flux)


def _lost(difference: Difference, near: npt.NDArray[np.int64]) -> F64:
    """Share of a point source's matched flux on masked pixels; 1 beyond the frame."""
    bits = np.asarray(to_host(_windows(difference.mask, near, half=_REACH, fill=UNUSABLE)))
    psf = np.asarray(to_host(difference.psf), np.float64)
    half = psf.shape[0] // 2
    core = psf[half - _REACH : half + _REACH + 1, half - _REACH : half + _REACH + 1] ** 2
    beyond = ((bits & UNUSABLE) == UNUSABLE)[:, _REACH, _REACH]
    return np.where(beyond, 1.0, (((bits & UNUSABLE) != 0) * core).sum((1, 2)) / core.sum())


def cut(image: Array, yx: Any, *, size: int = STAMP) -> Array:
    """Square cut-outs about positions (k, 2), the pixel nearest to each in the middle; (k, s, s) float32, NaN beyond the frame."""
    xp = array_namespace(image)
    near = np.rint(np.asarray(yx, np.float64).reshape(-1, 2)).astype(np.int64)
    if xp is np:
        out = np.full((len(near), size, size), np.float32(np.nan))
        cut_stamps(np.asarray(image, np.float32), near - size // 2, out)
        return out
    return cut_array(image, near, size=size)


def cut_array(image: Array, near: npt.NDArray[np.int64], *, size: int) -> Array:
    """The same for any namespace: the oracle of the kernel."""
    xp = array_namespace(image)
    corner = near - size // 2
    d = np.arange(size)
    y, x = corner[:, 0, None, None] + d[:, None], corner[:, 1, None, None] + d
    return _read(xp.astype(image, xp.float32), y, x=x, fill=float("nan"))


def _windows(plane: Array, near: npt.NDArray[np.int64], *, half: int, fill: float = float("nan")) -> Array:
    d = np.arange(-half, half + 1)
    return _read(plane, near[:, 0, None, None] + d[:, None], x=near[:, 1, None, None] + d, fill=fill)


def _read(plane: Array, y: npt.NDArray[np.int64], *, x: npt.NDArray[np.int64], fill: float) -> Array:
    xp = array_namespace(plane)
    h, w = plane.shape
    y, x = np.broadcast_arrays(y, x)
    inside = (y >= 0) & (y < h) & (x >= 0) & (x < w)
    flat = np.where(inside, y * w + x, 0)
    values = xp.reshape(xp.take(xp.reshape(plane, (-1,)), xp.asarray(flat.ravel())), flat.shape)
    return xp.where(xp.asarray(inside), values, xp.asarray(fill, dtype=plane.dtype))


def _cubic(off: F64) -> F64:
    """(k, 5) weights of Catmull-Rom's interpolation at `off` (-0.5 … 0.5) from the middle of five values."""
    out = np.zeros((len(off), 5))
    below = off < 0
    t = np.where(below, off + 1, off)
    four = np.stack(
        [
            ((-0.5 * t + 1) * t - 0.5) * t,
            (1.5 * t - 2.5) * t * t + 1,
            ((-1.5 * t + 2) * t + 0.5) * t,
            (0.5 * t - 0.5) * t * t,
        ],
        axis=1,
    )
    out[below, :4] = four[below]
    out[~below, 1:] = four[~below]
    return out


def _centred(difference: Difference, peak: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], F64, F64, F64, F64]:
    """Pixels of the strongest flux at the peaks, positions by a parabola through it, significance there, flux and error.

    On a host the noise falls off steeply: the significance's own peak lies beside the source.
    """
    s = np.asarray(to_host(_windows(difference.significance, peak, half=2)), np.float64)
    f = s * np.asarray(to_host(_windows(difference.noise, peak, half=2)), np.float64)
    strength = np.where(np.isfinite(f), f * np.sign(s[:, 2:3, 2:3]), -np.inf)[:, 1:4, 1:4].reshape(-1, 9)
    best = strength.argmax(1) if len(peak) else np.zeros(0, np.int64)
    peak = peak + np.stack([best // 3 - 1, best % 3 - 1], axis=1)
    n = np.asarray(to_host(_windows(difference.noise, peak, half=1)), np.float64)
    f = np.asarray(to_host(_windows(difference.significance, peak, half=1)), np.float64) * n
    top = f * np.sign(f[:, 1:2, 1:2])

    def vertex(before: F64, middle: F64, *, after: F64) -> F64:
        bend = 2 * middle - before - after
        return np.clip(np.where(bend > 0, 0.5 * (after - before) / np.where(bend > 0, bend, 1), 0), -0.5, 0.5)

    off_y = vertex(top[:, 0, 1], top[:, 1, 1], after=top[:, 2, 1])
    off_x = vertex(top[:, 1, 0], top[:, 1, 1], after=top[:, 1, 2])
    yx = np.asarray(peak + np.stack([off_y, off_x], axis=1), np.float64)
    left = 1 - np.minimum(_lost(difference, peak), _MOST_LOST)
    err = n[:, 1, 1] / left
    flux = (f[:, 1, 1] + 0.25 * (off_y * (f[:, 2, 1] - f[:, 0, 1]) + off_x * (f[:, 1, 2] - f[:, 1, 0]))) / left
    return peak, yx, flux / np.where(err > 0, err, np.inf), flux, err


def _shapes(
    difference: Difference, peak: npt.NDArray[np.int64], *, yx: F64, snr: F64, flux: F64, flux_err: F64
) -> tuple[dict[str, F64], npt.NDArray[np.int64]]:
    """Shape figures and the reasons against each candidate."""
    k = len(peak)
    h, w = difference.significance.shape
    stamp = np.asarray(to_host(_windows(difference.difference, peak, half=_HALF, fill=0.0)), np.float64)
    significance = np.asarray(to_host(_windows(difference.significance, peak, half=_HALF, fill=0.0)), np.float64)
    bits = np.asarray(to_host(_windows(difference.mask, peak, half=_HALF, fill=UNUSABLE & ~SATURATED)))
    psf = np.asarray(to_host(difference.psf), np.float64)
    sign = np.sign(snr)[:, None, None]
    point = _moved(psf, yx - peak)
    sigma = flux_err * np.sqrt((psf**2).sum())  # of a pixel: the error is that of a matched filter
    good = (bits & UNUSABLE) == 0
    core = slice(_HALF - _REACH, _HALF + _REACH + 1)
    d, p, use = (stamp * sign)[:, core, core], point[:, core, core], good[:, core, core]
    light = (p * p * use).sum((1, 2))
    amplitude = (d * p * use).sum((1, 2)) / np.where(light > 0, light, np.inf)
    rest = (d - amplitude[:, None, None] * p) * use
    points = np.maximum(use.sum((1, 2)) - 1, 1)
    safe = np.where(sigma > 0, sigma, np.inf)
    # A bright source's PSF is known to a few per cent: what that leaves is not an artefact.
    model = (_MODEL * amplitude[:, None, None] * p) ** 2
    chi2 = (rest**2 / (safe[:, None, None] ** 2 + model)).sum((1, 2)) / points
    opposite = np.maximum(-(significance * sign)[:, core, core].min((1, 2)), 0) if k else np.zeros(0)
    negative = opposite / np.maximum(np.abs(snr), 1e-9)
    masked = (p * ~use).sum((1, 2)) / np.maximum(p.sum((1, 2)), 1e-9)
    fwhm, elongation = _moments(d * use, psf)
    of_psf = _moments(
        psf[None, psf.shape[0] // 2 - _REACH :, :][:, : 2 * _REACH + 1, psf.shape[1] // 2 - _REACH :][:, :, : 2 * _REACH + 1], psf
    )[0]
    near = slice(_HALF - _SATURATED_REACH, _HALF + _SATURATED_REACH + 1)
    saturated = ((bits & SATURATED) != 0)[:, near, near].any((1, 2)) if k else np.zeros(0, bool)
    parts = 1 / np.maximum(np.abs(snr), 1) + _OF_MASKED * masked
    reasons = np.zeros(k, np.int64)
    reasons |= np.where(negative > _NEGATIVE[0] + _NEGATIVE[1] * parts, DIPOLE, 0)
    reasons |= np.where(masked > _MOST_MASKED, MASKED, 0)
    reasons |= np.where((np.minimum(yx[:, 0], yx[:, 1]) < 4) | (yx[:, 0] > h - 5) | (yx[:, 1] > w - 5), EDGE, 0)
    with np.errstate(divide="ignore"):
        odd = np.abs(np.log(fwhm / of_psf)) > _LOG_WIDTH[0] + _LOG_WIDTH[1] * parts
    reasons |= np.where(odd | (elongation > _LENGTH[0] + _LENGTH[1] * parts), SHAPE, 0)
    reasons |= np.where(chi2 > _MOST_CHI2, MISFIT, 0)
    reasons |= np.where(saturated, NEAR_SATURATED, 0)
    shape = {"fwhm": fwhm, "elongation": elongation, "negative": negative, "masked": masked, "chi2": chi2}
    return shape, reasons


def _moved(psf: F64, off: F64) -> F64:
    """(k, 2 · 7 + 1, …) the PSF moved by parts of a pixel."""
    half = psf.shape[0] // 2
    at = np.arange(-_HALF, _HALF + 1)
    out = []
    for k in (0, 1):
        distance = at[None, :, None] - off[:, k, None, None] - np.arange(-half, half + 1)[None, None, :]
        weight = np.sinc(distance) * np.sinc(distance / 3) * (np.abs(distance) < 3)
        out.append(weight / np.maximum(weight.sum(2, keepdims=True), 1e-9) if len(off) else weight)
    return np.einsum("kya,ab,kxb->kyx", out[0], psf, out[1], optimize=True)


def _moments(d: F64, psf: F64) -> tuple[F64, F64]:
    """FWHM and elongation by second moments under a Gaussian of the PSF's width, which is taken out again; NaN where there are none."""
    at = np.arange(-_REACH, _REACH + 1, dtype=np.float64)
    half = psf.max() / 2
    sigma = np.sqrt((psf > half).sum() / np.pi) * 2 / _FWHM_OF_SIGMA
    weight = np.exp(-(at[:, None] ** 2 + at**2) / (2 * sigma**2)) * d
    total = weight.sum((1, 2))
    safe = np.where(total > 0, total, np.nan)
    my, mx = (weight * at[:, None]).sum((1, 2)) / safe, (weight * at).sum((1, 2)) / safe
    yy = (weight * at[:, None] ** 2).sum((1, 2)) / safe - my**2
    xx = (weight * at**2).sum((1, 2)) / safe - mx**2
    yx = (weight * at[:, None] * at).sum((1, 2)) / safe - my * mx
    root = np.sqrt((yy - xx) ** 2 / 4 + yx**2)
    large, small = (yy + xx) / 2 + root, (yy + xx) / 2 - root
    with np.errstate(invalid="ignore", divide="ignore"):
        true_large, true_small = (1 / (1 / v - 1 / sigma**2) for v in (large, small))
        fwhm = _FWHM_OF_SIGMA * np.sqrt(np.sqrt(true_large * true_small))
        elongation = np.sqrt(true_large / true_small)
    return np.where((true_large > 0) & (small > 0), fwhm, np.inf), np.where((true_large > 0) & (small > 0), elongation, np.inf)
