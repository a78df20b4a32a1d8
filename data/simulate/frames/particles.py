"""Cosmic rays in a detector: straight tracks of muons, worms of electrons that scatter, spots of what comes from above.

a random stream, a shape → electrons to add, and which pixels they hit

Charge: a minimally ionising particle frees about 80 electrons per µm of silicon, with a long tail (Landau); a track's length is the
detector's thickness times the tangent of its angle, which for muons at sea level follows cos² of the zenith angle.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from operators.types import F32, F64

PER_MICRON = 80.0
"""[e-/µm]"""
THICKNESS, PITCH = 200.0, 15.0
"""Of the silicon, and of its pixels [µm]."""
DIFFUSION = 0.28
"""Spread of the charge until it is collected [pixel]."""
STEP = 0.1
"""Along a track [pixel]."""
WORMS = 0.2
"""Share of particles that scatter."""
HIT = 25.0
"""A pixel counts as hit where so many electrons were added: about the noise of a dark sky."""


def particles(rng: np.random.Generator, shape: tuple[int, int], *, number: int) -> tuple[F32, npt.NDArray[np.bool_]]:
    """Electrons (h, w) that `number` particles leave, and the pixels that they hit."""
    out = np.zeros(shape, np.float32)
    for _ in range(number):
        start = np.array([rng.uniform(-5, shape[0] + 5), rng.uniform(-5, shape[1] + 5)])
        path = _worm(rng, start) if rng.random() < WORMS else _track(rng, start)
        along = STEP * PITCH if len(path) > 5 else THICKNESS / len(path)
        charge = PER_MICRON * np.hypot(along, THICKNESS / len(path)) * rng.lognormal(0, 0.5) * rng.lognormal(0, 0.25, len(path))
        # a point of charge becomes a small cloud before it is collected
        at = np.round(path + rng.normal(0, DIFFUSION, path.shape)).astype(np.int64)
        inside = (at >= 0).all(1) & (at < shape).all(1)
        np.add.at(out, (at[inside, 0], at[inside, 1]), charge[inside].astype(np.float32))
    return out, out > HIT


def _track(rng: np.random.Generator, start: F64) -> F64:
    """(n, 2) points of a straight track."""
    zenith = np.arccos(rng.random() ** (1 / 3))
    length = min(THICKNESS / PITCH * np.tan(zenith), 120.0)
    angle = rng.uniform(0, 2 * np.pi)
    steps = np.arange(max(int(length / STEP), 5)) * min(STEP, length / 5)
    return np.asarray(start + steps[:, None] * np.array([np.sin(angle), np.cos(angle)]))


def _worm(rng: np.random.Generator, start: F64) -> F64:
    """(n, 2) points of an electron's way: its direction wanders."""
    n = int(rng.uniform(8, 45) / STEP)
    angle = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.13, n))
    return np.asarray(start + STEP * np.cumsum(np.stack([np.sin(angle), np.cos(angle)], 1), axis=0))
