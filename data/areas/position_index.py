"""Positions with radii → an index of cells.

A circle stands under the cells that hold its centre or one of sixteen points on a ring of twice its radius. Cells are at least eight radii
wide, and their corners are never sharper than 60 degrees, so a corner that reaches into the circle is at the ring wider than the distance
of two points on it: no cell that the circle touches is missed.
"""

from __future__ import annotations

import math

import healpix
import numpy as np

from data.areas.area_error import AreaError
from data.history.cells import cells_of
from operators.areas import ORDER, Level, PositionIndex, chord_square, unit_vectors
from operators.types import F64

WIDEST = 5.0
"""Largest radius of a position [deg]."""
MOST_POSITIONS = 100_000
"""Of a list."""
FINEST = 14
"""Order of the cells of the smallest circles: 13 arcsec wide."""
_SIDE = math.degrees(math.sqrt(math.pi / 3))
"""Of a cell of order 0 as a square of its area [deg]."""
_POINTS = np.linspace(0.0, 2.0 * math.pi, 16, endpoint=False)


def check_positions(ra: F64, dec: F64, *, radius: F64) -> None:
    """Refuse positions that are none.

    Parameters
    ----------
    ra, dec : (p,) ICRS [deg]
    radius : (p,) [deg]

    Raises
    ------
    AreaError
        The first one that is wrong is named.
    """
    if len(ra) > MOST_POSITIONS:
        raise AreaError(f"a list has {MOST_POSITIONS:,} positions at most, this has {len(ra):,}")
    wrong = ~(np.isfinite(ra) & (ra >= 0) & (ra <= 360) & (np.abs(dec) <= 90) & (radius > 0) & (radius <= WIDEST))
    if wrong.any():
        i = int(np.flatnonzero(wrong)[0])
        swapped = " (are the columns swapped?)" if abs(dec[i]) > 90 and 0 <= abs(ra[i]) <= 90 else ""
        raise AreaError(
            f"position {i + 1}: ra {ra[i]:g}, dec {dec[i]:g}, radius {3600 * radius[i]:g} arcsec is none{swapped}: ra is 0 to 360 deg, "
            f"dec -90 to 90 deg, a radius above 0 and at most {WIDEST:g} deg"
        )


def index_positions(ra: F64, dec: F64, *, radius: F64) -> PositionIndex:
    """Index positions, checked before.

    Parameters
    ----------
    ra, dec : (p,) ICRS [deg]
    radius : (p,) [deg]
    """
    x, y, z = unit_vectors(ra, dec)
    if not len(ra):
        return PositionIndex((), x, y, z, chord_square(radius))
    orders = np.clip(np.floor(np.log2(_SIDE / (8.0 * radius))).astype(np.int64), 0, FINEST)
    levels = []
    for order in np.unique(orders).tolist():
        own = np.flatnonzero(orders == order)
        cells = _touched(x[own], y[own], z=z[own], ring=np.radians(2.0 * radius[own]), order=order)
        cells[0] = cells_of(ra[own], dec[own]) >> 2 * (ORDER - order)
        pairs = np.unique(np.stack([cells.ravel(), np.tile(own, len(cells))], axis=1), axis=0)
        levels.append(Level(int(order), np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])))
    return PositionIndex(tuple(levels), x, y, z, chord_square(radius))


def _touched(x: F64, y: F64, *, z: F64, ring: F64, order: int) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """(17, p) Room for each centre's cell, and the cells of the points on a ring [rad]."""
    centre = np.stack([x, y, z])
    axis = np.where(np.abs(z) < 0.9, [[0.0], [0.0], [1.0]], [[1.0], [0.0], [0.0]])
    east = np.cross(axis, centre, axis=0)
    east /= np.linalg.norm(east, axis=0)
    north = np.cross(centre, east, axis=0)
    out = np.empty((len(_POINTS) + 1, len(x)), np.int64)
    for i, angle in enumerate(_POINTS):
        point = np.cos(ring) * centre + np.sin(ring) * (math.cos(angle) * east + math.sin(angle) * north)
        out[i + 1] = healpix.vec2pix(1 << order, *point, nest=True)
    return out
