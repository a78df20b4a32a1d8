"""Injection and recovery: which planets are found in real light curves, at a given rate of false ones.

light curves of stars, known transits taken out → recall by depth and period, thresholds of each star from its nulls

Transits are put into the flux as the mission gave it; detrending and search are those of the stream. Nulls are the same star without
transits: its residuals in blocks that change places, or moved in time against trend and gaps, each second one upside down. Few transits
need more signal-to-noise than many, since two faults of an instrument look like a long period: so each range of numbers of transits has a
threshold of its own (`RANGES`), and an equal part of the allowed false positives. A planet is recovered where the best period is the
injected one and its signal-to-noise reaches the threshold; half and twice the period are counted apart.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from data.connectors.archives import Packet, packets_of
from data.connectors.known_periods import Known, known_periods
from data.connectors.star_curves import StarCurve, star_curve
from data.tables import TableError
from evaluation.measures import wilson
from evaluation.studies.injected_planet import Planet
from operators import dips
from operators.detrend import Detrending, detrend
from operators.kernels.detrend import SIGMA_OF_MAD
from operators.transit_figures import Transit
from operators.transits import Points, Searching, transit
from operators.types import F64
from operators.whole_curves import Curves
from pipeline.score import score
from pipeline.state import ScoringState
from schemas.records.detection import Detection
from schemas.surveys.tess import KEPLER_SECTOR

DEPTHS = (150e-6, 300e-6, 600e-6, 1200e-6, 2500e-6, 5000e-6)
PERIODS = (0.6, 1.3, 2.8, 6.0, 13.0)
"""[d] edges of the bins; periods are drawn evenly in their logarithm."""
SAME = 0.005
"""Of a period: as near counts as the same."""
_ANY = 1 << 30
RANGES = ((1, 2), (3, 3), (4, 6), (7, _ANY))
"""Numbers of transits that have a threshold each."""
FALSE_POSITIVES = 0.01
LONG = 60.0
"""[d]"""
BARS = {600e-6: 0.6, 1200e-6: 0.95}
"""Least recall by depth, of the TESS star."""
_BLOCKS = (0.5, 1.0, 2.0)
"""[d] lengths of the blocks that change places in a null."""
_IMPACTS = (0.0, 0.85)
_DENSITIES = (0.4, 2.0)
_ROTATES = 2.0
"""Scatter about the trend in that of neighbouring points: above it a star still varies."""
_FLARE = 4.0
"""[σ] above which a point is a flare's."""
_MARGIN = 1.5
"""Durations of a known transit that are taken out."""

Classes = Callable[[Sequence[bytes]], list[str]]
"""Packets → the class that is decided of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a star is searched."""

    name: str
    detrending: Detrending
    searching: Searching
    passes: int = 1
    """Times that the detrending is done, the next on what the former left."""


STREAM = Way(name="stream", detrending=dips.DETRENDING, searching=dips.SEARCHING)
"""What every light curve gets."""
ROTATOR = Way(name="rotator", detrending=Detrending(window=0.3), searching=Searching(longest=14.0), passes=2)
"""For a star that turns within a day or two: a window of 0.75 d leaves half of its spots' light. One of 0.3 d leaves a tenth, twice a
hundredth."""


@dataclass(frozen=True, slots=True)
class Case:
    """A star, and the way it is searched."""

    star: StarCurve
    way: Way
    barred: bool = False
    """The bars are of this one."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Least signal-to-noise by number of transits."""

    values: tuple[float, ...]
    """One a range of `RANGES`."""

    def reached(self, found: Transit | None) -> bool:
        """Whether it counts as a detection."""
        return found is not None and found.signal_to_noise >= self.values[_range(found.transits)]


def _range(transits: int) -> int:
    return next(k for k, (_, last) in enumerate(RANGES) if transits <= last)


def thresholds(found: Sequence[Transit | None], *, rate: float = FALSE_POSITIVES) -> Thresholds:
    """Thresholds that at most a share `rate` of nulls reach, an equal part of them in each range.

    A range with fewer nulls than its part has the threshold of all together.
    """
    part = int(rate * len(found) / len(RANGES))
    together = sorted((t.signal_to_noise for t in found if t is not None), reverse=True)
    whole = _above(together, 4 * part)
    values = []
    for k in range(len(RANGES)):
        own = sorted((t.signal_to_noise for t in found if t is not None and _range(t.transits) == k), reverse=True)
        values.append(_above(own, part) if len(own) > part else whole)
    return Thresholds(tuple(values))


def _above(descending: Sequence[float], count: int) -> float:
    """The least threshold that `count` of some numbers reach at most."""
    return float(np.nextafter(descending[count], np.inf)) if len(descending) > count else 0.0


def way_of(star: StarCurve) -> Way:
    """How a star is searched beside the stream's way: one that still varies where the stream has detrended it is a rotator."""
    points = left_of(star, star.curve.flux, way=STREAM)[1]
    steps = SIGMA_OF_MAD * float(np.median(np.abs(np.diff(points.r)))) / np.sqrt(2) if points.usable else 0.0
    return ROTATOR if points.noise > _ROTATES * steps else STREAM


def left_of(star: StarCurve, flux: F64, *, way: Way) -> tuple[F64, Points]:
    """What is left of a flux (N,), relative, NaN where nothing is; and the points that are searched."""
    curve = star.curve._replace(flux=flux)
    for _ in range(way.passes):
        left = detrend(Curves.of([curve]), how=way.detrending)
        curve = curve._replace(flux=1 + left.flux, flux_err=left.flux_err)
    return left.flux, Points(curve.time, left, half_windows=way.searching.half_windows)


def search(star: StarCurve, flux: F64, *, way: Way) -> Transit | None:
    """The best period of a flux (N,)."""
    points = left_of(star, flux, way=way)[1]
    return transit(points, how=way.searching) if points.usable else None


def without_known(star: StarCurve, known: Sequence[Known]) -> StarCurve:
    """The star without the points of its known transits."""
    inside = np.zeros(len(star.curve.time), np.bool_)
    for planet in known:
        if planet.epoch is not None and planet.duration is not None:
            off = np.abs((star.curve.time - planet.epoch + planet.period / 2) % planet.period - planet.period / 2)
            inside |= off < _MARGIN / 2 * planet.duration
    return star.without(inside)


def nulls(star: StarCurve, left: F64, *, count: int, rng: np.random.Generator) -> Iterator[F64]:
    """Fluxes (N,) of the star without transits; left: (N,) what is left of its own (`left_of`)."""
    shown = np.flatnonzero(np.isfinite(left))
    residual, trend = left[shown], star.curve.flux[shown] / (1 + left[shown])
    cadence = float(np.median(np.diff(star.curve.time[shown])))
    flares = residual > _FLARE * SIGMA_OF_MAD * float(np.median(np.abs(residual)))
    inverted = np.where(flares, 0.0, -residual)  # a flare upside down is a dip that no star has
    for k in range(count):
        anew = np.roll(residual if k % 2 else inverted, int(rng.integers(len(residual))))
        if k % 4 < 2:
            length = max(1, int(_BLOCKS[int(rng.integers(len(_BLOCKS)))] / cadence))
            parts = np.array_split(anew, max(1, len(anew) // length))
            anew = np.concatenate([parts[j] for j in rng.permutation(len(parts))])
        flux = star.curve.flux.copy()
        flux[shown] = trend * (1 + anew)
        yield flux


def draw(rng: np.random.Generator, *, depth: float, periods: tuple[float, float], time: F64) -> Planet:
    """A planet of a depth with a period between two, at any phase, impact parameter and density of its star."""
    period = float(np.exp(rng.uniform(*np.log(periods))))
    return Planet(
        period=period,
        epoch=float(np.nanmin(time) + rng.uniform(0, period)),
        depth=depth,
        impact=float(rng.uniform(*_IMPACTS)),
        density=float(np.exp(rng.uniform(*np.log(_DENSITIES)))),
    )


def injected(star: StarCurve, planet: Planet) -> F64:
    """(N,) the star's flux with the planet's transits."""
    cadence = float(np.median(np.diff(star.curve.time[np.isfinite(star.curve.flux)])))
    return star.curve.flux * planet.light(star.curve.time, cadence=cadence)


@dataclass(frozen=True, slots=True)
class _Trial:
    planet: Planet
    cell: tuple[int, int]
    found: Transit | None

    def period(self, *multiples: float) -> bool:
        return self.found is not None and any(abs(self.found.period / self.planet.period / m - 1) < SAME for m in multiples)


def inject(
    paths: Sequence[Path],
    *,
    trials: int,
    n_nulls: int,
    seed: int = 0,
    depths: Sequence[float] = DEPTHS,
    state: ScoringState | None = None,
    progress: Callable[[int], None] = lambda n: None,
) -> dict[str, Any]:
    """`recovery` in every light curve under some paths, each as the stream searches it, and as a rotator where it is one.

    Curves longer than `LONG` cost several times a sector's: they have a fifth of the trials and nulls.

    Raises
    ------
    TableError
        There is no light curve.
    """
    stars = [star_curve(item.packet) for item in packets_of(paths) if isinstance(item, Packet)]
    if not stars:
        raise TableError(f"no light curve of a star under {', '.join(map(str, paths))}")
    known = known_periods()
    rows = []
    for star in stars:
        quiet = without_known(star, known.get(star.name, ()))
        part = 5 if np.ptp(star.curve.time) > LONG else 1
        ways = [STREAM] if (other := way_of(quiet)) is STREAM else [STREAM, other]
        for way in ways:
            case = Case(quiet, way, barred=way is STREAM and star.sector < KEPLER_SECTOR)
            rows.append(
                recovery(
                    case,
                    depths=depths,
                    trials=max(trials // part, 1),
                    n_nulls=n_nulls // part,
                    seed=seed,
                    classify=None if state is None else partial(_classes, state=state),
                    progress=progress,
                )
            )
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores {platform.machine()}, Python {platform.python_version()}",
        "same_period": SAME,
        "stars": rows,
    }


def _classes(packets: Sequence[bytes], *, state: ScoringState) -> list[str]:
    outcomes = score(packets, state)
    return [outcome.shown_class[0] if isinstance(outcome, Detection) else "rejected" for outcome in outcomes]


def recovery(
    case: Case,
    *,
    depths: Sequence[float] = DEPTHS,
    trials: int = 60,
    n_nulls: int = 2000,
    seed: int = 0,
    classify: Classes | None = None,
    scored: int = 10,
    progress: Callable[[int], None] = lambda n: None,
) -> dict[str, Any]:
    """Inject and search.

    Parameters
    ----------
    case : Case
    depths : sequence of float
        Relative flux at mid-transit.
    trials : int
        A depth and period bin.
    n_nulls : int
    seed : int
    classify : callable, optional
        Decides the class of packets; None: classes are not reported.
    scored : int
        Trials a cell whose packet is scored, and a tenth of the nulls at most.
    progress : callable
        Is given how many curves more are done.
    """
    star, way = case.star, case.way
    rng = np.random.default_rng([seed, star.number, star.sector])
    itself = search(star, star.curve.flux, way=way)
    found, quiet = [], []
    for k, flux in enumerate(nulls(star, left_of(star, star.curve.flux, way=way)[0], count=n_nulls, rng=rng)):
        found.append(search(star, flux, way=way))
        if classify is not None and k < min(scored * len(depths) * 4, n_nulls // 10):
            quiet.append(star.with_flux(flux).packet())
        progress(1)
    least = thresholds(found)
    tried: list[_Trial] = []
    classes: dict[float, list[str]] = {}
    for row, depth in enumerate(depths):
        for column in range(len(PERIODS) - 1):
            packets = []
            for k in range(trials):
                planet = draw(rng, depth=depth, periods=(PERIODS[column], PERIODS[column + 1]), time=star.curve.time)
                flux = injected(star, planet)
                tried.append(_Trial(planet, (row, column), search(star, flux, way=way)))
                if classify is not None and k < scored:
                    packets.append(star.with_flux(flux).packet())
                progress(1)
            if classify is not None:
                classes.setdefault(depth, []).extend(classify(packets))
    own = None
    if itself is not None:
        own = {"period": itself.period, "signal_to_noise": itself.signal_to_noise, "reaches": least.reached(itself)}
    ranges = [f"{first} to {last}" if last < _ANY else f"{first} and more" for first, last in RANGES]
    out = {
        "object": star.name,
        "observed": star.observed,
        "magnitude": star.magnitude,
        "points": int(np.isfinite(star.curve.flux).sum()),
        "noise_ppm_1h": round(1e6 * noise_per_hour(left_of(star, star.curve.flux, way=way)[1]), 1),
        "way": way.name,
        "nulls": n_nulls,
        "thresholds": {name: round(value, 2) for name, value in zip(ranges, least.values, strict=True)},
        "false_positives": _share([least.reached(t) for t in found]),
        "false_positives_held_out": _held_out(found),
        "itself": own,
        "depths": [_row(depth, [t for t in tried if t.cell[0] == row], least=least) for row, depth in enumerate(depths)],
    }
    if case.barred:
        out["bars"] = _bars(depths, tried, least=least)
    if classify is not None:
        out["classes"] = {f"{1e6 * depth:.0f} ppm": _counts(names) for depth, names in classes.items()} | {
            "nulls": _counts(classify(quiet))
        }
    return out


def noise_per_hour(points: Points) -> float:
    """Scatter of the means of an hour, relative flux, by the points' own scatter."""
    return points.noise * float(np.sqrt(points.cadence * 24)) if points.usable else float("nan")


def _held_out(found: Sequence[Transit | None]) -> dict[str, Any]:
    """Share of nulls that reach the thresholds made of the other half of them."""
    halves = [[t for k, t in enumerate(found) if k // 4 % 2 == half] for half in (0, 1)]
    reached = []
    for made, tested in (halves, halves[::-1]):
        least = thresholds(made)
        reached += [least.reached(t) for t in tested]
    return _share(reached)


def _row(depth: float, trials: Sequence[_Trial], *, least: Thresholds) -> dict[str, Any]:
    def part(some: Sequence[_Trial]) -> dict[str, Any]:
        return {
            "recall": _share([least.reached(t.found) and t.period(1.0) for t in some]),
            "with_multiples": _share([least.reached(t.found) and t.period(1.0, 0.5, 2.0) for t in some]),
            "period_alone": _share([t.period(1.0) for t in some]),
        }

    bins = [{"periods": list(PERIODS[k : k + 2]), **part([t for t in trials if t.cell[1] == k])} for k in range(len(PERIODS) - 1)]
    return {"depth_ppm": round(1e6 * depth), **part(trials), "bins": bins}


def _bars(depths: Sequence[float], tried: Sequence[_Trial], *, least: Thresholds) -> list[dict[str, Any]]:
    out = []
    for row, depth in enumerate(depths):
        if depth in BARS:
            recall = _row(depth, [t for t in tried if t.cell[0] == row], least=least)["recall"]["share"]
            out.append({"depth_ppm": round(1e6 * depth), "bar": BARS[depth], "recall": recall, "met": recall >= BARS[depth]})
    return out


def _share(hits: Sequence[bool]) -> dict[str, Any]:
    """Share with its 95 % interval."""
    low, high = wilson(sum(hits), len(hits))
    return {"share": round(sum(hits) / max(len(hits), 1), 4), "interval": [round(low, 4), round(high, 4)], "of": len(hits)}


def _counts(names: Sequence[str]) -> Mapping[str, int]:
    return dict(sorted(((name, names.count(name)) for name in set(names)), key=lambda pair: -pair[1]))
