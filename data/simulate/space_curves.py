"""Light curves of stars as TESS sees them in one sector, whole: planets, what is taken for planets, and the instrument.

kind, random stream → SpaceCurve; SpaceCurve, TIC, sector → a packet of `schemas/surveys/tess.avsc`

Every kind lies on a star and an instrument: noise by magnitude, red noise, drifts, quality bits, the downlink's gap; hosts of planets have
spots and granulation. A long cadence is the mean of shorter ones. Magnitude, cadence and epoch are drawn without regard
to the kind; only so faint a star that the signal would drown is made brighter: it is in a catalogue because it was seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from data.simulate import cataclysmic, eclipses, photometry, planets
from data.simulate.draw import Draw, PopulationName
from data.simulate.fast import flare_shape
from data.simulate.instrument import (
    CADENCES,
    I64,
    STILL,
    Window,
    artefacts,
    coarse,
    hourly_noise,
    look,
    losses,
    outliers,
    photon_noise,
    systematics,
)  # fmt: skip
from data.simulate.planets import ANOMALIES, Signal
from data.simulate.profiles import Wander
from data.simulate.sky import F64
from data.simulate.starlight import random_walk
from operators.types import WAVELENGTH
from schemas.surveys import tess

__all__ = ["ANOMALIES", "SPACE_KINDS", "STILL", "SpaceCurve", "packet", "space_curve"]

STARS = ("RRab", "RRc", "DCEP", "T2CEP", "dSct", "ACV", "Mira", "SR", "stochastic", "dipper", "burster")
"""Kinds whose sources are those of the alerts."""
DWARF_NOVAE = ("SUUMa", "SSCyg", "NL", "WZSge")
ECLIPSING = ("EA", "EB", "EW")
SPACE_KINDS: tuple[str, ...] = ("transit", *ANOMALIES, *ECLIPSING, *STARS, "flare", *DWARF_NOVAE, *STILL)
HOSTED = frozenset({"transit", *ANOMALIES, *STILL})
"""Kinds whose star has spots and granulation of its own."""
SEEN = 7.0
"""[σ] of the whole signal at white noise: so much stands out, or the star is a brighter one."""
SHAPE_SEEN: dict[str, float] = {"varying-transit": 25.0, "comet-transit": 15.0}
"""[σ] where it is the shape that makes the kind."""
BRIGHTEST, FAINTEST = 5.5, 15.0
"""TESS magnitudes."""
FINE = 240.0
"""[s] longer cadences are means of so short ones, at most."""
_T = WAVELENGTH["tess"]["T"]


class SpaceCurve(NamedTuple):
    """One star's sector; arrays (n,)."""

    time: F64
    """[d] BTJD, ascending."""
    flux: F64
    """[e-/s]; NaN where the mission has none."""
    flux_err: F64
    """[e-/s]"""
    quality: I64
    """TESS quality bits."""
    magnitude: float
    """TESS magnitude of the quiet star."""
    truth: dict[str, float]
    """What was put in, as far as it applies: period [d], epoch [BTJD, mid of the first transit], depth (relative), duration [d], amplitude
    (relative, peak to peak), cadence [s], signal_to_noise (of the whole signal at white noise)."""

    @property
    def last_cadence(self) -> int:
        """Number of the last cadence, counted from the first."""
        return round((float(self.time[-1]) - float(self.time[0])) * 86_400.0 / self.truth["cadence"])


def space_curve(kind: str, rng: np.random.Generator, *, population: PopulationName = "train", cadence: float | None = None) -> SpaceCurve:
    """A star's light curve of one sector.

    Parameters
    ----------
    kind : one of `SPACE_KINDS`
    rng : the star's own stream
    population : whose parameters
    cadence : [s]; None draws one of `CADENCES`

    Raises
    ------
    ValueError
        no such kind, or a cadence that is not positive
    """
    if kind not in SPACE_KINDS:
        raise ValueError(f"no kind {kind} of light curves from space, only {', '.join(SPACE_KINDS)}")
    if cadence is None:
        cadence = float(rng.choice(list(CADENCES), p=list(CADENCES.values())))
    if not cadence > 0:
        raise ValueError(f"a cadence is positive, not {cadence} s")
    camera, d = Draw(rng, population, scope="space"), Draw(rng, population, scope=f"space/{kind}", kind=kind)
    window = look(camera, cadence)
    signal = _signal(d, window, kind=kind)
    share = np.maximum(smeared(signal.light, window), 1e-3)
    magnitude, strength = _magnitude(camera, share, cadence=cadence, least=SHAPE_SEEN.get(kind, SEEN))
    noise = hourly_noise(magnitude) * camera.lognormal("crowding", 1.1, sigma=0.2, low=0.8)
    truth = {**signal.truth, "cadence": cadence}
    if kind not in STILL:
        truth["signal_to_noise"] = strength
    if kind in HOSTED:
        share = share * host_light(d, window, quiet=kind in STILL)
    trend, quality = systematics(camera, window, noise=max(noise, 4e-5))
    if kind == "instrumental":
        added, bits, put = artefacts(d, window, noise=max(noise, 4e-5))
        trend, quality, truth = trend + added, quality | bits, {**truth, **put}
    rate = tess.rate(magnitude, kepler=False)
    photons = min((photon_noise(rate) / noise) ** 2, 1.0)
    error = rate * noise * np.sqrt(3600.0 / cadence) * np.sqrt(photons * share + 1 - photons)
    flux = rate * (share + trend) + error * rng.standard_normal(len(error))
    outliers(camera, flux, error=error, quality=quality)
    losses(camera, window, flux=flux, quality=quality)
    stated = error * camera.lognormal("stated", 1.0, sigma=0.08)
    return SpaceCurve(window.time, flux, stated, quality, magnitude, truth)


def smeared(light: planets.Light, window: Window) -> F64:
    """(n,) mean light over each cadence."""
    parts = int(np.clip(np.ceil(window.cadence / FINE), 1, 9))
    offsets = ((np.arange(parts) + 0.5) / parts - 0.5) * window.cadence / 86_400.0
    fine = (window.time[:, None] + offsets).ravel()
    mean: F64 = light(fine).reshape(-1, parts).mean(axis=1)
    return mean


def host_light(d: Draw, window: Window, *, quiet: bool = False) -> F64:
    """(n,) spots that turn and change, and granulation: FGKM dwarfs (McQuillan et al. 2014, Gilliland et al. 2011).

    Rotation 0.4–40 d with 0.02–3 % (of quiet stars at most 0.3 %), one wave or two a turn, spots that come and go over some turns;
    granulation of 20–300 ppm with hours.
    """
    grid = coarse(window, 1 / 36)
    period = d.lognormal("spin", 11.0, sigma=0.7, low=0.4, high=45.0)
    size = d.lognormal("spots", 0.0015, sigma=1.1, low=1e-5, high=0.003 if quiet else 0.03)
    turn = (grid - window.start) / period
    fade, drift = Wander(d, 0.35), Wander(d, 0.05)
    x = 2 * np.pi * (turn + float(d.rng.random()) + drift(turn))
    second = d.uniform("second", 0.0, high=0.8)
    spots = 0.5 * size * (1 + fade(turn / 2.5)) * (np.sin(x) + second * np.sin(2 * x + float(d.rng.uniform(0, 6.3))))
    boiling = d.lognormal("granulation", 7e-5, sigma=0.7, high=6e-4) * random_walk(
        d, grid, timescale=d.lognormal("boil_tau", 0.1, sigma=0.5)
    )
    light: F64 = np.interp(window.time, grid, 1 + spots + boiling)
    return light


def _magnitude(d: Draw, share: F64, *, cadence: float, least: float) -> tuple[float, float]:
    """A magnitude, and the signal's strength there [σ]; brighter in steps until it is at least so strong."""
    magnitude = d.normal("tmag", 11.2, sd=1.7, low=BRIGHTEST, high=FAINTEST)
    size = float(np.sqrt(np.sum((share - np.median(share)) ** 2)))
    if size == 0:
        return magnitude, 0.0

    def strength() -> float:
        return float(size / (hourly_noise(magnitude) * np.sqrt(3600.0 / cadence)))

    while strength() < least and magnitude > BRIGHTEST:
        magnitude = max(magnitude - 0.4, BRIGHTEST)
    return magnitude, strength()


def _signal(d: Draw, window: Window, *, kind: str) -> Signal:
    if kind in _SIGNALS:
        return _SIGNALS[kind](d, window)
    return Signal(np.ones_like, {}) if kind in STILL else _star(d, window)


def _star(d: Draw, window: Window) -> Signal:
    """A source of the alerts, looked at for a sector from some time of its own clock on."""
    assert d.kind is not None
    source = cataclysmic.cv(d) if d.kind in DWARF_NOVAE else photometry.STARS[d.kind](d)
    assert source.star is not None
    begin = float(d.rng.uniform(-24.0, 2.0)) if d.kind in DWARF_NOVAE else float(d.rng.uniform(*source.active)) * 0.8
    quiet = float(source.star.reference(np.array([_T]))[0])
    # between the alerts' nights a young star flickers within hours, which their grid of days leaves out
    grid = coarse(window)
    hours = np.zeros_like(grid)
    if d.kind in ("stochastic", "dipper", "burster"):
        hours = d.lognormal("hours", 0.012, sigma=0.6, high=0.08) * random_walk(
            d, grid, timescale=d.lognormal("hours_tau", 0.25, sigma=0.5)
        )

    if d.kind == "burster":  # accretion in bursts of days (Cody et al. 2014); the alerts' last months
        for _ in range(int(d.rng.integers(2, 8))):
            width = d.loguniform("burst_width", 0.2, high=1.5)
            hours += d.loguniform("burst_size", 0.08, high=0.9) * np.exp(
                -0.5 * ((grid - d.rng.uniform(window.start, window.end)) / width) ** 2
            )

    def light(time: F64) -> F64:
        out = 1 + source.flux(time - window.start + begin, np.full_like(time, _T)) / quiet
        return out * (1 + np.interp(time, grid, hours))

    seen = light(grid)
    # a faint star that erupts is in the sector's list by its outburst
    level = float(np.median(seen)) if d.kind not in DWARF_NOVAE or d.kind == "NL" else float(np.max(seen)) / 3
    level = max(level, 1e-3)
    truth = {"amplitude": float(np.ptp(np.percentile(seen / level, (1, 99))))}
    if "period" in source.extra:
        truth["period"] = source.extra["period"]
    return Signal(lambda time: light(time) / level, truth)


def flares(d: Draw, window: Window) -> Signal:
    """A spotted M dwarf with three to thirty flares a sector, complex ones among them.

    The template of Davenport et al. 2014; amplitudes by a power law, longer ones are higher; half-widths of three minutes to an hour
    (Günther et al. 2020).
    """
    n = int(d.rng.integers(3, 31))
    least = d.loguniform("least", 0.004, high=0.03)
    peaks = np.minimum(least * (1 - d.rng.random(n)) ** (-1 / d.uniform("slope", 0.7, high=1.3)), 3.0)
    widths = np.clip(0.006 * (peaks / 0.02) ** 0.3 * d.rng.lognormal(0, 0.5, n), 0.002, 0.045)
    at = d.rng.uniform(window.start + 0.2, window.end - 0.2, n)
    at[np.argmax(peaks)] = at[int(np.argmax(window.covers(at, 0.1)))]
    extra = d.rng.random(n) < 0.35
    at = np.concatenate([at, at[extra] + widths[extra] * d.rng.uniform(1, 12, int(extra.sum()))])
    widths = np.concatenate([widths, widths[extra] * d.rng.uniform(0.5, 2, int(extra.sum()))])
    peaks = np.concatenate([peaks, peaks[extra] * d.rng.uniform(0.1, 0.7, int(extra.sum()))])
    grid = coarse(window, 1 / 72)
    period, spots = d.lognormal("spin", 3.0, sigma=0.9, low=0.2, high=30.0), d.lognormal("spots", 0.008, sigma=0.8, high=0.05)
    x = 2 * np.pi * (grid / period + float(d.rng.random()))
    turning = 1 + 0.5 * spots * (np.sin(x) + d.uniform("second", 0.0, high=0.5) * np.sin(2 * x + float(d.rng.uniform(0, 6.3))))

    def light(time: F64) -> F64:
        out: F64 = np.interp(time, grid, turning)
        for t0, width, peak in zip(at, widths, peaks, strict=True):
            low, high = np.searchsorted(time, (t0 - 1.1 * width, t0 + 25 * width))
            out[low:high] += peak * flare_shape((time[low:high] - t0) / width)
        return out

    most = int(np.argmax(peaks))
    truth = {"epoch": float(at[most]), "amplitude": float(peaks[most]), "duration": float(widths[most]), "n": float(n), "rotation": period}
    return Signal(light, truth)


_SIGNALS: dict[str, Callable[[Draw, Window], Signal]] = {
    "transit": planets.planet,
    "varying-transit": planets.varying,
    "comet-transit": planets.comet,
    "single-dip": planets.dips,
    **dict.fromkeys(ECLIPSING, eclipses.eclipsing),
    "flare": flares,
}


def packet(curve: SpaceCurve, *, tic: int, sector: int) -> bytes:
    """The packet of a light curve; its place on the sky follows from the TIC number."""
    place = np.random.default_rng([tic, 17])
    ra, dec = float(place.uniform(0, 360)), float(np.degrees(np.arcsin(place.uniform(-1, 1))))
    error = np.where(np.isfinite(curve.flux), curve.flux_err, np.nan)
    fields = {"tic": tic, "sector": sector, "cadence": curve.last_cadence, "ra": ra, "dec": dec, "tmag": curve.magnitude}
    return tess.encode_columns(fields, curve.time, flux=curve.flux, flux_err=error, quality=curve.quality)
