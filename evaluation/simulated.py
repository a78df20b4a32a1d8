"""Simulated curves that look like a task: what the head, its calibration and the control may know of classes without a label.

a task's curves (never their labels), kinds, a seed → simulated `Curves` with labels

Two ways. ``pattern``: each source is looked at exactly as some object of the task was (`pattern.py`). ``cut``: an observed curve is cut by
the task's rules: how many points, how far apart, how long, how good, one band or two. Either is the same for every simulated class, so no
class can be distinguished by its bookkeeping alone better than the task's own cut lets it.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from data.simulate.draw import PopulationName
from data.tables import GAP, SEEN, SEEN_RANGE, Curves, from_arrays
from evaluation import drawn, pattern
from evaluation.kinds import share
from evaluation.pattern import Patterns
from operators.types import F64

I64 = npt.NDArray[np.int64]
Mode = Literal["pattern", "cut"]
MODES: tuple[Mode, ...] = ("pattern", "cut")

ARCHIVE = 0.75
"""Share of a star's curves that come from the simulator of archives, where it has the kind."""
DEEPER = (-1.0, 2.0)
"""Sources are drawn for surveys that see so much fainter than ZTF [mag]."""
TRIES = 20
"""Sources tried for one that the task's way of looking leaves enough of."""
CHUNK = 400


@dataclass(frozen=True, slots=True)
class Cut:
    """How a task was cut, as its curves show it."""

    least: int  # points of the poorest curve
    most: int  # points of the richest
    days: float  # longest span [d]
    spacing: float  # least distance of two points of one band [d]
    best: float  # median S/N of the best curve
    worst: float  # of the poorest
    faintest: float  # S/N of the faintest points; -∞: not cut
    one_band: float  # share of curves in a single band
    peak: float  # typical brightest flux [µJy]

    @classmethod
    def of(cls, task: Curves) -> Cut:
        """Read the rules off a task; percentiles, so that one odd curve makes no rule."""
        number, span, spacing, quality, bands, peak = [], [], [], [], [], []
        for i in range(len(task)):
            part = slice(task.start[i], task.start[i + 1])
            good = np.isfinite(task.flux[part])
            time, flux, error = task.time[part][good], task.flux[part][good], task.flux_err[part][good]
            if not len(time):
                continue
            wavelength = task.wavelength[part][good]
            kinds = np.unique(wavelength)
            steps = [np.diff(time[wavelength == w]) for w in kinds]
            number.append(len(time))
            span.append(np.ptp(time))
            spacing.append(min((float(s.min()) for s in steps if len(s)), default=np.inf))
            quality.append(float(np.median(flux / error)))
            bands.append(len(kinds))
            peak.append(float(flux.max()))
        good = np.isfinite(task.flux)
        faintest = float((task.flux[good] / task.flux_err[good]).min())
        finite = np.array(spacing)[np.isfinite(spacing)]
        return cls(
            least=min(number),
            most=int(np.percentile(number, 99.5)),
            days=float(np.percentile(span, 99.5)),
            spacing=float(np.percentile(finite, 2)) if len(finite) else 0.0,
            best=float(np.percentile(quality, 98)),
            worst=float(np.percentile(quality, 2)),
            faintest=SEEN if faintest >= SEEN - 0.01 else -np.inf,
            one_band=float(np.mean(np.array(bands) == 1)),
            peak=float(np.median(peak)),
        )


@dataclass(frozen=True, slots=True)
class Looks:
    """How a task was looked at: all that a simulation may know of it."""

    patterns: Patterns
    cut: Cut
    persistent: bool
    """Total fluxes of lasting sources: a median was, or will be, taken off."""

    @classmethod
    def of(cls, task: Curves, persistent: bool) -> Looks:
        """The observing patterns and cut of a task's curves."""
        return cls(Patterns.of(task, persistent), Cut.of(task), persistent)


def simulate(
    groups: Sequence[Sequence[str]],
    each: int,
    *,
    looks: Looks,
    seed: int,
    population: PopulationName,
    mode: Mode = "pattern",
    processes: int = 1,
    curves: drawn.Curves = drawn.streamed,
) -> tuple[Curves, I64]:
    """Simulate `each` curves of every group of kinds, as the task was looked at.

    Parameters
    ----------
    groups : sequence of sequences of kinds
        A class's kinds; each comes up as often as it is common.
    processes : int
        The curves are the same in any number of them.
    curves : callable
        Whose curves are cut; plays no part in ``pattern``.

    Returns
    -------
    (Curves, (n,) int)
        Label k means ``groups[k]``. A group that such looks leave nothing of has fewer curves, or none.
    """
    jobs: list[tuple[Any, ...]] = []
    for k, kinds in enumerate(groups):
        weight = share(kinds) if kinds else np.zeros(0)
        number = np.diff(np.round(np.concatenate([[0.0], np.cumsum(weight)]) * each)).astype(int)
        for kind, n in zip(kinds, number.tolist(), strict=True):
            if mode == "pattern":
                jobs += [(kind, range(i, min(i + CHUNK, n)), looks, seed, population, k) for i in range(0, n, CHUNK)]
            elif n:
                jobs.append((kind, n, looks, seed, population, k, curves))
    work = _patterned if mode == "pattern" else _cut
    if processes == 1 or len(jobs) <= 1:
        done = [work(*job) for job in jobs]
    else:
        with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
            done = list(pool.map(work, *zip(*jobs, strict=True)))
    names, parts, labels = [], [], []
    for job, made in zip(jobs, done, strict=True):
        parts += made
        names += [f"{job[0]}-{job[1].start if mode == 'pattern' else 0}-{i}" for i in range(len(made))]
        labels += [job[5]] * len(made)
    return from_arrays(names, parts), np.array(labels, dtype=np.int64)


def _patterned(
    kind: str, numbers: range, looks: Looks, seed: int, population: PopulationName, _: int = 0
) -> list[dict[str, npt.NDArray[Any]]]:
    """Curves of one kind under the task's patterns."""
    out = []
    for number in numbers:
        rng = drawn.rng_of(kind, number, seed=seed, population=population, purpose=11)
        for _attempt in range(TRIES):
            columns = drawn.star(kind, rng, population=population) if looks.persistent and rng.random() < ARCHIVE else None
            if columns is not None:
                found = pattern.thin(columns, looks.patterns, rng=rng)
            else:
                source = drawn.draw(kind, rng, population=population, deeper=float(rng.uniform(*DEEPER)))
                found = pattern.look(source, looks.patterns, rng=rng)
            if found is not None:
                out.append(found)
                break
        else:
            if number - numbers.start == 7 and not out:
                break  # the patterns leave (nearly) nothing of this kind
    return out


def _cut(
    kind: str, number: int, looks: Looks, seed: int, population: PopulationName, _: int, curves: drawn.Curves
) -> list[dict[str, npt.NDArray[Any]]]:
    """Observed curves of one kind, cut as the task is."""
    out: list[dict[str, npt.NDArray[Any]]] = []
    rng = drawn.rng_of(kind, number, seed=seed, population=population, purpose=12)
    for tried, columns in enumerate(curves(kind, number * TRIES, seed=seed, population=population)):
        found = _one(columns, looks, rng=rng)
        if found is not None:
            out.append(found)
        if len(out) == number or (tried >= 8 * TRIES and not out):
            break
    return out


def _one(columns: dict[str, Any], looks: Looks, *, rng: np.random.Generator) -> dict[str, npt.NDArray[Any]] | None:
    """One curve, cut; None if too little is left."""
    cut, persistent = looks.cut, bool(columns["persistent"])
    time, wavelength, flux, error = (np.asarray(columns[n], dtype=np.float64) for n in ("time", "wavelength", "flux", "flux_err"))
    use = np.asarray(columns["detected"], dtype=bool) & np.isfinite(flux) & (error > 0)
    use &= (wavelength >= SEEN_RANGE[0]) & (wavelength <= SEEN_RANGE[1])
    if use.sum() < cut.least:
        return None
    time, wavelength, flux, error = time[use], wavelength[use], flux[use], error[use]
    bands, counts = np.unique(wavelength, return_counts=True)
    held = bands[np.argsort(-counts)][: 1 if rng.random() < cut.one_band else 2]
    keep = np.isin(wavelength, held)
    keep &= _spaced(time, wavelength, among=keep, spacing=cut.spacing)
    time, wavelength, flux, error = time[keep], wavelength[keep], flux[keep], error[keep]
    if len(time) < cut.least:
        return None
    if persistent and not looks.persistent:  # an alert's difference
        for band in held:
            flux[wavelength == band] -= np.median(flux[wavelength == band])
    first = 0
    if not persistent:
        peak = int(np.argmax(flux))
        apart = np.flatnonzero(np.diff(time[: peak + 1]) > GAP)
        first = int(apart[-1]) + 1 if len(apart) else 0
    inside = (np.arange(len(time)) >= first) & (time <= time[first] + cut.days)
    rows = np.flatnonzero(inside)
    if len(rows) > cut.most:
        rows = np.sort(rng.choice(rows, cut.most, replace=False))
    time, wavelength, flux, error = time[rows], wavelength[rows], flux[rows], error[rows]
    extra = _noise(flux, error, best=cut.best) if not persistent else 0.0
    flux, error = flux + extra * rng.standard_normal(len(flux)), np.hypot(error, extra)
    good = (np.abs(flux) if persistent else flux) >= cut.faintest * error
    time, wavelength, flux, error = time[good], wavelength[good], flux[good], error[good]
    if len(time) < cut.least or (not persistent and np.median(flux / error) < cut.worst):
        return None
    level = float(np.median(flux)) if looks.persistent else float(np.abs(flux).max())
    if level <= 0:
        return None
    factor = (looks.patterns.level if looks.persistent else cut.peak) / level
    missing = np.full(len(time), np.nan)
    return {"time": time - time[0], "wavelength": wavelength, "flux": flux * factor, "flux_err": error * factor, "limit": missing}


def _spaced(time: F64, wavelength: F64, *, among: npt.NDArray[np.bool_], spacing: float) -> npt.NDArray[np.bool_]:
    """Points at least so many days after the one kept before in their band."""
    keep = np.zeros(len(time), dtype=bool)
    for band in np.unique(wavelength[among]):
        last = -np.inf
        for i in np.flatnonzero(among & (wavelength == band)):
            if time[i] - last >= spacing:
                keep[i], last = True, time[i]
    return keep


def _noise(flux: F64, error: F64, *, best: float) -> float:
    """Error to add in quadrature so that the median S/N is at most `best`."""
    if np.median(flux / error) <= best:
        return 0.0
    low, high = 0.0, float(flux.max())
    for _ in range(40):
        middle = 0.5 * (low + high)
        if np.median(flux / np.hypot(error, middle)) > best:
            low = middle
        else:
            high = middle
    return high
