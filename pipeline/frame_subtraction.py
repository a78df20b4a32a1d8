"""A calibrated image and the reference of its field → their difference on the reference's pixels.

Calibrated (h, w) [e-], `Prepared` → `Subtracted`: the image moved onto the reference's pixels, the difference,
flux scale and map between them

The start of the registration is what both headers say of the sky; what decides are the stars that both images have.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.frames.frame_error import FrameError
from data.frames.sky_positions import SkyMap
from operators.images.local_noise import widened
from operators.images.planes import Calibrated, Difference, Stars
from operators.images.psf import psf_grid
from operators.images.register import affine_between, aligned, apply, map_between, match, offset_between, resample
from operators.images.stars import positions, take
from operators.images.subtract import Prepared, subtract
from operators.images.zero_point import flux_scale
from operators.namespace import array_namespace
from operators.types import F64, Array
from pipeline.frame_sky import Seen, seen_in

POINTING = 40.0
"""How far the pointing of two headers may be off [pixel]."""
POINTING_UNKNOWN = 0.25
"""The same where no header says it: of the longer side."""
NEAR, NEARER = 4.0, 1.5
"""Within which stars of both images are the same, before and after the first map [pixel]."""
LEAST_STARS = 3
"""In common, below which the map between two images is not known."""
FEW_STARS = 10
"""Below which a frame is flagged `few_stars`."""
MOST_STRETCH = 0.05
"""By which the map's scale may differ from what the headers say: more is a chance match."""


@dataclass(frozen=True, slots=True)
class Subtracted:
    """A frame with its reference taken out; planes are (h, w) on the reference's pixels."""

    difference: Difference
    image: Array
    """float32 [e-]: the frame, sky subtracted, NaN where it has no pixels."""
    to_frame: F64
    """(2, 6) map from the reference's pixels to the frame's."""
    to_reference: F64
    """(2, 6) and back."""
    scale: float
    """Flux in the frame over flux in the reference."""
    scale_err: float
    found: Stars
    """Of the frame, on its own pixels."""
    in_common: int
    """Stars that both images have."""


def subtracted(
    planes: Calibrated, *, prepared: Prepared, frame_map: SkyMap | None, reference_map: SkyMap | None, seen: Seen | None = None
) -> Subtracted:
    """Register a frame, scale it and take the reference out.

    Parameters
    ----------
    planes : Calibrated
    prepared : Prepared
        The reference.
    frame_map, reference_map : SkyMap, optional
        Where the pixels of both lie on the sky.
    seen : Seen, optional
        Of the same image; None: it is measured here.

    Raises
    ------
    FrameError
        `no_stars`: no stars in common, so that neither the map nor the flux scale is known; `bad_frame`: no pixel with sky.
    """
    reference = prepared.reference
    xp = array_namespace(planes.science, planes.mask)
    seen = seen_in(planes) if seen is None else seen
    if seen.image is None:
        raise FrameError("bad_frame", "no part of the frame shows the sky: its noise is not known")
    found = seen.stars
    pairs, to_frame, to_reference = register(found, reference.stars, shape=tuple(planes.science.shape), maps=(frame_map, reference_map))
    shape = (reference.image.shape[0], reference.image.shape[1])
    on_reference, mask = aligned(seen.image, planes.mask, affine=to_frame, shape=shape)
    variance = xp.clip(resample(planes.variance, to_frame, shape=shape, fill=0.0), 0.0, None)
    psf = _psf(on_reference, found, pairs=pairs, prepared=prepared)
    mean = psf.mean((0, 1))
    try:
        scale, scale_err = flux_scale(found, reference.stars, pairs=pairs, psf=mean, reference_psf=reference.psf)
    except ValueError as error:
        raise FrameError("no_stars", str(error)) from None
    made = subtract(on_reference, mask, psf=psf, noise=seen.noise, scale=scale, prepared=prepared, variance=variance)
    return Subtracted(widened(made), on_reference, to_frame, to_reference, scale, scale_err, found, len(pairs[0]))


def register(
    found: Stars, of_reference: Stars, *, shape: tuple[int, ...], maps: tuple[SkyMap | None, SkyMap | None]
) -> tuple[tuple[np.ndarray, np.ndarray], F64, F64]:
    """Find the map between the pixels of a frame and of its reference.

    Parameters
    ----------
    found, of_reference : Stars
        Each on its own pixels.
    shape : (h, w) of the frame
    maps : (SkyMap or None, SkyMap or None)
        Of the frame and of the reference.

    Returns
    -------
    pairs, to_frame, to_reference
        Indices of the same stars in both, and the (2, 3) or (2, 6) maps.

    Raises
    ------
    FrameError
        `no_stars`
    """
    here, there = positions(found), positions(of_reference)
    known = None not in maps
    start = _by_headers(*maps) if known else np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    expected = apply(start, there)
    shift = offset_between(expected, here, within=POINTING if known else POINTING_UNKNOWN * max(shape))
    j, i = match(expected + shift, here, radius=NEAR)
    if len(i) >= LEAST_STARS:
        rough = affine_between(there[j], here[i])
        j, i = match(apply(rough, there), here, radius=NEARER)
    if len(i) < LEAST_STARS:
        raise FrameError(
            "no_stars", f"{len(i)} stars in common with the reference ({len(here)} in the frame, {len(there)} in the reference)"
        )
    to_frame = map_between(there[j], here[i])
    stretch = abs(np.linalg.det(to_frame[:, :2]) / np.linalg.det(start[:, :2]))
    if not 1 - MOST_STRETCH < stretch < 1 + MOST_STRETCH:
        raise FrameError("no_stars", f"the frame's stars do not fit the reference's: areas differ by a factor of {stretch:.3g}")
    return (i, j), to_frame, map_between(here[i], there[j])


def _by_headers(frame: SkyMap | None, reference: SkyMap | None) -> F64:
    """The (2, 3) map from the reference's pixels to the frame's, by both headers."""
    if frame is None or reference is None:
        raise ValueError("both maps are needed")
    h, w = reference.shape
    grid = np.stack(np.meshgrid(np.linspace(0, h - 1, 5), np.linspace(0, w - 1, 5), indexing="ij"), -1).reshape(-1, 2)
    there = frame.to_pixels(*reference.to_sky(grid))
    good = np.isfinite(there).all(1)
    if good.sum() < LEAST_STARS:
        raise FrameError("no_stars", "the frame does not point at its reference")
    return affine_between(grid[good], there[good])


def _psf(image: Array, found: Stars, *, pairs: tuple[np.ndarray, np.ndarray], prepared: Prepared) -> np.ndarray:
    """(rows, columns, s, s) of the frame on the reference's pixels, centred where the reference has the stars."""
    i, j = pairs
    reference = prepared.reference
    there, here = take(reference.stars, j), take(found, i)
    flags = np.maximum(there.flags, here.flags)
    both = Stars(there.y, there.x, here.flux, here.flux_err, here.fwhm, here.elongation, flags)
    order = np.argsort(-both.flux, kind="stable")
    try:
        return np.asarray(psf_grid(image, take(both, order), tiles=prepared.grid, size=reference.psf.shape[0]), np.float32)
    except ValueError as error:
        raise FrameError("no_stars", str(error)) from None
