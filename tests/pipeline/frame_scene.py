"""A small simulated observatory for tests: masters, a reference and science frames with their truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from data.frames.fits_image import read_frame
from data.frames.sky_positions import sky_map
from data.simulate.frames.exposure_plan import Plan
from data.simulate.frames.observing_run import ObservingRun, TrueFlux
from operators.images.background import background
from operators.images.planes import NO_DATA, UNUSABLE, Calibrated, Masters, Quality, RawFrame, Reference
from operators.images.psf import psf_of
from operators.images.register import aligned
from operators.images.stars import stars
from operators.images.subtract import Prepared, prepare
from operators.images.zero_point import zero_point
from operators.types import F32
from pipeline.frame_figures import Catalogue
from pipeline.frame_subtraction import register
from pipeline.frames import calibrated

PLAN = Plan(seed=35, side=400, fields=("sparse",), filters=("r",), nights=4, references=4, detectors=1, mishaps=(), objects=24)


@dataclass(frozen=True)
class Night:
    """What a frame needs, and the frames."""

    masters: Masters
    catalogue: Catalogue
    prepared: Prepared
    raw: tuple[RawFrame, ...]
    truth: tuple[tuple[TrueFlux, ...], ...]
    frames: tuple[tuple[Calibrated, Quality], ...]

    @property
    def reference(self) -> Reference:
        return self.prepared.reference


@lru_cache(maxsize=1)
def simulated_night() -> Night:
    """Three science frames of one field, calibrated, and the reference of the frames before."""
    run = ObservingRun(PLAN)
    taken = [(frame.exposure.kind, read_frame(frame.file, origin=frame.name)) for frame in run.calibration()]
    masters = _masters(taken)
    columns = run.catalogue()
    catalogue = Catalogue(columns["ra"], columns["dec"], columns["r"])
    reference = _reference([read_frame(frame.file, origin=frame.name) for frame in run.reference()], masters, catalogue)
    science = list(run.science())
    raw = tuple(read_frame(frame.file, origin=frame.name) for frame in science)
    return Night(
        masters,
        catalogue,
        prepare(reference),
        raw,
        tuple(frame.truth for frame in science),
        tuple(calibrated(frame, masters, reference=reference) for frame in raw),
    )


def _trimmed(raw: RawFrame) -> F32:
    y0, y1, x0, x1 = raw.readout.trim
    data = np.asarray(raw.data, np.float32)
    assert raw.readout.overscan is not None
    over = data[y0:y1, raw.readout.overscan[2] : raw.readout.overscan[3]]
    return np.asarray(data[y0:y1, x0:x1] - np.median(over, axis=1, keepdims=True), np.float32)


def _masters(taken: list[tuple[str, RawFrame]]) -> Masters:
    of = {kind: [raw for k, raw in taken if k == kind] for kind in ("bias", "dark", "flat")}
    bias = np.median([_trimmed(raw) for raw in of["bias"]], axis=0)
    dark = np.median([(_trimmed(raw) - bias) / raw.exposure for raw in of["dark"]], axis=0)
    flats = []
    for raw in of["flat"]:
        above = _trimmed(raw) - bias - dark * raw.exposure
        above = above * (1 + raw.readout.nonlinearity * above)
        flats.append(above / np.median(above))
    flat = np.median(flats, axis=0)
    good = flat > 0.5
    inverse = np.where(good, 1 / np.where(good, flat, 1), 0)
    return Masters(*(np.asarray(a, np.float32) for a in (bias, dark, inverse)), np.where(good, 0, 1).astype(np.uint8), ("test",))


def _reference(frames: list[RawFrame], masters: Masters, catalogue: Catalogue) -> Reference:
    images, first = [], None
    for raw in frames:
        planes, _ = calibrated(raw, masters)
        level, noise, _ = background(planes.science, planes.mask)
        image, mask = planes.science - level, planes.mask
        found, sky = stars(image, noise, mask=mask), sky_map(raw.wcs, image.shape)
        if first is None:
            first = raw, found, sky
        else:
            (i, j), to_frame, _ = register(found, first[1], shape=image.shape, maps=(sky, first[2]))
            image, mask = aligned(image, mask, affine=to_frame, shape=image.shape)
            image = image * float(np.median(first[1].flux[j] / found.flux[i]))
        images.append(np.where((mask & UNUSABLE) != 0, np.nan, image))
    assert first is not None
    stack = np.stack(images)
    middle = np.nanmedian(np.where(np.isfinite(stack).any(0), stack, 0), axis=0)
    spread = 1.4826 * np.nanmedian(np.abs(np.where(np.isfinite(stack).any(0), stack, 0) - middle), axis=0)
    good = np.isfinite(stack) & (np.abs(stack - middle) < 4 * np.maximum(spread, np.median(spread)))
    mean = np.where(good, stack, 0).sum(0) / np.maximum(good.sum(0), 1)
    mask = np.where(good.any(0), 0, NO_DATA).astype(np.uint8)
    mean = mean.astype(np.float32)
    level, noise, _ = background(mean, mask)
    mean = np.where(mask == 0, mean - level, np.float32(0))
    found = stars(mean, noise, mask=mask)
    raw, sky = first[0], first[2]
    assert sky is not None
    psf = psf_of(mean, found)
    zero, _, _ = zero_point(found, sky.to_pixels(catalogue.ra, catalogue.dec), catalogue_mag=catalogue.magnitude, psf=psf)
    return Reference(mean, mask, psf, noise, zero, found, raw.wcs, raw.field, raw.filter, raw.detector, "a" * 64, depth=len(frames))
