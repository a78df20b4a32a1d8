"""A detector: expected electrons → what it writes.

(h, w) electrons → (H, W) raw values with overscan, and which pixels are saturated or bled into
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from data.simulate.frames import optics
from operators.types import F32

Bools = npt.NDArray[np.bool_]
GAUSSIAN_FROM = 40.0
"""Expected electrons from which a Poisson number is drawn as a Gaussian one."""
TOP = 65_535
"""Largest value of the converter [ADU]."""
TWOFOLD = 6.5
"""Dark current grows twofold in so many degrees."""
COLD = -20.0
"""[deg C] for which `dark_rate` is given."""


@dataclass(frozen=True, slots=True)
class Ccd:
    """One detector; its fixed patterns are functions of `seed`."""

    name: str
    shape: tuple[int, int]
    """(h, w) of the light-sensitive pixels."""
    seed: int
    gain: float = 1.5
    """[e-/ADU]"""
    read_noise: float = 6.0
    """[e-]"""
    full_well: float = 88_000.0
    """[e-]"""
    nonlinearity: float = 5e-7
    """c of true = measured (1 + c measured) [1/ADU above bias]."""
    bias_level: float = 1_200.0
    """[ADU]"""
    dark_rate: float = 0.05
    """[e-/s] of a good pixel at `COLD`"""
    overscan_left: bool = False
    n_overscan: int = 32
    n_unused_rows: int = 0
    """Rows before the image that see no light."""
    off_axis: float = 0.1
    turned: int = 0
    """By how many quarters of a turn the detector is mounted."""

    @property
    def raw_shape(self) -> tuple[int, int]:
        """(H, W) of a raw frame."""
        return self.shape[0] + self.n_unused_rows, self.shape[1] + self.n_overscan

    @property
    def origin(self) -> tuple[int, int]:
        """The raw pixel (y, x) that the image's first one is."""
        return self.n_unused_rows, self.n_overscan if self.overscan_left else 0

    @property
    def saturation(self) -> float:
        """Raw value from which a pixel counts as saturated [ADU]."""
        return round(float(self.bias_level + 0.97 * self.measured(np.array([self.full_well / self.gain], np.float32))[0]), 1)

    @property
    def linear_to(self) -> float:
        """End of the range in which the correction holds [ADU above bias]."""
        return 0.9 * self.full_well / self.gain

    def section(self, which: str) -> str:
        """The keyword's value for the image (`trim`) or the overscan (`bias`), counted from 1, x first."""
        y0, x0 = self.origin
        h, w = self.shape
        a, b = (x0, x0 + w) if which == "trim" else ((0, self.n_overscan) if self.overscan_left else (w, w + self.n_overscan))
        return f"[{a + 1}:{b},{y0 + 1}:{y0 + h}]"

    def measured(self, true: F32) -> F32:
        """What the converter makes of a signal [ADU above bias]: the root of true = measured (1 + c measured)."""
        c = self.nonlinearity
        return np.asarray((np.sqrt(1 + 4 * c * np.maximum(true, 0)) - 1) / (2 * c) if c else true, np.float32)

    def dark(self, exposure: float, temperature: float) -> F32:
        """(h, w) expected electrons of dark current."""
        return dark_map(self) * np.float32(exposure * 2 ** ((temperature - COLD) / TWOFOLD))

    def flat(self, band: str) -> F32:
        """(h, w) share of the light that pixels register."""
        return optics.flat(self.shape, band, seed=self.seed, off_axis=self.off_axis)

    def read_out(self, rng: np.random.Generator, expected: F32, *, added: F32 | None = None) -> tuple[npt.NDArray[np.uint16], Bools]:
        """Read the detector out.

        Parameters
        ----------
        expected : (h, w)
            Mean electrons, dark current included.
        added : (h, w), optional
            Electrons without a noise of their own: cosmic rays.

        Returns
        -------
        (H, W) uint16 [ADU], (h, w) bool: saturated or bled into
        """
        electrons = _poisson(rng, expected)
        if added is not None:
            electrons += added
        saturated = bleed(electrons, self.full_well)
        values = np.zeros(self.raw_shape, np.float32)
        y0, x0 = self.origin
        image = values[y0:, x0 : x0 + self.shape[1]]
        signal = electrons / np.float32(self.gain)
        image[:] = np.where(signal > 0, self.measured(signal), signal) + bias_map(self)
        rows = np.arange(values.shape[0])
        drift = self.bias_level + rng.normal(0, 2.0) + 1.5 * np.sin(2 * np.pi * (rows / rng.uniform(200, 900) + rng.random()))
        values += drift.astype(np.float32)[:, None]
        values += np.float32(self.read_noise / self.gain) * rng.standard_normal(values.shape, dtype=np.float32)
        return np.clip(np.rint(values), 0, TOP).astype(np.uint16), saturated


def _poisson(rng: np.random.Generator, expected: F32) -> F32:
    mean = np.maximum(expected, 0)
    out = mean + np.sqrt(mean) * rng.standard_normal(mean.shape, dtype=np.float32)
    few = mean < GAUSSIAN_FROM
    if few.any():
        out[few] = rng.poisson(mean[few])
    return np.asarray(out, np.float32)


def bleed(electrons: F32, full_well: float) -> Bools:
    """Move what a pixel cannot hold along its column, half of it to each side, in place; where pixels are full."""
    for column in np.flatnonzero((electrons > full_well).any(0)):
        line = electrons[:, column].astype(np.float64)
        excess = np.maximum(line - full_well, 0)
        line -= excess
        for step in (1, -1):
            carried = 0.0
            order = range(len(line)) if step == 1 else range(len(line) - 1, -1, -1)
            for k in order:
                carried += 0.5 * excess[k]
                if carried > 0:
                    room = full_well - line[k]
                    moved = min(room, carried)
                    line[k] += moved
                    carried -= moved
        electrons[:, column] = line
    return np.asarray(electrons >= 0.97 * full_well)


@lru_cache(maxsize=8)
def bias_map(ccd: Ccd) -> F32:
    """(h, w) [ADU] what every readout adds besides its level: a slope, a glow of the amplifier, columns of their own level."""
    rng = np.random.default_rng([4_003, ccd.seed])
    h, w = ccd.shape
    y, x = np.mgrid[:h, :w].astype(np.float32)
    out = 3 * y / h + 14 * np.exp(-(x + y) / (0.04 * w)) + rng.normal(0, 0.8, w).astype(np.float32)
    for column in rng.integers(0, w, 3):
        out[:, column] += rng.uniform(5, 25)
    out = np.asarray(out, np.float32)
    out.setflags(write=False)
    return out


@lru_cache(maxsize=8)
def dark_map(ccd: Ccd) -> F32:
    """(h, w) [e-/s] at `COLD`: one in a thousand pixels is hot, a few so hot that they saturate within minutes."""
    rng = np.random.default_rng([4_004, ccd.seed])
    h, w = ccd.shape
    out = ccd.dark_rate * rng.lognormal(0, 0.2, (h, w))
    hot = rng.integers(0, h * w, h * w // 1000)
    out.reshape(-1)[hot] = np.exp(rng.uniform(np.log(0.5), np.log(200.0), len(hot)))
    dark = out.astype(np.float32)
    dark.setflags(write=False)
    return dark
