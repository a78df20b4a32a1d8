"""Candidates of a frame that belong to positions → packets of `schemas/surveys/frames.avsc`.

`Scene`, position, its measurement and its history → bytes, the same for the same input
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.images.detect import STAMP, cut
from operators.images.planes import NO_DATA, UNUSABLE, Candidates, Quality, RawFrame, Reference
from operators.images.psf import fwhm_of
from operators.images.stars import positions
from operators.namespace import to_host
from operators.types import F32, F64
from pipeline.frame_figures import microjansky
from pipeline.frame_history import History
from pipeline.frame_subtraction import Subtracted
from schemas.avro.container import make_cutout
from schemas.records.photometry_measured import PhotometryMeasured
from schemas.records.photometry_position import PhotometryPosition
from schemas.surveys.frame_alerts import candid_of, encode

REFERENCE_REACH = 30.0
"""Within which the nearest source of the reference is looked for [arcsec]."""
_NEAR = 2
"""Half the side of the 25 pixels around a detection."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What the packets of one frame share."""

    frame: RawFrame
    made: Subtracted
    found: Candidates
    quality: Quality
    reference: Reference
    pixel_scale: float
    """[arcsec/pixel] of the reference's pixels."""


@dataclass(frozen=True, slots=True)
class Packet:
    """An alert's packet."""

    data: bytes
    object_id: str


def packets_of(
    scene: Scene,
    objects: Sequence[tuple[PhotometryPosition, PhotometryMeasured, int]],
    *,
    yx: F64,
    places: tuple[F64, F64],
    histories: Sequence[History],
) -> tuple[Packet, ...]:
    """The packets of one frame.

    Parameters
    ----------
    scene : Scene
    objects : sequence of (position, its measurement on this frame, index of its candidate)
    yx : (k, 2) pixels of the positions
    places : (k,), (k,) right ascension and declination of the positions [deg]
    histories : k histories
    """
    if not objects:
        return ()
    signs = np.array([1.0 if measured.flux >= 0 else -1.0 for _, measured, _ in objects], np.float32)
    images = _cut_outs(scene, yx, signs=signs)
    near = _windows(np.asarray(to_host(scene.made.difference.difference)), yx)
    bits = mask_near(np.asarray(to_host(scene.made.difference.mask)), yx)
    distance, flux = _nearest_source(scene, yx)
    common = _common(scene)
    out = []
    for k, (position, measured, candidate) in enumerate(objects):
        found, before = scene.found, histories[k]
        firsts = [t for t in (before.first_detection, position.first_mjd) if t is not None and t < scene.frame.mjd]
        record: dict[str, Any] = common | {
            "candid": candid_of(scene.frame.frame_id, scene.frame.detector, object_id=position.name),
            "object_id": position.name,
            "public": measured.public,
            "ra": float(places[0][k]),
            "dec": float(places[1][k]),
            "flux": measured.flux,
            "flux_err": measured.flux_err,
            "snr": abs(float(found.snr[candidate])),
            "fwhm": _known(found.shape["fwhm"][candidate] * scene.pixel_scale),
            "elongation": _known(found.shape["elongation"][candidate]),
            "negative_pixels": float(np.count_nonzero(near[k] * signs[k] < 0)),
            "bad_pixels": float(np.count_nonzero(bits[k] & UNUSABLE)),
            "reference_distance": _known(distance[k]),
            "reference_flux": _known(flux[k]),
            "n_detections": before.n_detections + 1,
            "n_visits": before.n_visits + 1,
            "first_detection": min(firsts, default=scene.frame.mjd),
            "history": before.points,
        }
        record |= {f"cutout_{name}": image[k] for name, image in images.items()}
        out.append(Packet(encode(record), position.name))
    return tuple(out)


def mask_near(mask: npt.NDArray[np.uint8], yx: F64) -> npt.NDArray[np.uint8]:
    """(k, 5, 5) bits of the 25 pixels around positions; NO_DATA beyond the image."""
    return np.asarray(_windows(mask, yx, beyond=NO_DATA), np.uint8)


def _windows(plane: npt.NDArray[Any], yx: F64, *, beyond: float = 0) -> npt.NDArray[Any]:
    h, w = plane.shape
    near = np.rint(np.asarray(yx).reshape(-1, 2)).astype(np.int64)
    d = np.arange(-_NEAR, _NEAR + 1)
    y, x = np.broadcast_arrays(near[:, 0, None, None] + d[:, None], near[:, 1, None, None] + d)
    inside = (y >= 0) & (y < h) & (x >= 0) & (x < w)
    return np.where(inside, plane[np.clip(y, 0, h - 1), np.clip(x, 0, w - 1)], plane.dtype.type(beyond))


def _common(scene: Scene) -> dict[str, Any]:
    frame, quality = scene.frame, scene.quality
    before = _width(scene.made)
    return {
        "frame_id": frame.frame_id,
        "detector": frame.detector,
        "mjd": frame.mjd,
        "filter": frame.filter,
        "limit": _known(quality.limit),
        "seeing": _known(quality.seeing * scene.pixel_scale),
        "seeing_ratio": None if before is None else _known(before / quality.seeing),
        "sky": _known(quality.sky),
        "reference_id": scene.reference.id or None,
        "pixel_scale": scene.pixel_scale,
    }


def _width(made: Subtracted) -> float | None:
    width = fwhm_of(made.difference.psf)
    return width if math.isfinite(width) and width > 0 else None


def _cut_outs(scene: Scene, yx: F64, *, signs: F32) -> dict[str, list[bytes]]:
    """Science, template and difference around positions, NaN where an image has no pixels.

    The difference of what faded has the other sign (`signs`, (k,)), as ZTF's and as the encoder was trained: a source is bright in it.
    """
    template = scene.reference
    planes: dict[str, tuple[Any, Any]] = {
        "science": (scene.made.image, None),
        "template": (template.image, template.mask),
        "difference": (scene.made.difference.difference, scene.made.difference.mask),
    }
    out = {}
    for name, (image, mask) in planes.items():
        stamps: F32 = np.asarray(to_host(cut(image, yx, size=STAMP)), np.float32)
        if name == "difference":
            stamps = stamps * signs[:, None, None]
        if mask is not None:
            stamps = np.where(_missing(mask, yx), np.float32(np.nan), stamps)
        out[name] = [make_cutout(stamp, scene.pixel_scale) for stamp in stamps]
    return out


def _missing(mask: Any, yx: F64) -> npt.NDArray[np.bool_]:
    bits = np.asarray(to_host(mask))
    return np.asarray(to_host(cut(((bits & NO_DATA) != 0).astype(np.float32), yx, size=STAMP))) > 0


def _nearest_source(scene: Scene, yx: F64) -> tuple[F64, F64]:
    """Distance to the nearest source of the reference [arcsec] and its flux [uJy]; NaN where none is near."""
    there = positions(scene.reference.stars)
    nothing = np.full(len(yx), np.nan)
    if not len(there):
        return nothing, nothing
    apart = np.hypot(yx[:, 0, None] - there[:, 0], yx[:, 1, None] - there[:, 1])
    nearest = apart.argmin(1)
    distance = apart[np.arange(len(yx)), nearest] * scene.pixel_scale
    flux = scene.reference.stars.flux[nearest] * microjansky(scene.reference.zero_point)
    near = distance <= REFERENCE_REACH
    return np.where(near, distance, np.nan), np.where(near, flux, np.nan)


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
