"""Places on the sky ↔ cells of HEALPix (Górski et al. 2005, ApJ 622, 759), nested, of order 29; a cone → the ranges of cells that cover it.

The library is `healpix` (BSD, NumPy alone); astropy_healpix needs astropy, which the core does not have and which takes half a second to
import.
"""

from __future__ import annotations

import math

import healpix
import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

ORDER = 29
"""Of the cells that are stored; 0.4 mas wide."""
WIDEST = 10.0
"""Largest radius of a cone [deg]."""
_SIDE = math.degrees(math.sqrt(math.pi / 3))
"""Of a cell of order 0 as a square of its area [deg]."""
_RING = np.linspace(0.0, 2 * np.pi, 96, endpoint=False)
_RING_COS, _RING_SIN = np.cos(_RING), np.sin(_RING)
_BEYOND = 1.2
"""The ring lies outside the cone by so much, that no corner of a cell reaches into the cone between two of its points."""
_LEVELS = 3
"""How often cells that are wider than the cone are divided."""
_REACH = 1.1
"""No point of a cell is farther from its centre than this over 2^order [rad] (Calabretta and Roukema 2007, MNRAS 381, 865)."""
_DIVIDE_FROM = 30 / 3600
"""In a smaller cone there is nothing to save [deg]."""


def cells_of(ra: F64, dec: F64) -> I64:
    """The cells that places lie in.

    Parameters
    ----------
    ra, dec : (n,) ICRS [deg]

    Returns
    -------
    (n,) int64; -1 where a place is not one (not finite, a declination beyond the poles)
    """
    ra, dec = np.asarray(ra, np.float64), np.asarray(dec, np.float64)
    fine = np.isfinite(ra) & (np.abs(dec) <= 90.0)
    cells = np.full(ra.shape, -1, np.int64)
    cells[fine] = healpix.ang2pix(1 << ORDER, ra[fine] % 360.0, dec[fine], nest=True, lonlat=True)
    return cells


def ranges(ra: float, dec: float, *, radius: float) -> list[tuple[int, int]]:
    """Cover a cone with ranges of cells; they also hold cells outside it.

    Parameters
    ----------
    ra, dec : ICRS [deg]
    radius : [deg], at most `WIDEST`

    Returns
    -------
    [(first, end)] of cells of order 29, each before `end`, ascending and apart
    """
    if not 0 < radius <= WIDEST:
        raise ValueError(f"the radius of a cone is above 0 and at most {WIDEST:g} deg, not {radius:g}")
    centre, east, north = _frame(ra, dec)
    # Cells at least as wide as the cone: whichever reaches into it holds its centre or a point of the ring around it.
    order = min(ORDER, max(0, math.floor(math.log2(_SIDE / (2 * _BEYOND * radius)))))
    beyond = math.radians(_BEYOND * radius)
    ring = math.cos(beyond) * centre[:, None] + math.sin(beyond) * (_RING_COS * east[:, None] + _RING_SIN * north[:, None])
    points = np.concatenate([centre[:, None], ring], axis=1)
    found: I64 = np.unique(healpix.vec2pix(1 << order, *points, nest=True)).astype(np.int64)
    if radius >= _DIVIDE_FROM:
        for _ in range(min(_LEVELS, ORDER - order)):
            order += 1
            found = (4 * found[:, None] + np.arange(4)).ravel()
            away = np.stack(healpix.pix2vec(1 << order, found, nest=True)).T @ centre
            found = found[away >= math.cos(min(math.pi, math.radians(radius) + _REACH / (1 << order)))]
    shift = 2 * (ORDER - order)
    first = found << shift
    end = (found + 1) << shift
    begins = np.flatnonzero(np.concatenate([[True], first[1:] > end[:-1]]))
    ends = np.concatenate([begins[1:] - 1, [len(found) - 1]])
    return list(zip(first[begins].tolist(), end[ends].tolist(), strict=True))


def separation(ra: float, dec: float, *, ras: F64, decs: F64) -> F64:
    """Angles between a place and others [arcsec], by the haversine, exact for small ones."""
    a, d, b, e = np.radians(ra), np.radians(dec), np.radians(ras), np.radians(decs)
    square = np.sin((e - d) / 2) ** 2 + np.cos(d) * np.cos(e) * np.sin((b - a) / 2) ** 2
    return np.asarray(3600 * np.degrees(2 * np.arcsin(np.sqrt(np.clip(square, 0.0, 1.0)))))


def _frame(ra: float, dec: float) -> tuple[F64, F64, F64]:
    """The unit vector of a place, and those to its east and north."""
    a, d = math.radians(ra), math.radians(dec)
    centre = np.array([math.cos(d) * math.cos(a), math.cos(d) * math.sin(a), math.sin(d)])
    east = np.array([-math.sin(a), math.cos(a), 0.0])
    north = np.array([-math.sin(d) * math.cos(a), -math.sin(d) * math.sin(a), math.cos(d)])
    return centre, east, north
