"""Objects that vary for ever: difference flux = flux now - flux of the reference image, so half of the alerts are negative."""

from __future__ import annotations

import numpy as np

from data.simulate.draw import Draw
from data.simulate.sky import F64, redshift_at
from data.simulate.source import Flux, Host, SkyKind, Source, Star, host

HISTORY = 500.0
"""Days of its own past a persistent object carries: the survey's detection counts come from them."""


def difference(star: Star, magnitudes: Flux, reference: F64) -> Flux:
    """From Δm(t, λ) to a difference flux; `reference`: the times the reference image was made of, whose mean light is subtracted."""
    level: dict[float, float] = {}

    def observed(t: F64, wavelength: F64) -> F64:
        base = star.reference(wavelength)
        out = 10 ** (-0.4 * magnitudes(t, wavelength))
        for value in np.unique(wavelength):
            key = float(value)
            if key not in level:
                level[key] = float(np.mean(10 ** (-0.4 * magnitudes(reference, np.full_like(reference, key)))))
            out[wavelength == value] -= level[key]
        return base * out

    return observed


def reference_times(d: Draw, frames: int = 20) -> F64:
    """A reference image: some tens of exposures over a season before the survey's own history."""
    return -HISTORY - np.sort(d.rng.uniform(0, d.rng.uniform(10, 250), frames))


def random_walk(d: Draw, grid: F64, timescale: float) -> F64:
    """A damped random walk of unit variance on an even grid (Kelly et al. 2009)."""
    a = float(np.exp(-(grid[1] - grid[0]) / timescale))
    steps = d.rng.standard_normal(len(grid))
    out = np.empty(len(grid))
    out[0] = steps[0]
    q = np.sqrt(1 - a * a)
    value = float(steps[0])
    for k, e in enumerate((q * steps[1:]).tolist(), start=1):
        value = a * value + e
        out[k] = value
    return out


def agn(d: Draw) -> Source:
    """Damped random walk, τ ≈ 200 d, structure function 0.2 mag falling with wavelength as λ^-0.5 (MacLeod et al. 2010); quasars as
    points of light at z ≈ 1, Seyferts in the nuclei of visible hosts; one in ten a blazar: τ ≈ 15 d, twice the amplitude.
    """
    kind = d.pick({"QSO": 0.5, "Seyfert": 0.4, "blazar": 0.1})
    grid = np.arange(-HISTORY - 260, 201, 2.0)
    tau = d.lognormal("tau_blazar", 15, 0.5) if kind == "blazar" else d.lognormal("tau", 200, 0.7)
    walk = random_walk(d, grid, tau) * d.lognormal("amplitude", 0.2, 0.4) * (2.0 if kind == "blazar" else 1.0)
    slope = d.uniform("slope", 0.2, 0.7)
    mag = d.magnitude("mag", 16.5, 20.3)
    z = d.lognormal("z_qso", 1.0, 0.5, 0.1, 4) if kind != "Seyfert" else redshift_at(mag - d.normal("m_seyfert", -20.5, 1.0))
    star = Star(mag, d.normal("colour", 0.25, 0.2))
    galaxy: Host | None = host(d, z, nuclear=True, hostless=0.0) if z < 0.4 else None

    def magnitudes(t: F64, wavelength: F64) -> F64:
        return -np.interp(t, grid, walk) * (wavelength / 4750.0) ** -slope

    light = difference(star, magnitudes, reference_times(d))
    return Source("agn", kind, light, (0.0, 200.0), "extragalactic", z, galaxy, star, persistent=True)


def rr_lyrae(d: Draw) -> Source:
    """RRab and RRc: periods of the halo's two Oosterhoff groups, Fourier-like asymmetric curves (rise in 12–20 % of the period, RRc 40
    %), amplitudes g : r : i = 1 : 0.7 : 0.56 (Sesar et al. 2010); one in four modulated (Blazhko).
    """
    ab = d.pick({"RRab": 0.75, "RRc": 0.25}) == "RRab"
    period = d.normal("p_ab", 0.57, 0.07, 0.4, 0.9) if ab else d.normal("p_c", 0.32, 0.04, 0.22, 0.45)
    amplitude = d.uniform("a_ab", 0.5, 1.25) if ab else d.uniform("a_c", 0.25, 0.55)
    rise = d.uniform("rise_ab", 0.12, 0.2) if ab else d.uniform("rise_c", 0.38, 0.46)
    phase, blazhko = float(d.rng.random()), (d.uniform("blazhko", 0.1, 0.3) if d.chance(0.25) else 0.0)
    beat = d.loguniform("beat", 20, 120)
    star = Star(d.magnitude("mag", 14.3, 19.6), d.normal("colour", 0.25, 0.1))

    def magnitudes(t: F64, wavelength: F64) -> F64:
        x = (t / period + phase) % 1
        fall = np.maximum((x - rise) / (1 - rise), 0.0)
        y = np.where(x < rise, np.cos(np.pi * x / rise), -np.cos(np.pi * fall**0.72) + 0.15 * np.sin(np.pi * fall) ** 2)
        scale = amplitude * (1 + blazhko * np.sin(2 * np.pi * t / beat))
        return 0.5 * scale * y * (wavelength / 4750.0) ** -1.15

    return Source(
        "rr-lyrae",
        "RRab" if ab else "RRc",
        difference(star, magnitudes, reference_times(d)),
        (0.0, 90.0),
        "halo",
        star=star,
        persistent=True,
    )


def eclipsing_binary(d: Draw) -> Source:
    """EA, EB, EW: Gaussian-edged eclipses and ellipsoidal light (shapes of the ASAS-SN and Kepler catalogues: Jayasinghe et al. 2019,
    Prša et al. 2011); nearly grey, so colours hardly change; depths 0.1–1.2 mag.
    """
    kind = d.pick({"EA": 0.4, "EB": 0.25, "EW": 0.35})
    period = (
        d.lognormal("p_ea", 2.5, 0.8, 0.4, 40)
        if kind == "EA"
        else d.lognormal("p_eb", 0.75, 0.4)
        if kind == "EB"
        else d.lognormal("p_ew", 0.36, 0.2)
    )
    deep = d.uniform("depth_ea", 0.25, 1.2) if kind == "EA" else d.uniform("depth", 0.2, 0.75)
    shallow = deep * (
        d.uniform("ratio_ea", 0.1, 1.0)
        if kind == "EA"
        else d.uniform("ratio_eb", 0.3, 0.7)
        if kind == "EB"
        else d.uniform("ratio_ew", 0.75, 1)
    )
    width, phase = d.uniform("width", 0.015, 0.06), float(d.rng.random())
    ellipsoidal = {"EA": 0.02, "EB": 0.35, "EW": 1.0}[kind]
    tilt = d.normal("grey", 0.0, 0.12)
    star = Star(d.magnitude("mag", 13.8, 19.3), d.normal("colour", 0.6, 0.3, -0.3, 1.6))

    def magnitudes(t: F64, wavelength: F64) -> F64:
        x = (t / period + phase) % 1
        w = width if kind == "EA" else 2 * width
        cuts = deep * np.exp(-0.5 * ((x - 0.5) / w) ** 2) + shallow * np.exp(-0.5 * ((np.abs(x - 0.5) - 0.5) / w) ** 2)
        smooth = 0.25 * (deep + shallow) * (1 + np.cos(4 * np.pi * (x - 0.5))) + 0.25 * (deep - shallow) * (
            1 + np.cos(2 * np.pi * (x - 0.5))
        )
        return ((1 - ellipsoidal) * cuts + ellipsoidal * smooth) * (wavelength / 6200.0) ** -tilt

    sky: SkyKind = "disc" if d.chance(0.75) else "halo"
    return Source("eclipsing-binary", kind, difference(star, magnitudes, reference_times(d)), (0.0, 120.0), sky, star=star, persistent=True)


def lpv(d: Draw) -> Source:
    """Miras and semi-regulars: periods 60–500 d, visual amplitudes above 2.5 mag or 0.2–1.5, larger in the blue (Soszyński et al. 2009,
    Smith et al. 2004); g-r 1.3–2.6; nearly saturated at the bright end.
    """
    mira = d.pick({"Mira": 0.45, "SR": 0.55}) == "Mira"
    period = d.lognormal("p_mira", 280, 0.3, 100, 700) if mira else d.lognormal("p_sr", 90, 0.55, 25, 400)
    amplitude = d.uniform("a_mira", 1.6, 4.5) if mira else d.uniform("a_sr", 0.15, 1.1)
    rise, phase, blue = d.uniform("rise", 0.38, 0.5), float(d.rng.random()), d.uniform("blue", 0.7, 1.2)
    irregular, other = (0.0 if mira else d.uniform("irregular", 0.15, 0.7)), period * d.uniform("other", 1.3, 8)
    star = Star(d.magnitude("mag", 12.6, 18.5), d.normal("colour", 1.85, 0.4, 1.0, 3.2))

    def magnitudes(t: F64, wavelength: F64) -> F64:
        x = (t / period + phase) % 1
        y = np.where(x < rise, np.cos(np.pi * x / rise), -np.cos(np.pi * (x - rise) / (1 - rise)))
        return 0.5 * amplitude * (y + irregular * np.sin(2 * np.pi * t / other)) * (wavelength / 5500.0) ** -blue

    sky: SkyKind = "disc" if d.chance(0.8) else "halo"
    return Source(
        "lpv", "Mira" if mira else "SR", difference(star, magnitudes, reference_times(d)), (0.0, 200.0), sky, star=star, persistent=True
    )


def yso(d: Draw) -> Source:
    """Young stars: stochastic accretion and extinction (damped random walk of days to months, 0.1–1 mag), a third dippers (quasi-periodic,
    4–12 d) and one in ten an EX Lupi burst of months (Cody et al. 2014, Herbst et al. 1994; months and years: Park et al. 2021); red,
    redder when fainter, in star-forming clouds.
    """
    kind = d.pick({"stochastic": 0.57, "dipper": 0.33, "burster": 0.1})
    grid = np.arange(-HISTORY - 260, 151, 0.75)
    walk = random_walk(d, grid, d.lognormal("tau", 9, 0.9, 1, 200)) * d.lognormal("amplitude", 0.24, 0.5, 0.05, 1.2)
    period, depth, phase = d.uniform("period", 4, 12), d.uniform("depth", 0.2, 1.2), float(d.rng.random())
    burst, burst_width, burst_at = d.uniform("burst", 1, 3), d.lognormal("burst_w", 40, 0.4), d.uniform("burst_at", 0, 80)
    slope = d.uniform("slope", 0.6, 1.4)
    dips = np.maximum(1 + 0.7 * np.interp(grid, grid[::16], d.rng.standard_normal(len(grid[::16]))), 0)
    star = Star(d.magnitude("mag", 13.5, 19.6), d.normal("colour", 1.3, 0.35, 0.3, 2.6))

    def magnitudes(t: F64, wavelength: F64) -> F64:
        m = np.interp(t, grid, walk)
        if kind == "dipper":
            m = 0.5 * m + depth * np.interp(t, grid, dips) * np.exp(-0.5 * ((((t / period + phase) % 1) - 0.5) / 0.12) ** 2)
        elif kind == "burster":
            m = m - burst * np.exp(-0.5 * ((t - burst_at) / burst_width) ** 2)
        return m * (wavelength / 6200.0) ** -slope

    return Source("yso", kind, difference(star, magnitudes, reference_times(d)), (0.0, 150.0), "star-forming", star=star, persistent=True)
