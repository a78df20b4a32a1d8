"""Simulated alerts → the same alerts, seen worse or by another survey.

`Alerts`, a random generator → `Alerts`

What may differ between the simulation and the sky must not decide: how far back a packet reaches, which points are in it, how noisy they
are, whether there are limits or forced photometry, which catalogue matched, whether there are images. The alert's own point always stays.
Recipe for the light curves: `prototypes/fewshot`; per-value and whole-modality dropout so that each modality may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from data.simulate.arrays import ADDED
from learning.dataset import Alerts, Bools
from operators.types import CONTEXT, F32, F64, MEASURED, SURVEY_SCORES

SPREAD: dict[str, float] = {
    "source_flux": 0.4,
    "reference_flux": 0.4,
    "solar_system_flux": 0.1,
    "n_detections": 0.4,
    "n_visits": 1.2,
    "fwhm": 0.2,
    "flux": 0.05,
    "signal_to_noise": 0.05,
    "redshift": 0.1,
}
"""1 σ of ln(factor) by which context may be off: by year of the survey, catalogue, seeing. How often a place was visited says when a packet
was sent and nothing of its class, so it is nearly erased."""
FACTORS = np.array([SPREAD.get(name, 0.0) for name in CONTEXT])
MEASURED_SPREAD: dict[str, float] = {
    "reference_chi": 0.15,
    "reference_error": 0.2,
    "negative_pixels": 0.2,
    "fit_chi": 0.3,
    "seeing_ratio": 0.08,
    "axis": 0.06,
    "sky": 0.2,
    "matched_signal": 0.12,
    "spikes": 0.15,
    "spikes_in_science": 0.15,
}
"""1 σ of ln(factor), as `SPREAD`, of what the survey's pipeline measured: it is simulated by medians and spreads alone."""
MEASURED_SHIFT: dict[str, float] = {
    "reference_sharpness": 0.04,
    "sum_ratio": 0.02,
    "aperture_difference": 0.04,
    "source_g": 0.06,
    "source_r": 0.06,
    "source_i": 0.06,
    "source_z": 0.06,
}
"""1 σ of what is added, of those that have no logarithm."""
GONE: dict[str, float] = {
    "drb": 0.3,
    "rb": 0.3,
    "reliability": 0.25,
    "galactic_latitude": 0.3,
    "ecliptic_latitude": 0.3,
    "n_visits": 0.3,
    "history": 0.2,
    "n_detections": 0.2,
}
"""Chance that a value is missing, where it is more than `Strength.no_value`: what the simulation knows too well."""
DISTANCES = tuple(CONTEXT.index(name) for name in ("source_distance", "reference_distance"))
HISTORY, N_DETECTIONS = CONTEXT.index("history"), CONTEXT.index("n_detections")
OLD = 40.0
"""A history longer than this [d] reaches back before any packet."""


@dataclass(frozen=True, slots=True)
class Strength:
    """Chances and sizes; the defaults are the published recipe."""

    cut: float = 0.25
    """Chance that the packet reaches back 0.5 … 30 days only."""
    thin: float = 0.4
    """Chance that each earlier point is kept with a probability of 0.2 … 1."""
    no_limits: float = 0.15
    no_forced: float = 0.25
    """Chance that measurements below the detection threshold are missing."""
    limits_instead: float = 0.5
    """Chance that they are upper limits instead, as in every packet before ZTF 4.0."""
    one_band: float = 0.12
    noise: float = 0.3
    dilation: float = 0.06
    """1 σ of ln(time)."""
    wavelength: float = 0.012
    """1 σ of ln(wavelength)."""
    no_stamps: float = 0.2
    no_context: float = 0.2
    no_measured: float = 0.15
    """Chance that nothing is left of what the survey's pipeline measured: another survey, or a change of its version."""
    no_value: float = 0.1
    host: float = 0.25
    """Chance that the host is known, with its distance, flux and colour; as often, by itself, its redshift."""
    catalogues: float = 0.2
    """Chance that other catalogues were asked whether it is a star, an active nucleus, a variable star."""
    scatter: float = 0.6
    """Largest 1 σ by which a catalogue's positions are off [arcsec]; drawn log-uniformly from a twentieth of it."""
    age: float = 0.5
    """Chance that a long history has another length: a variable star is as well one that the survey found last month."""
    early: float = 0.2
    """Chance that the survey's first detection here was of something else: a residual of the subtraction, or a name used before. Of the
    labelled real supernovae one in five is such; no simulation of the event alone has them."""
    stamp_noise: float = 0.03
    """1 σ per pixel, of the scaled image; its strength is drawn up to this."""
    missing: Mapping[str, float] = field(default_factory=lambda: dict(GONE), hash=False)
    """Value of the context → chance that it is missing, in place of `no_value`."""


def augment(alerts: Alerts, rng: np.random.Generator, *, strength: Strength = Strength()) -> Alerts:
    """Change a batch in place and return it."""
    _light_curve(alerts, rng, s=strength)
    _images(alerts, rng, s=strength)
    _context(alerts, rng, s=strength)
    _measured(alerts, rng, s=strength)
    return alerts


def _light_curve(a: Alerts, rng: np.random.Generator, *, s: Strength) -> None:
    n, points = a.time.shape

    def some(chance: float) -> Bools:
        return np.asarray(rng.random(n) < chance)[:, None]

    def spread(low: float, high: float) -> F64:
        return np.asarray(rng.uniform(low, high, n))[:, None]

    own = a.valid & (a.time > -1e-6) & a.detected
    measured = a.valid & np.isfinite(a.flux)
    keep = a.valid.copy()
    keep &= ~(some(s.cut) & (a.time < -np.exp(spread(np.log(0.5), np.log(30.0)))))
    keep &= ~(some(s.thin) & (rng.random((n, points)) > spread(0.2, 1.0)))
    keep &= ~(some(s.no_limits) & np.isfinite(a.limit))
    keep &= ~(some(s.no_forced) & measured & ~a.detected)
    weak = some(s.limits_instead) & measured & ~a.detected & keep
    a.limit = np.where(weak, 5 * a.flux_err, a.limit).astype(np.float32)
    a.flux, a.flux_err = (np.where(weak, np.float32(np.nan), x).astype(np.float32) for x in (a.flux, a.flux_err))
    own_band = np.where(own, a.wavelength, 0.0).max(axis=1)[:, None]
    keep &= ~(some(s.one_band) & (np.abs(a.wavelength - own_band) > 100) & (own_band > 0))
    a.valid = keep | own

    # More noise: the flux moves by part of its error, which grows by as much; what falls below 3 σ was not detected.
    extra = np.where(some(s.noise), spread(0.3, 2.0), 0.0) * a.flux_err
    a.flux = (a.flux + extra * rng.standard_normal((n, points))).astype(np.float32)
    a.flux_err = (np.hypot(a.flux_err, extra) * np.exp(0.2 * rng.standard_normal((n, 1)))).astype(np.float32)
    with np.errstate(invalid="ignore"):
        lost = (extra > 0) & a.detected & ~own & (np.abs(a.flux) < 3 * a.flux_err)
    a.detected &= ~lost

    stretch = np.exp(s.dilation * rng.standard_normal(n)).astype(np.float32)
    a.time *= stretch[:, None]
    a.first_detection *= stretch
    a.wavelength = (a.wavelength * np.exp(s.wavelength * rng.standard_normal((n, 1)))).astype(np.float32)


def _images(a: Alerts, rng: np.random.Generator, *, s: Strength) -> None:
    n = len(a)
    # The eight symmetries of a square, by group: a flip of the sky changes no class.
    images = a.stamps
    group = rng.integers(0, 8, n)
    for k in range(1, 8):
        rows = group == k
        turned = np.rot90(images[rows], k % 4, axes=(2, 3))
        images[rows] = turned[..., ::-1] if k >= 4 else turned
    level = (rng.random(n) * s.stamp_noise).astype(np.float16)[:, None, None, None]
    grain = rng.standard_normal((n, 3, *images.shape[2:]), dtype=np.float32).astype(np.float16)
    images[:, :3] += level * grain * images[:, 3:]
    images[rng.random(n) < s.no_stamps] = 0


def _context(a: Alerts, rng: np.random.Generator, *, s: Strength) -> None:
    n, values = a.context.shape
    context = a.context * np.exp(FACTORS * rng.standard_normal((n, values))).astype(np.float32)
    sigma = s.scatter * np.exp(rng.uniform(np.log(0.05), 0.0, n))
    for column in DISTANCES:
        context[:, column] = np.hypot(context[:, column] + sigma * rng.standard_normal(n), sigma * rng.standard_normal(n))
    _age(a, context, rng=rng, s=s)
    context[:, -len(ADDED) :] = _added(a, rng, s=s)
    chance = np.array([s.missing.get(name, s.no_value) for name in CONTEXT])
    gone = (rng.random((n, values)) < chance) | (rng.random((n, 1)) < s.no_context)
    a.context = np.where(gone, np.float32(np.nan), context).astype(np.float32)


def _age(a: Alerts, context: F32, *, rng: np.random.Generator, s: Strength) -> None:
    """Make long histories longer or shorter, with their count of detections, but not shorter than what the packet shows."""
    n = len(a)
    shown = -np.where(a.valid & a.detected, a.time, 0.0).min(axis=1)
    factor = np.exp(rng.uniform(np.log(0.03), np.log(3.0), n))
    history = -a.first_detection
    older = (history > OLD) & (rng.random(n) < s.age)
    new = np.where(older, np.maximum(history * factor, shown), history).astype(np.float32)
    ratio = np.where(older, new / np.maximum(history, 1.0), 1.0)
    stray = rng.random(n) < s.early
    new = np.where(stray, new + 10 ** rng.uniform(1.0, 3.2, n), new).astype(np.float32)
    count = np.where(stray, 10 ** rng.uniform(0.0, 3.0, n), 0.0)
    a.first_detection = -new
    older |= stray
    context[:, HISTORY] = np.where(older & np.isfinite(context[:, HISTORY]), new, context[:, HISTORY])
    context[:, N_DETECTIONS] = np.maximum(context[:, N_DETECTIONS] * ratio, np.minimum(context[:, N_DETECTIONS], a.number)) + count


FOUND = 0.6, 0.97
"""Completeness of a catalogue of stars, nuclei or variables, at least and at most."""
FALSE = 0.01
"""Chance that such a catalogue has a wrong neighbour."""


def _added(a: Alerts, rng: np.random.Generator, *, s: Strength) -> F64:
    """What catalogues give of `ADDED`, where they were asked: as incomplete, uncertain and sometimes wrong as they are."""
    n = len(a)
    truth = dict(zip(ADDED, a.added.T.astype(np.float64), strict=True))
    known, asked, spectrum = rng.random(n) < s.host, rng.random(n) < s.catalogues, rng.random(n) < s.host
    redshift = truth["redshift"]
    sigma = np.where(rng.random(n) < 0.5, 1e-3, np.where(rng.random(n) < 0.05, 0.3, 0.03)) * (1 + redshift)
    out = {
        "redshift": np.where(spectrum, np.maximum(redshift + sigma * rng.standard_normal(n), 1e-4), np.nan),
        "host_distance": np.where(known, np.abs(truth["host_distance"] + 0.2 * rng.standard_normal(n)), np.nan),
        "host_flux": np.where(known, truth["host_flux"] * np.exp(0.2 * rng.standard_normal(n)), np.nan),
        "host_colour": np.where(known, truth["host_colour"] + 0.08 * rng.standard_normal(n), np.nan),
    }
    complete = rng.uniform(*FOUND, n)
    for name in ("catalogue_star", "catalogue_agn", "catalogue_variable"):
        matched = np.where(truth[name] > 0, rng.random(n) < complete, rng.random(n) < FALSE)
        out[name] = np.where(asked & np.isfinite(truth[name]), matched, np.nan)
    return np.stack([out[name] for name in ADDED], axis=1)


def _measured(a: Alerts, rng: np.random.Generator, *, s: Strength) -> None:
    """Change and drop what the survey's pipeline measured, and its scores."""
    n, m = a.measured.shape
    factor = np.exp(np.array([MEASURED_SPREAD.get(name, 0.0) for name in MEASURED]) * rng.standard_normal((n, m)))
    shift = np.array([MEASURED_SHIFT.get(name, 0.0) for name in MEASURED]) * rng.standard_normal((n, m))
    nothing = rng.random((n, 1)) < s.no_measured
    gone = nothing | (rng.random((n, m)) < np.array([s.missing.get(name, s.no_value) for name in MEASURED]))
    a.measured = np.where(gone, np.nan, a.measured * factor + shift).astype(np.float32)
    lost = rng.random(a.scores.shape) < np.array([s.missing.get(name, s.no_value) for name in SURVEY_SCORES])
    a.scores = np.where(lost, np.float32(np.nan), a.scores)
