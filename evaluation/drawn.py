"""Who is looked at: simulated sources by kind, and general curves of them.

kind, a random stream → `data.simulate.source.Source`; kind, number, seed → columns of curves that anybody made

A source can be observed at any times (`pattern.py`); an observed curve can be cut as a task is (`simulated.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from data.simulate import curves
from data.simulate.classes import DRAWN, KINDS, draw_kind
from data.simulate.draw import PopulationName, generator
from data.simulate.photometry import STARS, star_curve
from data.simulate.source import Source

__all__ = ["DRAWN", "KINDS", "Curves", "draw", "rng_of", "star", "streamed"]


class Curves(Protocol):
    """Observed curves of a kind.

    Dictionaries of time [d], wavelength [Å], flux, flux_err, detected, and `persistent`; the flux of a persistent source is its total.
    """

    def __call__(self, kind: str, number: int, *, seed: int, population: PopulationName) -> Iterator[dict[str, Any]]:
        """Yield `number` curves of a kind."""


def draw(kind: str, rng: np.random.Generator, *, population: PopulationName, deeper: float = 0.0) -> Source:
    """A source of a kind.

    Parameters
    ----------
    deeper : float
        How much fainter than ZTF's [mag].
    """
    return draw_kind(kind, rng, population=population, deeper=deeper)


def star(kind: str, rng: np.random.Generator, *, population: PopulationName) -> dict[str, Any] | None:
    """A star's curve as an archive holds it (time, wavelength, total flux, flux_err); None for what is not a star."""
    return star_curve(kind, rng, population=population) if kind in STARS else None


def streamed(kind: str, number: int, *, seed: int, population: PopulationName) -> Iterator[dict[str, Any]]:
    """Anybody's view of a kind: `data.simulate.curves`."""
    for _, seen in curves.stream((kind,), number, seed=seed, population=population):
        level = float(seen.reference) if np.isfinite(seen.reference) else 0.0
        yield {
            "time": seen.time, "wavelength": seen.wavelength, "flux": seen.flux + level, "flux_err": seen.flux_err,
            "detected": seen.detected, "persistent": level > 0,
        }  # fmt: skip


def rng_of(kind: str, number: int, *, seed: int, population: PopulationName, purpose: int) -> np.random.Generator:
    """The random stream of one simulated curve: the same whichever caller draws it, in whatever process."""
    return generator(population, seed, number, purpose, *(ord(c) for c in kind))
