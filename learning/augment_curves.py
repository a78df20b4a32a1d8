"""Simulated light curves → the same curves, seen for a shorter time, through fewer filters, or worse.

`Alerts` without images, a random generator → `Alerts`

What an archive happens to hold must not decide: how long it was observed, how often, through which filters, how well. A curve keeps three
detections at least; what breaks that leaves it as it was. Recipe of `prototypes/fewshot`; the folded view, made of all points beforehand,
gets noise of its own and is dropped now and then.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from learning.dataset import REFERENCE, REFERENCE_DISTANCE, Alerts, Bools
from operators.types import F32

BLUE, RED = (4300.0, 5600.0), (5600.0, 7800.0)
"""Wavelengths that a two-band survey sees as its blue and its red one [Å]."""
G, R = 4770.0, 6230.0


@dataclass(frozen=True, slots=True)
class Strength:
    """Chances and sizes; the defaults are the published recipe."""

    cut: float = 0.3
    """Chance that the curve ends early, somewhere after its third detection."""
    thin: float = 0.5
    """Chance that each point is kept with a probability of 0.15 … 1."""
    two_bands: float = 0.5
    """Chance that only a blue and a red band are left; half of them become g and r."""
    one_band: float = 0.3
    """Of those: only one of the two."""
    noise: float = 0.5
    """Chance of more noise: 1 … 12 % of the peak."""
    dilation: float = 0.08
    wavelength: float = 0.015
    limits_instead: float = 0.3
    no_limits: float = 0.3
    no_reference: float = 0.3
    fold_noise: float = 0.1
    no_fold: float = 0.1
    dip_noise: float = 0.03
    no_value: float = 0.15
    """Of the surroundings of a light curve from space."""


def augment_curves(a: Alerts, rng: np.random.Generator, *, s: Strength = Strength()) -> Alerts:
    """Change a batch in place and return it."""
    n, points = a.time.shape

    def some(chance: float) -> Bools:
        return np.asarray(rng.random(n) < chance)[:, None]

    def spread(low: float, high: float) -> F32:
        return np.asarray(rng.uniform(low, high, n), dtype=np.float32)[:, None]

    before = a.valid.copy()
    keep = a.valid & ~(some(s.thin) & (rng.random((n, points)) > spread(0.15, 1.0)))
    blue, red = (np.asarray((a.wavelength > b[0]) & (a.wavelength <= b[1])) for b in (BLUE, RED))
    two = some(s.two_bands)
    keep &= ~two | blue | red
    one = two & some(s.one_band)
    keep &= ~one | np.where(some(0.35), blue, red)
    named = two & some(0.5)
    wavelength = np.where(named & blue, np.float32(G), np.where(named & red, np.float32(R), a.wavelength))
    rank = np.cumsum(keep & a.detected, axis=1)
    third = np.where(keep & a.detected & (rank == 3), a.time, -np.inf).max(axis=1, keepdims=True)
    cut = some(s.cut) & np.isfinite(third)
    keep &= ~(cut & (a.time > np.where(np.isfinite(third), third * rng.random((n, 1)).astype(np.float32), 0.0)))
    poor = (keep & a.detected).sum(axis=1) < 3
    keep[poor] = before[poor]
    a.valid = keep
    a.wavelength = np.where(poor[:, None], a.wavelength, wavelength)

    _noise(a, rng, s=s, chosen=some(s.noise))
    weak = a.valid & ~a.detected & np.isfinite(a.flux)
    a.valid &= ~(some(s.no_limits) & weak)
    limited = some(s.limits_instead) & weak & a.valid
    a.limit = np.where(limited, 5 * a.flux_err, a.limit).astype(np.float32)
    a.flux, a.flux_err = (np.where(limited, np.float32(np.nan), x).astype(np.float32) for x in (a.flux, a.flux_err))

    # The alert is now at the last detection that is left; nothing later is known.
    last = np.where(a.valid & a.detected, a.time, -np.inf).max(axis=1, keepdims=True)
    last = np.where(np.isfinite(last), last, 0.0).astype(np.float32)
    a.valid &= ~(a.time > last)
    stretch = np.exp(s.dilation * rng.standard_normal((n, 1))).astype(np.float32)
    a.time = (a.time - last) * stretch
    first = np.where(a.valid & a.detected, a.time, 0.0).min(axis=1)
    a.first_detection = first.astype(np.float32)
    a.wavelength = (a.wavelength * np.exp(s.wavelength * rng.standard_normal((n, 1)))).astype(np.float32)
    a.target[:, -1] = np.clip(a.target[:, -1] - last[:, 0] / 100, -5, 5)
    a.number = (a.valid & a.detected).sum(axis=1)
    _values(a, rng, s=s)
    return a


def _noise(a: Alerts, rng: np.random.Generator, *, s: Strength, chosen: Bools) -> None:
    """Add noise; what falls below 3 σ was not detected, unless too few detections would be left."""
    n, points = a.time.shape
    detected = a.valid & a.detected
    peak = np.where(detected, np.abs(a.flux), 0.0).max(axis=1, keepdims=True)
    extra = np.where(chosen, np.exp(rng.uniform(np.log(0.01), np.log(0.12), (n, 1))), 0.0).astype(np.float32) * peak
    flux = (a.flux + extra * rng.standard_normal((n, points))).astype(np.float32)
    error = (np.hypot(a.flux_err, extra) * np.exp(0.15 * rng.standard_normal((n, 1)))).astype(np.float32)
    with np.errstate(invalid="ignore"):
        lost = a.detected & (extra > 0) & (np.abs(flux) < 3 * error)
    poor = ((a.valid & a.detected & ~lost).sum(axis=1) < 3)[:, None]
    drop = lost & (rng.random((n, 1)) < 0.7)
    a.flux = np.where(poor, a.flux, flux)
    a.flux_err = error
    a.detected &= ~(lost & ~poor)
    a.valid &= ~(drop & ~poor)


def _values(a: Alerts, rng: np.random.Generator, *, s: Strength) -> None:
    """Only the reference flux is known of the surroundings, in units of its own; the folded view gets noise."""
    n = len(a)
    reference = a.context[:, REFERENCE] * 10 ** rng.uniform(-2.0, 4.0, n)
    gone = rng.random(n) < s.no_reference
    a.context[:] = np.nan
    a.context[:, REFERENCE] = np.where(gone, np.nan, reference)
    a.context[:, REFERENCE_DISTANCE] = np.where(np.isfinite(a.context[:, REFERENCE]), 0.0, np.nan)
    gate = a.folded[:, -1:] * (rng.random((n, 1)) >= s.no_fold)
    noise = s.fold_noise * rng.standard_normal(a.folded.shape).astype(np.float32)
    noise[:, -1] = 0
    a.folded = ((a.folded + noise) * gate).astype(np.float32)


def augment_space(a: Alerts, rng: np.random.Generator, *, s: Strength = Strength()) -> Alerts:
    """Change a batch of light curves from space in place and return it: noise on both views, values of the surroundings missing."""
    n = len(a)
    noise = s.dip_noise * rng.standard_normal(a.dips.shape).astype(np.float32)
    noise[:, -1] = 0
    a.dips = (a.dips + noise * a.dips[:, -1:]).astype(np.float32)
    gate = a.folded[:, -1:] * (rng.random((n, 1)) >= s.no_fold)
    noise = s.fold_noise * rng.standard_normal(a.folded.shape).astype(np.float32)
    noise[:, -1] = 0
    a.folded = ((a.folded + noise) * gate).astype(np.float32)
    a.context[rng.random(a.context.shape) < s.no_value] = np.nan
    return a
