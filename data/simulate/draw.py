"""Random draws that know their population.

Training and demo share the physics, not the parameters: every named parameter of every class has, in the demo's population, its own
fixed shift (a fraction of its spread, from a hash of class and name) and a narrower spread. So the demo's sky asks a network to
generalise, and no parameter can be shifted by accident in one place only.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

PopulationName: TypeAlias = Literal["train", "demo"]


@dataclass(frozen=True, slots=True)
class Population:
    """How a population's parameters differ from the ranges written in the classes."""

    name: PopulationName
    key: int
    """First word of every seed: populations never share a random stream."""
    shift: float
    """Largest shift of a parameter's centre, in units of its spread."""
    width: float
    """Spread, as a factor."""


POPULATIONS: dict[PopulationName, Population] = {
    "train": Population("train", 1_000_003, 0.0, 1.0),
    "demo": Population("demo", 2_000_003, 0.4, 0.85),
}


def generator(population: PopulationName, seed: int, index: int, *purpose: int) -> np.random.Generator:
    """The random stream of object `index` for a purpose: the same whatever chunk or process draws it."""
    return np.random.default_rng([POPULATIONS[population].key, seed, index, *purpose])


class Draw:
    """Named draws of one object.

    Parameters
    ----------
    rng : the object's own stream
    population : whose parameters
    scope : the class's slug; a parameter's shift belongs to (scope, name)
    deeper : how much fainter than ZTF the survey sees [mag]; apparent magnitudes follow it
    kind : the fine class that must come out, where a class offers it; None: by the class's own weights
    """

    def __init__(
        self, rng: np.random.Generator, population: PopulationName, *, scope: str, deeper: float = 0.0, kind: str | None = None
    ) -> None:
        self.rng = rng
        self.population = POPULATIONS[population]
        self.scope = scope
        self.deeper = deeper
        self.kind = kind

    def _shift(self, name: str) -> float:
        if self.population.shift == 0:
            return 0.0
        return self.population.shift * (zlib.crc32(f"{self.scope}/{name}".encode()) / 2**31 - 1)

    def normal(self, name: str, mean: float, *, sd: float, low: float = -np.inf, high: float = np.inf) -> float:
        """A value around `mean`, clipped to `low` … `high`."""
        value = mean + sd * (self._shift(name) + self.population.width * self.rng.standard_normal())
        return float(min(max(value, low), high))

    def lognormal(self, name: str, median: float, *, sigma: float, low: float = 0.0, high: float = np.inf) -> float:
        """A value around the median, `sigma` in e-folds, clipped to `low` … `high`."""
        value = median * np.exp(sigma * (self._shift(name) + self.population.width * self.rng.standard_normal()))
        return float(min(max(value, low), high))

    def uniform(self, name: str, low: float, *, high: float) -> float:
        """Demo: a narrower interval inside the same one, moved toward one of its ends."""
        width = (high - low) * self.population.width
        middle = (low + high) / 2 + (high - low - width) / 2 * float(np.sign(self._shift(name)))
        return middle + width * (float(self.rng.random()) - 0.5)

    def magnitude(self, name: str, bright: float, *, faint: float) -> float:
        """An apparent magnitude between two limits of ZTF, or as much fainter as the survey sees deeper."""
        return self.uniform(name, bright, high=faint) + self.deeper

    def loguniform(self, name: str, low: float, *, high: float) -> float:
        """A value uniform in its logarithm."""
        return float(np.exp(self.uniform(name, np.log(low), high=np.log(high))))

    def chance(self, probability: float) -> bool:
        """True with a probability."""
        return bool(self.rng.random() < probability)

    def pick(self, options: dict[str, float]) -> str:
        """One key: the kind asked for where it is among them, else by weight."""
        if self.kind is not None and self.kind in options:
            return self.kind
        weights = np.cumsum(list(options.values()))
        return list(options)[int(np.searchsorted(weights, self.rng.random() * weights[-1], side="right"))]
