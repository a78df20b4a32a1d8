"""How good a calibrated frame is.

Calibrated, `Seen`, catalogue or reference → `Quality`
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.frames.frame_error import FrameError
from operators.images.planes import BAD, COSMIC_RAY, NO_DATA, SATURATED, Calibrated, Quality, RawFrame, Reference
from operators.images.psf import psf_of
from operators.images.zero_point import flux_scale, zero_point
from operators.namespace import to_host
from operators.types import F64, Array
from pipeline.frame_sky import Seen, sky_of
from pipeline.frame_subtraction import register

MICROJANSKY_MAGNITUDE = 23.9
"""AB magnitude of 1 uJy."""
SIGNIFICANCE = 5.0
"""Of a limit."""
_SIGMA = 1 / 2.3548200450309493


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Stars whose magnitudes are known, in the frame's filter."""

    ra: F64
    """[deg]"""
    dec: F64
    magnitude: F64
    """AB"""


def microjansky(zero: float) -> float:
    """Flux of one electron [uJy], by the AB magnitude of one."""
    return float(10 ** (0.4 * (MICROJANSKY_MAGNITUDE - zero)))


def quality_of(
    planes: Calibrated,
    seen: Seen,
    *,
    raw: RawFrame,
    catalogue: Catalogue | None = None,
    reference: Reference | None = None,
    flags: Sequence[str] = (),
) -> Quality:
    """The figures of a calibrated frame.

    The zero point, of a source's whole light, is the catalogue's, else by the reference's stars; where neither is given it is NaN, and so
    is the limit.
    """
    points = np.flatnonzero(seen.stars.flags == 0)
    fwhm = _median(seen.stars.fwhm[points])
    zero, error = _zero_point(seen, raw, catalogue=catalogue, reference=reference)
    return Quality(
        sky=seen.sky,
        noise=seen.noise,
        seeing=fwhm,
        elongation=_median(seen.stars.elongation[points]),
        n_stars=len(points),
        saturated_share=share(planes.mask, SATURATED),
        cosmic_ray_share=share(planes.mask, COSMIC_RAY),
        bad_share=share(planes.mask, BAD | NO_DATA),
        zero_point=zero,
        zero_point_err=error,
        limit=SIGNIFICANCE * seen.noise * math.sqrt(4 * math.pi) * _SIGMA * fwhm * microjansky(zero),
        flags=tuple(dict.fromkeys(flags)),
    )


def share(mask: Array, bits: int) -> float:
    """Share of the pixels that have any of some bits."""
    return float(np.mean((np.asarray(to_host(mask)) & bits) != 0))


def _zero_point(seen: Seen, raw: RawFrame, *, catalogue: Catalogue | None, reference: Reference | None) -> tuple[float, float]:
    if seen.image is None or (catalogue is None and reference is None):
        return math.nan, math.nan
    shape = seen.image.shape
    sky = sky_of(raw.wcs, shape)
    try:
        psf = psf_of(seen.image, seen.stars)
    except ValueError:  # no stars
        return math.nan, math.nan
    if catalogue is not None and sky is not None:
        zero, error, n = zero_point(seen.stars, sky.to_pixels(catalogue.ra, catalogue.dec), catalogue_mag=catalogue.magnitude, psf=psf)
        if n:
            return zero, error
    if reference is not None and math.isfinite(reference.zero_point) and reference.filter == raw.filter:
        there = sky_of(reference.wcs, reference.image.shape)
        try:
            pairs, _, _ = register(seen.stars, reference.stars, shape=shape, maps=(sky, there))
            scale, error = flux_scale(seen.stars, reference.stars, pairs=pairs, psf=psf, reference_psf=reference.psf)
        except (FrameError, ValueError):  # too few stars in common
            return math.nan, math.nan
        return reference.zero_point + 2.5 * math.log10(scale), 2.5 / math.log(10) * error / scale
    return math.nan, math.nan


def _median(values: F64) -> float:
    good = values[np.isfinite(values)]
    return float(np.median(good)) if len(good) else math.nan
