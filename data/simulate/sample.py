"""A description → objects that a survey detected, and how they look: what a class from a description is made of.

`sample(description, n, seed)` → observed objects and how many were tried; `summary` → rise, colour, peak as drawn
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from data.simulate.described import Description
from data.simulate.described_source import source
from data.simulate.draw import Draw, PopulationName, generator
from data.simulate.observe import Observed, observe
from data.simulate.source import PIVOT, Source
from errors import UserError
from operators.types import F64, Survey

R = 6200.0
TRIES = 60
"""Objects tried for one that a survey detects: most short or distant events are missed."""


class NeverSeenError(UserError):
    """The survey detects no such object. One line."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """Objects of a description that a survey detected."""

    objects: tuple[Observed, ...]
    tried: int

    @property
    def share(self) -> float:
        """Detected ones among those tried: within the magnitudes, distances and fields of the draw, not of all there are."""
        return len(self.objects) / self.tried


def observed(
    description: Description, seed: int, *, population: PopulationName = "train", survey: Survey = "ztf"
) -> Iterator[Observed | None]:
    """Objects 0, 1, 2… of a seed, for ever; None: not detected."""
    index = 0
    while True:
        yield observe(seed, index, slug=description.name, population=population, survey=survey, described=description)
        index += 1


def sample(description: Description, n: int, *, seed: int, population: PopulationName = "train", survey: Survey = "ztf") -> Sampled:
    """Simulate until `n` objects are detected; fewer, if most of them never are.

    Raises
    ------
    NeverSeenError
        Not one was detected.
    """
    found: list[Observed] = []
    tried = 0
    for o in observed(description, seed, population=population, survey=survey):
        tried += 1
        if o is not None:
            found.append(o)
        if len(found) == n or tried >= TRIES * n or (tried >= 20 * TRIES and not found):
            break
    if not found:
        raise NeverSeenError(
            f"{description.name}: none of {tried:,} simulated objects is detected by {survey}: too faint, too short or too far"
        )
    return Sampled(tuple(found), tried)


@dataclass(frozen=True, slots=True)
class Summary:
    """Percentiles 16, 50 and 84 of drawn objects; times at rest for what has a redshift."""

    peak: tuple[float, float, float]
    """Apparent g at the peak [mag]."""
    rise: tuple[float, float, float]
    """First light to the peak in g [d]; of a lens or a period: the fainter end to it."""
    above_half: tuple[float, float, float]
    """Brighter than half the peak in g [d]."""
    colour: tuple[float, float, float]
    """g-r of the varying light at the peak [mag]."""
    later_colour: tuple[float, float, float]
    """The same when the light has first fallen to a tenth of the peak, or at the end [mag]."""
    redshift: tuple[float, float, float] | None


def summary(description: Description, n: int = 200, *, seed: int = 0, population: PopulationName = "train") -> Summary:
    """How the objects look before any survey does."""
    rows = [_look(source(description, Draw(generator(population, seed, k, 21), population, scope=description.name))) for k in range(n)]
    columns = [_percentiles(np.array(column)) for column in zip(*rows, strict=True)]
    redshift = columns[5] if description.sky == "extragalactic" else None
    return Summary(columns[0], columns[1], columns[2], columns[3], columns[4], redshift)


def _percentiles(values: F64) -> tuple[float, float, float]:
    finite = values[np.isfinite(values)]
    low, middle, high = np.percentile(finite, (16, 50, 84)) if len(finite) else (np.nan,) * 3
    return float(low), float(middle), float(high)


def _look(source: Source) -> tuple[float, ...]:
    low, high = source.active
    stretch = 1 + (source.redshift if np.isfinite(source.redshift) else 0.0)
    t = np.unique(np.concatenate([np.linspace(low, high, 1500), low + np.geomspace(1e-5, 1.0, 500) * (high - low)]))
    # g and r at rest, as the description states them
    g, r = (source.flux(t, np.full_like(t, w * stretch)) for w in (PIVOT, R))
    if source.persistent:
        g, r = (x - x.min() for x in (g, r))
    k = int(np.argmax(g))
    above = float(np.sum(np.diff(t)[(g >= 0.5 * g[k])[:-1]]))
    below = np.flatnonzero((np.arange(len(t)) > k) & (g < 0.1 * g[k]) & (g > 0))
    later = int(below[0]) if len(below) else len(t) - 2
    with np.errstate(divide="ignore", invalid="ignore"):
        colour = 2.5 * np.log10(r / g)
        peak = 23.9 - 2.5 * np.log10(g[k])
    return float(peak), (t[k] - low) / stretch, above / stretch, float(colour[k]), float(colour[later]), source.redshift
