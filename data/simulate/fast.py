"""Events of minutes to days: kilonovae, afterglows, flares; and microlensing, which keeps its star."""

from __future__ import annotations

import numpy as np

from data.simulate.draw import Draw
from data.simulate.sky import F64, black_body, dimming
from data.simulate.source import RED, Event, SkyKind, Source, Star, host, time_of_peak, transient
from data.simulate.supernovae import diffusion


def kilonova(d: Draw) -> Source:
    """Neutron-star merger.

    R-process heating with thermalisation (Korobkin et al. 2012, Barnes et al. 2016) diffusing through a blue and a red component with a
    temperature floor (Villar et al. 2017, whose fit of AT2017gfo is the centre of the draws): masses 0.005–0.06 M☉, speeds 0.1–0.3 c,
    opacities 0.5 and 3–10 cm²/g. One in ten has lanthanides everywhere (a prompt collapse, or a black hole that ate the star): no blue
    component, opacities of 3 and 8–30 cm²/g, fainter, red from the start, bright for a week in the infrared (Barnes & Kasen 2013, Kasen et
    al. 2017).
    """
    kind = d.pick({"KN": 0.9, "KN-red": 0.1})
    red = kind == "KN-red"
    t = np.geomspace(0.02, 30.0, 90)
    heat = 4e18 * (0.5 - np.arctan((t * 86400 - 1.3) / 0.11) / np.pi) ** 1.3
    efficiency = 0.36 * (np.exp(-0.56 * t) + np.log1p(2 * 0.17 * t**0.74) / (2 * 0.17 * t**0.74))
    parts = []
    for name, mass, speed, opacity, floor in (
        ("blue", 0.016 if not red else 0.004, 0.3 if not red else 0.2, 0.5 if not red else 3.0, 3900.0 if not red else 2700.0),
        ("red", 0.035, 0.15, d.loguniform("opacity", 3, high=10) if not red else d.loguniform("opacity_red", 8, high=30), 1800.0),
    ):
        m, v = (
            d.lognormal(f"mass_{name}", mass, sigma=0.5, low=0.002 if not red else 1e-4, high=0.1) * 2e33,
            d.lognormal(f"speed_{name}", speed, sigma=0.2, low=0.05, high=0.35) * 3e10,
        )
        timescale = float(np.sqrt(2 * opacity * m / (13.4 * v * 3e10))) / 86400
        luminosity = diffusion(t, timescale, power=m * heat * efficiency)
        luminosity[0] = luminosity[1]
        cold = d.normal(f"floor_{name}", floor, sd=0.08 * floor)
        temperature = np.maximum((luminosity / (4 * np.pi * 5.67e-5 * (v * t * 86400) ** 2)) ** 0.25, cold)
        parts.append((luminosity, temperature))

    def shape(time: F64, wavelength: F64) -> F64:
        return sum(np.interp(time, t, lum, left=0.0) * black_body(wavelength, np.interp(time, t, temp)) for lum, temp in parts) * np.exp(
            -0.5 * np.clip((4500 - wavelength) / 1000, 0, 2) * np.clip(time / 2, 0, 2)
        )

    absolute = d.normal("peak", -15.8, sd=0.6) if not red else d.normal("peak_red", -14.2, sd=0.6)
    event = Event("kilonova", kind, shape, t[:60], absolute, 12.0, float(d.rng.exponential(0.15)), hostless=0.05)
    return transient(d, event, faintest=19.9, brightest=16.5)


def afterglow(d: Draw) -> Source:
    """GRB afterglow.

    Synchrotron from the forward shock, a broken power law in time with a jet break and fν ∝ ν^-β (Sari, Piran & Narayan 1998; ranges of
    Kann et al. 2010: α 0.65–1.4 then + 0.5–1.2, β 0.5–1.1); one in six off axis, with a rise of a day or two (Granot et al. 2002).
    """
    off_axis = d.pick({"orphan": 0.17, "GRB": 0.83}) == "orphan"
    before, beta = d.uniform("alpha", 0.65, high=1.4), d.uniform("beta", 0.5, high=1.1)
    after, jet = before + d.uniform("steepening", 0.5, high=1.2), d.lognormal("jet", 1.8, sigma=0.9, low=0.1, high=20)
    onset = d.lognormal("onset_off", 1.0, sigma=0.5) if off_axis else d.lognormal("onset", 0.005, sigma=0.8)
    z = d.lognormal("z", 1.1, sigma=0.5, low=0.05, high=4.0)
    # the peak is rarely seen: quoted is the magnitude at one tenth of a day, where wide-field surveys catch them
    mag = d.magnitude("mag", 16.2, faint=20.3)

    def shape(t: F64, wavelength: F64) -> F64:
        tt = np.maximum(t, 1e-4)
        decay = ((tt / jet) ** (2 * before) + (tt / jet) ** (2 * after)) ** -0.5
        rise = 1 - np.exp(-((tt / onset) ** (2.5 if off_axis else 1.0)))
        return rise * decay * (wavelength / 4750.0) ** beta

    a_v = float(d.rng.exponential(0.12))
    at = max(0.1, 1.5 * onset)
    scale = 10 ** (0.4 * (23.9 - mag)) / float(shape(np.array([at]), np.array([6200.0]))[0])

    def observed(t: F64, wavelength: F64) -> F64:
        rest = wavelength / (1 + z)
        return np.where(t > 0, scale * shape(t, wavelength) * dimming(rest, a_v) * np.where(rest < 1216, 0.02, 1.0), 0.0)

    times = np.geomspace(1e-4, 30.0, 200)
    return Source(
        "afterglow",
        "orphan" if off_axis else "GRB",
        observed,
        (0.0, 10.0 * (1 + onset)),
        "extragalactic",
        z,
        host(d, z, hostless=0.5, dwarf=1.5),
        peak_time=time_of_peak(times, observed(times, np.full_like(times, RED))),
    )


def microlensing(d: Draw) -> Source:
    """Point lens, point source (Paczyński 1986) with blending.

    t_E log-normal around 22 d (Mróz et al. 2019), u₀ uniform; toward disc and bulge. One in ten lenses is a binary, drawn as a second,
    narrower magnification peak (a wide binary, Gould & Loeb 1992).
    """
    einstein, impact = d.lognormal("t_e", 24, sigma=0.6, low=4, high=200), d.uniform("u0", 0.02, high=0.9)
    star = Star(d.magnitude("mag", 15.5, faint=20.2), d.normal("colour", 1.0, sd=0.35, low=0.0, high=2.0))
    fraction = d.uniform("blend", 0.4, high=1.0)
    second = (
        (d.uniform("second_at", -1.5, high=1.5), d.loguniform("second_te", 0.1, high=0.4), d.uniform("second_u0", 0.05, high=0.6))
        if d.pick({"uLens-binary": 0.1, "uLens": 0.9}) == "uLens-binary"
        else None
    )

    def magnification(u2: F64) -> F64:
        return (u2 + 2) / np.sqrt(u2 * (u2 + 4)) - 1

    def observed(t: F64, wavelength: F64) -> F64:
        x = t / einstein
        extra = magnification(impact**2 + x**2)
        if second:
            extra = extra + magnification(second[2] ** 2 + ((x - second[0]) / second[1]) ** 2)
        return fraction * star.reference(wavelength) * extra

    sky: SkyKind = "bulge" if d.chance(0.3) else "disc"
    kind = "uLens-binary" if second else "uLens"
    times = np.linspace(-2 * einstein, 2 * einstein, 201)
    peak_time = time_of_peak(times, observed(times, np.full_like(times, RED)))
    return Source("microlensing", kind, observed, (-2.2 * einstein, 2.2 * einstein), sky, star=star, peak_time=peak_time)


def flare_shape(x: F64) -> F64:
    """A flare's light against time in half-widths, 1 at its peak (Davenport et al. 2014, ApJ 797, 122)."""
    rise = 1 + 1.941 * x - 0.175 * x**2 - 2.246 * x**3 - 1.125 * x**4
    fall = 0.6890 * np.exp(-1.600 * np.maximum(x, 0)) + 0.3030 * np.exp(-0.2783 * np.maximum(x, 0))
    return np.where(x < -1, 0.0, np.where(x < 0, np.maximum(rise, 0), fall))


def m_dwarf_flare(d: Draw) -> Source:
    """White-light flares of M dwarfs.

    The template of Davenport et al. 2014 (polynomial rise, two exponential declines in units of the half-width), 9,000–14,000 K (Kowalski
    et al. 2013), half-widths of minutes to an hour; half of them with a sympathetic second flare.
    """
    star = Star(d.magnitude("mag", 16.0, faint=21.5), d.normal("colour", 1.5, sd=0.1))
    hot = d.lognormal("t", 10500, sigma=0.15)
    half = d.lognormal("half_width", 0.011, sigma=0.8, low=0.001, high=0.1)
    amplitude = 10 ** (0.4 * (23.9 - d.magnitude("peak", 16.0, faint=19.7)))
    flares = [(0.0, half, amplitude)]
    if d.chance(0.5):
        flares.append(
            (
                half * d.uniform("second_at", 2, high=15),
                half * d.loguniform("second_w", 0.4, high=3),
                amplitude * d.uniform("second_a", 0.1, high=0.7),
            )
        )

    def observed(t: F64, wavelength: F64) -> F64:
        light = sum(a * flare_shape((t - at) / w) for at, w, a in flares)
        return light * black_body(wavelength, hot) / black_body(4750.0, hot)

    return Source("m-dwarf-flare", "flare", observed, (-half, 25 * half), "any", star=star, peak_time=0.0)
