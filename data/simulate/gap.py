"""Events that no class of the stream holds: too fast for a supernova, or in the gap between novae and supernovae."""

from __future__ import annotations

import numpy as np

from data.simulate.draw import Draw
from data.simulate.sky import F64, black_body
from data.simulate.source import Event, Source, transient
from data.simulate.supernovae import ramp


def fast_blue(d: Draw) -> Source:
    """Fast blue optical transients.

    Half-rise 1–4 d, half-decline 2–8 d, M_g -17 to -21.5, 15–30 kK at peak; half cool to 7–9 kK in two weeks, half stay hot and fall as a
    power law, as AT2018cow (Drout et al. 2014, Perley et al. 2019, Ho et al. 2023); star-forming dwarfs.
    """
    rise, fall = d.lognormal("rise", 2.0, sigma=0.4), d.lognormal("fall", 4.5, sigma=0.35)
    hot, tail = d.lognormal("t", 20000, sigma=0.25), d.uniform("tail", 0.02, high=0.15)
    stays_hot = d.chance(0.5)
    cold, cooling, index = d.normal("cold", 7800, sd=800), d.lognormal("cooling", 7, sigma=0.4), d.uniform("index", 1.8, high=2.8)
    peak_at = 2.5 * rise

    def shape(t: F64, wavelength: F64) -> F64:
        x = np.maximum(t - peak_at, 0.0)
        after = (1 + x / (1.6 * fall)) ** -index if stays_hot else (1 - tail) * np.exp(-x / (1.44 * fall)) + tail * np.exp(-x / 25)
        luminosity = np.where(t < peak_at, np.exp(-0.5 * ((t - peak_at) / (rise / 1.18)) ** 2) * ramp(t, 0.0, high=0.4 * rise), after)
        temperature = hot * (1 + x / 20) ** -0.15 if stays_hot else cold + (hot - cold) * np.exp(-t / cooling)
        return luminosity * black_body(wavelength, temperature) / black_body(4750.0, temperature)

    absolute, grid = d.normal("peak", -19.3, sd=1.1, low=-22, high=-16.5), np.arange(0.0, 30.0, 0.4)
    event = Event("fast-blue", "FBOT", shape, grid, absolute, 40.0, float(d.rng.exponential(0.15)), dwarf=1.2)
    return transient(d, event, faintest=20.3, brightest=15.5)


GAP: dict[str, float] = {"ILRT": 0.5, "LRN": 0.5}


def gap(d: Draw) -> Source:
    """Gap transients.

    Intermediate-luminosity red ones: up in two weeks, M_r -11.5 to -15, a plateau or straight decline of 1–2 mag in 80–150 d and a tail as
    of ⁵⁶Co; 5.5–6.5 kK cooling to 4 kK in their own dust (Botticella et al. 2009, Cai et al. 2021). Luminous red novae: a blue peak of a
    week or two, then a second, red one or a plateau of months that ends as an M star of 2.5–3.5 kK (Blagorodnova et al. 2017, Pastorello et
    al. 2019).
    """
    kind = d.pick(GAP)
    grid = np.concatenate([np.arange(0.0, 60.0, 1.5), np.arange(60.0, 420.0, 6.0)])
    if kind == "ILRT":
        length, slope = d.lognormal("length", 105, sigma=0.25), d.uniform("slope", 0.004, high=0.022)
        drop, rise = d.uniform("drop", 0.5, high=2.0), d.lognormal("rise", 5.0, sigma=0.4)
        m = slope * grid + drop / (1 + np.exp(-(grid - length) / d.uniform("width", 6, high=15)))
        light = 10 ** (-0.4 * m) * (1 - np.exp(-grid / rise))
        hot, cold = d.normal("t_hot", 6300, sd=400), d.normal("t_cold", 4100, sd=350)
        temperature = cold + (hot - cold) * np.exp(-grid / d.lognormal("cooling", 70, sigma=0.3))
        absolute, a_v = d.normal("peak_ilrt", -13.2, sd=0.9, low=-15.2, high=-11.3), float(d.rng.exponential(0.6))
    else:
        first, at, width = (
            d.lognormal("first", 9, sigma=0.4),
            d.lognormal("second_at", 70, sigma=0.5),
            d.lognormal("second_width", 0.4, sigma=0.3),
        )
        second, plateau = d.lognormal("second", 0.6, sigma=0.4), d.chance(0.4)
        later = (
            1 / (1 + np.exp(np.clip((grid - 1.5 * at) / (0.12 * at), -50, 50)))
            if plateau
            else np.exp(-0.5 * ((grid - at) / (width * at)) ** 2)
        )
        light = (1 - np.exp(-grid / d.lognormal("rise_lrn", 2.0, sigma=0.5))) * (
            np.exp(-grid / first) + second * later * ramp(grid, 0, high=0.5 * at) + 0.01
        )
        hot, warm, cold = d.normal("blue_peak", 7500, sd=900), d.normal("red_peak", 4600, sd=400), d.uniform("end", 2400, high=3400)
        temperature = warm + (hot - warm) * np.exp(-grid / (1.5 * first)) + (cold - warm) * ramp(grid, 0.6 * at, high=2.0 * at)
        absolute, a_v = d.normal("peak_lrn", -12.3, sd=1.4, low=-15.2, high=-8.5), float(d.rng.exponential(0.5))

    def shape(t: F64, wavelength: F64) -> F64:
        kelvin = np.interp(t, grid, temperature)
        f: F64 = np.interp(t, grid, light) * black_body(wavelength, kelvin) / black_body(6200.0, kelvin)
        return f

    return transient(d, Event("gap", kind, shape, grid, absolute, 280.0, a_v), faintest=20.3)
