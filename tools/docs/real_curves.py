"""Real light curves, simulated ones seen as they were, and what is measured on both.

labels.csv, lightcurves.parquet → `Curve` → `twins`: the same times, bands and errors, another event → `measure`: `STATISTICS`
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet

from data.simulate.classes import draw
from data.simulate.draw import generator
from data.simulate.sky import dimming
from data.simulate.source import RED, Source
from data.tables import EFFECTIVE_WAVELENGTH

F64 = npt.NDArray[np.float64]
SHARED = Path(os.environ.get("PROTONOVA_SHARED", Path(__file__).parents[2] / ".." / "shared")).resolve()
TABLES = SHARED / "data" / "real" / "tables"
BANDS: dict[str, tuple[str, ...]] = {"blue": ("g", "V", "B", "c", "swv", "swb"), "red": ("r", "R", "o", "i", "I")}
"""Of each the first with enough detections serves."""
HOST_INCLUDED = ("GAIA", "CRTS", "Gaia")
"""Instruments whose fluxes hold the host: left out."""
CHOSEN: dict[str, str] = {"sn-ia": "Ia", "slsn": "SLSN-I"}
POOL = 800
"""Simulated events of a class to choose from by redshift."""


@dataclass(slots=True)
class Curve:
    """Measurements of one object, sorted by time, (m,)."""

    time: F64  # [d]
    flux: F64  # [µJy]
    error: F64
    band: npt.NDArray[np.str_]
    redshift: float  # NaN: unknown

    def of(self, band: str) -> Curve:
        """The points in one band."""
        m = self.band == band
        return Curve(self.time[m], self.flux[m], self.error[m], self.band[m], self.redshift)


def real_curves(classes: Sequence[str]) -> dict[str, list[Curve]]:
    """Class → its real light curves, difference fluxes only."""
    with (TABLES / "labels.csv").open() as file:
        labels = {row["object_id"]: row for row in csv.DictReader(file) if row["coarse"] in classes}
    table = pyarrow.parquet.read_table(TABLES / "lightcurves.parquet", filters=[("object_id", "in", list(labels))])
    name, mjd, band, flux, error, instrument = (table[c].to_numpy() for c in ("object_id", "mjd", "band", "flux", "flux_err", "instrument"))
    keep = np.isfinite(flux) & (error > 0) & ~np.isin(instrument.astype(str), HOST_INCLUDED)
    keep &= np.isin(band.astype(str), list(EFFECTIVE_WAVELENGTH))
    name, mjd, band, flux, error = (a[keep] for a in (name, mjd, band, flux, error))
    found: dict[str, list[Curve]] = {c: [] for c in classes}
    starts = np.flatnonzero(np.concatenate([[True], name[1:] != name[:-1]]))
    for low, high in zip(starts, [*starts[1:], len(name)], strict=True):
        label = labels[str(name[low])]
        z = float(label["redshift"]) if label["redshift"] else float("nan")
        curve = Curve(
            mjd[low:high].astype(float), flux[low:high].astype(float), error[low:high].astype(float), band[low:high].astype(str), z
        )
        found[label["coarse"]].append(curve)
    return found


def nightly(c: Curve, width: float = 2.0) -> tuple[F64, F64, F64]:
    """Weighted means over `width` days: times, fluxes, errors."""
    if not len(c.time):
        return (np.zeros(0),) * 3
    night = np.floor(c.time / width).astype(np.int64)
    _, index = np.unique(night, return_inverse=True)
    weight = 1 / (c.error**2 + (0.02 * c.flux) ** 2)
    total = np.bincount(index, weight)
    times, fluxes = (np.asarray(np.bincount(index, weight * x) / total, dtype=np.float64) for x in (c.time, c.flux))
    return times, fluxes, np.asarray(total**-0.5, dtype=np.float64)


def peak_of(c: Curve) -> tuple[float, float] | None:
    """(time, flux) of the brightest significant night that has significant neighbours: a lonely bright point is an accident."""
    t, f, e = nightly(c)
    good = f > 4 * e
    near = np.array([np.sum(good & (np.abs(t - x) < 25)) for x in t]) >= 3 if len(t) else np.zeros(0, bool)
    good &= near
    if good.sum() < 3:
        return None
    k = int(np.flatnonzero(good)[np.argmax(f[good])])
    return float(t[k]), float(f[k])


def pick_band(c: Curve, colour: str) -> str | None:
    """The first band of a colour with five points above 4 σ; None: there is none."""
    for band in BANDS[colour]:
        one = c.of(band)
        if np.sum(one.flux > 4 * one.error) >= 5:
            return band
    return None


def at(t: F64, f: F64, *, when: float, gap: float) -> float:
    """Linear between measurements no further apart than `gap` days, else NaN."""
    k = int(np.searchsorted(t, when))
    if k == 0 or k == len(t) or t[k] - t[k - 1] > gap:
        return float("nan")
    return float(np.interp(when, t[k - 1 : k + 1], f[k - 1 : k + 1]))


STATISTICS = ("rise from half [d]", "fall to half [d]", "fall to fifth [d]", "Δm 15 d", "Δm 30 d", "Δm 60 d", "Δm 100 d",
              "g - r at peak", "g - r + 15 d", "g - r + 30 d", "g - r + 60 d", "g - r - 10 d")  # fmt: skip


def measure(c: Curve) -> F64 | None:
    """`STATISTICS` of one curve, in its redder band, observer's frame; NaN where the sampling does not say."""
    red, blue = pick_band(c, "red"), pick_band(c, "blue")
    main = red or blue
    if main is None:
        return None
    one = c.of(main)
    peak = peak_of(one)
    if peak is None:
        return None
    t0, f0 = peak
    t, f, e = nightly(one)
    near = (t > t0 - 200) & (t < t0 + 500)
    t, f, e = t[near] - t0, f[near] / f0, e[near] / f0
    out = np.full(len(STATISTICS), np.nan)
    before, after = (t <= 0) & (f > -1), t >= 0
    below = np.flatnonzero(before & (f < 0.5))
    if len(below) and below[-1] + 1 < len(t) and t[below[-1] + 1] - t[below[-1]] < 12:
        k = below[-1]
        out[0] = -np.interp(0.5, f[k : k + 2], t[k : k + 2])
    for column, level, gap in ((1, 0.5, 20.0), (2, 0.2, 30.0)):
        under = np.flatnonzero(after & (f < level))
        if len(under) and t[under[0]] - t[under[0] - 1] < gap:
            k = under[0]
            out[column] = np.interp(-level, -f[k - 1 : k + 1], t[k - 1 : k + 1])
    for column, phase, gap in ((3, 15.0, 10.0), (4, 30, 15.0), (5, 60, 20.0), (6, 100, 25.0)):
        value = at(t, f, when=phase, gap=gap)
        out[column] = -2.5 * np.log10(value) if value > 0.02 else np.nan
    if red == "r" and blue == "g":
        tg, fg, eg = nightly(c.of("g"))
        good = fg > 3 * eg
        tg, fg = tg[good] - t0, fg[good] / f0
        good = f > 3 * e
        for column, phase, gap in ((7, 0.01, 8.0), (8, 15.0, 10.0), (9, 30, 12.0), (10, 60, 20.0), (11, -10, 8.0)):
            g, r = at(tg, fg, when=phase, gap=gap), at(t[good], f[good], when=phase, gap=gap)
            out[column] = -2.5 * np.log10(g / r) if g > 0 and r > 0 else np.nan
    return out


def pool(slug: str, seed: int = 31, *, n: int = POOL) -> list[Source]:
    """Events of a class, of the one kind that the real sample was chosen to be, where it was (`CHOSEN`).

    They are as near and as far as such samples reach, which many surveys of many depths made.
    """
    deeper = np.random.default_rng(seed).uniform(-2.0, 3.0, n)
    return [draw(slug, generator("train", seed, k), deeper=float(deeper[k]), kind=CHOSEN.get(slug)) for k in range(n)]


def seen_as(c: Curve, source: Source, *, rng: np.random.Generator) -> Curve | None:
    """A simulated event as the real object `c` was measured: its times, bands and errors, brightest when it was, as bright as it was."""
    main = pick_band(c, "red") or pick_band(c, "blue")
    peak = peak_of(c.of(main)) if main else None
    if main is None or peak is None:
        return None
    wavelength = np.array([EFFECTIVE_WAVELENGTH[b] for b in c.band])
    dense = source.peak_time + np.arange(-30.0, 30.0, 0.5)
    top = source.flux(dense, np.full_like(dense, EFFECTIVE_WAVELENGTH[main]))
    k = int(top.argmax())
    a_v = float(min(0.13 * rng.lognormal(0, 0.5), 1.0))
    true = source.flux(c.time - peak[0] + dense[k], wavelength) * dimming(wavelength, a_v)
    true *= peak[1] / (top[k] * float(dimming(np.array([EFFECTIVE_WAVELENGTH[main]]), a_v)[0]))
    error = np.zeros_like(true)
    for band in np.unique(c.band):
        m = c.band == band
        floor = np.percentile(c.error[m], 10)
        bright = c.flux[m] > 0.4 * c.flux[m].max()
        share = np.median(c.error[m][bright] / c.flux[m][bright]) if bright.any() and c.flux[m].max() > 0 else 0.05
        error[m] = np.hypot(floor, share * np.abs(true[m]))
    flux = true + error * rng.standard_normal(len(true))
    weak = c.flux < 3 * c.error
    keep = np.ones(len(flux), bool) if weak.mean() > 0.05 else flux > 3 * error  # literature tables hold detections only
    return Curve(c.time[keep], flux[keep], error[keep], c.band[keep], source.redshift)


def twins(curves: Sequence[Curve], sources: Sequence[Source], *, seed: int = 5, each: int = 8) -> Iterator[Curve]:
    """For each real curve `each` simulated ones, of the nearest redshifts where the real one is known, else of the nearest brightness."""
    rng = np.random.default_rng(seed)
    redshift = np.log([s.redshift for s in sources])
    bright = np.log([float(s.flux(np.array([s.peak_time]), np.array([RED]))[0]) for s in sources])
    for c in curves:
        known = c.redshift > 0.005
        distance = np.abs(redshift - np.log(c.redshift)) if known else np.abs(bright - np.log(max(float(c.flux.max()), 1e-3)))
        for k in rng.choice(np.argsort(distance)[:25], each, replace=False):
            twin = seen_as(c, sources[int(k)], rng=rng)
            if twin is not None:
                yield twin
