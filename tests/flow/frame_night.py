"""A short simulated night of raw frames with what it takes to work on it: masters and reference images in folders."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.frames.fits_image import read_frame
from data.frames.master_file import MasterFile, MasterLabel
from data.frames.masters_folder import MastersFolder
from data.frames.reference_file import ReferencesFolder
from data.simulate.frames.exposure_plan import Plan
from data.simulate.frames.observing_run import ObservingRun, SimulatedFrame
from operators.images.background import background
from operators.images.planes import UNUSABLE, RawFrame, Reference
from operators.images.psf import psf_of
from operators.images.stars import stars
from pipeline.frames import calibrated

PLAN = Plan(
    seed=5, side=256, fields=("sparse",), filters=("r",), nights=4, references=1, objects=8, mishaps=("trail", "no_wcs", "saturated")
)
ZERO_POINT = 26.0


@dataclass(frozen=True)
class Night:
    """Frames, and folders of what they need."""

    frames: tuple[SimulatedFrame, ...]
    masters: Path
    references: Path

    def files(self, *, detector: str = "") -> list[bytes]:
        """The raw files, of one detector or all."""
        return [frame.file for frame in self.frames if detector in ("", frame.detector)]


def make_night(folder: Path, plan: Plan = PLAN) -> Night:
    """Simulate, and make masters and references."""
    run = ObservingRun(plan)
    night = Night(tuple(run.science()), folder / "masters", folder / "references")
    masters = put_masters(night.masters, run)
    put_references(night.references, run, masters)
    return night


def trimmed(frame: RawFrame) -> np.ndarray:
    """The image above the level of its overscan [ADU]."""
    y0, y1, x0, x1 = frame.readout.trim
    image = np.asarray(frame.data, np.float32)[y0:y1, x0:x1]
    if frame.readout.overscan is not None:
        a, b, c, d = frame.readout.overscan
        image = image - np.median(np.asarray(frame.data, np.float32)[a:b, c:d], axis=1)[:, None]
    return image


def put_masters(folder: Path, run: ObservingRun) -> MastersFolder:
    """Means of the calibration frames, clipped at nothing: a test's few frames have no need of it."""
    found = defaultdict(list)
    for simulated in run.calibration():
        frame = read_frame(simulated.file)
        found[frame.detector, frame.kind, frame.filter].append(frame)
    folder.mkdir(parents=True, exist_ok=True)
    out = MastersFolder(folder)
    for detector in sorted({d for d, _, _ in found}):
        biases, darks = found[detector, "bias", ""], found[detector, "dark", ""]
        bias = np.median([trimmed(f) for f in biases], axis=0)
        dark = (np.median([trimmed(f) for f in darks], axis=0) - bias) / darks[0].exposure
        images = {("bias", ""): bias, ("dark", ""): dark}
        for d, kind, band in found:
            if (d, kind) == (detector, "flat"):
                frames = found[d, kind, band]
                flat = np.mean([trimmed(f) - bias - dark * f.exposure for f in frames], axis=0)
                images["flat", band] = flat / np.median(flat)
        for (kind, band), image in images.items():
            one = found[detector, kind, band][0]
            label = MasterLabel(
                kind, detector, band, one.binning, image.shape, one.readout.overscan is not None, one.readout.gain, one.temperature,  # type: ignore[arg-type]
                darks[0].exposure if kind == "dark" else float("nan"), 60_000.0, 62_000.0, len(found[detector, kind, band]),
            )  # fmt: skip
            out.put(MasterFile(label, image.astype(np.float32)))
    return out


def put_references(folder: Path, run: ObservingRun, masters: MastersFolder) -> None:
    """A single exposure is the reference of its field, filter and detector."""
    folder.mkdir(parents=True, exist_ok=True)
    out = ReferencesFolder(folder)
    for simulated in run.reference():
        frame = read_frame(simulated.file)
        chosen, _ = masters.select(
            detector=frame.detector, filter=frame.filter, binning=frame.binning, mjd=frame.mjd, temperature=frame.temperature,
            exposure=frame.exposure, gain=frame.readout.gain, overscan=frame.readout.overscan is not None,
        )  # fmt: skip
        planes, _ = calibrated(frame, chosen)
        level, noise, _ = background(planes.science, planes.mask)
        image = np.where(planes.mask & UNUSABLE, 0, planes.science - level).astype(np.float32)
        seen = stars(image, noise, mask=planes.mask)
        psf = psf_of(image, seen)
        out.put(Reference(image, planes.mask, psf, noise, ZERO_POINT, seen, frame.wcs, frame.field, frame.filter, frame.detector))
