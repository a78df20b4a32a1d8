"""Simulated curves that look like a task: what the head, its calibration and the control may know of classes without a label.

a task's curves (never their labels), slugs, a seed → simulated `Curves` with labels, cut as the task is

The rules of the cut are read off the task: how many points, how far apart, how long, how good, one band or two. They are the same for every
simulated class, so no class can be told by its bookkeeping alone better than the task's own cut lets it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.simulate.classes import SLUGS
from data.simulate.draw import PopulationName
from data.simulate.observe import Observed, observe
from learning.tables import GAP, SEEN, SEEN_RANGE, Curves, from_arrays
from operators.types import F64

I64 = npt.NDArray[np.int64]

NAMES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"sn ia( .*)?", ("sn-ia",)),
    (r"sn iin( .*)?", ("sn-iin",)),
    (r"sn ii( ?[pl])?", ("sn-ii",)),
    (r"sn i(b|c|bc|b/c|bn|c-bl|ib)", ("sn-ibc",)),
    (r"slsn.*", ("slsn",)),
    (r"tde.*", ("tde",)),
    (r"(kn|kilonova.*)", ("kilonova",)),
    (r"(grb |grb-)?(afterglow|grb).*", ("afterglow",)),
    (r"(micro)?lensing.*|ulens.*", ("microlensing",)),
    (r"(m[- ]dwarf )?flare.*", ("m-dwarf-flare",)),
    (r"(agn|qso|quasar|blazar).*", ("agn",)),
    (r"rr ?(lyrae|lyr)? ?a?b?c?", ("rr-lyrae",)),
    (r"(eclipsing|ea|eb|ew|beta lyrae|w ursae).*", ("eclipsing-binary",)),
    (r"(cv|cataclysmic|dwarf nova|nova).*", ("cv",)),
    (r"(lpv|mira|semireg|sr).*", ("lpv",)),
    (r"(yso|t tauri|herbig).*", ("yso",)),
)
"""Names of a table's classes (lower case) → the simulated class. A class of the bundle whose slug is the name itself comes first."""

TRIES = 20
"""Objects tried for one that the survey sees and the cut keeps."""


def slug_of(name: str, classes: Sequence[str]) -> str | None:
    """The bundle's class that a table's name means; None where nobody simulated it."""
    plain = " ".join(name.lower().split())
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if slug in classes:
        return slug
    for pattern, slugs in NAMES:
        if re.fullmatch(pattern, plain):
            return next((s for s in slugs if s in classes), None)
    return None


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


def simulate(slugs: Sequence[str], each: int, cut: Cut, seed: int, population: PopulationName) -> tuple[Curves, I64]:
    """Simulate `each` curves a class, cut as the task is.

    Returns
    -------
    (Curves, (n,) int)
        Label k means ``slugs[k]``. A class that such a cut leaves nothing of has fewer curves, or none.
    """
    names, parts, labels = [], [], []
    for k, slug in enumerate(slugs):
        if slug not in SLUGS:
            continue
        for number in range(each):
            for attempt in range(TRIES):
                index = (SLUGS.index(slug) * 1_000_000 + number) * TRIES + attempt
                rng = np.random.default_rng([seed, index, 11])
                part = _one(seed, index, slug, population, cut, rng)
                if part is not None:
                    names.append(f"{slug}-{number}")
                    parts.append(part)
                    labels.append(k)
                    break
            if number == 7 and k not in labels:
                break  # the cut leaves (nearly) nothing of this class
    return from_arrays(names, parts), np.array(labels, dtype=np.int64)


def _one(seed: int, index: int, slug: str, population: PopulationName, cut: Cut, rng: np.random.Generator) -> dict[str, F64] | None:
    """One object, observed and cut; None if too little is left."""
    o = observe(seed, index, slug, population, "ztf")
    return None if o is None else cut_down(o, cut, rng)


def cut_down(o: Observed, cut: Cut, rng: np.random.Generator) -> dict[str, F64] | None:
    """What a task's cut leaves of an observed object; None if too little."""
    with np.errstate(divide="ignore"):
        ratio = o.flux / o.error
    use = (np.abs(ratio) if o.source.persistent else ratio) >= 5
    use &= (o.visits.wavelength >= SEEN_RANGE[0]) & (o.visits.wavelength <= SEEN_RANGE[1])
    if use.sum() < cut.least:
        return None
    time, wavelength, flux, error = (x[use].astype(np.float64) for x in (o.visits.mjd, o.visits.wavelength, o.flux, o.error))
    bands, counts = np.unique(wavelength, return_counts=True)
    held = bands[np.argsort(-counts)][: 1 if rng.random() < cut.one_band else 2]
    keep = np.isin(wavelength, held)
    keep &= _spaced(time, wavelength, keep, cut.spacing)
    time, wavelength, flux, error = time[keep], wavelength[keep], flux[keep], error[keep]
    if len(time) < cut.least:
        return None
    first = 0
    if not o.source.persistent:
        peak = int(np.argmax(flux))
        apart = np.flatnonzero(np.diff(time[: peak + 1]) > GAP)
        first = int(apart[-1]) + 1 if len(apart) else 0
    inside = (np.arange(len(time)) >= first) & (time <= time[first] + cut.days)
    rows = np.flatnonzero(inside)
    if len(rows) > cut.most:
        rows = np.sort(rng.choice(rows, cut.most, replace=False))
    time, wavelength, flux, error = time[rows], wavelength[rows], flux[rows], error[rows]
    extra = _noise(flux, error, cut.best) if not o.source.persistent else 0.0
    flux, error = flux + extra * rng.standard_normal(len(flux)), np.hypot(error, extra)
    good = np.abs(flux) >= cut.faintest * error if o.source.persistent else flux >= cut.faintest * error
    time, wavelength, flux, error = time[good], wavelength[good], flux[good], error[good]
    if len(time) < cut.least or (not o.source.persistent and np.median(flux / error) < cut.worst):
        return None
    factor = cut.peak / np.abs(flux).max()
    missing = np.full(len(time), np.nan)
    return {"time": time - time[0], "wavelength": wavelength, "flux": flux * factor, "flux_err": error * factor, "limit": missing}


def _spaced(time: F64, wavelength: F64, among: npt.NDArray[np.bool_], spacing: float) -> npt.NDArray[np.bool_]:
    """Points at least so many days after the one kept before in their band."""
    keep = np.zeros(len(time), dtype=bool)
    for band in np.unique(wavelength[among]):
        last = -np.inf
        for i in np.flatnonzero(among & (wavelength == band)):
            if time[i] - last >= spacing:
                keep[i], last = True, time[i]
    return keep


def _noise(flux: F64, error: F64, best: float) -> float:
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
