"""A planet before its star → how much light it takes, at times and averaged over cadences.

The light that a limb-darkened disc loses is that of the simulated sectors (`data.simulate.planets`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from data.simulate.planets import hidden_light
from operators.types import F64

LIMB = (0.35, 0.2)
"""Quadratic limb darkening of a star like the Sun in TESS's band (Claret 2017, A&A 600, A30)."""
_SAMPLES = 9
"""Times a cadence over which light is averaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planet:
    """A transiting planet on a circular orbit."""

    period: float
    """[d]"""
    epoch: float
    """[d] middle of a transit."""
    depth: float
    """Relative flux at mid-transit."""
    impact: float = 0.0
    """Of the star's radius, below 1."""
    density: float = 1.0
    """Of the star, in the Sun's."""

    @property
    def reach(self) -> float:
        """Orbit over the star's radius, by Kepler's third law: 4.2 at a day for the Sun's density."""
        return float(4.2 * self.density ** (1 / 3) * self.period ** (2 / 3))

    def duration(self) -> float:
        """[d] of the transit of the planet's centre."""
        return self.period / np.pi * float(np.arcsin(min(np.sqrt(1 - self.impact**2) / self.reach, 1.0)))

    def light(self, time: F64, *, cadence: float) -> F64:
        """Relative flux (N,) averaged over cadences [d] around times (N,) [d]."""
        radius = planet_radius(self.depth, self.impact)
        half = min((1 + radius) / self.reach * self.period / (2 * np.pi) * 1.3 + cadence, self.period / 4)
        fine = np.linspace(0, half, 400)
        angle = 2 * np.pi * fine / self.period
        apart = np.hypot(self.reach * np.sin(angle), self.impact * np.cos(angle))
        loss = hidden_light(apart, radius, limb=LIMB)
        off = np.abs((time - self.epoch + self.period / 2) % self.period - self.period / 2)
        out = np.ones(len(time))
        near = np.flatnonzero(off < half)
        steps = (np.arange(_SAMPLES) + 0.5) / _SAMPLES - 0.5
        out[near] -= np.interp(np.abs(off[near, None] + cadence * steps), fine, loss, right=0.0).mean(axis=1)
        return out


@lru_cache(maxsize=4096)
def planet_radius(depth: float, impact: float) -> float:
    """Radius of the planet, in the star's, that gives a depth at mid-transit.

    Raises
    ------
    ValueError
        No planet smaller than the star does.
    """
    low, high = 0.0, 1.0
    if not 0 < depth < _deepest(high, impact):
        raise ValueError(f"no planet smaller than its star takes {depth} of its light at an impact parameter of {impact}")
    for _ in range(40):
        middle = (low + high) / 2
        if _deepest(middle, impact) < depth:
            low = middle
        else:
            high = middle
    return high


def _deepest(radius: float, impact: float) -> float:
    return float(hidden_light(np.array([impact]), radius, limb=LIMB)[0])
