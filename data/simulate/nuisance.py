"""What a stream mostly holds: things that move, and things that are not there."""

from __future__ import annotations

import numpy as np

from data.simulate.draw import Draw
from data.simulate.sky import F64, black_body
from data.simulate.source import Source, Star

MATCHED = 1.5
"""Alerts within so much belong to one object [arcsec]."""


def asteroid(d: Draw) -> Source:
    """A main-belt asteroid (one in twelve nearer).

    Seen once at a place, solar colours with the taxonomy's spread (Ivezić et al. 2001), sky motion 10–70 arcsec/h, faster when near; counts
    rise as 10^(0.35 m). Nine in ten are in the catalogue (what ZTF's packets show).
    """
    near = d.chance(0.08)
    low, high = 10 ** (0.35 * 15.0), 10 ** (0.35 * (20.2 + d.deeper))
    mag = float(np.log10(low + d.rng.random() * (high - low)) / 0.35)
    colour = d.normal("colour", 0.55, sd=0.12)
    star = Star(mag, colour)

    motion = d.loguniform("motion_near", 60, high=600) if near else d.lognormal("motion", 33, sigma=0.35, low=5, high=90)
    here = min(0.004, MATCHED / motion / 24)  # [d] before and after, while its alerts still lie at one place

    def observed(t: F64, wavelength: F64) -> F64:
        return np.where(np.abs(t) < here, star.reference(wavelength), 0.0)

    known = 0.0 if d.chance(0.25 if near else 0.07) else 1.0
    return Source("asteroid", "asteroid", observed, (0.0, 0.0), "ecliptic", motion=motion, single=True, extra={"known": known})


BOGUS: dict[str, float] = {"dipole": 0.3, "bright-star": 0.25, "cosmic-ray": 0.13, "hot-pixel": 0.1, "bad-column": 0.07, "noise": 0.15}


def bogus(d: Draw) -> Source:
    """Artefacts of image subtraction, in the kinds of Duev et al. 2019 and Masci et al. 2019.

    Dipoles of misregistration and residuals of bright stars (they come back at the same place), cosmic rays, hot pixels, bad columns, noise
    peaks (they do not).
    """
    kind = d.pick(BOGUS)
    returns = kind in ("dipole", "bright-star") and d.chance(0.6)
    star = None
    if kind == "bright-star":
        star = Star(d.uniform("bright", 11.5, high=15.2), d.normal("colour", 0.8, sd=0.4))
    elif kind == "dipole":
        star = Star(d.uniform("dipole", 14.5, high=19.0), d.normal("colour", 0.7, sd=0.4))
    elif d.chance(0.25):
        star = Star(d.uniform("chance_star", 16.0, high=22.0), d.normal("colour", 0.7, sd=0.4))
    mag = d.deeper + (d.normal("mag", 19.2, sd=0.9, low=16.0, high=20.4) if kind != "noise" else d.uniform("noise_mag", 19.5, high=20.6))
    rate, sign = d.uniform("rate", 0.05, high=0.5), -1.0 if d.chance(0.35) else 1.0
    scatter = d.rng.lognormal(0.0, 0.5, 997) * np.where(d.rng.random(997) < rate, 1.0, 0.0) * np.where(d.rng.random(997) < 0.15, -1, 1)

    def observed(t: F64, wavelength: F64) -> F64:
        peak = sign * 10 ** (0.4 * (23.9 - mag)) * black_body(wavelength, 6000.0) / black_body(6200.0, 6000.0)
        if not returns:
            return np.where(np.abs(t) < 0.004, peak, 0.0)
        index = (np.floor((t + 5000.0) * 24).astype(np.int64) * 7919) % len(scatter)  # another mood every hour
        return np.where(np.abs(t) < 0.004, peak, peak * scatter[index])

    return Source("bogus", kind, observed, (0.0, 0.0), "any", star=star, persistent=returns, single=not returns, extra={"sign": sign})
