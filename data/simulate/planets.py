"""What passes in front of a star, as its relative light: planets, planets whose transits change, comets and dust, single dips.

Draw, Window → Signal. Dips are integrals over a limb-darkened disc (planets) or opacities along an orbit (dust), never drawn boxes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np

from data.simulate.draw import Draw
from data.simulate.instrument import Window
from data.simulate.sky import F64

Light: TypeAlias = Callable[[F64], F64]

ANOMALIES = ("varying-transit", "comet-transit", "single-dip")
"""Dips that are not one planet's on one orbit."""
TRIES = 40
_POINTS = 120
_TURN = np.pi * (1 + np.sqrt(5.0)) * (np.arange(_POINTS) + 0.5)
_REACH = np.sqrt((np.arange(_POINTS) + 0.5) / _POINTS)
_DISC = np.stack([_REACH * np.cos(_TURN), _REACH * np.sin(_TURN)])
"""(2, points) evenly over a unit disc (Vogel's spiral)."""


class Signal(NamedTuple):
    """What happens to a star's light."""

    light: Light
    """Relative light at times [BTJD]; 1 where nothing happens."""
    truth: dict[str, float]


class Orbit(NamedTuple):
    """A planet's path over its star, in units of the star's radius and days."""

    period: float
    epoch: float  # [BTJD] mid of the first transit in the window
    axis: float  # semi-major axis over the star's radius
    ratio: float  # of the radii
    impact: float
    limb: tuple[float, float]  # quadratic coefficients

    @property
    def duration(self) -> float:
        """From first to last contact [d]."""
        chord = np.sqrt(max((1 + self.ratio) ** 2 - self.impact**2, 1e-6))
        return float(self.period / np.pi * np.arcsin(min(chord / self.axis, 0.99)))


def hidden_light(apart: F64, ratio: float, *, limb: tuple[float, float]) -> F64:
    """Light that a dark disc takes from a star with quadratic limb darkening, relative to the star's.

    Parameters
    ----------
    apart : (m,) distance of the centres in units of the star's radius
    ratio : radius of the dark disc in the same units
    limb : u1, u2 of I(μ) = 1 - u1 (1 - μ) - u2 (1 - μ)²

    The mean intensity under `_POINTS` points of the disc: within two parts in a hundred of Mandel & Agol 2002, and smooth.
    """
    u1, u2 = limb
    behind = (apart[:, None] + ratio * _DISC[0]) ** 2 + (ratio * _DISC[1]) ** 2
    shade = 1 - np.sqrt(np.clip(1 - behind, 0, None))
    bright = np.where(behind < 1, 1 - u1 * shade - u2 * shade**2, 0.0)
    hidden: F64 = ratio**2 * bright.mean(axis=1) / (1 - u1 / 3 - u2 / 6)
    return hidden


def transit_light(orbit: Orbit, *, late: F64 | None = None, deeper: F64 | None = None) -> Light:
    """Relative light of a star with a planet; transit k of the window is `late[k]` days late and `deeper[k]` times as deep."""
    z = np.linspace(0, 1 + orbit.ratio, 220)
    table = hidden_light(z, orbit.ratio, limb=orbit.limb)
    reach = 0.5 * orbit.duration * 1.02

    def light(time: F64) -> F64:
        number = np.rint((time - orbit.epoch) / orbit.period).astype(np.int64)
        away = time - orbit.epoch - number * orbit.period
        if late is not None:
            away = away - late[np.clip(number, 0, len(late) - 1)]
        rows = np.flatnonzero(np.abs(away) < reach)
        turn = 2 * np.pi * away[rows] / orbit.period
        depth = np.interp(np.hypot(orbit.axis * np.sin(turn), orbit.impact * np.cos(turn)), z, table, right=0.0)
        if deeper is not None:
            depth = depth * deeper[np.clip(number[rows], 0, len(deeper) - 1)]
        out = np.ones_like(time)
        out[rows] -= depth
        return out

    return light


def first_after(window: Window, period: float, *, phase: float) -> float:
    """The first time of a series with this phase, in turns at the window's start, that is in the window [BTJD]."""
    return window.start + period * phase


def times_of(window: Window, epoch: float, *, period: float) -> F64:
    """(n,) all times of a periodic event within the window [BTJD]."""
    times: F64 = epoch + period * np.arange(max(int((window.end - epoch) / period) + 1, 1), dtype=np.float64)
    return times


def draw_orbit(d: Draw, window: Window, *, least: int, longest: float = 20.0, shortest: float = 0.5) -> Orbit:
    """An orbit with at least so many transits where the window has data, if one is found in `TRIES`.

    Ratios 0.015–0.18; stars from M dwarfs to subgiants, axis = 4.2 R☉ (M P²)^(1/3) / R, a spread for eccentric orbits (Winn 2010; small
    stars: Dressing & Charbonneau 2015); limb darkening in TESS's band (Claret 2017).
    """
    if d.chance(0.25):
        radius = d.uniform("r_dwarf", 0.13, high=0.55)
        mass = radius
    else:
        radius = d.lognormal("r_star", 1.05, sigma=0.28, low=0.55, high=2.6)
        mass = d.normal("m_star", 0.4 + 0.6 * min(radius, 1.6), sd=0.08, low=0.5)
    ratio = d.loguniform("r_planet", 0.015, high=0.18)
    impact = d.uniform("impact", 0.0, high=0.92)
    if ratio > 0.06 and d.chance(0.06):
        impact = d.uniform("grazing", 0.95, high=1.02)
    limb = (d.normal("u1", 0.32, sd=0.06, low=0.05, high=0.6), d.normal("u2", 0.25, sd=0.06, low=0.05, high=0.4))
    stretch = d.lognormal("eccentric", 1.0, sigma=0.12)
    best, most = (longest, window.start), -1
    for _ in range(TRIES):
        period = d.loguniform("period", shortest, high=longest)
        epoch = first_after(window, period, phase=float(d.rng.random()))
        count = int(window.covers(times_of(window, epoch, period=period), 0.02).sum())
        if count > most:
            best, most = (period, epoch), count
        if count >= least:
            break
    period, epoch = best
    axis = max(4.2 * (mass * period**2) ** (1 / 3) / radius * stretch, 1.8)
    return Orbit(period, epoch, axis, ratio, min(impact, 0.95 * axis), limb)


def _truth(orbit: Orbit) -> dict[str, float]:
    depth = float(hidden_light(np.array([orbit.impact]), orbit.ratio, limb=orbit.limb)[0])
    return {
        "period": orbit.period, "epoch": orbit.epoch, "depth": depth, "duration": orbit.duration, "ratio": orbit.ratio,
        "impact": orbit.impact,
    }  # fmt: skip


def planet(d: Draw, window: Window) -> Signal:
    """A planet on a fixed orbit: at least two transits in the data in nearly nine of ten, else at least one."""
    orbit = draw_orbit(d, window, least=2 if d.chance(0.86) else 1)
    return Signal(transit_light(orbit), _truth(orbit))


def varying(d: Draw, window: Window) -> Signal:
    """A planet whose transits come early and late, or differ in depth, or both.

    Timing: a wave of two to eight transits and a scatter beside it, as companions near resonance and binaries around them cause
    (Agol et al. 2005, Holman et al. 2010), 0.05–1.2 durations, at most hours. Depth: factors from transit to transit.
    """
    orbit = draw_orbit(d, window, least=4, longest=6.5)
    orbit = orbit._replace(ratio=max(orbit.ratio, 0.035))
    n = len(times_of(window, orbit.epoch, period=orbit.period))
    how = d.pick({"timing": 0.55, "depth": 0.35, "both": 0.1})
    late, deeper = np.zeros(n), np.ones(n)
    truth = _truth(orbit)
    if how != "depth":
        size = min(orbit.duration * d.loguniform("late", 0.05, high=1.2), 0.2 * orbit.period, 0.25)
        wave = np.sin(2 * np.pi * (np.arange(n) / d.loguniform("super", 2.2, high=8.0) + d.rng.random()))
        late = size * (0.85 * wave + 0.35 * d.rng.standard_normal(n))
        truth["timing"] = float(np.std(late))
    if how != "timing":
        normal = d.rng.standard_normal(n)
        normal = (normal - normal.mean()) / max(float(normal.std()), 0.2)  # few transits, too, differ as much
        deeper = np.exp(d.uniform("factors", 0.25, high=0.9) * normal).clip(0.05, 4.0)
        deeper = np.minimum(deeper / np.mean(deeper), 0.6 / truth["depth"])
        truth["factors"] = float(np.std(deeper) / np.mean(deeper))
    return Signal(transit_light(orbit, late=late, deeper=deeper), truth)


def tail(x: F64, *, ingress: float, egress: float, bump: float) -> F64:
    """Opacity along an orbit, 1 at its most: a smooth ingress, an exponential tail, a brightening ahead by forward scattering (negative).

    The shape of disintegrating planets and comets (Rappaport et al. 2012, Brogi et al. 2012, Lecavelier des Etangs et al. 1999).
    """
    rise = 0.5 - 0.5 * np.cos(np.pi * np.clip(x / ingress + 1, 0, 1))
    opacity = np.where(x < 0, rise, np.exp(-np.clip(x, 0, None) / egress))
    scattered: F64 = opacity - bump * np.exp(-0.5 * ((x + 1.7 * ingress) / (0.6 * ingress)) ** 2)
    return scattered


def comet(d: Draw, window: Window) -> Signal:
    """Dust with a tail: a disintegrating planet in a short period (KIC 12557548, K2-22), or exocomets that pass once.

    Disintegrating planets: 0.35–2 d, depths 0–3 %, each transit's its own, some missing. Comets: one to three a sector, 0.03–1 %, half a
    day to two days long (Zieba et al. 2019, Rappaport et al. 2018).
    """
    if d.pick({"periodic": 0.65, "single": 0.35}) == "periodic":
        period = d.loguniform("p_dust", 0.35, high=2.0)
        epoch = first_after(window, period, phase=float(d.rng.random()))
        at = times_of(window, epoch, period=period)
        depth = d.loguniform("depth_dust", 0.002, high=0.025)
        depths = depth * np.exp(d.uniform("unequal", 0.3, high=0.9) * d.rng.standard_normal(len(at)))
        depths[d.rng.random(len(at)) < d.uniform("missing", 0.0, high=0.3)] *= 0.1
        ingress, egress = period * d.uniform("in_dust", 0.025, high=0.05), period * d.uniform("out_dust", 0.05, high=0.12)
        bump, truth = d.uniform("bump", 0.03, high=0.2), {"period": period}
    else:
        at = _places(d, window, n=int(d.rng.integers(1, 4)))
        depths = d.loguniform("depth_comet", 0.0005, high=0.01) * np.exp(0.5 * d.rng.standard_normal(len(at)))
        ingress, egress = d.loguniform("in_comet", 0.06, high=0.3), d.loguniform("out_comet", 0.25, high=0.9)
        bump, truth = d.uniform("bump_comet", 0.0, high=0.06), {}
    depths = np.minimum(depths, 0.2)

    def light(time: F64) -> F64:
        lost = np.zeros_like(time)
        for t0, depth in zip(at, depths, strict=True):
            low, high = np.searchsorted(time, (t0 - 4 * ingress, t0 + 9 * egress))
            lost[low:high] += depth * tail(time[low:high] - t0, ingress=ingress, egress=egress, bump=bump)
        return 1 - lost

    deepest = int(np.argmax(depths)) if "period" not in truth else 0
    truth |= {
        "epoch": float(at[deepest]), "depth": float(np.mean(depths)) if "period" in truth else float(depths[deepest]),
        "duration": ingress + 2.3 * egress, "asymmetry": egress / ingress, "n": float(len(at)),
    }  # fmt: skip
    return Signal(light, truth)


def dips(d: Draw, window: Window) -> Signal:
    """Dips like those of KIC 8462852: one to four without a period, irregular, 0.3–20 % deep, 0.3–5 d long (Boyajian et al. 2016)."""
    at = _places(d, window, n=int(d.rng.choice([1, 2, 3, 4], p=[0.55, 0.25, 0.12, 0.08])))
    parts: list[tuple[float, float, float, float, float]] = []  # centre, depth, widths before and after, power
    lengths, deep = [], []
    for t0 in at:
        length = d.loguniform("length", 0.3, high=5.0)
        depth = d.loguniform("depth", 0.003, high=0.2)
        lengths.append(length)
        deep.append(depth)
        skew = float(np.exp(d.normal("skew", 0.0, sd=0.6)))
        before, after = length / 2 * 2 / (1 + skew), length / 2 * 2 * skew / (1 + skew)
        parts.append((float(t0), depth, before / 2, after / 2, d.uniform("power", 1.1, high=3.0)))
        for _ in range(int(d.rng.integers(0, 4))):
            size = depth * float(d.rng.uniform(0.1, 0.6))
            narrow = length * float(d.rng.uniform(0.05, 0.25))
            parts.append((float(t0 + length * d.rng.uniform(-0.5, 0.5)), size, narrow, narrow * float(d.rng.uniform(0.4, 2.5)), 2.0))

    def light(time: F64) -> F64:
        out = np.ones_like(time)
        for t0, depth, before, after, power in parts:
            x = time - t0
            out *= 1 - depth * np.exp(-((np.abs(x) / np.where(x < 0, before, after)) ** power))
        return out

    fine = np.linspace(window.start, window.end, 4000)
    values = light(fine)
    deepest = int(np.argmin(values))
    return Signal(
        light, {"epoch": float(fine[deepest]), "depth": float(1 - values[deepest]), "duration": max(lengths), "n": float(len(at))}
    )


def _places(d: Draw, window: Window, *, n: int) -> F64:
    """(n,) sorted times of single events, the first where there are data, none within a day of the window's ends."""
    found = d.rng.uniform(window.start + 1, window.end - 1, n)
    for _ in range(TRIES):
        if window.covers(found[:1], 0.3)[0]:
            break
        found[0] = d.rng.uniform(window.start + 1, window.end - 1)
    return np.sort(found)
