"""From a star's magnitudes to a difference flux: what all lasting sources share."""

from __future__ import annotations

import numpy as np

from data.simulate.draw import Draw
from data.simulate.sky import F64
from data.simulate.source import Flux, Star

HISTORY = 500.0
"""Days of its own past a persistent object carries: the survey's detection counts come from them."""


def difference(star: Star, magnitudes: Flux, *, reference: F64, mean: bool = False) -> Flux:
    """From Δm(t, λ) to a difference flux; `reference`: the times the reference image was made of, whose mean light is subtracted.

    `mean`: the star's magnitude is that of the reference image, not that of Δm = 0; difference + `star.reference` is then its whole
    light, never negative.
    """
    level: dict[float, float] = {}

    def observed(t: F64, wavelength: F64) -> F64:
        base = star.reference(wavelength)
        out = 10 ** (-0.4 * magnitudes(t, wavelength))
        for value in np.unique(wavelength):
            key = float(value)
            if key not in level:
                level[key] = float(np.mean(10 ** (-0.4 * magnitudes(reference, np.full_like(reference, key)))))
            own = wavelength == value
            out[own] = out[own] / level[key] - 1 if mean else out[own] - level[key]
        return base * out

    return observed


def reference_times(d: Draw, frames: int = 20) -> F64:
    """A reference image: some tens of exposures over a season before the survey's own history."""
    return -HISTORY - np.sort(d.rng.uniform(0, d.rng.uniform(10, 250), frames))


def random_walk(d: Draw, grid: F64, *, timescale: float) -> F64:
    """A damped random walk of unit variance on an even grid (Kelly et al. 2009)."""
    a = float(np.exp(-(grid[1] - grid[0]) / timescale))
    steps = d.rng.standard_normal(len(grid))
    out = np.empty(len(grid))
    out[0] = steps[0]
    q = np.sqrt(1 - a * a)
    value = float(steps[0])
    for k, e in enumerate((q * steps[1:]).tolist(), start=1):
        value = a * value + e
        out[k] = value
    return out
