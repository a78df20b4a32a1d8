"""A map of dust as FITS → E(B-V) of a position [mag].

Galactic longitude and latitude [deg] → E(B-V), or None where the map has none

Two forms: the Lambert maps of Schlegel, Finkbeiner & Davis (1998, ApJ 500, 525, appendix C: a file each for the galactic north and south,
cards LAM_NSGP and LAM_SCAL), interpolated between four pixels as theirs are; HEALPix tables of the whole sky (Górski et al. 2005, ApJ 622,
759; cards PIXTYPE, ORDERING, NSIDE), the pixel's own value. A map stays on the disk: only the pixels of a position are read. Values are
the map's own: on Schlafly & Finkbeiner's (2011) scale SFD's are to be multiplied by 0.86.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from data.connectors.fits_headers import MOST_UNITS, PIXELS, FitsError, Header, data_size, fill, read_header, too_short
from data.connectors.fits_tables import Column, unit_of
from errors import UserError, one_line

MOST_EBV = 1_000.0
"""[mag] Above it, below 0 and HEALPix's "unseen" (-1.6e30) a map has no value."""
MOST_NSIDE = 8192
_GALACTIC = np.array(
    [
        [-0.0548755604, -0.8734370902, -0.4838350155],
        [+0.4941094279, -0.4448296300, +0.7469822445],
        [-0.8676661490, -0.1980763734, +0.4559837762],
    ]
)
"""ICRS → galactic (Hipparcos catalogue, ESA SP-1200, vol. 1, eq. 1.5.11)."""


def galactic(ra: float, dec: float) -> tuple[float, float]:
    """Galactic longitude and latitude [deg] of ICRS coordinates [deg]."""
    a, d = math.radians(ra), math.radians(dec)
    x, y, z = _GALACTIC @ np.array([math.cos(d) * math.cos(a), math.cos(d) * math.sin(a), math.sin(d)])
    return math.degrees(math.atan2(y, x)) % 360.0, math.degrees(math.asin(min(1.0, max(-1.0, float(z)))))


@dataclass(frozen=True, slots=True)
class _Lambert:
    """One hemisphere."""

    path: Path
    start: int
    """Of the data in the file [bytes]."""
    code: str
    columns: int
    rows: int
    sign: int
    """1: north, -1: south."""
    scale: float
    zero: tuple[float, float]
    """Pixel of the pole, counted from 0."""

    def value(self, l: float, b: float) -> float | None:  # noqa: E741 - the field's own name
        if self.sign * b < 0:
            return None
        distance = self.scale * math.sqrt(max(0.0, 1 - self.sign * math.sin(math.radians(b))))
        x = self.zero[0] + distance * math.cos(math.radians(l))
        y = self.zero[1] - self.sign * distance * math.sin(math.radians(l))
        x, y = min(max(x, 0.0), self.columns - 1.0), min(max(y, 0.0), self.rows - 1.0)
        left, low = min(int(x), self.columns - 2), min(int(y), self.rows - 2)
        u, v = x - left, y - low
        size = np.dtype(self.code).itemsize
        with self.path.open("rb") as file:
            bottom, top = (_numbers(file, self.start + ((low + k) * self.columns + left) * size, code=self.code, count=2) for k in (0, 1))
        with np.errstate(all="ignore"):
            return _sound(float((1 - v) * ((1 - u) * bottom[0] + u * bottom[1]) + v * ((1 - u) * top[0] + u * top[1])))


@dataclass(frozen=True, slots=True)
class _Healpix:
    """The whole sky."""

    path: Path
    start: int
    width: int
    column: Column
    nside: int
    nested: bool

    def value(self, l: float, b: float) -> float | None:  # noqa: E741
        pixel = healpix(self.nside, l, latitude=b, nested=self.nested)
        row, k = divmod(pixel, self.column.count)
        size = np.dtype(self.column.code).itemsize
        with self.path.open("rb") as file:
            (stored,) = _numbers(file, self.start + row * self.width + self.column.start + k * size, code=self.column.code, count=1)
        return _sound(float(stored) * self.column.scale + self.column.zero)


@dataclass(frozen=True, slots=True)
class DustMap:
    """One or several files of dust that complete each other."""

    parts: tuple[_Lambert | _Healpix, ...]
    name: str
    """Of the files, for a record of where a value came from."""

    def ebv(self, ra: float, dec: float) -> float | None:
        """E(B-V) [mag] of ICRS coordinates [deg]; None: no file has one."""
        l, b = galactic(ra, dec)  # noqa: E741
        return next((value for part in self.parts if (value := part.value(l, b)) is not None), None)


def open_map(paths: list[Path]) -> DustMap:
    """Look at the files of a map.

    Raises
    ------
    UserError
        One cannot be read, or is not a map of dust.
    """
    parts = []
    for path in paths:
        try:
            parts.append(_part(path))
        except OSError as error:
            raise UserError(f"--dust-map {one_line(path, 200)} cannot be read: {error.strerror or error}") from error
        except FitsError as error:
            raise UserError(f"--dust-map {one_line(path, 200)} is not a map of dust: {one_line(error, 200)}") from error
    return DustMap(tuple(parts), ", ".join(path.name for path in paths))


def _part(path: Path) -> _Lambert | _Healpix:
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(2) == b"\x1f\x8b":
            raise FitsError("it is compressed: unpack it first")
        file.seek(0)
        for k in range(MOST_UNITS):
            header = read_header(file, first=k == 0)
            if header is None:
                break
            start, data = file.tell(), data_size(header)
            if start + data > size:
                raise too_short(start + data - size)
            if "LAM_NSGP" in header and data:
                return _lambert(path, header, start=start)
            if header.text("PIXTYPE") == "HEALPIX":
                return _healpix(path, header, start=start)
            file.seek(start + data + fill(data))
    raise FitsError("it has neither the cards of a Lambert map (LAM_NSGP, LAM_SCAL) nor those of HEALPix (PIXTYPE, NSIDE)")


def _lambert(path: Path, header: Header, *, start: int) -> _Lambert:
    axes, sign = header.axes(), header.whole("LAM_NSGP", low=-1, high=1)
    scale, at = header.number("LAM_SCAL"), (header.number("CRPIX1"), header.number("CRPIX2"))
    if len(axes) != 2 or min(axes) < 2 or sign == 0 or scale is None or scale <= 0 or at[0] is None or at[1] is None:
        raise FitsError("an image of two axes with LAM_NSGP 1 or -1, LAM_SCAL, CRPIX1 and CRPIX2 was looked for")
    code = PIXELS[header.whole("BITPIX", low=-64, high=64)]
    if code not in (">f4", ">f8"):
        raise FitsError(f"BITPIX is {header['BITPIX']}: a map of floating-point numbers was looked for")
    return _Lambert(path, start, code, axes[0], axes[1], sign, scale, (at[0] - 1, at[1] - 1))


def _healpix(path: Path, header: Header, *, start: int) -> _Healpix:
    unit = unit_of(header)
    nside, order = header.whole("NSIDE", low=1, high=MOST_NSIDE), header.text("ORDERING").upper()
    if order not in ("RING", "NESTED") or (order == "NESTED" and nside & (nside - 1)):
        raise FitsError(f"ORDERING {order[:20]!r} with NSIDE {nside}: RING or NESTED is read")
    if header.text("COORDSYS").upper() not in ("", "G", "GALACTIC"):
        raise FitsError(f"COORDSYS is {header.text('COORDSYS')[:20]!r}: galactic maps are read")
    columns = [column for column in unit.columns.values() if column.code in (">f4", ">f8")]
    named = [column for column in columns if "EBV" in column.name.replace("(", "").replace("-", "")] or columns
    if len(named) != 1:
        raise FitsError(f"which of its columns is E(B-V)? {', '.join(column.name for column in columns[:6]) or 'none is floating-point'}")
    if unit.rows * named[0].count != 12 * nside**2:
        raise FitsError(f"{unit.rows * named[0].count:,} pixels, NSIDE {nside} has {12 * nside**2:,}: maps of the whole sky are read")
    return _Healpix(path, start, unit.width, named[0], nside, order == "NESTED")


def _numbers(file: IO[bytes], at: int, *, code: str, count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    file.seek(at)
    data = file.read(count * np.dtype(code).itemsize)
    found = np.frombuffer(data, code, count=len(data) // np.dtype(code).itemsize).astype(np.float64)
    return found if len(found) == count else np.full(count, np.nan)  # the file was cut since it was opened


def _sound(value: float) -> float | None:
    return value if 0 <= value <= MOST_EBV else None


def healpix(nside: int, longitude: float, *, latitude: float, nested: bool) -> int:
    """Number of the pixel that a position lies in (Górski et al. 2005, sect. 5).

    Parameters
    ----------
    nside : int
        A power of 2 where `nested`.
    longitude, latitude : float
        [deg]
    nested : bool
        Numbered by quadrants and not by rings.
    """
    z, t = math.sin(math.radians(latitude)), longitude % 360.0 / 90.0
    if abs(z) <= 2 / 3:
        up, down = math.floor(nside * (0.5 + t - 0.75 * z)), math.floor(nside * (0.5 + t + 0.75 * z))
        if not nested:
            ring, shift = nside + 1 + up - down, 1 if (nside + up - down) % 2 else 0
            along = (up + down - nside + shift + 1) // 2 % (4 * nside)
            return 2 * nside * (nside - 1) + (ring - 1) * 4 * nside + along
        face = up // nside
        other = down // nside
        number = face % 4 + 4 if face == other else face % 4 if face < other else other % 4 + 8
        return _nested(nside, number, x=down % nside, y=nside - up % nside - 1)
    part = t - math.floor(t)
    near = nside * math.sqrt(3 * (1 - abs(z)))
    up, down = min(math.floor(part * near), nside - 1), min(math.floor((1 - part) * near), nside - 1)
    if not nested:
        ring = up + down + 1
        along = math.floor(t * ring) % (4 * ring)
        return 2 * ring * (ring - 1) + along if z > 0 else 12 * nside**2 - 2 * ring * (ring + 1) + along
    quarter = min(math.floor(t), 3)
    if z > 0:
        return _nested(nside, quarter, x=nside - down - 1, y=nside - up - 1)
    return _nested(nside, quarter + 8, x=up, y=down)


def _nested(nside: int, face: int, *, x: int, y: int) -> int:
    """Bits of x and y by turns."""
    inside = 0
    for bit in range(nside.bit_length()):
        inside |= (x >> bit & 1) << 2 * bit | (y >> bit & 1) << 2 * bit + 1
    return face * nside**2 + inside
