"""Shapes of periodic light: magnitudes against phase as a table, drawn once and read at any time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data.simulate.draw import Draw
from data.simulate.sky import F64

PHASES: F64 = np.arange(1024) / 1024
"""Where a profile is kept."""
CYCLES = 97
"""Cycle-to-cycle changes repeat after so many: a prime, and more cycles than a survey of slow stars sees."""


def at(profile: F64, phase: F64) -> F64:
    """The profile at any phases, in turns."""
    value: F64 = np.interp(phase % 1.0, PHASES, profile, period=1.0)
    return value


def fourier(ratios: Sequence[float], phases: Sequence[float]) -> F64:
    """Cosine series: cos x + Σ R_k1 cos(k x + φ_k1), k = 2, 3, …, scaled to a range of 1 with mean 0.

    In magnitudes, so maximum light is the least value. The phases are those of the cosine series, φ_k - k φ_1 (Simon & Lee 1981).
    """
    x = 2 * np.pi * PHASES
    y = np.cos(x)
    for k, (ratio, phase) in enumerate(zip(ratios, phases, strict=True), start=2):
        y = y + ratio * np.cos(k * x + phase)
    y -= y.mean()
    scaled: F64 = y / np.ptp(y)
    return scaled


class Wander:
    """A smooth random function of the cycle, `sd` wide: one value a cycle, a raised cosine between two."""

    def __init__(self, d: Draw, sd: float) -> None:
        self._knots = d.rng.standard_normal(CYCLES) * sd

    def __call__(self, cycle: F64) -> F64:
        """The value at times counted in cycles, smooth between its knots."""
        low = np.floor(cycle).astype(np.int64)
        part = 0.5 - 0.5 * np.cos(np.pi * (cycle - low))
        value: F64 = self._knots[low % CYCLES] * (1 - part) + self._knots[(low + 1) % CYCLES] * part
        return value
