"""Areas of the sky and lists of positions: which detections lie in them.

areas as ranges of cells, cells of detections → (areas, n) bool
positions with radii, places of detections → pairs with their separations

Cells are HEALPix's (Górski et al. 2005, ApJ 622, 759), nested, of order 29. A position stands under every cell of its order that its circle
touches, and a cell is at least eight radii wide, so that a place looks at one cell and at few positions; the test itself is of distances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from operators.kernels.areas import fill_inside, find_near
from operators.types import F64

I64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
ORDER = 29
"""Of the cells that places are given in."""


@dataclass(frozen=True, slots=True)
class Areas:
    """Areas one after another, each as ascending ranges that are apart."""

    starts: I64
    """(areas + 1,)"""
    begins: I64
    """(r,) First cell of each range, of order 29."""
    ends: I64
    """(r,) The cell behind it."""


def areas_of(ranges: Sequence[I64]) -> Areas:
    """Put areas together, each given as (r, 2) ranges in any order."""
    merged = [merged_ranges(part) for part in ranges]
    whole = np.concatenate([np.empty((0, 2), np.int64), *merged])
    return Areas(np.cumsum([0, *map(len, merged)]).astype(np.int64), whole[:, 0].copy(), whole[:, 1].copy())


def merged_ranges(ranges: I64) -> I64:
    """Ranges (r, 2) of cells ascending and apart."""
    if not len(ranges):
        return np.empty((0, 2), np.int64)
    ordered = ranges[np.argsort(ranges[:, 0], kind="stable")]
    reach = np.maximum.accumulate(ordered[:, 1])
    new = np.concatenate([[True], ordered[1:, 0] > reach[:-1]])
    last = np.concatenate([np.flatnonzero(new)[1:] - 1, [len(ordered) - 1]])
    return np.stack([ordered[new, 0], reach[last]], axis=1).astype(np.int64)


def inside(areas: Areas, cells: I64) -> Bools:
    """Which cells lie in which areas.

    Parameters
    ----------
    areas : Areas
    cells : (n,) int64
        Of order 29; -1: a place that is none, which lies nowhere.

    Returns
    -------
    (areas, n) bool
    """
    hits = np.zeros((len(areas.starts) - 1, len(cells)), np.bool_)
    fill_inside(areas.starts, areas.begins, areas.ends, np.ascontiguousarray(cells), hits)
    return hits


class Level(NamedTuple):
    """Positions that stand under cells of one order."""

    order: int
    keys: I64
    """(c,) Cells, ascending."""
    entries: I64
    """(c,) The position that stands there."""


@dataclass(frozen=True, slots=True)
class PositionIndex:
    """Positions with radii, by cells."""

    levels: tuple[Level, ...]
    x: F64
    y: F64
    z: F64
    """(p,) Unit vectors."""
    chord2: F64
    """(p,) Square of the chord of the radius."""

    def __len__(self) -> int:
        return len(self.x)


class Pairs(NamedTuple):
    """Places and positions near them, in the order of places."""

    rows: I64
    """(m,) Of the places."""
    entries: I64
    """(m,) Of the positions."""
    separation: F64
    """(m,) [arcsec]"""


def unit_vectors(ra: F64, dec: F64) -> tuple[F64, F64, F64]:
    """Places (n,) in ICRS [deg] as unit vectors."""
    a, d = np.radians(ra), np.radians(dec)
    return np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)


def chord_square(radius: F64) -> F64:
    """Square of the chord of an angle [deg]."""
    return np.asarray(4.0 * np.sin(np.radians(radius) / 2.0) ** 2)


def near(index: PositionIndex, cells: I64, *, ra: F64, dec: F64) -> Pairs:
    """Positions within their radius of places.

    Parameters
    ----------
    index : PositionIndex
    cells : (n,) int64
        Of the places, of order 29; -1: a place that is none.
    ra, dec : (n,) ICRS [deg]
    """
    places = unit_vectors(ra, dec)
    cells = np.ascontiguousarray(cells)
    room = 2 * len(cells) + 64
    while True:
        rows, found, square = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room)
        count = 0
        for level in index.levels:
            count = find_near(
                level.keys, level.entries, 2 * (ORDER - level.order), index.x, index.y, index.z, index.chord2, cells, *places, rows, found,
                square, count,
            )  # fmt: skip
        if count <= room:
            break
        room = count
    order = np.argsort(rows[:count], kind="stable")
    separation = 3600.0 * np.degrees(2.0 * np.arcsin(np.sqrt(square[:count]) / 2.0))
    return Pairs(rows[:count][order], found[:count][order], separation[order])
