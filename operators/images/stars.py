"""Sources of an image → a table of point sources, brightest first.

image (h, w), its noise, mask → positions [pixel], fluxes in one fixed aperture, widths

Found by `sep` (Barbary 2016, JOSS 1, 58; the extra `frames`), which runs on the host. Position, width and elongation are those of the core:
a Gaussian fitted to the logarithm of the pixels above a third of the peak, which neither the threshold nor a neighbour's wing moves.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from operators.images.planes import SATURATED, UNUSABLE, Stars
from operators.namespace import to_host
from operators.types import F64, Array

APERTURE = 7.0
"""Radius of the fixed aperture [pixel]. An isophote's flux depends on the threshold and is useless for a scale."""
BLENDED, MASKED, EDGE, EXTENDED, NO_FIT = (1 << k for k in range(5))
"""Flags: a neighbour's light in the aperture · masked or saturated pixels · reaches beyond the image · not a point · no core fitted."""
_CORE = 5
"""Half the side of the window that a core is fitted in [pixel]."""
_MOST_BLENDED = 0.02
"""Share of a star's flux that a neighbour within two apertures may have."""
_ALIKE, _NOT_A_POINT = 0.08, 0.25
"""Of a width: how far sources may lie apart that share it; how far a point may lie from it."""
_SURFACE_FROM = 25
_MOST = 20_000
_FWHM_OF_SIGMA = 2.3548200450309493


def stars(image: Array, noise: float, *, mask: Array, threshold: float = 10.0, aperture: float = APERTURE) -> Stars:
    """Find the point sources of an image.

    Parameters
    ----------
    image : (h, w) float32
        Sky subtracted.
    noise : float
        1 σ of the sky's pixels.
    mask : (h, w) uint8
    threshold : float
        [σ of a pixel] in the image filtered with sep's default kernel.
    aperture : float
        Radius [pixel] of the fluxes.

    Raises
    ------
    ImportError
        The extra `frames` is not installed.
    """
    sep = _sep()
    host = np.ascontiguousarray(to_host(image), np.float32)
    bits = np.asarray(to_host(mask))
    bad = ((bits & UNUSABLE) != 0) | ~np.isfinite(host)
    host = np.where(bad, np.float32(0), host)
    h, w = host.shape
    if not (np.isfinite(noise) and noise > 0) or bad.all():
        return empty()
    # Saturated pixels stay in the detection image, or a star's wings would be found as a ring of sources.
    unseen = bad & ((bits & SATURATED) == 0)
    filled = np.where((bits & SATURATED) != 0, np.nanmax(host), host)
    found = _extract(sep, filled, threshold=threshold, noise=noise, mask=unseen)
    x, y = np.asarray(found["x"], np.float64), np.asarray(found["y"], np.float64)
    flux, flux_err, _ = sep.sum_circle(host, x, y, aperture, err=noise, mask=bad, gain=1.0)
    fitted_y, fitted_x, fwhm, elongation, fits = _cores(host, y, x=x)
    flags = np.where(fits, 0, NO_FIT)
    y, x = np.where(fits, fitted_y, y), np.where(fits, fitted_x, x)
    flags |= np.where(_share(sep, bad, x=x, y=y, radius=aperture) > 0, MASKED, 0)
    flags |= np.where((np.minimum(y, x) < 2 * aperture) | (y > h - 1 - 2 * aperture) | (x > w - 1 - 2 * aperture), EDGE, 0)
    flags |= np.where(_blended(y, x, flux=flux, radius=2 * aperture), BLENDED, 0)
    flags |= np.where(_extended(fwhm, flux, flags=flags, u=y / h - 0.5, v=x / w - 0.5), EXTENDED, 0)
    keep = np.isfinite(flux) & (flux > 0)
    order = np.flatnonzero(keep)[np.argsort(-flux[keep], kind="stable")]
    columns = (y, x, flux, flux_err, fwhm, elongation, flags.astype(np.float64))
    return Stars(*(np.ascontiguousarray(c[order], dtype=np.float64) for c in columns))


def take(of: Stars, index: npt.NDArray[Any]) -> Stars:
    """Some of the stars, by indices or by a mask."""
    return Stars(of.y[index], of.x[index], of.flux[index], of.flux_err[index], of.fwhm[index], of.elongation[index], of.flags[index])


def empty() -> Stars:
    """No stars."""
    return Stars(*(np.empty(0) for _ in range(7)))


def positions(of: Stars) -> F64:
    """(k, 2) y, x."""
    return np.stack([of.y, of.x], axis=1)


def _sep() -> Any:
    try:
        import sep
    except ImportError:
        raise ImportError("sources of images need sep: pip install 'protonova[frames]'") from None
    return sep


def _extract(sep: Any, image: npt.NDArray[np.float32], *, threshold: float, noise: float, mask: npt.NDArray[np.bool_]) -> Any:
    """Sources; in fields so crowded that sep's buffers overflow, those above a higher threshold."""
    for factor in (1, 3, 10, 100):
        try:
            found = sep.extract(image, threshold * factor, err=noise, mask=mask, minarea=4, deblend_cont=0.002, clean=False)
        except Exception as error:  # sep raises plain Exception: "internal pixel buffer full", "object deblending overflow"
            if "buffer" not in str(error) and "overflow" not in str(error):
                raise
            continue
        return found[np.argsort(-found["flux"], kind="stable")[:_MOST]]
    return np.empty(0, [("x", float), ("y", float), ("flux", float)])


def _share(sep: Any, bad: npt.NDArray[np.bool_], *, x: F64, y: F64, radius: float) -> Any:
    return sep.sum_circle(bad.astype(np.float32), x, y, radius, subpix=1)[0]


def _cores(image: npt.NDArray[np.float32], y: F64, *, x: F64) -> tuple[F64, F64, F64, F64, npt.NDArray[np.bool_]]:
    """Centre, FWHM and elongation of the Gaussian through each core, and whether there is one."""
    k = len(y)
    if not k:
        return np.empty(0), np.empty(0), np.empty(0), np.empty(0), np.empty(0, np.bool_)
    h, w = image.shape
    # from the brightest of the 3 × 3 around the centroid on
    j, i = np.clip(np.rint(y).astype(int), 1, h - 2), np.clip(np.rint(x).astype(int), 1, w - 2)
    near = np.arange(-1, 2)
    nine = image[j[:, None, None] + near[:, None], i[:, None, None] + near].reshape(k, 9).argmax(1)
    j, i = j + nine // 3 - 1, i + nine % 3 - 1
    d = np.arange(-_CORE, _CORE + 1)
    rows, columns = j[:, None, None] + d[:, None], i[:, None, None] + d
    inside = (rows >= 0) & (rows < h) & (columns >= 0) & (columns < w)
    values = np.where(inside, image[np.clip(rows, 0, h - 1), np.clip(columns, 0, w - 1)], 0).astype(np.float64)
    peak = np.maximum(values[:, _CORE, _CORE], 1e-30)
    v = values / peak[:, None, None]
    use = (v > 1 / 3) & _joined(v > 1 / 3)
    weight = np.where(use, v, 0).reshape(k, -1)
    dy, dx = (a.ravel().astype(np.float64) for a in np.meshgrid(d, d, indexing="ij"))
    terms = np.stack([np.ones_like(dy), dy, dx, dy * dy, dy * dx, dx * dx], axis=1)
    log = np.log(np.where(use, v, 1)).reshape(k, -1)
    normal = np.einsum("kp,pa,pb->kab", weight**2, terms, terms) + 1e-9 * np.eye(6)
    right = np.einsum("kp,pa,kp->ka", weight**2, terms, log)
    c = np.linalg.solve(normal, right[..., None])[..., 0]
    a, b, e = -2 * c[:, 3], -c[:, 4], -2 * c[:, 5]  # of the inverse covariance
    det = a * e - b * b
    ok = (use.sum((1, 2)) >= 7) & (det > 1e-6) & (a > 0)
    det = np.where(ok, det, 1.0)
    at_y, at_x = (e * c[:, 1] - b * c[:, 2]) / det, (a * c[:, 2] - b * c[:, 1]) / det
    ok &= np.hypot(at_y, at_x) < 2.0
    root = np.sqrt(np.maximum((a - e) ** 2 / 4 + b * b, 0))
    small, large = np.maximum((a + e) / 2 - root, 1e-9), np.maximum((a + e) / 2 + root, 1e-9)
    fwhm = _FWHM_OF_SIGMA * det**-0.25
    return j + at_y, i + at_x, np.where(ok, fwhm, np.nan), np.where(ok, np.sqrt(large / small), np.nan), ok


def _joined(above: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The part of each window that is joined to its centre."""
    part = np.zeros_like(above)
    part[:, _CORE, _CORE] = above[:, _CORE, _CORE]
    for _ in range(2 * _CORE):
        grown = part.copy()
        grown[:, 1:] |= part[:, :-1]
        grown[:, :-1] |= part[:, 1:]
        grown[:, :, 1:] |= part[:, :, :-1]
        grown[:, :, :-1] |= part[:, :, 1:]
        grown &= above
        if (grown == part).all():
            break
        part = grown
    return part


def _blended(y: F64, x: F64, *, flux: F64, radius: float) -> npt.NDArray[np.bool_]:
    """Which have a neighbour within a radius that is brighter than a small share of them."""
    order = np.argsort(y, kind="stable")
    found = np.zeros(len(y), np.bool_)
    sorted_y = y[order]
    end = np.searchsorted(sorted_y, sorted_y + radius, side="right")
    for step in range(1, int((end - np.arange(len(y))).max(initial=1))):
        first = np.flatnonzero(np.arange(len(y)) + step < end)
        a, b = order[first], order[first + step]
        near = np.hypot(y[a] - y[b], x[a] - x[b]) < radius
        found[a] |= near & ~(flux[b] < _MOST_BLENDED * flux[a])
        found[b] |= near & ~(flux[a] < _MOST_BLENDED * flux[b])
    return found


def _extended(fwhm: F64, flux: F64, *, flags: npt.NDArray[np.int64], u: F64, v: F64) -> npt.NDArray[np.bool_]:
    """Which are not of the width that points have: the one that most bright sources share, since galaxies have all widths.

    With enough sources that width is a surface of second order over the frame, in u and v.
    """
    clean = np.flatnonzero(((flags & ~BLENDED) == 0) & np.isfinite(fwhm))
    if len(clean) < 5:
        return np.zeros(len(fwhm), np.bool_)
    bright = clean[np.argsort(-flux[clean])][: max(20, min(300, len(clean) // 2))]
    width = np.sort(fwhm[bright])
    low = np.searchsorted(width, width * (1 - _ALIKE), side="left")
    high = np.searchsorted(width, width * (1 + _ALIKE), side="right")
    best = int(np.argmax(high - low))  # of equal ones the narrowest
    local = np.full(len(fwhm), np.median(width[low[best] : high[best]]))
    terms = np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=1)
    for reach in (_NOT_A_POINT, _NOT_A_POINT, 0.6 * _NOT_A_POINT):
        near = bright[np.abs(fwhm[bright] / local[bright] - 1) < reach]
        if len(near) < _SURFACE_FROM:
            break
        local = terms @ np.linalg.lstsq(terms[near], fwhm[near], rcond=None)[0]
    return ~(np.abs(fwhm / local - 1) < _NOT_A_POINT)
