"""A FITS file as a stream → its headers, and the wanted columns of its tables; nothing of it is believed before it is checked.

bytes → `Header`, columns as float64 or int64 (rows, …)

Read by hand, since a light curve is three columns of twenty and comes out of a tar or gzip stream that cannot be sought in (FITS standard
4.0, sect. 3, 4 and 7.3). Memory is bounded by what is wanted: rows are read by the chunk. astropy is the oracle in the tests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import IO, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from data.connectors.fits_headers import MOST_UNITS, PIXELS, FitsError, Header, TooLargeError, data_size, fill, read_header, too_short

MOST_ROWS = 4_000_000
MOST_BYTES = 96 << 20
"""Of the columns wanted of one table, as they come out."""
MOST_OF_FILE = 1 << 30
"""Bytes that are passed over and read, of one file."""
MOST_OF_ROW = 4 << 20
_MOST_SHIFT = 1 << 32
_CHUNK = 1 << 20
_FORMAT = re.compile(r"\s*(\d*)([LXBIJKAEDCMPQ])")
_CODES = {"L": "i1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
_WIDTHS = {"L": 1, "B": 1, "A": 1, "I": 2, "J": 4, "E": 4, "K": 8, "D": 8, "C": 8, "P": 8, "M": 16, "Q": 16}

Read: TypeAlias = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Column:
    """Where a column lies in a row, and what its numbers mean."""

    name: str
    start: int
    code: str
    count: int
    scale: float
    zero: float
    null: int | None
    unit: str


class Unit:
    """One header with its data, which is read once, before the next unit is asked for; what is not read is passed over."""

    def __init__(self, header: Header, columns: Mapping[str, Column], *, width: int, rows: int, size: int) -> None:
        self.header = header
        self.columns = columns
        """Numbers of a binary table, by name in capitals; else empty."""
        self.texts: dict[str, Column] = {}
        """Its texts; `table` gives those too where they are asked for."""
        self.width = width
        """Bytes a row."""
        self.rows = rows
        self.size = size
        """Bytes of data, without the fill."""
        self.read: Read = _nothing

    def table(self, names: Sequence[str], *, most_rows: int = MOST_ROWS, most_bytes: int = MOST_BYTES) -> dict[str, npt.NDArray[Any]]:
        """Columns by name, those that are there, (rows,) or (rows, k).

        int64 where whole and unscaled, bytes where text, else float64, NaN for nulls.
        """
        there = {**self.columns, **self.texts}
        wanted = [there[name] for name in names if name in there]
        if self.rows > most_rows:
            raise TooLargeError(f"{self.rows:,} rows: more than {most_rows:,}")
        total = sum(max(8 * column.count, np.dtype(column.code).itemsize) * self.rows for column in wanted)
        if total > most_bytes:
            raise TooLargeError(f"its columns take {total:,} bytes: more than {most_bytes:,}")
        parts: dict[str, list[npt.NDArray[Any]]] = {column.name: [] for column in wanted}  # grown by what is there, not by what is claimed
        done, step = 0, max(_CHUNK // max(self.width, 1), 1)
        while done < self.rows:
            rows = min(step, self.rows - done)
            raw = np.frombuffer(self.read(rows * self.width), np.uint8).reshape(rows, self.width)
            done += rows
            for column in wanted:
                size = np.dtype(column.code).itemsize * column.count
                cells = np.ascontiguousarray(raw[:, column.start : column.start + size]).view(column.code)
                parts[column.name].append(_numbers(cells, column))
        out = {}
        for column in wanted:
            joined = np.concatenate(parts[column.name]) if parts[column.name] else np.empty((0, column.count))
            out[column.name] = joined[:, 0] if column.count == 1 else joined
        return out

    def image(self) -> npt.NDArray[Any]:
        """A small image; whole numbers may be shifted, as unsigned ones are stored (FITS standard 4.0, sect. 4.4.2.5).

        Raises
        ------
        FitsError
        """
        axes = self.header.axes()
        if self.size > _CHUNK or not axes:
            raise FitsError(f"an image of {self.size:,} bytes where an aperture was looked for")
        scale, zero = (self.header.get(name, default) for name, default in (("BSCALE", 1), ("BZERO", 0)))
        if scale != 1 or isinstance(zero, str | bool) or not abs(zero) <= _MOST_SHIFT or zero != int(zero):
            raise FitsError(f"an aperture with BSCALE {scale!r:.20} and BZERO {zero!r:.20}")
        kind = PIXELS[self.header.whole("BITPIX", low=-64, high=64)]
        stored = np.frombuffer(self.read(self.size), kind)[: prod(axes)].reshape(axes[::-1])
        return stored.astype(np.int64) + int(zero) if zero and stored.dtype.kind in "iu" else stored


def units(file: IO[bytes], *, most: int = MOST_OF_FILE) -> Iterator[Unit]:
    """Go through a file of `most` bytes.

    Raises
    ------
    FitsError
        The file is damaged, ends early, or says of itself what cannot be.
    """
    total = 0
    for k in range(MOST_UNITS):
        header = read_header(file, first=k == 0)
        if header is None:
            return
        unit = unit_of(header)
        total += unit.size
        if total > most:
            raise TooLargeError(f"its headers state {total:,} bytes of data: more than {most:,}")
        left = [unit.size + fill(unit.size)]

        def read(n: int, left: list[int] = left) -> bytes:
            data = _exactly(file, min(n, left[0]))
            left[0] -= len(data)
            return data

        unit.read = read
        yield unit
        while left[0] > 0:
            read(_CHUNK)
    raise FitsError(f"more than {MOST_UNITS} headers")


def _nothing(n: int) -> bytes:
    raise FitsError(f"{n} bytes of data that are not there")


def _exactly(file: IO[bytes], n: int) -> bytes:
    parts, left = [], n
    while left > 0 and (part := file.read(min(left, _CHUNK))):
        parts.append(part)
        left -= len(part)
    if left:
        raise too_short(left)
    return b"".join(parts)


def unit_of(header: Header) -> Unit:
    """What a header states of its data, checked.

    Raises
    ------
    FitsError
    """
    size = data_size(header)
    if header.text("XTENSION") != "BINTABLE" or header.get("ZIMAGE") is True:
        return Unit(header, {}, width=0, rows=0, size=size)
    if header.get("ZTABLE") is True:
        raise FitsError("a compressed table (ZTABLE): unpack it first, with funpack")
    axes = header.axes()
    if header["BITPIX"] != 8 or len(axes) != 2:
        raise FitsError(f"a table of BITPIX {header['BITPIX']} with {len(axes)} axes; it must have 8 and 2")
    columns: dict[str, Column] = {}
    texts: dict[str, Column] = {}
    start = 0
    for k in range(1, header.whole("TFIELDS", low=0, high=999) + 1):
        found = _FORMAT.match(header.text(f"TFORM{k}"))
        if found is None:
            raise FitsError(f"TFORM{k} is {header.text(f'TFORM{k}')[:20]!r}")
        count, code = int(found[1][:9] or 1), found[2]
        width = (count + 7) // 8 if code == "X" else count * _WIDTHS[code]
        name = header.text(f"TTYPE{k}").upper()
        if code in _CODES and count > 0 and name and name not in columns:
            null = header.get(f"TNULL{k}")
            scale, zero = header.number(f"TSCAL{k}"), header.number(f"TZERO{k}")
            columns[name] = Column(
                name,
                start,
                _CODES[code],
                count,
                1.0 if scale is None else scale,
                0.0 if zero is None else zero,
                null if isinstance(null, int) else None,
                header.text(f"TUNIT{k}"),
            )
        elif code == "A" and count > 0 and name and name not in texts:
            texts[name] = Column(name, start, f"S{count}", 1, 1.0, 0.0, None, "")
        start += width
    if start > MOST_OF_ROW:
        raise TooLargeError(f"{start:,} bytes a row: more than {MOST_OF_ROW:,}")
    if start != axes[0]:
        raise FitsError(f"its columns take {start:,} bytes a row, NAXIS1 says {axes[0]:,}")
    unit = Unit(header, columns, width=axes[0], rows=axes[1], size=size)
    unit.texts = {name: column for name, column in texts.items() if name not in columns}
    return unit


def _numbers(cells: npt.NDArray[Any], column: Column) -> npt.NDArray[Any]:
    if cells.dtype.kind == "S":
        return cells
    whole = cells.dtype.kind in "iu"
    if whole and column.scale == 1.0 and column.zero == 0.0 and column.null is None:
        return cells.astype(np.int64)
    with np.errstate(all="ignore"):  # whatever the bytes are
        values = cells.astype(np.float64)
        if whole and column.null is not None:
            values[cells == column.null] = np.nan
        if column.scale != 1.0 or column.zero != 0.0:
            values = column.zero + column.scale * values
    return values
