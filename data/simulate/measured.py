"""What ZTF's pipeline measures of a detection besides its flux: shape, pixel statistics, fit quality, real/bogus scores.

alert → fields of a ZTF candidate, in its names and units

Shapes follow the seeing; the pixel statistics are drawn by what was detected, with the medians and spreads that the public packets have
for stars, nuclei, events on galaxies, asteroids and artefacts, so that each separates these as it does on the sky
(`python -m tools.sky_gap --fields` prints both). Within one of them they are drawn independently of each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from data.simulate.draw import generator
from data.simulate.observe import DRB_SINCE, Alert

PIXEL = 1.01
"""ZTF's pixel scale [arcsec]."""
WIDER = 1.15
"""Full width at half maximum of a source's core over the seeing that the survey states."""
LogNormal = tuple[float, float]
"""Median's logarithm, and spread in e-folds."""


@dataclass(frozen=True, slots=True)
class Look:
    """How the detections of one sort of object measure."""

    width: float  # over the image's, of the detection
    rb: tuple[float, float]  # of a beta distribution
    drb: LogNormal  # of 1 - drb
    negative: float  # pixels of 25 that are negative, mean
    whole: float  # chance that the detection has no negative sum
    lost: float  # mean share of the sum that the others lose
    aperture: tuple[float, float]  # magap - magpsf [mag]: mean, spread
    fit: LogNormal  # chi of the fit, above 1
    star_like: LogNormal  # 1 - classtar
    spread: tuple[float, LogNormal]  # seeratio: chance of its upper bound, else
    size: LogNormal  # semi-major axis over fwhm
    matched: LogNormal  # scorr over the photometry's signal to noise
    sky: tuple[float, float]
    spikes: LogNormal  # dsnrms
    spikes_sum: LogNormal  # ssnrms over dsnrms, above 1


STAR = Look(0.85, (9, 3.0), (-5.5, 3.0), 0.6, 0.85, 0.03, (0.10, 0.10), (1.2, 1.9), (-3.8, 1.7), (0.35, (0.14, 0.25)), (-1.08, 0.26),
            (-0.04, 0.36), (0.6, 1.0), (3.13, 1.27), (0.28, 0.3))  # fmt: skip
NUCLEUS = Look(1.0, (9, 2.3), (-8.0, 2.0), 1.4, 0.8, 0.05, (0.05, 0.19), (-0.65, 0.6), (-2.8, 1.1), (0.08, (0.03, 0.2)), (-1.16, 0.2),
               (0.22, 0.17), (-0.13, 0.5), (1.8, 0.53), (0.23, 0.3))  # fmt: skip
EVENT = Look(1.0, (9, 2.3), (-7.0, 2.3), 1.8, 0.6, 0.045, (-0.03, 0.15), (-0.55, 0.9), (-3.4, 1.0), (0.05, (0.12, 0.15)), (-1.04, 0.2),
             (0.5, 0.35), (-0.07, 0.5), (2.14, 0.85), (0.1, 0.35))  # fmt: skip
MOVING = Look(1.2, (11, 7.5), (-7.0, 2.5), 1.3, 0.75, 0.02, (-0.01, 0.13), (-0.5, 1.1), (-2.5, 1.3), (0.02, (-0.15, 0.13)), (-1.34, 0.12),
              (0.735, 0.18), (-0.04, 0.2), (1.96, 0.59), (0.4, 0.3))  # fmt: skip
ARTEFACT = Look(1.0, (3, 6.0), (-0.05, 0.06), 5.6, 0.25, 0.2, (0.22, 0.33), (2.3, 1.9), (-3.5, 1.6), (0.55, (0.1, 0.35)), (-0.92, 0.25),
                (0.05, 0.5), (0.0, 0.45), (2.7, 1.75), (-0.1, 0.5))  # fmt: skip


def look_of(alert: Alert) -> Look:
    """Which of them an alert is."""
    o = alert.observed
    if o.label == "bogus":
        return ARTEFACT
    if o.label == "asteroid":
        return MOVING
    if o.label == "agn":
        return NUCLEUS
    return STAR if o.source.star is not None else EVENT


def measured(alert: Alert) -> dict[str, Any]:
    """The fields of one alert."""
    o, now = alert.observed, alert.now
    rng = generator(o.population, o.seed, o.index, 15, now)
    signal = float(abs(o.flux[now]) / o.error[now])
    look = look_of(alert)
    out = _scores(rng, alert, look=look, signal=signal)
    out |= _shape(rng, alert, look=look, signal=signal)
    negative = int(rng.poisson(look.negative * rng.gamma(2.0, 0.5))) if look is not ARTEFACT else round(abs(rng.normal(look.negative, 3.2)))
    out["nneg"], out["nbad"] = min(negative, 24), int(look is ARTEFACT and rng.random() < 0.02)
    out["sumrat"] = 1.0 if rng.random() < look.whole else float(np.clip(1 - rng.exponential(look.lost), -0.2, 1.0))
    out["magdiff"] = float(np.clip(rng.normal(*look.aperture), -1.0, 1.0))
    out["chipsf"] = 1.0 + float(rng.lognormal(*look.fit))
    out["classtar"] = float(np.clip(1 - rng.lognormal(*look.star_like), 0.0, 1.0))
    bound, otherwise = look.spread
    out["seeratio"] = 2.0 if rng.random() < bound else float(np.clip(rng.lognormal(*otherwise), 0.4, 2.0))
    out["sky"] = float(rng.normal(*look.sky))
    out["scorr"] = float(max(signal * rng.lognormal(*look.matched), 5.0))
    out["dsnrms"] = float(rng.lognormal(*look.spikes))
    out["ssnrms"] = out["dsnrms"] * (1 + float(rng.lognormal(*look.spikes_sum)))
    out["dsdiff"] = out["dsnrms"] - out["ssnrms"]
    return out


def _scores(rng: np.random.Generator, alert: Alert, *, look: Look, signal: float) -> dict[str, Any]:
    """Real/bogus scores: the forest's `rb` (Mahabal et al. 2019) and the network's `drb` (Duev et al. 2019). They overlap."""
    o = alert.observed
    out: dict[str, Any] = {}
    weak = float(np.clip((12.0 - signal) / 8.0, 0, 1))
    if look is ARTEFACT:
        fooled = rng.random() < 0.14
        out["rb"] = float(rng.beta(4, 4) if fooled else rng.beta(*look.rb))
        out["drb"] = float(rng.beta(3, 1.2) if fooled else rng.beta(0.28, 2.2))
    else:
        missed = rng.random() < 0.02 + 0.05 * weak
        out["rb"] = float(rng.beta(*look.rb))
        out["drb"] = float(rng.random() if missed else np.clip(1 - rng.lognormal(*look.drb), 0.0, 1.0))
    if o.survey == "ztf" and o.visits.mjd[alert.now] < DRB_SINCE:
        out["drb"] = None
    return out


def _shape(rng: np.random.Generator, alert: Alert, *, look: Look, signal: float) -> dict[str, Any]:
    """Width, elongation and axes of the detection on the difference image."""
    o = alert.observed
    seeing = WIDER * float(o.visits.fwhm[alert.now]) / PIXEL
    elongation = 1.02 + float(rng.gamma(1.5, 0.04 + 0.3 / signal))
    width = look.width * seeing * float(rng.lognormal(0.08 + 0.8 / signal, 0.08 + 1.2 / signal))
    if look is MOVING:
        trail = o.source.motion * 30 / 3600 / PIXEL
        width, elongation = float(np.hypot(width, 0.7 * trail)), elongation * float(np.hypot(1, trail / seeing))
    elif look is ARTEFACT:
        narrow = o.source.kind in ("cosmic-ray", "hot-pixel")
        width = float(rng.uniform(0.7, 1.5) if narrow else seeing * rng.lognormal(0.05, 0.45))
        elongation = 1.05 + float(rng.gamma(1.3, 0.9 if o.source.kind == "bad-column" else 0.25))
    width, elongation = float(np.clip(width, 0.6, 25)), float(np.clip(elongation, 1.0, 6.0))
    major = width * float(rng.lognormal(*look.size))
    minor = major / elongation
    return {
        "fwhm": width,
        "elong": elongation,
        "aimage": major,
        "bimage": minor,
        "aimagerat": major / width,
        "bimagerat": minor / width,
    }
