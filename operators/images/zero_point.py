"""Magnitudes of an image, by a catalogue; the flux scale of two images.

stars with known magnitudes → the magnitude of one electron, its error, how many stars gave it
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from operators.images.planes import Stars
from operators.images.psf import aperture_share
from operators.images.register import match
from operators.images.stars import APERTURE, positions
from operators.types import F64, Array

_CLIP = 3.0
_ROUNDS = 10
_LEAST_SCATTER = 0.005
"""[mag] of single stars: catalogues are not better."""
_SNR = 10.0
_MAGNITUDES = 2.5 / np.log(10)


def zero_point(
    stars: Stars, catalogue_yx: Any, *, catalogue_mag: Any, radius: float = 3.0, psf: Array | None = None, aperture: float = APERTURE
) -> tuple[float, float, int]:
    """Compare stars with a catalogue.

    Parameters
    ----------
    stars : Stars
    catalogue_yx : (k, 2)
        Positions of the catalogue's stars [pixel].
    catalogue_mag : (k,)
        AB magnitudes; those that are not finite take no part.
    radius : float
        Within which a pair is the same star [pixel].
    psf : (s, s), optional
        With it the zero point holds for a source's whole light, as fluxes of the difference are; without it for the light in the aperture.
    aperture : float
        Radius of the stars' fluxes [pixel].

    Returns
    -------
    zero point, its error, number of stars
        magnitude = zero point - 2.5 log10(flux); NaN, NaN, 0 without a star in common.
    """
    mag = np.asarray(catalogue_mag, np.float64).reshape(-1)
    yx = np.asarray(catalogue_yx, np.float64).reshape(-1, 2)
    known = np.isfinite(mag) & np.isfinite(yx).all(1)
    good = np.flatnonzero((stars.flags == 0) & (stars.flux > _SNR * stars.flux_err))
    i, j = match(positions(stars)[good], yx[known], radius=radius)
    i = good[i]
    share = 1.0 if psf is None else aperture_share(psf, aperture)
    each = mag[known][j] + 2.5 * np.log10(stars.flux[i] / share)
    error = np.hypot(_MAGNITUDES * stars.flux_err[i] / stars.flux[i], _LEAST_SCATTER)
    return _clipped_mean(each, error)


def flux_scale(
    new: Stars, reference: Stars, *, pairs: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]], psf: Array, reference_psf: Array
) -> tuple[float, float]:
    """Flux in a new image over flux in the reference, of a source's whole light, and its error.

    Parameters
    ----------
    new, reference : Stars
    pairs : (k,), (k,)
        Indices of the same stars (`register.match`).
    psf, reference_psf : (s, s)
        What their apertures hold of a star.

    Raises
    ------
    ValueError
        No stars in common that both measured.
    """
    i, j = pairs
    use = (new.flux[i] > 0) & (reference.flux[j] > 0)
    clean = use & (new.flags[i] == 0) & (reference.flags[j] == 0)
    use = clean if clean.sum() >= 5 else use
    i, j = i[use], j[use]
    if not len(i):
        raise ValueError("no stars in common: the flux scale of the images is not known")
    each = -_MAGNITUDES * np.log(new.flux[i] / reference.flux[j])
    error = np.hypot(np.hypot(new.flux_err[i] / new.flux[i], reference.flux_err[j] / reference.flux[j]) * _MAGNITUDES, _LEAST_SCATTER)
    mean, spread, _ = _clipped_mean(each, error)
    scale = float(np.exp(-mean / _MAGNITUDES)) * aperture_share(reference_psf) / aperture_share(psf)
    return scale, scale * spread / _MAGNITUDES


def _clipped_mean(values: F64, errors: F64) -> tuple[float, float, int]:
    """Weighted, outliers left out; the error by the scatter where that is larger."""
    if not len(values):
        return float("nan"), float("nan"), 0
    keep = np.ones(len(values), np.bool_)
    for _ in range(_ROUNDS):
        middle = np.median(values[keep])
        scatter = max(1.4826 * float(np.median(np.abs(values[keep] - middle))), _LEAST_SCATTER)
        before, keep = keep, np.abs(values - middle) <= _CLIP * np.hypot(scatter, errors)
        if (keep == before).all():
            break
    weight = 1 / errors[keep] ** 2
    mean = float((weight * values[keep]).sum() / weight.sum())
    n = int(keep.sum())
    scatter = float(np.sqrt((weight * (values[keep] - mean) ** 2).sum() / weight.sum() / max(n - 1, 1)))
    return mean, max(scatter, float(weight.sum() ** -0.5)), n
