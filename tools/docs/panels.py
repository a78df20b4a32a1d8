"""What the pictures of brief events and of stars show: (title, real curves, simulated curves) a panel."""

from __future__ import annotations

import numpy as np

from data.simulate.classes import draw
from data.simulate.draw import generator
from data.tables import EFFECTIVE_WAVELENGTH
from tools.docs.real_curves import F64, nightly, pool, real_curves

Panel = tuple[str, list[tuple[F64, F64]], list[tuple[F64, F64]]]
"""Title, real curves, simulated curves."""


def fast_panels() -> list[Panel]:
    """AT2017gfo in g, r, i: days after the merger, magnitudes below r a day after it; afterglows in R, below half a day."""
    panels = []
    known = real_curves(["kilonova", "afterglow"])
    gfo = next(c for c in known["kilonova"] if abs(c.redshift - 0.0098) < 0.003)
    sources = pool("kilonova", n=60)
    t = np.geomspace(0.2, 12, 80)
    for band in ("g", "r", "i"):
        made = []
        for s in sources:
            reference = s.flux(np.array([1.0]), np.array([6230.0]))[0]
            light = s.flux(t, np.full_like(t, EFFECTIVE_WAVELENGTH[band]))
            made.append((t, -2.5 * np.log10(np.maximum(light, 1e-9) / reference)))
        r, one = gfo.of("r"), gfo.of(band)
        reference = float(np.interp(1.0, r.time - MERGER, r.flux))
        good = one.flux > 3 * one.error
        panels.append((f"kilonova, {band}", [(one.time[good] - MERGER, -2.5 * np.log10(one.flux[good] / reference))], made))
    made, real = [], []
    t = np.geomspace(0.02, 30, 80)
    for s in pool("afterglow", n=60):
        light = s.flux(t, np.full_like(t, 6500.0))
        made.append((t, -2.5 * np.log10(light / np.interp(0.5, t, light))))
    for c in known["afterglow"]:
        one = c.of("R")
        since = one.time - np.floor(c.time.min())  # the tables count from 0 h of the burst's day
        good = (one.flux > 3 * one.error) & (since > 0.005)
        if good.sum() >= 6 and since[good].min() < 0.5 < since[good].max():
            at_half = np.exp(np.interp(np.log(0.5), np.log(since[good]), np.log(one.flux[good])))
            real.append((since[good], -2.5 * np.log10(one.flux[good] / at_half)))
    panels.append(("afterglow, R", real, made))
    return panels


MERGER = 57982.5285
"""GW170817 [MJD] (Abbott et al. 2017)."""


def best_period(t: F64, y: F64, *, low: float, high: float, halve: bool) -> float:
    """Period [d] of the strongest wave with its first overtone; of eclipses, which come twice a cycle, twice that."""
    y, t = y - y.mean(), t - t.min()
    step = 0.15 / t.max()
    frequency = np.arange(1 / high, 1 / low, step)
    wave = np.exp(2j * np.pi * step * np.arange(2000)[:, None] * t)  # of every block of frequencies, up to a phase
    overtone = wave**2
    power = np.concatenate(
        [
            np.abs(wave @ (y * np.exp(2j * np.pi * f * t))) ** 2 + np.abs(overtone @ (y * np.exp(4j * np.pi * f * t))) ** 2
            for f in frequency[::2000]
        ]
    )[: len(frequency)]
    return float((2 if halve else 1) / frequency[int(power.argmax())])


STARS: tuple[tuple[str, str, str, float, float, bool], ...] = (
    ("RR Lyrae ab", "rr-lyrae", "RRab", 0.35, 1.0, False),
    ("RR Lyrae c", "rr-lyrae", "RRc", 0.2, 0.5, False),
    ("Eclipsing contact", "eclipsing-binary", "EW", 0.1, 0.4, True),
    ("Mira", "lpv", "Mira", 80.0, 800.0, False),
)
"""Real class, class, kind, periods searched [d], whether the cycle is twice the strongest period."""


def folded(t: F64, f: F64, *, low: float, high: float, halve: bool) -> tuple[F64, F64]:
    """Median flux in bins of phase, from the median and in units of the whole swing; eclipses' deeper minimum, pulsations' peak at 0.5."""
    phase = t / best_period(t, f, low=low, high=high, halve=halve) % 1
    bins = np.arange(0.01, 1, 0.02)
    curve = np.array([np.median(f[np.abs((phase - x + 0.5) % 1 - 0.5) < 0.03]) for x in bins])
    turn = int(np.nanargmin(curve) if halve else np.nanargmax(curve))
    return bins, (np.roll(curve, 25 - turn) - np.median(f)) / (np.nanmax(curve) - np.nanmin(curve))


def star_panels(each: int = 8, points: int = 250) -> list[Panel]:
    """ASAS stars and simulated ones at the same times, folded on the best period of each."""
    panels: list[Panel] = []
    known = real_curves([name for name, *_ in STARS])
    rng = np.random.default_rng(3)
    for name, slug, kind, low, high, halve in STARS:
        real, made = [], []
        chosen = [c for c in (c.of("V") for c in known[name]) if len(c.time) > 120][:each]
        for k, c in enumerate(chosen):
            some = np.sort(rng.permutation(len(c.time))[:points])
            t, share = c.time[some], c.error[some] / c.flux[some]
            source = draw(slug, generator("train", 41, k), kind=kind)
            light = source.flux(t - t[0], np.full(len(t), EFFECTIVE_WAVELENGTH["V"]))
            noise = share * np.ptp(light) / np.ptp(c.flux[some]) * c.flux[some]
            real.append(folded(t, c.flux[some], low=low, high=high, halve=halve))
            made.append(folded(t, light + noise * rng.standard_normal(len(t)), low=low, high=high, halve=halve))
        panels.append((name, real, made))
    return panels


def lens_panels() -> list[Panel]:
    """The real microlensing event in I and simulated ones: gain in flux over the gain at peak, in mag, against time in half-widths."""

    def scaled(t: F64, gain: F64) -> tuple[F64, F64]:
        top = int(gain.argmax())
        wide = t[gain > 0.5 * gain[top]]
        x = (t - (wide[0] + wide[-1]) / 2) / max((wide[-1] - wide[0]) / 2, 1e-3)
        seen = (np.abs(x) < 4) & (gain > 0.01 * gain[top])
        return x[seen], -2.5 * np.log10(gain[seen] / gain[top])

    made = []
    for source in pool("microlensing", n=40):
        t = np.linspace(*source.active, 600)
        made.append(scaled(t, source.flux(t, np.full_like(t, EFFECTIVE_WAVELENGTH["I"]))))
    real = []
    for c in real_curves(["microlensing"])["microlensing"]:
        t, f, _ = nightly(c.of("I"), 0.3)
        real.append(scaled(t, f - np.percentile(f, 10)))
    return [("microlensing, I", real, made)]
