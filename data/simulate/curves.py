"""Light curves of any cadence, without images: what follow-up campaigns, other surveys and archives hold of the same sources.

kinds and a seed in → columns of labelled light curves out

The sources are those of the alerts (`classes.draw_kind`); only who looks differs: ZTF, Rubin, ATLAS, Pan-STARRS, single telescopes with
Johnson filters, all for a few weeks to over a year, from before the event or from long after its peak, well or badly. What a class could
be known by besides its light (how many points, which bands, how good) is drawn without regard to the class. Cadences, filter sets and
errors follow the recipe of a pathfinder that was tried on real curves; its ranges are those of the Open Astronomy Catalogues.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from data.simulate.classes import DRAWN, KINDS, draw_kind
from data.simulate.draw import PopulationName, generator
from data.simulate.photometry import STARS, star_curve
from data.simulate.sky import F64, dimming
from data.simulate.source import Source

Bools = npt.NDArray[np.bool_]

POINTS = 96
"""Most points of a curve."""
STAR_POINTS = 320
"""Most points of a star's curve, before the folded view is made of it."""
BANDS: dict[str, float] = {
    "u": 3600.0, "B": 4400.0, "g": 4770.0, "c": 5330.0, "V": 5500.0, "w": 6080.0, "r": 6230.0, "R": 6500.0, "o": 6790.0, "i": 7630.0,
    "I": 8050.0, "z": 8910.0, "y": 9700.0,
}  # fmt: skip
"""Effective wavelengths [Å] (SVO Filter Profile Service, rounded)."""
INSTRUMENTS: tuple[tuple[str, str, float], ...] = (
    ("ZTF", "gr", 5.0),
    ("ZTF with i", "gri", 2.0),
    ("Rubin", "ugrizy", 3.0),
    ("ATLAS", "co", 2.0),
    ("Pan-STARRS", "griz", 3.0),
    ("Johnson", "BVRI", 3.5),
    ("both systems", "uBVgri", 4.0),
    ("unfiltered R", "R", 2.0),
    ("r alone", "r", 2.0),
    ("V alone", "V", 1.0),
    ("follow-up", "BVgri", 3.0),
    ("red follow-up", "grizy", 1.0),
    ("B and R", "BR", 1.2),
    ("g and i", "gi", 1.0),
    ("V and I", "VI", 1.2),
)
"""Name, bands, weight. One curve in four gets the bands of two."""
FAST = ("KN", "KN-red", "GRB", "orphan", "FBOT", "flare")
"""Kinds that are over in days: who follows them looks often."""
SHORTEST = ("flare",)
"""Over in hours."""
UNSEEN = ("asteroid", "cosmic-ray", "hot-pixel", "bad-column", "noise", *(k for k in KINDS if k not in DRAWN))
"""Kinds seen once at a place, which have no light curve, and those that show from space alone (`space_curves`)."""
WEIGHT: dict[str, float] = {
    "Ia": 2.0, "Ia-91T": 0.6, "Ia-91bg": 0.5, "Iax": 0.4, "Ia-CSM": 0.3, "Ia-03fg": 0.4,
    "IIP": 2.2, "IIL": 1.5, "II-87A": 0.5,
    "IIn": 2.0, "Ib": 0.9, "Ic": 0.9, "Ic-BL": 0.7, "IIb": 0.9, "Ibn": 0.5, "CaRT": 0.5,
    "SLSN-I": 2.6, "SLSN-II": 1.3, "PISN": 0.3,
    "TDE": 2.4, "TDE-slow": 0.7, "TDE-fast": 0.7, "ANT": 0.4,
    "dipole": 0.2, "bright-star": 0.2,
}  # fmt: skip
"""Of the kinds in a training set; the others 1. The great classes of supernovae and the disruptions weigh the same together, so that what
the network says without an example prefers none of them."""
TRIES = 24
GRID_BANDS: F64 = np.array([3600.0, 4750.0, 6200.0, 7600.0, 9000.0])
GRID_DAYS: F64 = np.array([-30.0, -20.0, -10.0, 0.0, 10.0, 20.0, 30.0, 50.0, 80.0, 120.0])
TARGETS = len(GRID_BANDS) * len(GRID_DAYS) + 2
"""Numbers of the clean curve: magnitudes below the r-band peak on the grid, then 3 ln(1 + z) and the time of the peak."""


class Seen(NamedTuple):
    """One source as it was observed; arrays (p,) in time order."""

    time: F64  # [d] on the source's clock
    wavelength: F64  # [Å]
    flux: F64  # difference flux, the brightest near 1
    flux_err: F64
    detected: Bools
    reference: float  # total flux between the events, in the same units; NaN where it plays no part


def kinds() -> tuple[str, ...]:
    """Kinds that have light curves, in the order of `KINDS`."""
    return tuple(k for k in KINDS if k not in UNSEEN)


def make(
    n: int, seed: int, *, population: PopulationName = "train", processes: int = 2, weights: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Simulate n labelled light curves; the same arguments give the same curves in any number of processes.

    Parameters
    ----------
    weights : by kind; default `WEIGHT`, and 1 for the others

    Returns
    -------
    dict of columns: ``time`` [d before the last point], ``wavelength`` [Å], ``flux``, ``flux_err`` (scaled so that the peak is near 1),
    ``detected``, ``valid``, all (n, T); ``first_detection`` [d], ``reference`` (flux units, NaN: none), ``label`` (index into KINDS),
    ``target`` (n, TARGETS), all (n, …), and ``number`` (n,) detections.
    """
    weights = weights or {k: WEIGHT.get(k, 1.0) for k in kinds()}
    names, share = list(weights), np.array(list(weights.values()))
    chosen = generator(population, seed, n, 8).choice(len(names), size=n, p=share / share.sum())
    step = 500
    jobs = [(seed, range(k, min(k + step, n)), [names[i] for i in chosen[k : k + step]], population) for k in range(0, n, step)]
    if processes == 1 or len(jobs) == 1:
        chunks = [_chunk(*job) for job in jobs]
    else:
        with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
            chunks = list(pool.map(_chunk, *zip(*jobs, strict=True)))
    return {name: np.concatenate([c[name] for c in chunks]) for name in chunks[0]}


def stream(wanted: Sequence[str], each: int, *, seed: int, population: PopulationName = "train") -> Iterator[tuple[str, Seen]]:
    """`each` curves of every kind, one by one."""
    for kind in wanted:
        for number in range(each):
            seen = one(kind, seed, index=list(KINDS).index(kind) * 1_000_003 + number, population=population)
            if seen is not None:
                yield kind, seen[0]


def one(kind: str, seed: int, *, index: int, population: PopulationName = "train") -> tuple[Seen, Source | None] | None:
    """Curve `index` of a seed; None if not enough of it was observed. The source is None for a star of `photometry`."""
    rng = generator(population, seed, index, 9)
    for _ in range(TRIES):
        if kind in STARS and rng.random() < 0.75:
            columns = star_curve(kind, rng, population=population)
            seen: Seen | None = _star(columns, rng)
            source = None
        else:
            source = draw_kind(kind, rng, population=population, deeper=depth(rng))
            seen = look(source, rng)
        if seen is not None:
            return seen, source
    return None


def depth(rng: np.random.Generator) -> float:
    """How much fainter than ZTF's the sources of a campaign are [mag].

    Most light curves that exist are of the nearby universe, as small telescopes see it; three in ten are of surveys that went deeper,
    up to Rubin's depth.
    """
    return float(rng.uniform(-1.5, 0.7) if rng.random() < 0.7 else rng.uniform(0.7, 3.5))


def look(source: Source, rng: np.random.Generator) -> Seen | None:
    """Look at a source in some way; None if fewer than three detections come of it."""
    visits = _visits(source, rng)
    if visits is None:
        return None
    time, wavelength = visits
    dust = float(rng.exponential(0.4 if source.star is not None else 0.08))
    flux = np.nan_to_num(source.flux(time, wavelength) * dimming(wavelength, dust))
    reference = np.nan
    if source.persistent and source.star is not None:
        flux, reference = _lasting(source, time, wavelength=wavelength, flux=flux, rng=rng)
    peak = float(np.abs(flux).max())
    if not peak > 0:
        return None
    flux, reference = flux / peak, reference / peak
    return _measure(time, wavelength, flux=flux, reference=reference, rng=rng, signed=source.persistent)


def target(source: Source) -> F64:
    """(TARGETS,) the clean curve behind the measurements; NaN for what lasts."""
    if source.persistent or source.single or not np.isfinite(source.peak_time):
        return np.full(TARGETS, np.nan)
    days, bands = (x.ravel() for x in np.meshgrid(GRID_DAYS, GRID_BANDS))
    light = np.nan_to_num(source.flux(source.peak_time + days, bands))
    brightest = float(np.nan_to_num(source.flux(np.array([source.peak_time]), np.array([6200.0])))[0])
    if not brightest > 0:
        return np.full(TARGETS, np.nan)
    faint = np.clip(2.5 * np.log10(np.maximum(light / brightest, 1e-6)), -3.0, 3.0)
    z = source.redshift if np.isfinite(source.redshift) else 0.0
    return np.concatenate([faint, [3 * np.log1p(min(z, 3.0)), 0.0]])


def _visits(source: Source, rng: np.random.Generator) -> tuple[F64, F64] | None:
    """When it was observed, and through which filter."""
    bands = _bands(rng)
    fast = source.kind in FAST
    duration = float(np.exp(rng.uniform(np.log(2.0), np.log(60.0)) if fast else rng.uniform(np.log(25.0), np.log(500.0))))
    if source.kind in SHORTEST:
        duration = float(rng.uniform(0.1, 2.0))
    step = duration / np.exp(rng.uniform(np.log(8.0), np.log(60.0))) if fast else np.exp(rng.uniform(np.log(0.8), np.log(9.0)))
    step = float(step if fast else step * (duration / 120) ** 0.5)
    origin = source.active[0]
    if source.persistent:
        begin = origin + float(rng.uniform(0.0, max(source.active[1] - origin - 0.3 * duration, 1.0)))
        begin -= 0.5 * duration
    elif rng.random() < 0.4:  # the campaign began late
        begin = origin + float(rng.uniform(0.0, 0.3)) * duration
    else:
        begin = origin - float(rng.uniform(0.0, 0.4)) * duration
    if not source.persistent and np.isfinite(source.peak_time) and source.peak_time - origin > 60:
        begin += float(rng.uniform(0.0, 0.6)) * (source.peak_time - origin)
    together = rng.random() < 0.5
    size = int(min(400, duration / step * 1.3 + 2))
    nights = begin + np.cumsum(rng.exponential(step, size) * rng.uniform(0.3, 1.0) + 0.3 * step)
    times, waves = [], []
    for wavelength in bands:
        if together:
            seen = rng.random(len(nights)) < rng.uniform(0.35, 1.0)
            t = nights[seen] + rng.uniform(0.0, 0.02, int(seen.sum()))
        else:
            own = step * float(np.exp(0.4 * rng.standard_normal()))
            t = begin + np.cumsum(0.6 * rng.exponential(own, int(min(300, duration / own * 1.3 + 2))) + 0.4 * own)
        if rng.random() < 0.15:  # this filter for a while only
            low, high = np.sort(rng.uniform(begin, begin + duration, 2))
            t = t[(t > low) & (t < high)]
        t = t[t < begin + duration]
        times.append(t)
        waves.append(np.full(len(t), wavelength))
    time, wave = np.concatenate(times), np.concatenate(waves)
    if duration > 120 and rng.random() < 0.3:  # the sun stood in between
        low = float(rng.uniform(begin, begin + duration))
        away = (time > low) & (time < low + rng.uniform(60, 150))
        time, wave = time[~away], wave[~away]
    if len(time) < 4:
        return None
    order = np.argsort(time, kind="stable")
    return time[order], wave[order]


def _bands(rng: np.random.Generator) -> list[float]:
    share = np.array([w for _, _, w in INSTRUMENTS])
    pick = rng.choice(len(INSTRUMENTS), size=2, p=share / share.sum())
    names = INSTRUMENTS[pick[0]][1]
    if rng.random() < 0.25:
        names += "".join(b for b in INSTRUMENTS[pick[1]][1] if b not in names)
    return [BANDS[b] for b in names]


def _lasting(source: Source, time: F64, *, wavelength: F64, flux: F64, rng: np.random.Generator) -> tuple[F64, float]:
    """A lasting source as an archive has it: total fluxes whose median was taken off, or the survey's own difference; its level beside."""
    assert source.star is not None
    bands, counts = np.unique(wavelength, return_counts=True)
    main = bands[np.argmax(counts)]
    level = float(source.star.reference(np.array([main]))[0])
    if rng.random() < 0.6:
        flux = flux.copy()
        for band in bands:
            own = wavelength == band
            middle = float(np.median(flux[own]))
            if band == main:
                level += middle
            flux[own] -= middle
    return flux, (level if level > 0 and rng.random() < 0.7 else np.nan)


def _measure(time: F64, wavelength: F64, *, flux: F64, reference: float, rng: np.random.Generator, signed: bool) -> Seen | None:
    """Noise, zero points, outliers; what is detected and what of the rest is kept."""
    n = len(time)
    quality = float(np.exp(rng.uniform(np.log(6.0), np.log(120.0))))
    bands, which = np.unique(wavelength, return_inverse=True)
    depth, zero_point = np.exp(rng.normal(0, 0.45, len(bands))), np.exp(rng.normal(0, 0.05, len(bands)))
    error = np.sqrt((depth[which] / quality * rng.lognormal(0, 0.25, n)) ** 2 + (rng.uniform(0.01, 0.06) * flux) ** 2)
    observed = flux * zero_point[which] + error * rng.standard_normal(n)
    odd = rng.random(n) < 0.004
    observed = np.where(odd, observed * rng.uniform(0.3, 2.5, n), observed)
    error = error * float(np.exp(0.2 * rng.standard_normal()))
    ratio = np.abs(observed) / error if signed else observed / error
    detected = ratio > rng.uniform(3.0, 5.0)
    if detected.sum() < 3:
        return None
    first = int(np.argmax(detected))
    keep, how = detected.copy(), float(rng.random())
    if how < 0.35:
        keep |= ~detected & (rng.random(n) < rng.random()) & (time > time[first] - 40)
    elif how < 0.5:
        keep |= ~detected & (time < time[first]) & (time > time[first] - 25)
    if rng.random() < 0.35:  # not over yet
        third = time[np.flatnonzero(detected)[2]]
        if third < time[-1]:
            keep &= time <= rng.uniform(third, time[-1])
    rows = np.flatnonzero(keep)
    if len(rows) > POINTS:
        rows = np.sort(rng.choice(rows, POINTS, replace=False))
    if detected[rows].sum() < 3:
        return None
    rows = rows[: int(np.flatnonzero(detected[rows])[-1]) + 1]  # an alert is a detection
    return Seen(time[rows], wavelength[rows], observed[rows], error[rows], detected[rows], reference)


def _star(columns: Mapping[str, F64], rng: np.random.Generator) -> Seen | None:
    """A star's total fluxes → differences to their median, band by band, as a table of them is read."""
    time, wavelength, flux, error = (np.asarray(columns[name], dtype=np.float64) for name in ("time", "wavelength", "flux", "flux_err"))
    if len(time) < 10:
        return None
    if len(time) > STAR_POINTS:
        rows = np.sort(rng.choice(len(time), STAR_POINTS, replace=False))
        time, wavelength, flux, error = time[rows], wavelength[rows], flux[rows], error[rows]
    bands, counts = np.unique(wavelength, return_counts=True)
    medians = {float(b): float(np.median(flux[wavelength == b])) for b in bands}
    level = medians[float(bands[np.argmax(counts)])]
    difference = flux - np.array([medians[float(w)] for w in wavelength])
    peak = float(np.abs(difference).max()) or 1.0
    detected = np.abs(difference) > rng.uniform(3.0, 5.0) * error  # of its changes: the star itself is always there
    return Seen(time, wavelength, difference / peak, error / peak, detected, level / peak)


def _chunk(seed: int, indices: Sequence[int], names: Sequence[str], population: PopulationName) -> dict[str, Any]:
    n, order = len(indices), {k: i for i, k in enumerate(KINDS)}
    shape = (n, STAR_POINTS)
    out: dict[str, Any] = {
        **{name: np.full(shape, np.nan, np.float32) for name in ("time", "wavelength", "flux", "flux_err")},
        **{name: np.zeros(shape, bool) for name in ("detected", "valid")},
        "first_detection": np.zeros(n, np.float32),
        "reference": np.full(n, np.nan, np.float32),
        "label": np.zeros(n, np.int64),
        "number": np.zeros(n, np.int64),
        "target": np.full((n, TARGETS), np.nan, np.float32),
    }
    with np.errstate(all="ignore"):
        for row, (index, kind) in enumerate(zip(indices, names, strict=True)):
            found = one(kind, seed, index=index, population=population)
            if found is None:
                raise RuntimeError(f"no {kind} was detected in {TRIES} tries")
            seen, source = found
            k, last = len(seen.time), seen.time[-1]
            out["time"][row, :k] = seen.time - last
            for name in ("wavelength", "flux", "flux_err", "detected"):
                out[name][row, :k] = getattr(seen, name)
            out["valid"][row, :k] = True
            out["first_detection"][row] = seen.time[np.argmax(seen.detected)] - last
            out["reference"][row], out["label"][row], out["number"][row] = seen.reference, order[kind], seen.detected.sum()
            if source is not None:
                out["target"][row] = target(source)
                out["target"][row, -1] = np.clip((source.peak_time - last) / 100, -5, 5)
    return out
