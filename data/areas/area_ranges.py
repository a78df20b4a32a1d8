"""MOCs, polygons and sky maps of GCN → ranges of cells of order 29.

A MOC is read as text (``3/1-4 7 5/812``), as JSON (``{"3": [1, 2]}``) or as FITS (IVOA Recommendation MOC 2.0); a sky map as multi-order
FITS (UNIQ, PROBDENSITY; https://emfollow.docs.ligo.org/userguide/tutorial/multiorder_skymaps.html): the cells of highest density that hold
a share of the probability. Polygons alone need mocpy (the extra `sky`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import NamedTuple

import numpy as np

from data.areas.area_error import AreaError
from data.connectors.fits_headers import FitsError
from data.connectors.fits_tables import units
from operators.areas import I64, ORDER, merged_ranges
from operators.types import F64

MOST_BYTES = 24 << 20
"""Of a file of an area: GCN's maps have 1 to 20 MB."""
MOST_CELLS = 3_200_000
MOST_RANGES = 50_000
"""Of an area."""
MOST_TEXT = 1 << 20
MOST_CORNERS = 200
_PART = re.compile(r"\s*(?:(\d{1,2})/)?(\d{1,18})?(?:-(\d{1,18}))?[\s,]*")
_LEAST_DENSITY = 1e-30


class SkyMap(NamedTuple):
    """Cells of a sky map, the densest first."""

    ranges: I64
    """(c, 2) of order 29"""
    probability: F64
    """(c,) Sums to 1."""

    def within(self, level: float) -> I64:
        """Ranges of the smallest area that holds a share of the probability."""
        if not 0 < level < 1:
            raise AreaError(f"a level is a share of the probability above 0 and below 1, not {level:g}")
        count = int(np.searchsorted(np.cumsum(self.probability), level)) + 1
        return bounded(merged_ranges(self.ranges[:count]))


def bounded(ranges: I64) -> I64:
    """Refuse an area of too many ranges, or of none."""
    if not len(ranges):
        raise AreaError("an area holds nothing of the sky")
    if len(ranges) > MOST_RANGES:
        raise AreaError(f"an area has {MOST_RANGES:,} ranges of cells at most, this has {len(ranges):,}: give it at a lower order")
    return ranges


def cells_to_ranges(order: I64, cells: I64) -> I64:
    """Cells of their orders as ranges of order 29.

    Raises
    ------
    AreaError
        A cell that is none of its order.
    """
    if len(order) > MOST_CELLS:
        raise AreaError(f"an area has {MOST_CELLS:,} cells at most, this has {len(order):,}")
    wrong = (order < 0) | (order > ORDER)
    fine = np.where(wrong, 0, order)
    wrong |= (cells < 0) | (cells >= 12 << 2 * fine)
    if wrong.any():
        i = int(np.flatnonzero(wrong)[0])
        raise AreaError(f"{int(order[i])}/{int(cells[i])} is not a cell of HEALPix: orders are 0 to {ORDER}")
    shift = 2 * (ORDER - order)
    return np.stack([cells << shift, (cells + 1) << shift], axis=1)


def moc_ranges(text: str) -> I64:
    """A MOC that is written as text.

    Raises
    ------
    AreaError
    """
    if len(text) > MOST_TEXT:
        raise AreaError(f"a MOC has {MOST_TEXT:,} characters at most")
    order, at, parts = -1, 0, list[tuple[int, int, int]]()
    while at < len(text):
        found = _PART.match(text, at)
        if found is None or found.end() == at:
            raise AreaError(f"character {at + 1} of the MOC is not understood: a MOC is written as 3/1-4 7 5/812")
        at = found.end()
        order = int(found[1]) if found[1] else order
        if found[2]:
            first = int(found[2])
            parts.append((order, first, int(found[3]) if found[3] else first))
        elif found[3]:
            raise AreaError("a range of cells has no beginning")
    if not parts:
        raise AreaError("the MOC holds no cells")
    orders, firsts, lasts = (np.array(column, np.int64) for column in zip(*parts, strict=True))
    begins, ends = cells_to_ranges(orders, firsts), cells_to_ranges(orders, lasts)
    if (lasts < firsts).any():
        raise AreaError("a range of cells ends before it begins")
    return bounded(merged_ranges(np.stack([begins[:, 0], ends[:, 1]], axis=1)))


def moc_of_json(cells: Mapping[str, Sequence[int]]) -> I64:
    """A MOC as JSON has it: order → cells.

    Raises
    ------
    AreaError
    """
    try:
        pairs = [(int(order), int(cell)) for order, own in cells.items() for cell in own]
        orders, numbers = (np.array(column, np.int64) for column in zip(*pairs, strict=True))
    except (TypeError, ValueError, OverflowError):
        raise AreaError("a MOC in JSON is an object of orders with arrays of cells, and holds some") from None
    return bounded(merged_ranges(cells_to_ranges(orders, numbers)))


def ranges_of_fits(data: bytes, *, level: float = 0.9) -> I64:
    """A MOC or a multi-order sky map in FITS.

    Parameters
    ----------
    data : bytes
    level : float
        Of a sky map: share of the probability.

    Raises
    ------
    AreaError
    """
    found = _table(data)
    if "PROBDENSITY" in found:
        return sky_map(data).within(level)
    order, cells = _split(_whole(found["UNIQ"]))
    return bounded(merged_ranges(cells_to_ranges(order, cells)))


def sky_map(data: bytes) -> SkyMap:
    """A multi-order sky map.

    Raises
    ------
    AreaError
        It is not one, or its probability does not sum to 1.
    """
    found = _table(data)
    if "PROBDENSITY" not in found:
        raise AreaError("the FITS file has no PROBDENSITY: a multi-order sky map has it, beside UNIQ")
    density = np.asarray(found["PROBDENSITY"], np.float64)
    order, cells = _split(_whole(found["UNIQ"]))
    ranges = cells_to_ranges(order, cells)
    if not (np.isfinite(density) & (density >= 0)).all():
        raise AreaError("the sky map has a density that is negative or not a number")
    probability = density * (math.pi / 3) / np.exp2(2.0 * order)
    total = float(probability.sum())
    if not 0.9 < total < 1.1:
        raise AreaError(f"the sky map's probability sums to {total:.3g}, not to 1")
    ordered = np.sort(ranges, axis=0)
    if (ordered[1:, 0] < ordered[:-1, 1]).any():
        raise AreaError("cells of the sky map overlap")
    best = np.argsort(-density, kind="stable")
    best = best[density[best] > _LEAST_DENSITY]
    return SkyMap(ranges[best], probability[best] / total)


def polygon_ranges(corners: Sequence[tuple[float, float]]) -> I64:
    """A polygon of great circles, smaller than a hemisphere; its edge is followed to a hundredth of its width, from outside.

    Parameters
    ----------
    corners : sequence of (ra, dec) ICRS [deg]

    Raises
    ------
    AreaError
    """
    ra, dec = (np.array(column, np.float64) for column in zip(*corners, strict=True)) if corners else (np.empty(0), np.empty(0))
    if not 3 <= len(ra) <= MOST_CORNERS:
        raise AreaError(f"a polygon has 3 to {MOST_CORNERS} corners, this has {len(ra)}")
    if not (np.isfinite(ra) & (ra >= 0) & (ra <= 360) & (np.abs(dec) <= 90)).all():
        raise AreaError("a corner of a polygon is ra 0 to 360 deg, dec -90 to 90 deg")
    try:
        from astropy.coordinates import SkyCoord
        from mocpy import MOC
    except ImportError:
        raise AreaError("polygons need what `pip install 'protonova[sky]'` installs; a MOC needs none of it") from None
    a, d = np.radians(ra), np.radians(dec)
    points = np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])
    centre = points.mean(axis=1)
    if np.linalg.norm(centre) < 1e-3 or (centre @ points <= 0).any():
        raise AreaError("a polygon is smaller than a hemisphere")
    width = float(np.arccos(np.clip((points.T @ points).min(), -1.0, 1.0)))
    if width < math.radians(1 / 3600):
        raise AreaError("a polygon is wider than an arcsecond")
    depth = min(20, max(4, math.ceil(math.log2(100 * math.sqrt(math.pi / 3) / width))))
    try:
        moc = MOC.from_polygon_skycoord(SkyCoord(ra, dec, unit="deg"), max_depth=depth)
    except Exception as error:  # whatever its library finds in corners
        raise AreaError(f"the polygon cannot be filled: {type(error).__name__}") from None
    return bounded(merged_ranges(np.asarray(moc.to_depth29_ranges, np.int64)))


def _table(data: bytes) -> Mapping[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    """UNIQ, and PROBDENSITY where it is there, of the first table that has UNIQ."""
    if len(data) > MOST_BYTES:
        raise AreaError(f"a FITS file of an area has {MOST_BYTES:,} bytes at most, this has {len(data):,}")
    try:
        for unit in units(BytesIO(data)):
            if "UNIQ" in unit.columns or any(name.startswith("NPIX") for name in unit.columns):
                if unit.rows > MOST_CELLS:
                    raise AreaError(f"an area has {MOST_CELLS:,} cells at most, this has {unit.rows:,}")
                names = [next(iter(unit.columns))] if "UNIQ" not in unit.columns else ["UNIQ", "PROBDENSITY"]
                found = unit.table(names)
                return {("UNIQ" if name.startswith("NPIX") else name): values for name, values in found.items()}
    except FitsError as error:
        raise AreaError(f"the FITS file of an area cannot be read: {error}") from None
    raise AreaError("the FITS file has no table with the column UNIQ: a MOC and a multi-order sky map have it")


def _whole(values: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> I64:
    if values.ndim != 1 or values.dtype.kind != "i" or (values < 4).any() or (values >= np.int64(16) << 58).any():  # type: ignore[operator]
        raise AreaError("UNIQ holds what is not the number of a cell")
    return values.astype(np.int64)


def _split(uniq: I64) -> tuple[I64, I64]:
    """Order and cell: uniq = 4^(order + 1) + cell, exactly, whatever its size."""
    order = np.zeros(len(uniq), np.int64)
    for k in range(1, ORDER + 1):
        order[uniq >= np.int64(1) << (2 * k + 2)] = k
    return order, uniq - (np.int64(1) << (2 * order + 2))
