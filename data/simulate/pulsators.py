"""Stars that pulsate: RR Lyrae, Cepheids of both populations, δ Scuti, Miras and semi-regulars.

Draw → Source. Shapes are Fourier series with the ratios and phases of the published catalogues, bands differ in amplitude.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from data.simulate.draw import Draw
from data.simulate.profiles import PHASES, Wander, at, fourier
from data.simulate.sky import F64
from data.simulate.source import SkyKind, Source, Star
from data.simulate.starlight import difference, reference_times

Magnitudes = Callable[[F64], F64]
PULSATION_SLOPE = -1.15
"""Amplitude ∝ λ^slope: g : r : i = 1 : 0.7 : 0.56 (Sesar et al. 2010)."""
_SAWTOOTH = np.array([0.0, np.pi, 0.0, np.pi, 0.0, np.pi, 0.0])


def rr_lyrae(d: Draw) -> Source:
    """RR Lyrae stars RRab and RRc.

    Periods of the halo's two Oosterhoff groups; RRab amplitudes fall with the period (Bailey's diagram), Fourier ratios and phases of field
    stars (Simon & Teays 1982, Jurcsik & Kovács 1996, Soszyński et al. 2014); amplitudes g : r : i = 1 : 0.7 : 0.56 (Sesar et al. 2010); two
    in five RRab and one in ten RRc modulated (Blazhko: Prudil & Skarka 2017).
    """
    kind = d.pick({"RRab": 0.75, "RRc": 0.25})
    if kind == "RRab":
        period = d.normal("p_ab", 0.57, sd=0.075, low=0.38, high=0.95)
        amplitude = d.normal("a_ab", 0.95 - 2.6 * (period - 0.55), sd=0.2, low=0.25, high=1.4)
        # Steeper stars have more overtones; phases lag behind a sawtooth's, less for longer periods (φ31: Jurcsik & Kovács 1996).
        steep = 0.75 + 0.25 * amplitude + 0.07 * d.rng.standard_normal()
        ratios = np.array([0.48, 0.35, 0.235, 0.15, 0.1, 0.06]) * steep
        lag = d.normal("lag", 0.40 - 0.6 * (period - 0.55), sd=0.05)
        phases = [_SAWTOOTH[k - 1] - lag * (k + 0.1) * 0.95 + (k - 1) * np.pi / 2 for k in range(2, 8)]
        phases = [p + 0.07 * float(d.rng.standard_normal()) * k / 2 for k, p in enumerate(phases, start=2)]
        modulated = 0.4
    else:
        period = d.normal("p_c", 0.32, sd=0.04, low=0.2, high=0.45)
        amplitude = d.normal("a_c", 0.42, sd=0.09, low=0.15, high=0.65)
        ratios = np.array([d.normal("r21_c", 0.17, sd=0.06, low=0.02), d.normal("r31_c", 0.07, sd=0.03, low=0.0), 0.04])
        phases = [d.normal("phi21_c", 4.75, sd=0.3), d.normal("phi31_c", 3.3, sd=0.7), float(d.rng.uniform(0, 6.3))]
        modulated = 0.1
    profile = fourier(list(ratios), phases)
    phase, blazhko = float(d.rng.random()), (d.uniform("blazhko", 0.05, high=0.3) if d.chance(modulated) else 0.0)
    beat = d.loguniform("beat", 20, high=120)
    star = Star(d.magnitude("mag", 14.3, faint=19.6), d.normal("colour", 0.25, sd=0.1))

    def magnitudes(t: F64) -> F64:
        wave = np.sin(2 * np.pi * t / beat)
        return amplitude * (1 + blazhko * wave) * at(profile, t / period + phase + 0.06 * blazhko * np.cos(2 * np.pi * t / beat))

    return _source(
        d, "rr-lyrae", kind=kind, magnitudes=magnitudes, star=star, sky="halo", slope=PULSATION_SLOPE, active=90.0, period=period
    )


def pulsator(d: Draw) -> Source:
    """Classical Cepheids, type II Cepheids and δ Scuti stars, which have no class of their own in the stream.

    DCEP: ratios and phases against the period as the Hertzsprung progression has them, resonance at 10 d (Simon & Lee 1981, Soszyński
    et al. 2015), one in four an overtone; T2CEP: BL Her, W Vir and RV Tau with alternating minima (Soszyński et al. 2018); dSct: half of
    them of high amplitude, one in four of these with two radial modes, P1/P0 = 0.773 (Petersen & Christensen-Dalsgaard 1996), the others
    with many low modes (Rodríguez et al. 2000).
    """
    kind = d.pick({"DCEP": 0.35, "T2CEP": 0.15, "dSct": 0.5})
    make = {"DCEP": _cepheid, "T2CEP": _type_two, "dSct": _delta_scuti}[kind]
    colour = {"DCEP": 0.75, "T2CEP": 0.7, "dSct": 0.1}[kind]
    magnitudes = make(d)
    star = Star(d.magnitude("mag", 13.3, faint=19.3), d.normal(f"colour_{kind}", colour, sd=0.2, low=-0.3, high=1.8))
    return _source(
        d, "", kind=kind, magnitudes=magnitudes, star=star, sky="disc" if kind != "T2CEP" else "halo", slope=PULSATION_SLOPE, active=120.0
    )


_LOG_P = (0.0, 0.3, 0.5, 0.7, 0.85, 0.95, 1.0, 1.1, 1.25, 1.5, 1.8)
_PROGRESSION = {
    "r21": (0.35, 0.45, 0.46, 0.42, 0.33, 0.22, 0.15, 0.17, 0.32, 0.40, 0.30),
    "r31": (0.15, 0.24, 0.25, 0.18, 0.10, 0.09, 0.10, 0.13, 0.18, 0.22, 0.12),
    "phi21": (3.9, 4.1, 4.25, 4.6, 4.95, 5.3, 5.6, 5.2, 4.7, 4.9, 5.0),
    "phi31": (1.6, 1.95, 2.2, 2.8, 3.6, 4.9, 6.0, 7.3, 8.0, 8.3, 8.6),
}
"""Fourier ratios and phases of fundamental classical Cepheids at those log10 P [d]."""


def _cepheid(d: Draw) -> Magnitudes:
    if d.chance(0.25):  # first overtone
        period = d.lognormal("p_1o", 2.4, sigma=0.5, low=0.5, high=6.5)
        amplitude = d.uniform("a_1o", 0.15, high=0.5)
        ratios = [d.normal("r21_1o", 0.17, sd=0.06, low=0.02), 0.05, 0.02]
        phases = [d.normal("phi21_1o", 4.5, sd=0.4), float(d.rng.uniform(0, 6.3)), float(d.rng.uniform(0, 6.3))]
    else:
        period = d.lognormal("p_dcep", 6.0, sigma=0.75, low=1.0, high=70.0)
        amplitude = d.normal("a_dcep", 0.75, sd=0.2, low=0.25, high=1.4) * (0.8 if 8 < period < 11 else 1.0)
        x = float(np.log10(period))
        r21, r31, phi21, phi31 = (float(np.interp(x, _LOG_P, _PROGRESSION[name])) for name in ("r21", "r31", "phi21", "phi31"))
        n = d.rng.standard_normal(5)
        ratios = [r21 * (1 + 0.12 * n[0]), r31 * (1 + 0.15 * n[1]), r31 * 0.55, r31 * 0.3]
        phases = [phi21 + 0.12 * n[2], phi31 + 0.2 * n[3], 2 * phi31 - phi21 + 0.4 * n[4], 3 * phi31 - 2 * phi21 + 0.5]
    profile, phase = fourier(ratios, phases), float(d.rng.random())
    return lambda t: amplitude * at(profile, t / period + phase)


def _type_two(d: Draw) -> Magnitudes:
    period = d.loguniform("p_t2", 1.0, high=60.0)
    amplitude = d.normal("a_t2", 0.75, sd=0.22, low=0.25, high=1.4)
    n = d.rng.standard_normal(4)
    if period < 4:  # BL Her: bumps wander with the period, as in classical ones below 10 d
        ratios, phases = [0.33 + 0.08 * n[0], 0.15 + 0.06 * n[1], 0.06], [4.2 + 1.6 * np.log10(period) * 1.5 + 0.5 * n[2], 2.5 + n[3], 0.5]
    else:  # W Vir: broad maxima
        ratios, phases = [0.2 + 0.07 * n[0], 0.08 + 0.04 * n[1], 0.03], [5.6 + 0.5 * n[2], 5.0 + 1.2 * n[3], 3.0]
    profile, phase = fourier(ratios, phases), float(d.rng.random())
    alternate = d.uniform("alternate", 0.2, high=0.7) if period > 20 else 0.0
    size, drift = Wander(d, 0.15 if period > 20 else 0.02), Wander(d, 0.04 if period > 20 else 0.004)

    def magnitudes(t: F64) -> F64:
        x = t / period + phase
        x = x + drift(x)
        return amplitude * ((1 + size(x)) * at(profile, x) + 0.5 * alternate * np.cos(np.pi * x))

    return magnitudes


def _delta_scuti(d: Draw) -> Magnitudes:
    phase = float(d.rng.random())
    if d.chance(0.5):
        period = d.lognormal("p_hads", 0.11, sigma=0.5, low=0.04, high=0.28)
        amplitude = d.lognormal("a_hads", 0.33, sigma=0.4, low=0.1, high=0.9)
        steep = min(amplitude / 0.4, 1.2)
        ratios = [d.normal("r21_hads", 0.3, sd=0.07, low=0.05) * steep, 0.11 * steep, 0.05 * steep]
        profile = fourier(
            ratios, [d.normal("phi21_hads", 4.0, sd=0.25), d.normal("phi31_hads", 1.9, sd=0.5), d.normal("phi41_hads", 5.8, sd=0.8)]
        )
        second = d.uniform("second", 0.1, high=0.5) * amplitude if d.chance(0.25) else 0.0
        other = float(d.rng.random())
        return lambda t: amplitude * at(profile, t / period + phase) + 0.5 * second * np.cos(2 * np.pi * (t / (0.773 * period) + other))
    modes = int(d.rng.integers(1, 6))
    period = d.lognormal("p_dsct", 0.12, sigma=0.5, low=0.035, high=0.3)
    amplitude = d.lognormal("a_dsct", 0.09, sigma=0.6, low=0.015, high=0.35)
    sizes = amplitude * np.concatenate([[1.0], d.rng.uniform(0.1, 0.7, modes - 1)])
    frequencies = np.concatenate([[1.0], d.rng.uniform(0.7, 1.7, modes - 1)]) / period
    turns = d.rng.random(modes)
    profile = fourier([d.uniform("r21_dsct", 0.0, high=0.15)], [4.0])

    def magnitudes(t: F64) -> F64:
        total = np.zeros_like(t)
        for size, frequency, turn in zip(sizes, frequencies, turns, strict=True):
            total += size * at(profile, t * frequency + turn)
        return total

    return magnitudes


def lpv(d: Draw) -> Source:
    """Miras and semi-regulars.

    Periods 100–700 d, visual amplitudes above 2.5 mag, asymmetric, humps on the rise of slow ones, each maximum and minimum of another
    height (Mattei 1997, Templeton et al. 2005); semi-regulars 0.1–1.5 mag, several periods, a long secondary period in one of three
    (Soszyński et al. 2009, Wood et al. 1999), larger in the blue (Smith et al. 2004); g-r 1.3–2.6.
    """
    kind = d.pick({"Mira": 0.45, "SR": 0.55})
    phase = float(d.rng.random())
    if kind == "Mira":
        period = d.lognormal("p_mira", 280, sigma=0.33, low=95, high=700)
        amplitude = d.normal("a_mira", 3.9, sd=1.0, low=2.2, high=7.5)
        rise = d.normal("rise", 0.45 - 0.0001 * (period - 250), sd=0.045, low=0.28, high=0.56)
        hump = d.uniform("hump", 0.0, high=0.2) if period > 270 and d.chance(0.5) else 0.0
        x = PHASES
        profile = 0.5 * np.where(x < rise, np.cos(np.pi * x / rise), -np.cos(np.pi * (x - rise) / (1 - rise)))
        profile = (
            profile - hump * np.exp(-0.5 * ((x - 0.45 * rise) / 0.06) ** 2) + d.uniform("flat", -0.06, high=0.06) * np.cos(4 * np.pi * x)
        )
        bright, faint, drift = (
            Wander(d, d.uniform("bright", 0.1, high=0.6)),
            Wander(d, d.uniform("faint", 0.05, high=0.35)),
            Wander(d, d.uniform("drift", 0.01, high=0.05)),
        )

        def magnitudes(t: F64) -> F64:
            x = t / period + phase
            x = x + drift(x)
            y = at(profile, x)
            value: F64 = amplitude * y + np.where(y < 0, bright(x), faint(x)) * np.abs(2 * y)
            return value
    else:
        period = d.lognormal("p_sr", 90, sigma=0.6, low=20, high=450)
        amplitude = d.lognormal("a_sr", 0.4, sigma=0.65, low=0.06, high=1.6)
        second, ratio = d.uniform("second", 0.1, high=0.9), d.uniform("ratio", 0.45, high=0.9)
        long = d.uniform("long", 0.3, high=1.2) if d.chance(0.35) else d.uniform("irregular", 0.0, high=0.35)
        other = period * d.uniform("other", 4, high=12)
        sizes, drift, slow = Wander(d, 0.4), Wander(d, d.uniform("drift_sr", 0.02, high=0.12)), Wander(d, 0.25)
        turn = d.rng.random(2)

        def magnitudes(t: F64) -> F64:
            x = t / period + phase
            y = (1 + sizes(0.5 * x)) * np.cos(2 * np.pi * (x + drift(x)))
            y = y + second * (1 + sizes(0.5 * x + 40)) * np.cos(2 * np.pi * (x / ratio + turn[0] + drift(x + 30)))
            y = y + long * np.cos(2 * np.pi * (t / other + turn[1])) + slow(t / other)
            total: F64 = 0.5 * amplitude * y
            return total

    star = Star(d.magnitude("mag", 12.6, faint=18.5), d.normal("colour", 1.85, sd=0.4, low=1.0, high=3.2))
    sky: SkyKind = "disc" if d.chance(0.4) else "halo"
    return _source(d, "lpv", kind=kind, magnitudes=magnitudes, star=star, sky=sky, slope=-d.uniform("blue", 0.7, high=1.2), active=200.0)


def _source(
    d: Draw,
    label: str,
    *,
    kind: str,
    magnitudes: Magnitudes,
    star: Star,
    sky: SkyKind,
    slope: float,
    active: float,
    period: float = float("nan"),
) -> Source:
    """A star whose magnitudes are those in V; other bands have amplitudes ∝ λ^slope."""

    def light(t: F64, wavelength: F64) -> F64:
        return magnitudes(t) * (wavelength / 5500.0) ** slope

    return Source(
        label,
        kind,
        difference(star, light, reference=reference_times(d), mean=True),
        (0.0, active),
        sky,
        star=star,
        persistent=True,
        extra={"period": period} if np.isfinite(period) else {},
    )
