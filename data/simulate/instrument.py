"""What TESS does to a star's light in a sector: when it looks, how well, and what its pointing and its background leave in the flux.

Draw → Window; magnitude → noise; Window → systematics and quality bits. The levels are those of published light curves: noise by magnitude
after Stassun et al. 2018, the rest after the TESS Data Release Notes and Jenkins et al. 2016.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from data.simulate.draw import Draw
from data.simulate.sky import F64
from data.simulate.starlight import random_walk

I64 = npt.NDArray[np.int64]

STILL = ("quiet", "instrumental")
"""Nothing on the sky happened."""
CADENCES: dict[float, float] = {120.0: 0.4, 200.0: 0.2, 600.0: 0.2, 1800.0: 0.2}
"""[s] and how often."""
ARGABRIGHTENING, MOMENTUM_DUMP, MANUAL_EXCLUDE, IMPULSIVE, SCATTERED = (1 << bit for bit in (4, 5, 7, 9, 12))
"""Quality bits (TESS Science Data Products Description)."""
ARTEFACTS = ("dumps", "scattered", "jump", "boxes", "background", "ramp")
_STASSUN = (3.29685004771, 0.8500214657, -0.2850416324, 0.039590832137, -0.00223080159, 4.73508403525e-5)
_DAY = 86_400.0


class Window(NamedTuple):
    """When a star was looked at."""

    time: F64  # (n,) [BTJD] mid-times of the cadences there are
    cadence: float  # [s]
    orbits: tuple[tuple[float, float], tuple[float, float]]
    """Begin and end of the two orbits' data [BTJD]."""

    @property
    def start(self) -> float:
        """First orbit's begin [BTJD]."""
        return self.orbits[0][0]

    @property
    def end(self) -> float:
        """Second orbit's end [BTJD]."""
        return self.orbits[1][1]

    def covers(self, times: F64, margin: float) -> npt.NDArray[np.bool_]:
        """(n,) whether there are data at times [BTJD] and so many days around them."""
        inside: npt.NDArray[np.bool_] = np.any([(times > a + margin) & (times < b - margin) for a, b in self.orbits], axis=0)
        return inside


def look(d: Draw, cadence: float) -> Window:
    """A sector of two orbits of 13.7 d with a downlink of about a day between them."""
    start = d.uniform("start", 1325.0, high=4300.0)
    first = start + d.normal("perigee", 12.9, sd=0.4, low=11.5, high=13.4)
    second = start + 13.7 + float(d.rng.uniform(-0.2, 0.2))
    end = second + d.normal("apogee", 12.9, sd=0.4, low=11.5, high=13.4)
    step = cadence / _DAY
    time = start + step * (0.5 + np.arange(int((end - start) / step), dtype=np.float64))
    return Window(time[(time < first) | (time > second)], cadence, ((start, first), (second, end)))


def hourly_noise(magnitude: float) -> float:
    """Noise of an hour's mean of a star of a TESS magnitude, relative (Stassun et al. 2018, AJ 156, 102, eq. of σ_1h)."""
    m = float(np.clip(magnitude, 2.5, 17.0))
    return float(1e-6 * np.exp(sum(c * m**k for k, c in enumerate(_STASSUN))))


def photon_noise(rate: float) -> float:
    """The photons' part of an hour's noise, relative, at a rate [e-/s]."""
    return float(1 / np.sqrt(rate * 3600.0))


def coarse(window: Window, step: float = 1 / 48) -> F64:
    """An even grid over the window [BTJD]: what changes slowly is made on it."""
    return np.arange(window.start, window.end + step, step)


def systematics(d: Draw, window: Window, *, noise: float, strength: float = 1.0) -> tuple[F64, I64]:
    """What every light curve holds, in units of the star's light, and the quality bits.

    Red noise of a few hours, drifts between momentum dumps, a thermal ramp at each orbit's begin, scattered light near its end.

    Parameters
    ----------
    noise : of an hour's mean, relative
    strength : of all of it, as a factor
    """
    t = window.time
    grid = coarse(window)
    size = strength * noise
    slow = d.lognormal("red", 0.3, sigma=0.5, high=1.5) * random_walk(d, grid, timescale=d.lognormal("red_tau", 0.3, sigma=0.6, low=0.08))
    quality = np.zeros(len(t), np.int64)
    dumps = dump_times(d, window)
    slow += _sawtooth(d, grid, dumps=dumps, size=d.lognormal("drift", 0.5, sigma=0.7, high=3.0))
    for begin, end in window.orbits:
        ramp = d.normal("ramp", 0.0, sd=1.2) * np.exp(-np.clip(grid - begin, 0, None) / d.lognormal("ramp_tau", 0.7, sigma=0.5))
        glow = abs(d.normal("glow", 0.0, sd=1.0)) * np.exp(-np.clip(end - grid, 0, None) / d.lognormal("glow_tau", 0.4, sigma=0.5))
        slow += np.where((grid >= begin) & (grid <= end), ramp + glow, 0.0)
    trend: F64 = np.interp(t, grid, size * slow)
    half = max(0.004, 0.5 * window.cadence / _DAY)
    for at in dumps:
        low, high = np.searchsorted(t, (at - half, at + half))
        quality[low:high] |= MOMENTUM_DUMP
        trend[low:high] += size * 4 * d.rng.standard_normal(high - low)
    return trend, quality


def dump_times(d: Draw, window: Window) -> F64:
    """(n,) momentum dumps: every two to six days [BTJD]."""
    every = d.uniform("dumps", 2.0, high=6.0)
    return np.arange(window.start + every * float(d.rng.random()), window.end, every)


def _sawtooth(d: Draw, t: F64, *, dumps: F64, size: float) -> F64:
    """Pointing drifts from dump to dump, of random slopes."""
    edges = np.concatenate([[t[0]], dumps, [t[-1] + 1.0]])
    part = np.clip(np.searchsorted(edges, t, side="right") - 1, 0, len(edges) - 2)
    slopes = size * d.rng.standard_normal(len(edges) - 1)
    drift: F64 = slopes[part] * ((t - edges[part]) / (edges[part + 1] - edges[part]) - 0.5)
    return drift


def artefacts(d: Draw, window: Window, *, noise: float) -> tuple[F64, I64, dict[str, float]]:
    """One to three of `ARTEFACTS`, well above the noise, flagged by quality bits in two of five.

    Returns
    -------
    relative light added, quality bits, and what was put in
    """
    t = window.time
    added, quality, truth = np.zeros(len(t)), np.zeros(len(t), np.int64), {}
    for name in d.rng.choice(ARTEFACTS, size=int(d.rng.integers(1, 4)), replace=False, p=[0.25, 0.2, 0.15, 0.2, 0.1, 0.1]):
        flagged = d.chance(0.4)
        size = noise * d.loguniform(f"size_{name}", 4.0, high=40.0)
        part, where, bit = _ARTEFACT[str(name)](d, window, size=size)
        added += part
        if flagged:
            quality[where] |= bit
        truth[str(name)] = size
    return added, quality, truth


_Artefact = tuple[F64, npt.NDArray[np.bool_], int]


def _dumps(d: Draw, w: Window, *, size: float) -> _Artefact:
    """At each momentum dump a dip of an hour or so that recovers, and another level until the next."""
    out, where = np.zeros(len(w.time)), np.zeros(len(w.time), bool)
    recovery = d.loguniform("dump_recovery", 0.02, high=0.3)
    sign = -1.0 if d.chance(0.8) else 1.0
    for at in dump_times(d, w):
        x = w.time - at
        out += np.where(x > 0, sign * size * float(d.rng.lognormal(0, 0.4)) * np.exp(-np.clip(x, 0, None) / recovery), 0.0)
        where |= (x > -0.02) & (x < 2 * recovery)
    return out, where, MOMENTUM_DUMP


def _scattered(d: Draw, w: Window, *, size: float) -> _Artefact:
    """Earth's or the Moon's light at the end of orbits, over- or under-subtracted."""
    out, where = np.zeros(len(w.time)), np.zeros(len(w.time), bool)
    for _, end in w.orbits:
        tau = d.loguniform("scatter_tau", 0.2, high=1.5)
        sign = 1.0 if d.chance(0.5) else -1.0
        inside = (w.time <= end) & (w.time > end - 6 * tau)
        out += np.where(inside, sign * size * float(d.rng.lognormal(0, 0.5)) * np.exp(-(end - w.time) / tau), 0.0)
        where |= inside & (w.time > end - tau)
    return out, where, SCATTERED


def _jump(d: Draw, w: Window, *, size: float) -> _Artefact:
    """Sudden pixel sensitivity dropouts: a step down that recovers in part."""
    out, where = np.zeros(len(w.time)), np.zeros(len(w.time), bool)
    for _ in range(int(d.rng.integers(1, 4))):
        at = float(d.rng.uniform(w.start, w.end))
        x = np.clip(w.time - at, 0, None)
        kept = d.uniform("jump_kept", 0.0, high=1.0)
        out -= np.where(w.time > at, size * float(d.rng.lognormal(0, 0.4)) * (kept + (1 - kept) * np.exp(-x / 0.3)), 0.0)
        where |= (w.time > at) & (w.time < at + 0.1)
    return out, where, MANUAL_EXCLUDE


def _boxes(d: Draw, w: Window, *, size: float) -> _Artefact:
    """Box-like dips as thrusters and coarse pointing leave them: short, of unequal depths and lengths, at no period."""
    out, where = np.zeros(len(w.time)), np.zeros(len(w.time), bool)
    for _ in range(int(d.rng.integers(1, 9))):
        at = float(d.rng.uniform(w.start, w.end))
        inside = (w.time > at) & (w.time < at + d.loguniform("box_length", 0.02, high=0.4))
        out[inside] -= size * float(d.rng.lognormal(0, 0.5))
        where |= inside
    return out, where, ARGABRIGHTENING


def _background(d: Draw, w: Window, *, size: float) -> _Artefact:
    """A background that was subtracted badly: bumps and dips of hours to days, alike in both orbits or not."""
    grid = coarse(w)
    walk = random_walk(d, grid, timescale=d.loguniform("background_tau", 0.2, high=2.0))
    out: F64 = 0.5 * size * np.interp(w.time, grid, walk * np.clip(random_walk(d, grid, timescale=3.0), 0, None))
    return out, np.abs(out) > size, SCATTERED


def _ramp(d: Draw, w: Window, *, size: float) -> _Artefact:
    """Focus and temperature after each perigee."""
    out, where = np.zeros(len(w.time)), np.zeros(len(w.time), bool)
    tau, sign = d.loguniform("thermal_tau", 0.3, high=2.5), 1.0 if d.chance(0.5) else -1.0
    for begin, end in w.orbits:
        inside = (w.time >= begin) & (w.time <= end)
        out += np.where(inside, sign * size * float(d.rng.lognormal(0, 0.3)) * np.exp(-(w.time - begin) / tau), 0.0)
        where |= inside & (w.time < begin + 0.5 * tau)
    return out, where, MANUAL_EXCLUDE


_ARTEFACT = {"dumps": _dumps, "scattered": _scattered, "jump": _jump, "boxes": _boxes, "background": _background, "ramp": _ramp}


def outliers(d: Draw, flux: F64, *, error: F64, quality: I64) -> None:
    """Cosmic rays and losses of light in one to three cadences of a thousand, two of three of them flagged; in place."""
    n = int(d.rng.poisson(len(flux) * d.uniform("outliers", 0.0, high=0.003)))
    rows = d.rng.integers(0, len(flux), n)
    flux[rows] += error[rows] * d.rng.choice([-1.0, 1.0], n, p=[0.35, 0.65]) * d.rng.uniform(4, 25, n)
    quality[rows[d.rng.random(n) < 0.65]] |= IMPULSIVE


def losses(d: Draw, window: Window, *, flux: F64, quality: I64) -> None:
    """Cadences without flux: single ones, and up to three runs of hours when the background was too high; in place."""
    t = window.time
    flux[d.rng.random(len(t)) < d.uniform("lost", 0.0, high=0.004)] = np.nan
    for _ in range(int(d.rng.integers(0, 4))):
        at = float(d.rng.uniform(window.start, window.end))
        low, high = np.searchsorted(t, (at, at + d.loguniform("lost_run", 0.02, high=0.6)))
        if d.chance(0.5):
            flux[low:high] = np.nan
        quality[low:high] |= SCATTERED
