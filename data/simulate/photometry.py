"""Light curves of stars as a catalogue of variables holds them: total fluxes over years, without images.

kind → columns time [d], wavelength [Å], flux and flux_err [µJy], limit (all NaN)

A camera that surveys the whole sky (ASAS), a survey of nights in several bands (ZTF, Rubin), or a satellite that looks on for months.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np

from data.simulate import variables
from data.simulate.draw import Draw, PopulationName
from data.simulate.sky import F64
from data.simulate.source import Source
from operators.types import WAVELENGTH

Cadence: TypeAlias = Literal["camera", "ztf", "lsst", "space"]
CADENCES: dict[Cadence, float] = {"camera": 0.6, "ztf": 0.2, "lsst": 0.1, "space": 0.1}
V_BAND = 5500.0

STARS: dict[str, Callable[[Draw], Source]] = {
    **dict.fromkeys(("RRab", "RRc"), variables.rr_lyrae),
    **dict.fromkeys(("DCEP", "T2CEP", "dSct"), variables.pulsator),
    **dict.fromkeys(("EA", "EB", "EW"), variables.eclipsing_binary),
    **dict.fromkeys(("Mira", "SR"), variables.lpv),
    "ACV": variables.rotator,
    "RCB": variables.rcb,
    "transit": variables.transit,
    **dict.fromkeys(("stochastic", "dipper", "burster"), variables.yso),
}
"""Kinds of lasting variable stars → how to draw one."""
CONSTANT = "constant"
"""The kind of a star that does not vary."""


def star_curve(
    kind: str, rng: np.random.Generator, *, population: PopulationName = "train", cadence: Cadence | None = None
) -> dict[str, Any]:
    """The light curve of one star.

    Parameters
    ----------
    kind : one of `STARS` or `CONSTANT`
    rng : the star's own stream
    population : whose parameters
    cadence : who looks; default: by the weights of `CADENCES`, transits from space only

    Returns
    -------
    dict with time, wavelength, flux, flux_err, limit; sorted by time

    Raises
    ------
    KeyError : no such kind
    """
    if cadence is None:
        names = list(CADENCES)
        cadence = names[int(np.searchsorted(np.cumsum(list(CADENCES.values())), rng.random()))] if kind != "transit" else "space"
    longest = 700.0 if kind in ("stochastic", "dipper", "burster") else 3500.0
    t, wavelength = {"camera": _camera, "ztf": _nights, "lsst": _visits, "space": _stare}[cadence](rng, longest)
    if kind == CONSTANT:
        share = np.ones(len(t))
    else:
        source = STARS[kind](Draw(rng, population, scope=kind, deeper=0.0, kind=kind))
        if source.star is None:
            raise KeyError(kind)
        base = source.star.reference(wavelength)
        zero = -500.0 if longest < 1000 else 0.0
        share = 1 + source.flux(t + zero, wavelength) / base
    share = np.maximum(share, 1e-4)
    scatter = 1.5 * float(np.std(np.log(share))) if kind not in (CONSTANT, "transit") else np.inf
    bright, faint = MAGNITUDES[cadence]
    magnitude = float(rng.uniform(bright, faint))
    error = _error(rng, cadence, share=share, magnitude=magnitude)
    while np.median(error) > scatter and magnitude > bright:  # it is in a catalogue of variables because it was seen to vary
        magnitude -= 0.5
        error = _error(rng, cadence, share=share, magnitude=magnitude)
    level = 10 ** (0.4 * (23.9 - magnitude - 0.3 * float(rng.standard_normal()) * (5500 / wavelength - 1)))
    noise = rng.standard_normal(len(t))
    # Clouds, neighbours and bad pixels: mostly light is lost, in the real ASAS curves by one point in a hundred.
    bad = rng.random(len(t)) < rng.uniform(0.0, 0.03)
    noise[bad] = rng.uniform(2, 10, int(bad.sum())) * np.where(rng.random(int(bad.sum())) < 0.85, -1, 1)
    flux = level * share * 10 ** (0.4 * np.minimum(error * noise / 0.921, 1.0))
    seen = flux > 3 * error * level * share * (0.3 if cadence == "camera" else 1.0)  # a catalogue lists what was detected
    if seen.sum() >= 10:
        t, wavelength, flux, error, share, level = (x[seen] for x in (t, wavelength, flux, error, share, level))
    if cadence == "camera" and rng.random() < 0.6:
        # ASAS quotes 0.035 mag whatever the star: the scatter of faint ones is three times that.
        said = 0.035 * float(rng.lognormal(0, 0.2)) * rng.lognormal(0, 0.15, len(t))
    else:
        said = error * float(rng.lognormal(0.0, 0.3)) * rng.lognormal(0, 0.1, len(t))
    return {"time": t, "wavelength": wavelength, "flux": flux, "flux_err": flux * said, "limit": np.full(len(t), np.nan)}


MAGNITUDES: dict[Cadence, tuple[float, float]] = {"camera": (8.0, 14.0), "ztf": (13.5, 19.5), "lsst": (17.0, 23.0), "space": (9.0, 14.0)}
"""Mean magnitudes that each sees well."""


def _error(rng: np.random.Generator, cadence: Cadence, *, share: F64, magnitude: float) -> F64:
    """True scatter of each point [mag]: a floor of calibration, and the sky's noise where the star is faint."""
    if cadence == "space":
        return np.full(len(share), float(np.exp(rng.uniform(np.log(2e-4), np.log(5e-3)))))
    if cadence == "camera":  # measured on constant parts of ASAS curves: 0.02 mag at V = 9, 0.055 at 12, 0.10 at 13, 0.2 at 14
        floor, sky, power = float(np.exp(rng.uniform(np.log(0.012), np.log(0.03)))), 0.05 * 10 ** (0.3 * (magnitude - 12.0)), -0.75
    elif cadence == "ztf":
        floor, sky, power = float(rng.uniform(0.008, 0.02)), 0.08 * 10 ** (0.4 * (magnitude - 19.5)), -1.0
    else:
        floor, sky, power = float(rng.uniform(0.004, 0.01)), 0.06 * 10 ** (0.4 * (magnitude - 23.0)), -1.0
    sky *= float(rng.lognormal(0, 0.15))
    scatter: F64 = np.hypot(floor, sky * np.maximum(share, 1e-3) ** power) * rng.lognormal(0, 0.15, len(share))
    limited: F64 = np.minimum(scatter, 0.5)
    return limited


def _season(rng: np.random.Generator, nights: F64, *, least: float, most: float) -> F64:
    """The nights of a year on which the star is up."""
    year = (nights / 365.25 + rng.random()) % 1
    return nights[year < rng.uniform(least, most)]


def _camera(rng: np.random.Generator, longest: float) -> tuple[F64, F64]:
    """One point a night, some nights two or three, when the field crosses the meridian: earlier by four minutes each night."""
    span = min(float(rng.uniform(1000, 3500)) if rng.random() < 0.5 else float(rng.uniform(2400, 2750)), longest)
    nights = _season(rng, np.arange(span), least=0.5, most=0.85)
    number = int(rng.integers(110, 620))
    # Clouds come in runs of days; some seasons had fewer visits.
    clear = np.interp(nights, np.arange(0, span + 12, 6), rng.random(int((span + 12) // 6) + 1)[: len(np.arange(0, span + 12, 6))])
    density = rng.uniform(0.5, 1.5, int(span // 365) + 2)[(nights // 365).astype(int)] * (clear > 0.3)
    if density.sum() == 0:
        density = np.ones_like(nights)
    chosen = rng.choice(nights, size=number, p=density / density.sum())
    drift = ((chosen / 365.25 + 0.5) % 1 - 0.5) * 0.4
    t = np.sort(chosen + drift + rng.normal(0, 0.06, number))
    return t - t[0], np.full(number, V_BAND)


def _nights(rng: np.random.Generator, longest: float) -> tuple[F64, F64]:
    """ZTF: g and r on one night in three, at random hours."""
    span = min(float(rng.uniform(400, 2200)), longest)
    nights = _season(rng, np.arange(span), least=0.4, most=0.75)
    times, waves = [], []
    for band, share in (("g", rng.uniform(0.15, 0.4)), ("r", rng.uniform(0.2, 0.5))):
        own = nights[rng.random(len(nights)) < share]
        times.append(own + rng.uniform(-0.15, 0.15, len(own)))
        waves.append(np.full(len(own), WAVELENGTH["ztf"][band]))
    return _sorted(times, waves)


def _visits(rng: np.random.Generator, longest: float) -> tuple[F64, F64]:
    """Rubin: some 800 visits in ten years over six bands; here two to five years of them."""
    span = min(float(rng.uniform(700, 1900)), longest)
    nights = _season(rng, np.arange(span), least=0.5, most=0.75)
    times, waves = [], []
    for band, share in {"u": 0.05, "g": 0.08, "r": 0.22, "i": 0.22, "z": 0.2, "y": 0.18}.items():
        own = rng.choice(nights, size=max(int(share * span * rng.uniform(0.15, 0.28)), 3))
        times.append(own + rng.uniform(-0.15, 0.15, len(own)))
        waves.append(np.full(len(own), WAVELENGTH["lsst"][band]))
    return _sorted(times, waves)


def _stare(rng: np.random.Generator, longest: float) -> tuple[F64, F64]:
    """Kepler or TESS: every half hour for a month or three, thinned to what an alert holds."""
    span = float(rng.uniform(31, 95))
    t = np.arange(0, span, 0.0204)
    t = t[(t % 13.7) > 0.9]  # downlinks
    keep = np.sort(rng.choice(len(t), size=min(len(t), int(rng.integers(300, 900))), replace=False))
    return t[keep] - t[keep[0]], np.full(len(keep), WAVELENGTH["tess"]["T"])


def _sorted(times: list[F64], waves: list[F64]) -> tuple[F64, F64]:
    t, wave = np.concatenate(times), np.concatenate(waves)
    order = np.argsort(t, kind="stable")
    return t[order] - t[order[0]], wave[order]
