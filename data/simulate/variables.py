"""Objects that vary for ever: difference flux = flux now - flux of the reference image, so half of the alerts are negative."""

from __future__ import annotations

import numpy as np

from data.simulate.binaries import eclipsing_binary, rotator, transit
from data.simulate.draw import Draw
from data.simulate.pulsators import lpv, pulsator, rr_lyrae
from data.simulate.sky import F64, redshift_at
from data.simulate.source import Host, Source, Star, host
from data.simulate.starlight import HISTORY, difference, random_walk, reference_times

__all__ = [
    "HISTORY", "agn", "difference", "eclipsing_binary", "lpv", "pulsator", "random_walk", "rcb", "reference_times", "rotator", "rr_lyrae",
    "transit", "yso",
]  # fmt: skip


def agn(d: Draw) -> Source:
    """Active galactic nuclei.

    Damped random walk, τ ≈ 200 d, structure function 0.2 mag falling with wavelength as λ^-0.5 (MacLeod et al. 2010); quasars as points of
    light at z ≈ 1, Seyferts in the nuclei of visible hosts; one in ten a blazar: τ ≈ 15 d, twice the amplitude.
    """
    kind = d.pick({"QSO": 0.5, "Seyfert": 0.4, "blazar": 0.1})
    grid = np.arange(-HISTORY - 260, 201, 2.0)
    tau = d.lognormal("tau_blazar", 15, sigma=0.5) if kind == "blazar" else d.lognormal("tau", 200, sigma=0.7)
    walk = random_walk(d, grid, timescale=tau) * d.lognormal("amplitude", 0.2, sigma=0.4) * (2.0 if kind == "blazar" else 1.0)
    slope = d.uniform("slope", 0.2, high=0.7)
    mag = d.magnitude("mag", 16.5, faint=20.3)
    z = (
        d.lognormal("z_qso", 1.0, sigma=0.5, low=0.1, high=4)
        if kind != "Seyfert"
        else redshift_at(mag - d.normal("m_seyfert", -20.5, sd=1.0))
    )
    star = Star(mag, d.normal("colour", 0.25, sd=0.2))
    galaxy: Host | None = host(d, z, nuclear=True, hostless=0.0) if z < 0.4 else None

    def magnitudes(t: F64, wavelength: F64) -> F64:
        return -np.interp(t, grid, walk) * (wavelength / 4750.0) ** -slope

    light = difference(star, magnitudes, reference=reference_times(d))
    return Source("agn", kind, light, (0.0, 200.0), "extragalactic", z, galaxy, star, persistent=True)


def yso(d: Draw) -> Source:
    """Young stars.

    Stochastic accretion and extinction (damped random walk of days to months, 0.1–1 mag), a third dippers (quasi-periodic, 4–12 d) and one
    in ten an EX Lupi burst of months (Cody et al. 2014, Herbst et al. 1994; months and years: Park et al. 2021); red, redder when fainter,
    in star-forming clouds.
    """
    kind = d.pick({"stochastic": 0.57, "dipper": 0.33, "burster": 0.1})
    grid = np.arange(-HISTORY - 260, 151, 0.75)
    walk = random_walk(d, grid, timescale=d.lognormal("tau", 9, sigma=0.9, low=1, high=200)) * d.lognormal(
        "amplitude", 0.24, sigma=0.5, low=0.05, high=1.2
    )
    period, depth, phase = d.uniform("period", 4, high=12), d.uniform("depth", 0.2, high=1.2), float(d.rng.random())
    burst, burst_width, burst_at = d.uniform("burst", 1, high=3), d.lognormal("burst_w", 40, sigma=0.4), d.uniform("burst_at", 0, high=80)
    slope = d.uniform("slope", 0.6, high=1.4)
    dips = np.maximum(1 + 0.7 * np.interp(grid, grid[::16], d.rng.standard_normal(len(grid[::16]))), 0)
    star = Star(d.magnitude("mag", 13.5, faint=19.6), d.normal("colour", 1.3, sd=0.35, low=0.3, high=2.6))

    def magnitudes(t: F64, wavelength: F64) -> F64:
        m = np.interp(t, grid, walk)
        if kind == "dipper":
            m = 0.5 * m + depth * np.interp(t, grid, dips) * np.exp(-0.5 * ((((t / period + phase) % 1) - 0.5) / 0.12) ** 2)
        elif kind == "burster":
            m = m - burst * np.exp(-0.5 * ((t - burst_at) / burst_width) ** 2)
        return m * (wavelength / 6200.0) ** -slope

    return Source(
        "yso",
        kind,
        difference(star, magnitudes, reference=reference_times(d), mean=True),
        (0.0, 150.0),
        "star-forming" if d.chance(0.75) else "halo",
        star=star,
        persistent=True,
    )


def rcb(d: Draw) -> Source:
    """R Coronae Borealis stars.

    At maximum they pulsate by 0.05–0.3 mag in 35–100 d; every one to four years carbon dust takes 1–8 mag off within weeks and clears over
    months (Clayton 1996, 2012); the dust reddens.
    """
    start, end = -HISTORY - 260, 4200.0
    onsets, depths, falls, clears = [], [], [], []
    t = start - 300 * float(d.rng.random())
    wait = d.lognormal("wait", 550, sigma=0.45, low=200, high=1500)
    while t < end:
        t += float(d.rng.exponential(wait)) + 20
        for k in range(int(d.rng.integers(1, 4))):  # declines come in clusters
            onsets.append(t + 60 * k * float(d.rng.random()))
            depths.append(d.lognormal("depth", 2.2, sigma=0.6, low=0.4, high=6.0) / (1 + 0.5 * k))
            falls.append(d.lognormal("fall", 12, sigma=0.5, low=3, high=50))
            clears.append(d.lognormal("clear", 75, sigma=0.6, low=15, high=300))
    period, size, phase = d.lognormal("period", 45, sigma=0.3, low=30, high=110), d.uniform("pulse", 0.02, high=0.15), float(d.rng.random())
    star = Star(d.magnitude("mag", 13.0, faint=18.5), d.normal("colour", 0.8, sd=0.3, low=0.2, high=1.8))

    def magnitudes(t: F64, wavelength: F64) -> F64:
        dust = np.zeros_like(t)
        for onset, depth, fall, clear in zip(onsets, depths, falls, clears, strict=True):
            age = t - onset
            dust += depth * np.where(age > 0, 1 - np.exp(-((np.maximum(age, 0) / fall) ** 2)), 0.0) * np.exp(-np.maximum(age, 0) / clear)
        dust = 8.0 * np.tanh(dust / 8.0)
        pulse = size * np.sin(2 * np.pi * (t / period + phase))
        return pulse * (wavelength / 5500.0) ** -1 + dust * (wavelength / 5500.0) ** -0.9

    light = difference(star, magnitudes, reference=reference_times(d), mean=True)
    return Source("", "RCB", light, (0.0, 200.0), "disc", star=star, persistent=True)
