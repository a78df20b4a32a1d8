"""Cataclysmic variables: a white dwarf that feeds from a companion, in outburst, in its high and low states, or as a nova."""

from __future__ import annotations

import numpy as np

from data.simulate.draw import Draw
from data.simulate.sky import F64, black_body
from data.simulate.source import RED, SkyKind, Source, Star, time_of_peak
from data.simulate.variables import HISTORY, difference, random_walk, reference_times

KINDS: dict[str, float] = {"SUUMa": 0.3, "SSCyg": 0.18, "NL": 0.27, "WZSge": 0.13, "Nova": 0.12}
"""Dwarf novae with and without superoutbursts, nova-likes and polars, WZ Sge stars, classical novae."""


def cv(d: Draw) -> Source:
    """One of `KINDS`, in the proportions of alerts and not of space (the types: Warner 1995); each names its own sources below."""
    kind = d.pick(KINDS)
    if kind in ("SUUMa", "SSCyg"):
        return _dwarf_nova(d, kind)
    return _nova_like(d) if kind == "NL" else _eruption(d, kind)


def _sky(d: Draw) -> SkyKind:
    return "disc" if d.chance(0.3) else "any"


def _dwarf_nova(d: Draw, kind: str) -> Source:
    """Dwarf novae.

    Outbursts of 2–6 mag with a rise of half a day, a plateau of days, a fall of ≈ 0.6 mag/d, every 15–300 d, in SU UMa stars two in five a
    superoutburst of two weeks (Coppejans et al. 2016, Osaki 1996); blue (10–16 kK) over a blue quiescent star. The reference image of one
    in three was made partly in outburst: its quiescence is a negative difference.
    """
    star = Star(d.magnitude("mag", 16.5, faint=23.0), d.normal("colour", 0.3, sd=0.3))
    rise, fall, hot = d.lognormal("rise", 0.5, sigma=0.4), d.lognormal("fall", 1.7, sigma=0.3), d.lognormal("t", 12500, sigma=0.15)
    recurrence = d.lognormal("recurrence", 60, sigma=0.9, low=12, high=2000)
    peak = min(star.mag_r - d.normal("amplitude", 3.4, sd=1.1, low=1.5, high=8.0), 19.4 + d.deeper)
    starts, lengths, levels = [], [], []
    t = -HISTORY + recurrence * float(d.rng.random())
    while t < 130:
        if t > 0 or t + 40 < 0:  # no outburst straddles the one we look at
            big = d.chance(0.4) and kind == "SUUMa"
            starts.append(t)
            lengths.append(d.lognormal("super", 14, sigma=0.2) if big else d.lognormal("plateau", 4, sigma=0.5))
            levels.append(peak - (0.7 if big else 0.0) + 0.15 * float(d.rng.standard_normal()))
        t += recurrence * d.lognormal("irregular", 1.0, sigma=0.25)
    starts.append(0.0)
    big = kind == "SUUMa" and d.chance(0.4)
    lengths.append(d.lognormal("super_now", 14, sigma=0.2) if big else d.lognormal("plateau_now", 4.5, sigma=0.6))
    levels.append(peak)
    slope = d.uniform("slope", 0.02, high=0.12)
    in_reference = d.loguniform("in_reference", 0.05, high=1.0) if d.chance(0.33) else 0.0

    def bright(wavelength: F64) -> F64:
        return np.asarray(black_body(wavelength, hot) / black_body(4750.0, hot))

    def observed(t: F64, wavelength: F64) -> F64:
        light = np.full_like(t, -in_reference * 10 ** (0.4 * (23.9 - peak)))
        for start, length, level in zip(starts, lengths, levels, strict=True):
            x = t - start
            up = (1 - np.exp(-np.maximum(x, 0) / rise)) * 10 ** (-0.4 * slope * np.clip(x, 0, 60))
            down = 1 / (1 + np.exp(np.clip((x - length - 2.0) / fall * 1.9, -50, 50)))
            light += np.where(x > 0, up * down * 10 ** (0.4 * (23.9 - level)), 0.0)
        flicker = 1 + 0.03 * np.sin(2 * np.pi * t / 0.07)
        return light * flicker * bright(wavelength)

    seen = star
    if in_reference:
        r, g = (
            float(star.reference(w)[0] + in_reference * 10 ** (0.4 * (23.9 - peak)) * bright(w)[0])
            for w in (np.array([6200.0]), np.array([4750.0]))
        )
        seen = Star(23.9 - 2.5 * float(np.log10(r)), -2.5 * float(np.log10(g / r)))
    persistent = bool(in_reference) or min(starts) < 0
    end = 120.0 if in_reference else lengths[-1] + 8
    times = np.arange(0.0, 60.0, 0.5)
    peak_time = float("nan") if persistent else time_of_peak(times, observed(times, np.full_like(times, RED)))
    return Source("cv", kind, observed, (0.0, end), _sky(d), star=seen, persistent=persistent, peak_time=peak_time)


def _nova_like(d: Draw) -> Source:
    """Nova-likes and polars.

    Flickering of 0.05–0.25 mag, orbital humps of hours, now and then eclipses, a slow wander, and in half of them low states 1–4 mag deep
    that last weeks to years (Leach et al. 1999, Hessman et al. 2000; Warner 1995).
    """
    star = Star(d.magnitude("mag", 13.5, faint=19.5), d.normal("colour", 0.2, sd=0.3))
    grid = np.arange(-HISTORY - 260, 201, 1.0)
    walk = random_walk(d, grid, timescale=d.lognormal("tau", 25, sigma=0.9)) * d.lognormal("amplitude", 0.2, sigma=0.5)
    if d.chance(0.5):
        start, length = d.uniform("low_at", -HISTORY - 260, high=100), d.lognormal("low_length", 120, sigma=0.9)
        depth, edge = d.uniform("low_depth", 1.0, high=4.0), d.lognormal("low_edge", 8, sigma=0.7)
        walk = walk + depth / (1 + np.exp(-np.clip((grid - start) / edge, -50, 50))) / (
            1 + np.exp(np.clip((grid - start - length) / edge, -50, 50))
        )
    flicker, period = d.uniform("flicker", 0.04, high=0.25), d.loguniform("period", 0.055, high=0.3)
    hump, phase = d.loguniform("hump", 0.02, high=0.8), float(d.rng.random())
    eclipse = d.uniform("eclipse", 0.5, high=2.5) if d.chance(0.2) else 0.0
    mood = d.rng.standard_normal(4099)
    slope = d.uniform("slope", 0.2, high=1.0)

    def magnitudes(t: F64, wavelength: F64) -> F64:
        x = (t / period + phase) % 1
        m = np.interp(t, grid, walk) + 0.5 * hump * np.cos(2 * np.pi * x) + eclipse * np.exp(-0.5 * ((x - 0.5) / 0.03) ** 2)
        m = m + flicker * mood[(np.floor((t + 5000) * 288).astype(np.int64) * 7919) % len(mood)]  # another mood every five minutes
        return m * (wavelength / 4750.0) ** -slope

    light = difference(star, magnitudes, reference=reference_times(d))
    return Source("cv", "NL", light, (0.0, 150.0), _sky(d), star=star, persistent=True)


def _eruption(d: Draw, kind: str) -> Source:
    """A first eruption of a faint star.

    Superoutbursts of WZ Sge stars (6–9 mag, a plateau of three weeks, a fall of 2–3 mag, then months of tail, half with rebrightenings:
    Kato 2015) and classical novae (t₂ of 5–100 d, then a power law, a third with jitters: Strope et al. 2010), bright or far off.
    """
    peak = d.magnitude("peak_eruption", 13.0, faint=19.3)
    star = Star(peak + d.uniform("contrast", 5.5, high=9.5), d.normal("colour", 0.2, sd=0.3))
    t = np.concatenate([np.arange(0.0, 40.0, 0.25), np.arange(40.0, 320.0, 1.0)])
    rise = d.lognormal("rise_eruption", 0.8, sigma=0.7)
    if kind == "WZSge":
        length, fall = d.lognormal("wz_length", 22, sigma=0.25), d.uniform("wz_fall", 1.8, high=3.5)
        m = d.uniform("wz_slope", 0.03, high=0.1) * np.minimum(t, length) + fall / (1 + np.exp(-np.clip((t - length) / 1.0, -50, 50)))
        m = m + d.loguniform("wz_tail", 0.004, high=0.03) * np.maximum(t - length, 0)
        hot, cold, cooling = d.lognormal("wz_t", 13000, sigma=0.15), d.uniform("wz_cold", 7500, high=11000), length
        if d.chance(0.5):
            for k in range(int(d.rng.integers(1, 6))):
                m = m - 0.7 * fall * np.exp(-0.5 * ((t - length - 5 - 5 * k) / 1.0) ** 2)
    else:
        t2 = d.loguniform("t2", 5, high=150)
        m = np.where(t < t2, 2 * t / t2, 2 + 4.0 * np.log10(np.maximum(t, t2) / t2))
        hot, cold, cooling = d.lognormal("nova_t", 9500, sigma=0.2), d.uniform("nova_cold", 6000, high=15000), t2
        if d.chance(0.35):
            m = m + d.uniform("jitter", 0.1, high=0.6) * np.interp(t, t[::20], d.rng.standard_normal(len(t[::20])))
    a_v = d.uniform("reddening", 0.0, high=0.8)
    shape = 10 ** (-0.4 * m) * (1 - np.exp(-t / rise))

    def observed(time: F64, wavelength: F64) -> F64:
        temperature = cold + (hot - cold) * np.exp(-np.maximum(time, 0) / cooling)
        colour = black_body(wavelength, temperature) / black_body(5500.0, temperature) * 10 ** (-0.4 * a_v * (5500.0 / wavelength - 1))
        return np.where(time > 0, 10 ** (0.4 * (23.9 - peak)) * np.interp(time, t, shape) * colour, 0.0)

    return Source("cv", kind, observed, (0.0, 250.0), _sky(d), star=star, peak_time=time_of_peak(t, observed(t, np.full_like(t, RED))))
