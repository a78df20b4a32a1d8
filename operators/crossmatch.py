"""Places on the sky → the sources of a catalogue that lie near them at their epoch.

(n,) ra, dec [deg], mjd [d]; the layers of a catalogue → `Matches`: (n, K) rows and separations [arcsec], the nearest first

A catalogue is cut into layers by how far its sources reach: few are wider than the catalogue's radius or move more than a few arcseconds in
a lifetime, and a layer of their own lets all others be looked for in narrow tiles. Tiles are cells of HEALPix, nested; their rows lie one
after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from operators.kernels.crossmatch import near as near_kernel
from operators.types import F32, F64

I64 = npt.NDArray[np.int64]

YEAR = 365.25
"""Of proper motions [d]."""
LONGEST = 60.0
"""Years over which a source that moves is still found; over longer times it may be missed, and is never taken for one that is near."""
KEPT = 8
"""Nearest sources of a catalogue that are kept of one place."""
FINEST = 11
ROWS_A_TILE = 12
"""On an evenly filled sky."""
CELL = 211_034.0
"""Side of a cell of order 0 as a square of its area [arcsec]."""
NARROWEST = 6.0
"""A tile is so many times wider than what is looked for, so that no cell lies between the points that are asked."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Rows of a catalogue that reach alike, in the order of their cells. Arrays are read-only."""

    order: int
    start: I64
    """(12 4^order + 1,) where each cell's rows begin in this layer."""
    first: int
    """Of its rows, in the catalogue."""
    ra: F64
    dec: F64
    """(m,) ICRS at the catalogue's epoch [deg]."""
    pm_ra: F32
    pm_dec: F32
    """(m,) proper motion along ra cos dec and dec [mas/yr]; empty: none of them moves."""
    own: F32
    """(m,) a source's own radius, within which it matches beyond the catalogue's [arcsec]; empty: none has one."""
    widest: float
    """The largest radius of the layer, the catalogue's or a source's own [arcsec]."""
    fastest: float
    """The largest proper motion [arcsec/yr]."""


class Matches(NamedTuple):
    """What lies near n places."""

    row: I64
    """(n, K) of the catalogue, the nearest first; -1: no more."""
    separation: F64
    """(n, K) at the place's epoch [arcsec]; infinite where there is no row."""
    found: I64
    """(n,) all that lie within reach, of which the nearest K are kept."""


def tile_order(rows: int, reach: float) -> int:
    """The order of a layer's tiles: about `ROWS_A_TILE` rows in each, and none narrower than what is looked for needs.

    Parameters
    ----------
    rows : int
    reach : float
        Largest distance that is looked for, with what is moved in `LONGEST` years [arcsec].
    """
    filled = int(np.floor(np.log2(max(rows / (12 * ROWS_A_TILE), 1.0)) / 2))
    wide = int(np.floor(np.log2(max(CELL / (NARROWEST * max(reach, 1e-3)), 1.0))))
    return max(0, min(filled, wide, FINEST))


def near(ra: F64, dec: F64, *, mjd: F64, layers: Sequence[Layer], epoch: float, radius: float, kept: int = KEPT) -> Matches:
    """Find what lies near places.

    Parameters
    ----------
    ra, dec : (n,) float64, ICRS [deg]
    mjd : (n,) float64
        When each was seen [d].
    layers : sequence of Layer
        Of one catalogue.
    epoch : float
        Of the catalogue's places, MJD [d].
    radius : float
        Of the catalogue [arcsec]; a source matches within it or its own radius, whichever is larger.
    kept : int
        K

    Returns
    -------
    Matches
        Ties by row. A place that is none (not finite, beyond a pole) has no match.
    """
    ra, dec, years = (np.ascontiguousarray(column, dtype=np.float64) for column in (ra, dec, (np.asarray(mjd) - epoch) / YEAR))
    matches = _nothing(len(ra), kept)
    for layer in layers:
        near_kernel(
            ra, dec, years, 1 << layer.order, layer.start, layer.first, layer.ra, layer.dec, layer.pm_ra, layer.pm_dec, layer.own,
            radius, layer.widest, layer.fastest, LONGEST, matches.row, matches.separation, matches.found,
        )  # fmt: skip
    return matches


def near_array(ra: F64, dec: F64, *, mjd: F64, layers: Sequence[Layer], epoch: float, radius: float, kept: int = KEPT) -> Matches:
    """The same without tiles and loops: every source against every place, (n, m) at once. The oracle."""
    years = (np.asarray(mjd, np.float64) - epoch) / YEAR
    years = np.where(np.isfinite(years), years, 0.0)
    good = np.isfinite(ra) & (np.abs(dec) <= 90)
    here = _unit(np.where(good, ra, 0.0), np.where(good, dec, 0.0))
    parts: list[tuple[I64, F64, npt.NDArray[np.bool_]]] = []
    for layer in layers:
        m = len(layer.ra)
        a, d = np.radians(layer.ra), np.radians(layer.dec)
        zero = np.zeros(m)
        east = np.stack([-np.sin(a), np.cos(a), zero], axis=1)
        north = np.stack([-np.sin(d) * np.cos(a), -np.sin(d) * np.sin(a), np.cos(d)], axis=1)
        motion = [np.radians(np.asarray(pm, np.float64) / 3.6e6) if len(pm) else zero for pm in (layer.pm_ra, layer.pm_dec)]
        moved = east * motion[0][:, None] + north * motion[1][:, None]  # [rad/yr]
        there = _unit(layer.ra, layer.dec)[None] + moved[None] * years[:, None, None]
        there /= np.linalg.norm(there, axis=2, keepdims=True)
        distance = np.degrees(2 * np.arcsin(np.clip(np.linalg.norm(there - here[:, None], axis=2) / 2, 0, 1))) * 3600
        reach = np.maximum(radius, layer.own) if len(layer.own) else np.full(m, radius)
        rows = np.broadcast_to(layer.first + np.arange(m), distance.shape)
        parts.append((rows, distance, (distance <= reach[None]) & good[:, None]))
    matches = _nothing(len(ra), kept)
    if not parts:
        return matches
    rows, distance, inside = (np.concatenate(column, axis=1) for column in zip(*parts, strict=True))
    matches.found[:] = inside.sum(axis=1)
    for k in range(len(ra)):
        hit = np.flatnonzero(inside[k])
        best = hit[np.lexsort((rows[k, hit], distance[k, hit]))][:kept]
        matches.row[k, : len(best)], matches.separation[k, : len(best)] = rows[k, best], distance[k, best]
    return matches


def _nothing(n: int, kept: int) -> Matches:
    return Matches(np.full((n, kept), -1, np.int64), np.full((n, kept), np.inf), np.zeros(n, np.int64))


def _unit(ra: F64, dec: F64) -> F64:
    a, d = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=1)
