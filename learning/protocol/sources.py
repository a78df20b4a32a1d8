"""Who is looked at: simulated sources by kind, and general curves of them.

kind, a random stream → `data.simulate.source.Source`; kind, number, seed → columns of curves that a survey or anybody made

A source can be observed at any times (`pattern.py`); a curve of somebody's can be cut as a task is (`simulated.py`).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Protocol

import numpy as np

from data.simulate import classes
from data.simulate.draw import PopulationName, generator
from data.simulate.observe import observe
from data.simulate.source import Source

_OF_CLASS: dict[str, tuple[str, ...]] = {
    "sn-ia": ("Ia", "Ia-91T", "Ia-91bg", "Iax", "Ia-CSM"), "sn-ii": ("IIP", "IIL", "II-87A"), "sn-iin": ("IIn",),
    "sn-ibc": ("IIb", "Ib", "Ic", "Ic-BL"), "slsn": ("SLSN-I", "SLSN-II"), "tde": ("TDE", "TDE-slow", "TDE-fast"), "kilonova": ("KN",),
    "afterglow": ("GRB", "orphan"), "microlensing": ("uLens", "uLens-binary"), "m-dwarf-flare": ("flare",),
    "agn": ("QSO", "Seyfert", "blazar"), "rr-lyrae": ("RRab", "RRc"), "eclipsing-binary": ("EA", "EB", "EW"),
    "cv": ("dwarf nova", "superoutburst", "nova-like", "nova"), "lpv": ("Mira", "SR"), "yso": ("stochastic", "dipper", "burster"),
}  # fmt: skip
"""Kinds that the classes draw, where the simulation has no table of kinds of its own."""
KINDS: dict[str, str | None] = getattr(classes, "KINDS", None) or {k: slug for slug, kinds in _OF_CLASS.items() for k in kinds}
"""Kind → its class of the stream, or None."""
ALERT = 5.0
"""S/N from which a survey sends an alert."""
_TRIES = 400
_SPACE = 1_000_000


class Curves(Protocol):
    """Somebody's curves of a kind: dictionaries of time [d], wavelength [Å], flux, flux_err, detected, and `persistent`; the flux of a
    persistent source is its total."""

    def __call__(self, kind: str, number: int, seed: int, population: PopulationName) -> Iterator[dict[str, Any]]: ...


def draw(kind: str, rng: np.random.Generator, population: PopulationName, deeper: float = 0.0) -> Source | None:
    """A source of a kind; None if its class did not come up with one.

    Parameters
    ----------
    deeper : float
        How much fainter than ZTF's [mag].
    """
    one = getattr(classes, "draw_kind", None)
    if one is not None:
        found: Source = one(kind, rng, population, deeper=deeper)
        return found
    slug = KINDS[kind]
    for _ in range(_TRIES):
        source = classes.draw(str(slug), rng, population, deeper)
        if source.kind == kind:
            return source
    return None


@cache
def star_curves() -> tuple[Any, frozenset[str]]:
    """The simulator of stars as archives hold them, and its kinds; (None, none) where it is not there."""
    try:
        module = importlib.import_module("data.simulate.photometry")
    except ImportError:
        return None, frozenset()
    return module.star_curve, frozenset(module.STARS)


def star(kind: str, rng: np.random.Generator, population: PopulationName) -> Mapping[str, Any] | None:
    """A star's curve (time, wavelength, total flux, flux_err) from that simulator; None where it has no such kind."""
    make, kinds = star_curves()
    return make(kind, rng, population) if kind in kinds else None


def observed(kind: str, number: int, seed: int, population: PopulationName) -> Iterator[dict[str, Any]]:
    """ZTF's view of a kind, by the stream's own simulator: what it detected."""
    slug = KINDS.get(kind) or (kind if kind in classes.SLUGS else None)
    if slug is None:
        return
    start = list(classes.SLUGS).index(slug) * _SPACE * _TRIES
    made, index = 0, start
    while made < number and index < start + number * _TRIES:
        o = observe(seed, index, slug, population, "ztf")
        index += 1
        if o is None or (kind in KINDS and o.source.kind != kind):
            continue
        made += 1
        static = o.source.star.reference(o.visits.wavelength) if o.source.persistent and o.source.star is not None else 0.0
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = o.flux / o.error
        seen = np.abs(ratio) >= ALERT if o.source.persistent else ratio >= ALERT
        if seen.any():
            yield {
                "time": o.visits.mjd[seen], "wavelength": o.visits.wavelength[seen], "flux": (o.flux + static)[seen],
                "flux_err": o.error[seen], "detected": np.ones(int(seen.sum()), bool), "persistent": o.source.persistent,
            }  # fmt: skip


def streamed(kind: str, number: int, seed: int, population: PopulationName) -> Iterator[dict[str, Any]]:
    """Anybody's view of a kind: `data.simulate.curves`, where it is there; else ZTF's."""
    try:
        stream = importlib.import_module("data.simulate.curves").stream
    except ImportError:
        yield from observed(kind, number, seed, population)
        return
    for _, seen in stream((kind,), number, seed, population):
        level = seen.reference if np.isfinite(seen.reference) else 0.0
        yield {
            "time": seen.time, "wavelength": seen.wavelength, "flux": seen.flux + level, "flux_err": seen.flux_err,
            "detected": seen.detected, "persistent": bool(level > 0),
        }  # fmt: skip


def rng_of(kind: str, number: int, seed: int, population: PopulationName, purpose: int) -> np.random.Generator:
    """The random stream of one simulated curve: the same whoever draws it, in whatever process."""
    return generator(population, seed, number, purpose, *(ord(c) for c in kind))
