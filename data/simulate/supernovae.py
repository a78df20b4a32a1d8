"""Supernovae of white dwarfs and of massive stars: t = 0 is the explosion (or the first light), times and wavelengths are rest-frame."""

from __future__ import annotations

import numpy as np

from data.simulate.draw import Draw
from data.simulate.sky import F64, black_body
from data.simulate.source import Event, Source, transient

GRID = np.concatenate([np.arange(0.0, 60.0, 1.5), np.arange(60.0, 150.0, 4.0), np.arange(150.0, 420.0, 12.0)])


def nickel(t: F64) -> F64:
    """Heating by ⁵⁶Ni and ⁵⁶Co [erg/s/g] (Nadyozhin 1994)."""
    return 3.9e10 * np.exp(-t / 8.8) + 6.78e9 * (np.exp(-t / 111.3) - np.exp(-t / 8.8))


def diffusion(t: F64, timescale: float, *, power: F64) -> F64:
    """Luminosity of a homologous envelope heated by `power` (Arnett 1982): dL/dt = (2t/τ²)(P - L), solved step by step."""
    decay = np.exp(-(t[1:] ** 2 - t[:-1] ** 2) / timescale**2)
    middle = 0.5 * (power[1:] + power[:-1])
    out = np.zeros_like(t)
    for k in range(len(decay)):
        out[k + 1] = out[k] * decay[k] + middle[k] * (1 - decay[k])
    return out


def ramp(x: F64, low: float, *, high: float) -> F64:
    """0 below `low`, 1 above `high`, linear in between."""
    return np.clip((x - low) / (high - low), 0.0, 1.0)


IA: dict[str, float] = {"Ia": 0.81, "Ia-91T": 0.07, "Ia-91bg": 0.06, "Iax": 0.03, "Ia-CSM": 0.02, "Ia-03fg": 0.01}


def sn_ia(d: Draw) -> Source:
    """Type Ia.

    ⁵⁶Ni diffusion (Arnett 1982) with the peak at the observed rise of 18 d × stretch (Miller et al. 2020), on a cooling black body whose
    blue is blanketed by iron-group lines, most of all a month after peak (the colour turns at s_BV × 30 d: Burns et al. 2014), with the
    shoulder in r and the second maximum in i (Kasen 2006); stretch, colour and luminosity after Guy et al. 2007 and Betoule et al. 2014.
    One in five is a 91T, 91bg, Iax or Ia-CSM (rates of Li et al. 2011) or a 03fg: broad, luminous, no second maximum (Taubenberger 2017,
    Ashall et al. 2021).
    """
    kind = d.pick(IA)
    stretch = {
        "Ia": d.normal("stretch", 0.98, sd=0.09, low=0.7, high=1.3),
        "Ia-91T": d.normal("stretch_91T", 1.1, sd=0.06, low=0.9, high=1.3),
        "Ia-91bg": d.normal("stretch_91bg", 0.68, sd=0.06, low=0.5, high=0.8),
        "Iax": d.uniform("stretch_iax", 0.55, high=1.0),
        "Ia-CSM": d.normal("stretch_csm", 1.1, sd=0.08, low=0.8, high=1.3),
        "Ia-03fg": d.normal("stretch_03fg", 1.28, sd=0.1, low=1.05, high=1.6),
    }[kind]
    hot = {"Ia": 12800, "Ia-91T": 14500, "Ia-91bg": 6900, "Iax": 9000, "Ia-CSM": 12500, "Ia-03fg": 14000}[kind] + d.normal(
        "t_hot", 0, sd=900
    )
    cold = d.normal("t_cold", 5250, sd=200) - {"Ia-91bg": 500, "Iax": 300}.get(kind, 0)
    second = {
        "Ia-91bg": d.uniform("no_second", 0.0, high=0.06),
        "Iax": d.uniform("no_second", 0.0, high=0.06),
        "Ia-03fg": d.uniform("weak_second", 0.0, high=0.2),
    }.get(kind, d.uniform("second_peak", 0.22, high=0.45))
    cooling, blanket = d.uniform("cooling", 15, high=19), d.uniform("blanketing", 0.4, high=0.8)
    uv, uv_edge = d.uniform("uv", 1.5, high=3.5) * (0.5 if kind == "Ia-03fg" else 1.0), d.uniform("uv_edge", 3300, high=3900)
    csm = d.lognormal("csm", 0.3, sigma=0.5) if kind == "Ia-CSM" else 0.0
    csm_t, csm_decay = d.uniform("csm_t", 6500, high=9000), d.uniform("csm_decay", 60, high=250)
    rise, second_at = d.normal("rise", 18.0, sd=0.9) * stretch, 25.5 + d.normal("second_at", 0, sd=1.0)
    bolometric = diffusion(GRID, d.normal("diffusion", 11.5, sd=0.4) * stretch, power=nickel(GRID))
    bolometric *= 1 - np.exp(-((d.lognormal("gamma", 35, sigma=0.1) * stretch / np.maximum(GRID, 1)) ** 2))  # γ-rays escape
    bolometric /= bolometric.max()
    early = float(GRID[np.argmax(bolometric)])  # mixed nickel and a photosphere that recedes put the peak later than one zone does

    def shape(t: F64, wavelength: F64) -> F64:
        phase = (t - rise) / stretch
        temperature = np.where(phase < 0, hot - phase * 60, cold + (hot - cold) * np.exp(-((np.maximum(phase, 0) / cooling) ** 1.6)))
        temperature = temperature + 25 * np.clip(phase - 32, 0, 40)
        f = np.interp(np.where(t < rise, t * early / rise, t - rise + early), GRID, bolometric) * black_body(wavelength, temperature)
        f = f * np.exp(-uv * np.clip((uv_edge - wavelength) / 1000, 0, 2))
        metals = blanket * np.interp(phase, (0.0, 12.0, 30.0, 60.0, 110.0), (0.0, 0.2, 1.0, 0.2, 0.1))
        f = f * np.exp(-metals * np.clip((5400 - wavelength) / 1000, 0, 1.6))
        if second > 0.1:
            red, yellow = ramp(wavelength, 6600, high=7800), ramp(wavelength, 5500, high=6200)
            bump, dip = np.exp(-(((phase - second_at) / 9) ** 2)), np.exp(-(((phase - 15.5) / 6.5) ** 2))
            f = f * (
                1 + second * ((0.8 * red + 0.3 * yellow) * bump - (0.4 * red + 0.8 * yellow) * dip) - 0.25 * red * ramp(phase, 0, high=12)
            )
        if csm:
            f = f + csm * (1 - np.exp(-t / 12)) * np.exp(-t / csm_decay) * black_body(wavelength, csm_t) * (csm_t / 8000)
        return f

    centre = {"Ia": -19.2, "Ia-91T": -19.5, "Ia-91bg": -17.6, "Ia-CSM": -19.8, "Ia-03fg": -19.8}.get(
        kind, d.normal("iax", -16.8, sd=0.9, low=-18.8, high=-14)
    )
    absolute = centre + d.normal("peak", 0.0, sd=0.15)
    if kind == "Ia":
        absolute -= 0.7 * (stretch - 0.98)
    a_v = float(d.rng.exponential(0.18))
    return transient(d, Event("sn-ia", kind, shape, GRID[:40], absolute, 250.0, a_v), faintest=20.3)


def sn_ii(d: Draw) -> Source:
    """Types IIP and IIL.

    Fast rise (6–12 d, González-Gaitán et al. 2015), plateau and drop (Anderson et al. 2014: s₂ 0–3.6 mag/100 d, plateau 45–170 d, the
    steeper the brighter), cooling black body with growing line blanketing (Faran et al. 2018); 4 % are 87A-like (Arnett 1982 with τ = 75
    d).
    """
    kind = d.pick({"IIP": 0.66, "IIL": 0.3, "II-87A": 0.04})
    a_v = float(d.rng.exponential(0.3))
    if kind == "II-87A":
        bolometric = diffusion(GRID, d.lognormal("tau_87a", 75, sigma=0.15), power=nickel(GRID))
        bolometric = bolometric / bolometric.max() + 0.3 * np.exp(-GRID / 8)
        final = d.normal("t_87a", 4900, sd=300)

        def slow(t: F64, wavelength: F64) -> F64:
            f: F64 = np.interp(t, GRID, bolometric) * black_body(wavelength, np.maximum(final, 12000 * np.exp(-t / 4)))
            return f * np.exp(-0.8 * np.clip((4700 - wavelength) / 1000, 0, 1.3) * np.clip(t / 30, 0, 1))

        return transient(d, Event("sn-ii", kind, slow, GRID[:60], d.normal("peak_87a", -15.8, sd=0.6), 300.0, a_v), faintest=20.2)
    plateau_like = kind == "IIP"
    rise = d.lognormal("rise", 5.5, sigma=0.5)
    length = d.normal("plateau", 105, sd=22, low=45, high=170) if plateau_like else d.normal("length", 85, sd=18, low=40, high=140)
    early, late = (
        abs(d.normal("s1", 0.018, sd=0.012)),
        d.uniform("s2p", -0.003, high=0.013) if plateau_like else d.uniform("s2l", 0.012, high=0.036),
    )
    drop = d.uniform("drop_p", 0.8, high=2.6) if plateau_like else d.uniform("drop_l", 0.1, high=1.6)
    width, bend = d.uniform("width", 3, high=8), d.uniform("bend", 15, high=35)
    tail = 0.0098 + d.uniform("tail", 0, high=0.004)
    m = np.where(bend > GRID, early * GRID, early * bend + late * (GRID - bend))
    m = m + drop / (1 + np.exp(-np.clip((GRID - length) / width, -50, 50))) + np.where(length < GRID, (tail - late) * (GRID - length), 0.0)
    visual = 10 ** (-0.4 * m) * (1 - np.exp(-((GRID / rise) ** 1.3)))
    hot, cold, cooling = d.lognormal("t_hot", 14000, sigma=0.25), d.normal("t_cold", 5700, sd=500), d.lognormal("cooling", 15, sigma=0.4)
    blanket, uv = d.uniform("blanketing", 0.2, high=1.4), d.uniform("uv", 1.0, high=2.5)
    csm, csm_decay = (d.uniform("csm", 0.2, high=1.0) if d.chance(0.4) else 0.0), d.uniform("csm_decay", 5, high=15)

    def shape(t: F64, wavelength: F64) -> F64:
        temperature = cold + (hot - cold) * np.exp(-t / cooling)
        f: F64 = np.interp(t, GRID, visual) * (1 + csm * np.exp(-t / csm_decay))
        f = f * black_body(wavelength, temperature) / black_body(5500.0, temperature)
        f = f * np.exp(-blanket * np.clip((5000 - wavelength) / 1000, 0, 1.6) * np.clip((t - 12) / 60, 0, 1.2))
        return f * np.exp(-uv * np.clip((3600 - wavelength) / 1000, 0, 2) * np.clip((t - 3) / 15, 0, 1))

    return transient(
        d,
        Event(
            "sn-ii",
            kind,
            shape,
            GRID[:40],
            d.normal("peak", -16.9 if plateau_like else -17.6, sd=0.85, low=-18.8, high=-14.5),
            length + 200,
            a_v,
        ),
        faintest=20.3,
    )


IBC: dict[str, float] = {"Ib": 0.27, "Ic": 0.26, "Ic-BL": 0.14, "IIb": 0.29, "Ibn": 0.025, "CaRT": 0.015}


def sn_ibc(d: Draw) -> Source:
    """Types Ib, Ic, Ic-BL, IIb.

    ⁵⁶Ni diffusion with the photosphere of an expanding envelope down to a floor temperature. Diffusion times and nickel after Lyman et al.
    2016 and Prentice et al. 2016; colours at peak g-r ≈ 0.2–0.5, reddening to ≈ 0.9 in 15 d (Stritzinger et al. 2018, Taddia et al. 2015):
    the floor is 5,400–6,400 K and metals blanket the blue from the rise on; IIb with a cooling first peak (Arcavi et al. 2017).
    Calcium-rich transients: little nickel, a fall twice as fast, M_r -15 to -16.8, far out in old galaxies (Kasliwal et al. 2012, De et al.
    2020). One in forty is a Ibn.
    """
    kind = d.pick(IBC)
    if kind == "Ibn":
        return _ibn(d)
    tau, ni_mass, floor, speed = {
        "Ib": (11.5, 0.1, 5900, 9e8),
        "Ic": (11.0, 0.14, 5800, 1e9),
        "Ic-BL": (10.5, 0.3, 5900, 1.7e9),
        "IIb": (12.0, 0.1, 5900, 8.5e8),
        "CaRT": (7.5, 0.02, 5500, 9e8),
    }[kind]
    power = d.lognormal("ni_mass", ni_mass, sigma=0.45) * 2e33 * nickel(GRID)
    bolometric = diffusion(GRID, d.lognormal("tau", tau, sigma=0.35 if kind != "CaRT" else 0.2), power=power)
    bolometric *= 1 - np.exp(-((d.lognormal("gamma", 70, sigma=0.3) / np.maximum(GRID, 1)) ** 2))
    radius = d.lognormal("speed", speed, sigma=0.2) * np.maximum(GRID, 0.3) * 86400 * 0.8
    photosphere = (np.maximum(bolometric, 1e36) / (4 * np.pi * 5.67e-5 * radius**2)) ** 0.25
    peak_at = float(GRID[np.argmax(bolometric)])
    cool = d.normal("t_floor", floor, sd=450, low=4000)
    if kind == "IIb" and d.chance(0.6):
        shock = d.uniform("shock", 0.3, high=1.6) * bolometric.max() * np.exp(-GRID / d.uniform("shock_decay", 1.5, high=4))
        photosphere = np.where(
            GRID < 6, np.maximum(photosphere, d.uniform("shock_t", 12000, high=20000) * np.maximum(GRID, 0.5) ** -0.45), photosphere
        )
        bolometric = bolometric + shock
    temperature = np.clip(np.maximum(photosphere, cool), 2500, 9500 if kind != "IIb" else 25000)
    blanket, uv = d.uniform("blanketing", 0.0, high=0.6), d.uniform("uv", 1.0, high=2.5)
    infrared, warming = d.uniform("infrared", 0.0, high=0.4), d.uniform("warming", 0.0, high=25.0)

    def shape(t: F64, wavelength: F64) -> F64:
        kelvin = np.interp(t, GRID, temperature) + warming * np.clip(t - peak_at - 25, 0, 60)
        f = np.interp(t, GRID, bolometric) * black_body(wavelength, kelvin)
        f = f * np.exp(-uv * np.clip((3900 - wavelength) / 1000, 0, 2))
        f = f * np.exp(-blanket * np.clip((5400 - wavelength) / 1000, 0, 1.6) * np.clip((t - peak_at + 12) / 25, 0, 1.4))
        return f * (1 + infrared * np.clip((wavelength - 7500) / 1500, 0, 1) * np.clip((t - peak_at) / 40, 0, 1))

    absolute = {"Ib": -17.3, "Ic": -17.5, "Ic-BL": -18.4, "IIb": -17.2, "CaRT": -15.9}[kind] + d.normal("peak", 0.0, sd=0.6)
    hostless, remote = (0.3, 4.0) if kind == "CaRT" else (0.07, 1.0)
    return transient(
        d,
        Event(
            "sn-ibc",
            kind,
            shape,
            GRID[:45],
            absolute,
            250.0,
            float(d.rng.exponential(0.35 if kind != "CaRT" else 0.05)),
            hostless=hostless,
            remote=remote,
        ),
        faintest=20.3,
    )


def _ibn(d: Draw) -> Source:
    """Type Ibn: interaction with helium.

    Up within ten days, then 0.10 ± 0.03 mag/d for a month, half of them slower later; blue, 7–9 kK with a forest of iron lines in
    fluorescence below 5,500 Å; M_R -19.5 ± 0.8 (Hosseinzadeh et al. 2017, Pastorello et al. 2016).
    """
    rise, decline = d.lognormal("rise_ibn", 5.0, sigma=0.35), d.normal("decline_ibn", 0.1, sd=0.03, low=0.03, high=0.2)
    slower = decline * (d.uniform("later_ibn", 0.15, high=0.6) if d.chance(0.5) else 1.0)
    x = GRID - 2 * rise
    m = np.where(x < 0, 0.75 * (x / rise) ** 2, decline * np.clip(x, 0, 25) + slower * np.maximum(x - 25, 0))
    luminosity = 10 ** (-0.4 * m) * ramp(GRID, 0.0, high=0.3 * rise)
    hot, cold, cooling = (
        d.lognormal("hot_ibn", 14000, sigma=0.2),
        d.normal("cold_ibn", 7800, sd=900),
        d.lognormal("cooling_ibn", 15, sigma=0.4),
    )
    forest = d.uniform("forest", 0.0, high=0.35)

    def shape(t: F64, wavelength: F64) -> F64:
        temperature = cold + (hot - cold) * np.exp(-t / cooling)
        f = np.interp(t, GRID, luminosity) * black_body(wavelength, temperature) / black_body(5500.0, temperature)
        return f * (1 + forest * ramp(-wavelength, -5500, high=-4900) * ramp(t, 5, high=25))

    absolute = d.normal("peak_ibn", -19.3, sd=0.7, low=-21, high=-17)
    return transient(d, Event("sn-ibc", "Ibn", shape, GRID[:40], absolute, 120.0, float(d.rng.exponential(0.25))), faintest=20.3)
