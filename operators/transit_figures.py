"""Figures of the dips and flares of a light curve.

light curves (`operators.transits` makes them) → `Figures` a target
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SingleEvent:
    """The deepest dip of a light curve."""

    time: float
    """[d] of its middle."""
    duration: float
    """[d] of the box."""
    depth: float
    """Relative flux, positive for a dip."""
    significance: float
    """Depth over the scatter of all boxes of that length."""


@dataclass(frozen=True, slots=True)
class Transit:
    """The periodic box that fits a light curve best."""

    period: float
    """[d]"""
    epoch: float
    """[d] of the middle of the first transit, in the light curve's time."""
    duration: float
    """[d]"""
    depth: float
    """Relative flux."""
    depth_err: float
    """1 σ, of white noise."""
    signal_to_noise: float
    """Depth over its error."""
    red_signal_to_noise: float
    """The same by the scatter of boxes of that length: with red noise."""
    transits: int
    """Transits with points in them."""
    odd_even: float
    """[σ] difference in depth of odd and even transits; NaN where one kind was not seen."""
    secondary_depth: float
    """Of the deepest box elsewhere in phase; 0: nothing dips."""
    secondary_phase: float
    """From the transit, 0 … 1; NaN where nothing dips."""
    secondary_signal_to_noise: float
    density: float
    """Duration in that of a central transit of the Sun's density."""
    searched_from: float
    """[d] shortest period that was searched."""
    asymmetry: float
    """Mean depth of the 1.5 durations behind the middle less that of those before it, over the depth: above 0 for a comet's tail."""
    depth_scatter: float
    """χ² per degree of freedom of single transits' depths about their mean, red noise in their errors; NaN of fewer than two."""
    timing_scatter: float
    """[d] spread of single transits' times about a strict period, of those of 4 σ and more; NaN of fewer than three."""
    near_gap: float
    """Share of transits within half a window of a gap or edge (flag HALF_WINDOW); those whose points did not count are in it."""
    grazing: float
    """Depth in the middle third of the box over that in the outer thirds: about 1 of a planet, 2.5 of a V; NaN where these do not dip."""


@dataclass(frozen=True, slots=True)
class Flare:
    """A run of points above the noise."""

    start: float
    """[d]"""
    peak: float
    """[d]"""
    end: float
    """[d]"""
    amplitude: float
    """Relative flux of the peak."""
    equivalent_duration: float
    """[s] in which the quiet star gives the flare's light."""
    significance: float
    """Of all its points together [σ]."""
    impulsive: bool
    """It rises faster than it falls."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a light curve holds."""

    single: SingleEvent | None
    """None: too few points."""
    transit: Transit | None
    """None: not searched, or nothing dips."""
    flares: tuple[Flare, ...]
