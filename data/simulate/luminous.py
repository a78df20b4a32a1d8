"""Events that live long and shine bright: interaction with a circumstellar shell, superluminous supernovae, what black holes tear up.

t = 0 is the first light, times and wavelengths are rest-frame.
"""

from __future__ import annotations

import numpy as np

from data.simulate.draw import Draw
from data.simulate.sky import F64, black_body
from data.simulate.source import PIVOT, Event, Source, transient
from data.simulate.supernovae import diffusion, nickel, ramp


def _interacting(d: Draw, label: str, *, kind: str, rise: float, decline: float, absolute: float, dwarf: float) -> Source:
    """Circumstellar interaction: a parabola in magnitudes to peak, then two straight declines; a hot, slowly cooling black body."""
    later, bend = decline * d.uniform("later", 0.2, high=1.2), d.uniform("bend", 20, high=100)
    grid = np.concatenate([np.arange(0.0, 1.7 * rise + 90, 2.0), np.arange(1.7 * rise + 90, 1.7 * rise + 420, 10.0)])
    x = grid - 1.7 * rise  # rise: from half the peak flux
    m = np.where(x < 0, 0.75 * (x / rise) ** 2, np.where(x < bend, decline * x, decline * bend + later * (x - bend)))
    luminosity = 10 ** (-0.4 * m) * ramp(grid, 0.0, high=0.3 * rise)
    if d.chance(0.25):
        luminosity *= 1 + d.uniform("bump", 0.1, high=0.5) * np.exp(
            -(((x - d.uniform("bump_at", 10, high=120)) / d.uniform("bump_w", 8, high=20)) ** 2)
        )
    hot, cold, cooling = d.lognormal("t_hot", 14000, sigma=0.22), d.normal("t_cold", 7000, sd=900), d.lognormal("cooling", 50, sigma=0.4)
    uv = d.uniform("uv", 0, high=0.8)

    def shape(t: F64, wavelength: F64) -> F64:
        temperature = cold + (hot - cold) * np.exp(-t / cooling)
        f = np.interp(t, grid, luminosity) * black_body(wavelength, temperature) / black_body(5500.0, temperature)
        return f * np.exp(-uv * np.clip((3600 - wavelength) / 1000, 0, 2) * np.clip(t / 40, 0, 1))

    a_v = float(d.rng.exponential(0.2))
    length = 1.7 * rise + min(3.5 / max(later, 0.004), 300)
    return transient(d, Event(label, kind, shape, grid, absolute, length, a_v, dwarf=dwarf), faintest=20.3)


def sn_iin(d: Draw) -> Source:
    """Type IIn.

    Rise 20 ± 6 d or 50 ± 11 d from first light, declines 0.027 ± 0.016 mag/d in the first weeks, slower ones for months, M_r -19.2 ± 1.1
    (Nyholm et al. 2020).
    """
    fast = d.chance(0.6)
    rise = d.lognormal("rise_fast", 15, sigma=0.3) if fast else d.lognormal("rise_slow", 36, sigma=0.3)
    return _interacting(
        d,
        "sn-iin",
        kind="IIn",
        rise=rise,
        decline=d.lognormal("decline", 0.02, sigma=0.55),
        absolute=d.normal("peak", -18.9, sd=1.0, low=-20.7, high=-16.5),
        dwarf=0.5,
    )


SLSN: dict[str, float] = {"SLSN-II": 0.24, "SLSN-I": 0.74, "PISN": 0.02}


def slsn(d: Draw) -> Source:
    """Superluminous supernovae.

    SLSN-I by a magnetar (Kasen & Bildsten 2010, Nicholl et al. 2017: spin-down energy and time, diffusion 20–60 d), 13–16 kK at peak down
    to a floor of 6–10 kK, a third with bumps (Hosseinzadeh et al. 2022); SLSN-II as a bright, slow interaction (Kangas et al. 2022).
    Rest-frame rise 42 ± 18 d (Chen et al. 2023), M_g -21.3 ± 0.7; faint blue hosts (Schulze et al. 2021). One in fifty is a
    pair-instability supernova.
    """
    kind = d.pick(SLSN)
    if kind == "SLSN-II":
        return _interacting(
            d,
            "slsn",
            kind="SLSN-II",
            rise=d.lognormal("rise", 28, sigma=0.4),
            decline=d.lognormal("decline", 0.014, sigma=0.5),
            absolute=d.normal("peak_ii", -20.9, sd=0.5, low=-22.3, high=-20.0),
            dwarf=1.2,
        )
    if kind == "PISN":
        return _pair_instability(d)
    grid = np.concatenate([np.arange(0.0, 150.0, 3.0), np.arange(150.0, 480.0, 10.0)])
    spin = d.lognormal("spin_down", 10, sigma=0.9)
    power = d.lognormal("energy", 3e51, sigma=0.4) / (spin * 86400) / (1 + grid / spin) ** 2
    bolometric = diffusion(grid, d.lognormal("tau", 31, sigma=0.52), power=power)
    bolometric *= 1 - np.exp(-((d.lognormal("gamma", 220, sigma=0.65) / np.maximum(grid, 1)) ** 2))
    peak = float(bolometric.max())
    if d.chance(0.35):
        bolometric = bolometric + peak * d.uniform("bump", 0.05, high=0.25) * np.exp(
            -(((grid - d.uniform("bump_at", 0, high=150)) / d.uniform("bump_w", 6, high=20)) ** 2)
        )
    radius = d.lognormal("speed", 1.0e9, sigma=0.25) * np.maximum(grid, 0.5) * 86400 * 0.5
    photosphere = (np.maximum(bolometric, 1e38) / (4 * np.pi * 5.67e-5 * radius**2)) ** 0.25
    temperature = np.clip(np.maximum(photosphere, d.normal("t_floor", 8300, sd=1500, low=5000, high=13000)), 2500, 22000)
    uv, uv_edge, blanket = d.uniform("uv", 0.1, high=1.5), d.uniform("uv_edge", 2500, high=3200), d.uniform("blanketing", 0, high=0.3)
    peak_at = float(grid[np.argmax(bolometric)])
    slow = d.lognormal("slow_rise", 1.15, sigma=0.15)  # the wind's energy leaves the inner ejecta late: one zone rises too fast by so much

    def shape(t: F64, wavelength: F64) -> F64:
        t = np.where(t < slow * peak_at, t / slow, t - (slow - 1) * peak_at)
        f = np.interp(t, grid, bolometric) * black_body(wavelength, np.interp(t, grid, temperature))
        f = f * np.exp(-uv * np.clip((uv_edge - wavelength) / 1000, 0, 2))
        return f * np.exp(-blanket * np.clip((4700 - wavelength) / 1000, 0, 1.3) * np.clip((t - peak_at) / 30, 0, 1.3))

    absolute = d.normal("peak", -21.3, sd=0.6, low=-22.8, high=-19.9)
    event = Event("slsn", "SLSN-I", shape, grid[:60], absolute, 350.0, float(d.rng.exponential(0.1)), hostless=0.25, dwarf=2.6)
    return transient(d, event, faintest=20.4, brightest=16.5)


def _pair_instability(d: Draw) -> Source:
    """Pair-instability supernova.

    Several suns of ⁵⁶Ni in a hundred suns of ejecta, a rise of 90–150 d and a decline on ⁵⁶Co; red from the peak on, its blue eaten by iron
    (models of Kasen, Woosley & Heger 2011 and Dessart et al. 2013).
    """
    grid = np.concatenate([np.arange(0.0, 240.0, 5.0), np.arange(240.0, 700.0, 15.0)])
    bolometric = diffusion(
        grid, d.lognormal("tau_pisn", 120, sigma=0.2), power=d.lognormal("nickel_pisn", 8.0, sigma=0.6) * 2e33 * nickel(grid)
    )
    peak_at = float(grid[np.argmax(bolometric)])
    floor, hot = d.normal("floor_pisn", 4900, sd=350), d.normal("hot_pisn", 9500, sd=1400)
    temperature = floor + (hot - floor) * np.exp(-grid / (0.8 * peak_at))
    blanket, uv = d.uniform("blanketing_pisn", 0.2, high=0.9), d.uniform("uv_pisn", 1.0, high=2.5)

    def shape(t: F64, wavelength: F64) -> F64:
        f = np.interp(t, grid, bolometric) * black_body(wavelength, np.interp(t, grid, temperature))
        f = f * np.exp(-uv * np.clip((3900 - wavelength) / 1000, 0, 2))
        return f * np.exp(-blanket * np.clip((5300 - wavelength) / 1000, 0, 1.6) * np.clip(t / peak_at, 0, 1.3))

    absolute = d.normal("peak_pisn", -20.3, sd=0.7, low=-22, high=-18.5)
    event = Event("slsn", "PISN", shape, grid[:60], absolute, 450.0, float(d.rng.exponential(0.1)), hostless=0.25, dwarf=2.2)
    return transient(d, event, faintest=20.4, brightest=16.5)


TDE: dict[str, float] = {"TDE": 0.73, "TDE-slow": 0.12, "TDE-fast": 0.12, "ANT": 0.03}


def tde(d: Draw) -> Source:
    """Tidal disruption.

    Gaussian rise (σ log-normal around 16 d), power-law or exponential decline (τ ≈ 60 d with a wide spread) and a hot black body of nearly
    constant temperature 12–35 kK (van Velzen et al. 2021, Hammerstein et al. 2023); faint-and-fast and slow tails; nuclear, M_g -19.5 ± 1.
    One in thirty an ambiguous nuclear transient: months up, years down, smooth, more luminous and somewhat cooler (Hinkle et al. 2022,
    Wiseman et al. 2025).
    """
    kind = d.pick(TDE)
    sigma = d.lognormal("rise", {"TDE": 17.0, "TDE-slow": 32.0, "TDE-fast": 8.0, "ANT": 42.0}[kind], sigma=0.4)
    fall = d.lognormal("fall", {"TDE": 55.0, "TDE-slow": 105.0, "TDE-fast": 20.0, "ANT": 220.0}[kind], sigma=0.5)
    hot = d.lognormal("t", 19500, sigma=0.33) if kind != "ANT" else d.lognormal("t_ant", 14000, sigma=0.25)
    trend, index = d.normal("trend", 0.0, sd=0.17), d.uniform("index", 1.2, high=2.6)
    peak_at = 2.4 * sigma
    grid = np.concatenate([np.arange(0.0, peak_at + 90, 2.5), np.arange(peak_at + 90, peak_at + 700, 12.0)])
    x = grid - peak_at
    after = np.exp(-np.maximum(x, 0) / fall) if d.chance(0.35) else (1 + np.maximum(x, 0) / fall) ** -index
    level = d.uniform("late_level", 0.02, high=0.15) if d.chance(0.4) else 0.0
    luminosity = np.where(x < 0, np.exp(-0.5 * (x / sigma) ** 2), after) * (1 - level) + level * np.clip(x / sigma, 0, 1)
    if d.chance(0.2 if kind != "ANT" else 0.05):
        luminosity += d.uniform("rebright", 0.05, high=0.3) * np.exp(-(((x - d.uniform("rebright_at", 40, high=150)) / 20) ** 2))

    def shape(t: F64, wavelength: F64) -> F64:
        temperature = hot * np.exp(trend * np.clip((t - peak_at) / 60, -1, 2))
        return np.interp(t, grid, luminosity) * black_body(wavelength, temperature) / black_body(PIVOT, temperature)

    absolute = d.normal("peak", {"TDE-fast": -17.9, "ANT": -21.3}.get(kind, -19.6), sd=0.8, low=-23.5, high=-16.5)
    event = Event(
        "tde", kind, shape, grid, absolute, peak_at + min(4 * fall, 350), float(d.rng.exponential(0.25)), nuclear=True, hostless=0.03
    )
    return transient(d, event, faintest=20.3, brightest=15.5)
