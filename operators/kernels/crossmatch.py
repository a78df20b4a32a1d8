"""Places against the tiles of a catalogue: `operators.crossmatch` as one loop, a source at a time.

Oracle: `operators.crossmatch.near_array`, every source against every place.
"""

from __future__ import annotations

import math

import numpy as np

from operators.kernels.compiled import compiled

RING = 32
"""Points of the ring around a place whose cells are looked into."""
BEYOND = 1.5
"""The ring lies outside the circle by so much: a cell that reaches into the circle between two of its points would have a corner below
33 deg, and none has."""
STEEPEST = 1.5
"""No step on the sky moves a place farther in a cell's own coordinates: the projection's gradient is at most 1.493 times 2^order."""
_HALF, _DEGREE, _ARCSEC = np.pi / 2, np.pi / 180.0, np.pi / 648_000.0
_ROOT6, _TWO_THIRDS = math.sqrt(6.0), 2.0 / 3.0


@compiled
def cell_of(ra, dec, side, within):  # type: ignore[no-untyped-def]
    """The nested cell of a place [deg], and in `within` how far the place lies from the cell's nearest edge, in cells.

    Górski et al. 2005 (ApJ 622, 759), sect. 4; the cap's radius from the half angle, which loses no digit at a pole.
    """
    sine = math.sin(dec * _DEGREE)
    quarter = (ra % 360.0) / 90.0
    if quarter >= 4.0:
        quarter = 0.0
    if abs(sine) <= _TWO_THIRDS:
        across, up = side * (0.5 + quarter), side * sine * 0.75
        first, second = across - up, across + up  # along rising and falling edges
        a, b = math.floor(first), math.floor(second)
        low, high = a // side, b // side
        if low == high:
            face = (low & 3) + 4  # on the equator
        elif low < high:
            face = low & 3  # around the north pole
        else:
            face = (high & 3) + 8
        x, y = second - b // side * side, side - (first - a // side * side)
    else:
        column = min(int(quarter), 3)
        along = quarter - column
        reach = side * _ROOT6 * math.sin((90.0 - abs(dec)) * _DEGREE / 2.0)
        first, second = min(along * reach, float(side)), min((1.0 - along) * reach, float(side))
        if sine > 0.0:
            face, x, y = column, side - second, side - first
        else:
            face, x, y = column + 8, first, second
    i, j = min(max(math.floor(x), 0), side - 1), min(max(math.floor(y), 0), side - 1)
    within[0] = min(min(x - i, i + 1 - x), min(y - j, j + 1 - y))
    cell, bit = 0, 0
    while (1 << bit) < side:
        cell |= ((i >> bit) & 1) << (2 * bit) | ((j >> bit) & 1) << (2 * bit + 1)
        bit += 1
    return face * side * side + cell


@compiled
def apart(ra, dec, other_ra, other_dec):  # type: ignore[no-untyped-def]
    """Between two places [deg] by the haversine [arcsec]."""
    up = math.sin((other_dec - dec) * _DEGREE / 2.0)
    across = math.sin((other_ra - ra) * _DEGREE / 2.0)
    square = up * up + math.cos(dec * _DEGREE) * math.cos(other_dec * _DEGREE) * across * across
    return 2.0 * math.asin(math.sqrt(min(square, 1.0))) / _ARCSEC


@compiled
def moved_apart(ra, dec, source_ra, source_dec, along, up):  # type: ignore[no-untyped-def]
    """Between a place and a source that has moved along ra cos dec and up in dec [arcsec], on a straight line in space."""
    a, d, b, e = ra * _DEGREE, dec * _DEGREE, source_ra * _DEGREE, source_dec * _DEGREE
    east, north = along * _ARCSEC, up * _ARCSEC
    sin_b, cos_b, sin_e, cos_e = math.sin(b), math.cos(b), math.sin(e), math.cos(e)
    x = cos_e * cos_b - sin_b * east - sin_e * cos_b * north
    y = cos_e * sin_b + cos_b * east - sin_e * sin_b * north
    z = sin_e + cos_e * north
    length = math.sqrt(x * x + y * y + z * z)
    x, y, z = x / length - math.cos(d) * math.cos(a), y / length - math.cos(d) * math.sin(a), z / length - math.sin(d)
    return 2.0 * math.asin(min(0.5 * math.sqrt(x * x + y * y + z * z), 1.0)) / _ARCSEC


@compiled
def near(  # type: ignore[no-untyped-def]
    ra, dec, years, side, start, first, source_ra, source_dec, pm_ra, pm_dec, own, radius, widest, fastest, longest, row, separation, found
):
    """Add to each place's list what lies within reach of it in one layer of a catalogue; see `operators.crossmatch.near`.

    `row`, `separation` (n, K) hold the nearest so far, ascending, -1 where there is none; `found` (n,) counts all.
    """
    n, kept = row.shape
    moving, sized = pm_ra.size > 0, own.size > 0
    within = np.zeros(1)
    cells = np.empty(RING + 1, np.int64)
    for k in range(n):
        if not (abs(dec[k]) <= 90.0 and abs(ra[k]) < 1e6):
            continue
        span = years[k] if math.isfinite(years[k]) else 0.0
        reach = widest + fastest * min(abs(span), longest) + 1e-6
        cells[0] = cell_of(ra[k], dec[k], side, within)
        n_cells = 1
        if within[0] <= STEEPEST * side * reach * _ARCSEC:
            a, d, rho = ra[k] * _DEGREE, dec[k] * _DEGREE, BEYOND * reach * _ARCSEC
            sin_a, cos_a, sin_d, cos_d = math.sin(a), math.cos(a), math.sin(d), math.cos(d)
            for p in range(RING):
                angle = 2.0 * np.pi * p / RING
                east, north, ahead = math.sin(rho) * math.cos(angle), math.sin(rho) * math.sin(angle), math.cos(rho)
                x = ahead * cos_d * cos_a - east * sin_a - north * sin_d * cos_a
                y = ahead * cos_d * sin_a + east * cos_a - north * sin_d * sin_a
                z = ahead * sin_d + north * cos_d
                cell = cell_of(math.atan2(y, x) / _DEGREE, math.atan2(z, math.sqrt(x * x + y * y)) / _DEGREE, side, within)
                known = False
                for c in range(n_cells):
                    known = known or cells[c] == cell
                if not known:
                    cells[n_cells] = cell
                    n_cells += 1
        for c in range(n_cells):
            for i in range(start[cells[c]], start[cells[c] + 1]):
                if abs(source_dec[i] - dec[k]) * 3600.0 > reach:
                    continue
                if moving and (pm_ra[i] != 0.0 or pm_dec[i] != 0.0):
                    distance = moved_apart(ra[k], dec[k], source_ra[i], source_dec[i], pm_ra[i] * span / 1000.0, pm_dec[i] * span / 1000.0)
                else:
                    distance = apart(ra[k], dec[k], source_ra[i], source_dec[i])
                if distance > (max(radius, own[i]) if sized else radius):
                    continue
                found[k] += 1
                at = kept
                while at > 0 and (
                    row[k, at - 1] < 0
                    or distance < separation[k, at - 1]
                    or (distance == separation[k, at - 1] and first + i < row[k, at - 1])
                ):
                    at -= 1
                if at == kept:
                    continue
                for s in range(kept - 1, at, -1):
                    row[k, s], separation[k, s] = row[k, s - 1], separation[k, s - 1]
                row[k, at], separation[k, at] = first + i, distance
