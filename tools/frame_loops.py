"""What compiles the loops of raw frames: small scenes that go the way of a frame (`python -m tools.compile_kernels frames`).

made-up pixels → nothing; every loop that calibration, subtraction, the compressed files and the simulated observatory need has run once
"""

from __future__ import annotations

import numpy as np

from operators.types import F32

SIDE = 320


def scene(*, seed: int, transient: bool) -> F32:
    """(SIDE, SIDE) electrons of stars on a sky, each seed with a noise of its own."""
    where = np.random.default_rng(7)
    y, x = np.mgrid[:SIDE, :SIDE]
    image = np.full((SIDE, SIDE), 200.0)
    for row in range(24, SIDE - 24, 34):
        for column in range(24, SIDE - 24, 34):
            v, u = where.uniform(-5, 5, 2)
            image += 10 ** where.uniform(3.5, 4.7) / 14.1 * np.exp(-((y - row - v) ** 2 + (x - column - u) ** 2) / 4.5)
    if transient:
        image += 500 * np.exp(-((y - 150.3) ** 2 + (x - 143.8) ** 2) / 4.5)
    rng = np.random.default_rng(seed)
    return np.asarray(rng.poisson(image) + rng.normal(0, 5, image.shape), np.float32)


def calibration() -> None:
    """Frames of both types that are calibrated as they are, and frames that are combined."""
    from operators.images.calibrate import calibrate
    from operators.images.combine import combine, masters_of
    from operators.images.planes import RawFrame, Readout

    light = scene(seed=1, transient=False)
    light[40, 50:53] += 3_000  # a cosmic ray, so that its neighbours and what is under it are looked at too
    zero = np.zeros_like(light)
    masters = masters_of(bias=zero[:, :-20], dark=zero[:, :-20], flat=zero[:, :-20] + 1)
    readout = Readout(1.0, 5.0, 60_000.0, (0, SIDE, 0, SIDE - 20), (0, SIDE, SIDE - 20, SIDE))
    for data in (light.astype(np.uint16), light):
        calibrate(RawFrame(data, readout, "science", "f", "d", "r", 1.0, 60_000.0), masters)
    combine([light, light + 1, light - 1], kind="flat")


def subtraction() -> None:
    """A frame with a reference taken out, its candidates measured and made packets."""
    from operators.images.background import background
    from operators.images.detect import cut, detect, forced
    from operators.images.planes import Calibrated, Reference
    from operators.images.psf import psf_of
    from operators.images.stars import stars
    from operators.images.subtract import prepare
    from pipeline.frame_subtraction import subtracted

    mask = np.zeros((SIDE, SIDE), np.uint8)
    before, after = scene(seed=2, transient=False), scene(seed=3, transient=True)
    level, noise, _ = background(before, mask)
    image = np.asarray(before - level, np.float32)
    found = stars(image, noise, mask=mask)
    reference = Reference(image, mask, psf_of(image, found), noise, 25.0, found, None, "f", "r", "d")
    made = subtracted(Calibrated(after, np.abs(after) + 25, mask), prepared=prepare(reference), frame_map=None, reference_map=None)
    seen = detect(made.difference)
    yx = np.stack([seen.y, seen.x], axis=1)
    forced(made.difference, yx)
    cut(made.difference.difference, yx)


def files_and_sky() -> None:
    """Tiles compressed by Rice's code as FITS has them, and what draws the simulated observatory's stars."""
    from data.frames.rice import random_numbers, rice_decode, undither
    from data.simulate.frames.optics import add_all

    code = np.frombuffer(bytes(8), np.uint8)  # read-only, as a file's
    stored = np.zeros(32, np.int32)
    rice_decode(code, np.zeros(32, np.int16), 32, 4, 14, 16)
    rice_decode(code, stored, 32, 5, 25, 32)
    undither(stored, np.zeros(32, np.float32), 1.0, 0.0, random_numbers(), 0, False)
    one = np.ones(1)
    add_all(np.zeros((16, 16), np.float32), 8 * one, 8 * one, one, one, 0 * one, one, 1e-3)
