"""Simulated sources looked at exactly as objects of a task were: their times, bands and relative errors, never their labels.

a task's curves → `Patterns`; a source, `Patterns` → columns of a curve

Which bands and how many points an object has says more about who followed it up than about what it is (and about its class, where each
class comes from another survey). A prototype made of simulations under the task's own patterns cannot learn that: every class is seen
through the same ones. Only what the light itself decides is left: a faint end is not detected, so a brief event has fewer points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.simulate.sky import dimming
from data.simulate.source import Source
from data.tables import SEEN, Curves
from operators.types import F64

CANDIDATES = 6
"""Patterns tried for an event, of all lengths alike; one is taken by how well its length goes with how long the event is seen: who follows
an event does so while it lasts, and most of a task's patterns may be of brief ones."""
LENGTHS = 12
"""Bins of length [ln d] that are made equally common among the patterns tried."""
LATE = 0.25
"""Share of events that were found late, up to a third of their visible time after they could have been."""
OUTLIERS = 0.004
"""Share of points that are wrong by more than their error says."""
TRIES = 6
ERROR_FLOOR = 0.01
"""Of the simulation itself: no template is better than this share of the flux."""
GRID = 160


@dataclass(frozen=True, slots=True)
class Pattern:
    """One object's observing; arrays (p,) in time order."""

    time: F64  # [d] since its first point
    wavelength: F64  # [Å]
    error: F64  # share of the brightest flux (of the median for a lasting source); NaN at a limit
    limit: F64  # the same unit; NaN at a measurement


@dataclass(frozen=True, slots=True)
class Patterns:
    """The patterns of a task and what holds for all of them."""

    every: tuple[Pattern, ...]
    least: int  # points of the poorest curve
    faintest: float  # S/N of the faintest points; -∞: not cut
    days: float  # longest span [d]
    level: float  # typical brightest flux, or median of a lasting source [µJy]
    persistent: bool
    chance: F64  # of each pattern to be tried, all lengths alike; sums to 1

    @classmethod
    def of(cls, task: Curves, persistent: bool) -> Patterns:
        """Read them off a task; an object without a measurement has none."""
        every, level, number, span, worst = [], [], [], [], []
        for i in range(len(task)):
            part = slice(task.start[i], task.start[i + 1])
            flux, error, limit = (getattr(task, name)[part].astype(np.float64) for name in ("flux", "flux_err", "limit"))
            good = np.isfinite(flux) & (error > 0)
            scale = float(np.median(flux[good]) if persistent else flux[good].max()) if good.any() else 0.0
            if scale <= 0:
                continue
            time = task.time[part]
            every.append(Pattern(time - time[0], task.wavelength[part].astype(np.float64), error / scale, limit / scale))
            level.append(scale)
            number.append(int(good.sum()))
            span.append(float(np.ptp(time)))
            worst.append(float((flux[good] / error[good]).min()))
        cut = bool(worst) and float(np.percentile(worst, 1)) >= SEEN - 0.01
        return cls(
            every=tuple(every),
            least=min(number, default=1),
            faintest=SEEN if cut else -np.inf,
            days=float(np.percentile(span, 99.5)) if span else 0.0,
            level=float(np.median(level)) if level else 1.0,
            persistent=persistent,
            chance=_evenly(np.array([p.time[-1] for p in every])),
        )


def _evenly(span: F64) -> F64:
    """(p,) chances that make every length as common as another."""
    if not len(span):
        return span
    length = np.log(np.maximum(span, 1.0))
    edges = np.linspace(length.min(), length.max() + 1e-9, LENGTHS + 1)
    number = np.histogram(length, edges)[0]
    chance = 1 / number[np.clip(np.searchsorted(edges, length, side="right") - 1, 0, LENGTHS - 1)]
    return np.asarray(chance / chance.sum())


def look(source: Source, patterns: Patterns, *, rng: np.random.Generator, at: int | None = None) -> dict[str, F64] | None:
    """Observe a source as one of the task's objects was.

    Parameters
    ----------
    at : int, optional
        This pattern; by default one is drawn, and again a few times where it shows too little.

    Returns
    -------
    dict or None
        time, wavelength, flux, flux_err, limit; None if no pattern leaves `least` points.
    """
    if source.single or not patterns.every:
        return None
    for _ in range(TRIES):
        found = _lasting(source, patterns, rng=rng, at=at) if source.persistent else _event(source, patterns, rng=rng, at=at)
        if found is not None:
            return found
    return None


def _lasting(source: Source, patterns: Patterns, *, rng: np.random.Generator, at: int | None) -> dict[str, F64] | None:
    p = patterns.every[int(rng.integers(len(patterns.every))) if at is None else at]
    low, high = source.active
    clock = p.time + rng.uniform(low, max(high - p.time[-1], low + 1.0))
    light = np.asarray(source.flux(clock, p.wavelength), dtype=np.float64)
    if patterns.persistent:  # a table of what the telescope saw
        if source.star is None:
            return None
        light = light + source.star.reference(p.wavelength)
        return _measured(p, light, scale=float(np.median(light)), patterns=patterns, rng=rng, signed=True)
    return _measured(p, light, scale=float(np.abs(light).max()), patterns=patterns, rng=rng, signed=True)


def _event(source: Source, patterns: Patterns, *, rng: np.random.Generator, at: int | None) -> dict[str, F64] | None:
    """A transient: its first point soon after it could be seen, through a pattern about as long as it is seen."""
    low, high = source.active
    brief = high - low < 20
    clock = np.concatenate([np.linspace(low, low + 0.15 * (high - low), GRID // 3), np.linspace(low + 0.15 * (high - low), high, GRID)])
    number = CANDIDATES if at is None else 1
    chosen = rng.choice(len(patterns.every), size=number, p=patterns.chance) if at is None else np.array([at])
    best, most = None, 0.0
    seen: dict[float, tuple[float, float]] = {}
    for index in chosen:
        p = patterns.every[int(index)]
        wavelength = float(p.wavelength[len(p.wavelength) // 2])
        threshold = max(5 * float(np.nanmedian(p.error)), 0.02) if np.isfinite(p.error).any() else 0.2
        if wavelength not in seen:
            light = np.nan_to_num(source.flux(clock, np.full_like(clock, wavelength)))
            above = np.flatnonzero(light >= threshold * max(float(light.max()), 1e-300))
            if light.max() <= 0 or not len(above):
                return None
            seen[wavelength] = (float(clock[above[0]]), float(clock[above[-1]]))
        first, last = seen[wavelength]
        visible = max(min(last - first, patterns.days), 0.05 * patterns.days if not brief else last - first)
        span = float(p.time[-1]) or 1.0
        fits = min(span, visible) / max(span, visible)
        weight = rng.random() ** (1 / max(fits, 1e-3) ** 2)  # Efraimidis & Spirakis 2006: one of them, by weight
        if best is None or weight > most:
            best, most = (p, first, last), weight
    assert best is not None
    p, first, last = best
    if rng.random() < LATE:
        delay = rng.uniform(0.0, 0.35) * (last - first)
    else:
        delay = rng.exponential(min(1.0 + 0.05 * (last - first), 5.0))
    when = first + delay + p.time - p.time[_first_measured(p)]
    light = np.where((when >= low) & (when <= high), np.nan_to_num(source.flux(when, p.wavelength)), 0.0)
    return _measured(p, light, scale=float(light.max()), patterns=patterns, rng=rng, signed=False)


def _first_measured(p: Pattern) -> int:
    measured = np.flatnonzero(np.isfinite(p.error))
    return int(measured[0]) if len(measured) else 0


def _measured(p: Pattern, light: F64, *, scale: float, patterns: Patterns, rng: np.random.Generator, signed: bool) -> dict[str, F64] | None:
    if not scale > 0:
        return None
    dust = dimming(p.wavelength, float(min(rng.exponential(0.1), 1.0)))
    true = light * dust
    level = float(np.median(true) if patterns.persistent else np.abs(true).max())
    if not level > 0:
        return None
    true = true / level
    n = len(true)
    limited = ~np.isfinite(p.error)
    error = np.where(limited, p.limit / 5, p.error)
    # Bands are calibrated to a few hundredths, and a template is not better.
    bands, which = np.unique(p.wavelength, return_inverse=True)
    true = true * np.exp(rng.normal(0, 0.03, len(bands)))[which]
    flux = true + np.hypot(error, ERROR_FLOOR * np.abs(true)) * rng.standard_normal(n)
    odd = rng.random(n) < OUTLIERS
    flux = np.where(odd, flux * rng.uniform(0.3, 2.0, n), flux)
    detected = (np.abs(flux) if signed else flux) >= (5.0 if limited.any() else SEEN) * error
    limit = np.where(limited & ~detected, p.limit, np.nan)
    below = (np.abs(flux) if signed and not patterns.persistent else flux) < patterns.faintest * error
    keep = np.isfinite(limit) | ~below
    shown = np.isfinite(limit)
    if int((keep & ~shown).sum()) < patterns.least:
        return None
    columns = {
        "time": p.time, "wavelength": p.wavelength, "flux": np.where(shown, np.nan, flux * patterns.level),
        "flux_err": np.where(shown, np.nan, error * patterns.level), "limit": limit * patterns.level,
    }  # fmt: skip
    out = {name: values[keep] for name, values in columns.items()}
    return out | {"time": out["time"] - out["time"][0]}


def thin(columns: dict[str, npt.NDArray[np.float64]], patterns: Patterns, *, rng: np.random.Generator) -> dict[str, F64] | None:
    """Observed curve of a lasting source with as many points, as good, as one of the task's objects has; its own times and band.

    Parameters
    ----------
    columns : dict
        time, wavelength, flux (total), flux_err.
    """
    p = patterns.every[int(rng.integers(len(patterns.every)))]
    n = len(columns["time"])
    rows = np.sort(rng.choice(n, min(n, len(p.time)), replace=False))
    time, wavelength, flux, error = (
        np.asarray(columns[name], dtype=np.float64)[rows] for name in ("time", "wavelength", "flux", "flux_err")
    )
    middle = float(np.median(flux))
    if len(rows) < patterns.least or middle <= 0:
        return None
    flux, error = flux / middle, error / middle
    extra = np.sqrt(max(float(np.nanmedian(p.error)) ** 2 - float(np.median(error)) ** 2, 0.0))
    flux, error = flux + extra * rng.standard_normal(len(flux)), np.hypot(error, extra)
    scale = patterns.level
    return {
        "time": time - time[0], "wavelength": wavelength, "flux": flux * scale, "flux_err": error * scale,
        "limit": np.full(len(flux), np.nan),
    }  # fmt: skip
