"""A tile-compressed image (FITS standard 4.0, sect. 10: what fpack and astropy write) → its pixels, within bounds.

in → the table that holds the tiles (`fits_units.ImageUnit` with ZIMAGE)
out → the stored numbers, and the header of the image they are of

Every descriptor is compared with the heap, every tile's length with its pixels, and a gzipped tile is inflated no further than they need.
Read are RICE_1, GZIP_1, GZIP_2 and NOCOMPRESS, whole numbers and quantised ones with any dither.
"""

from __future__ import annotations

import itertools
import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from data.connectors.fits_headers import PIXELS, Header
from data.frames.fits_units import ImageUnit
from data.frames.frame_error import FrameError
from data.frames.rice import NULL, random_numbers, rice_decode, undither
from errors import one_line
from operators.types import F32

MOST_TILES = 1 << 17
METHODS = ("RICE_1", "RICE_ONE", "GZIP_1", "GZIP_2", "NOCOMPRESS")
_RICE: Mapping[int, tuple[int, int, int]] = {1: (3, 6, 8), 2: (4, 14, 16), 4: (5, 25, 32)}
"""Bytes a pixel → `rice_decode`'s last three."""
_FORM = re.compile(r"(\d{0,6})([PQ]?)([LXBIJKAED])(\(\d+\))?")
_WIDTHS = {"L": 1, "B": 1, "A": 1, "I": 2, "J": 4, "E": 4, "K": 8, "D": 8}
_random = lru_cache(maxsize=1)(random_numbers)


@dataclass(frozen=True, slots=True)
class _Column:
    start: int
    code: str
    """Of a number or of a descriptor's two, big-endian."""
    item: int
    """Bytes of an element in the heap; 0: not an array."""


@dataclass(frozen=True, slots=True)
class _Table:
    """The tiles' table; its lengths were compared with what is there."""

    data: memoryview
    width: int
    rows: int
    heap: int
    columns: dict[str, _Column]

    def number(self, name: str, row: int) -> float:
        """A value of a numeric column."""
        column = self.columns[name]
        return float(np.frombuffer(self.data, column.code, 1, row * self.width + column.start)[0])

    def bytes_at(self, name: str, row: int) -> memoryview:
        """A row's part of the heap; empty: it has none.

        Raises
        ------
        FrameError
            It does not lie in the heap.
        """
        column = self.columns.get(name)
        if column is None or not column.item:
            return memoryview(b"")
        count, offset = (int(n) for n in np.frombuffer(self.data, column.code, 2, row * self.width + column.start))
        size = count * column.item
        if count < 0 or offset < 0 or self.heap + offset + size > len(self.data):
            raise FrameError("bad_frame", f"tile {row + 1} lies outside the heap")
        return self.data[self.heap + offset : self.heap + offset + size]


def tiled_pixels(unit: ImageUnit) -> tuple[Header, npt.NDArray[Any]]:
    """The header and the stored numbers of a tile-compressed image; float32 where the tiles were quantised.

    Raises
    ------
    FrameError
        `bad_frame`, `frame_too_large`.
    FitsError
        A card that is missing or cannot be.
    """
    own = unit.own
    method = own.text("ZCMPTYPE")
    if method not in METHODS:
        raise FrameError("bad_frame", f"tiles compressed by {one_line(method, 20)!r}: {', '.join(METHODS[:1] + METHODS[2:])} are read")
    bits = own.whole("ZBITPIX", low=-64, high=64)
    if bits not in PIXELS:
        raise FrameError("bad_frame", f"ZBITPIX is {bits}")
    axes = [own.whole(f"ZNAXIS{k}", low=1, high=1 << 26) for k in range(1, own.whole("ZNAXIS", low=2, high=9) + 1)]
    tile = [
        own.whole(f"ZTILE{k}", low=1, high=1 << 26) if f"ZTILE{k}" in own else (axes[0] if k == 1 else 1) for k in range(1, len(axes) + 1)
    ]
    steps = [math.ceil(n / t) for n, t in zip(axes, tile, strict=True)]
    table = _table(unit)
    if math.prod(steps) > MOST_TILES:
        raise FrameError("frame_too_large", f"{math.prod(steps):,} tiles; an image has {MOST_TILES:,} at most")
    if table.rows != math.prod(steps):
        raise FrameError("bad_frame", f"it has {table.rows:,} tiles and needs {math.prod(steps):,}")
    quantised = bits < 0 and ("ZSCALE" in table.columns or "ZSCALE" in own)
    out: npt.NDArray[Any] = np.empty(axes[::-1], np.float32 if quantised else np.dtype(PIXELS[bits]).newbyteorder("="))
    decoder = _Decoder(own, table, method=method, bits=bits, quantised=quantised)
    for row, at in enumerate(itertools.product(*(range(n) for n in steps[::-1]))):
        place = tuple(slice(k * t, min((k + 1) * t, n)) for k, t, n in zip(at, tile[::-1], axes[::-1], strict=True))
        shape = [s.stop - s.start for s in place]
        out[place] = decoder.tile(row, math.prod(shape)).reshape(shape)
    header = Header({k: v for k, v in unit.header.items() if not (quantised and k in ("BSCALE", "BZERO"))})
    if "ZBLANK" in own and not quantised:
        header["BLANK"] = own["ZBLANK"]
    return header, out


@dataclass(frozen=True, slots=True)
class _Decoder:
    own: Header
    table: _Table
    method: str
    bits: int
    quantised: bool

    def tile(self, row: int, pixels: int) -> npt.NDArray[Any]:
        """The pixels of one tile."""
        lossless = np.dtype(PIXELS[self.bits])
        for name, method, code in (
            ("COMPRESSED_DATA", self.method, np.dtype(">i4") if self.quantised else lossless),
            ("GZIP_COMPRESSED_DATA", "GZIP_1", lossless),
            ("UNCOMPRESSED_DATA", "NOCOMPRESS", lossless),
        ):
            if packed := self.table.bytes_at(name, row):
                values = self._values(packed, method, code=code, pixels=pixels)
                return self._float(values, row) if self.quantised and name == "COMPRESSED_DATA" else values
        raise FrameError("bad_frame", f"tile {row + 1} is empty")

    def _values(self, packed: memoryview, method: str, *, code: np.dtype[Any], pixels: int) -> npt.NDArray[Any]:
        if method.startswith("RICE"):
            block, width = self._parameter("BLOCKSIZE", 32), self._parameter("BYTEPIX", 4)
            if width not in _RICE or code.kind == "f" or width > code.itemsize or not 1 <= block <= 256:
                raise FrameError("bad_frame", f"Rice's code of {width} bytes a pixel in blocks of {block} is not one of this image")
            values = np.empty(pixels, {1: np.uint8, 2: np.int16, 4: np.int32}[width])
            if not rice_decode(np.frombuffer(packed, np.uint8), values, block, *_RICE[width]):
                raise FrameError("bad_frame", "the Rice code of a tile ends early or cannot be")
            return values
        size = pixels * code.itemsize
        if method.startswith("GZIP"):
            inflate = zlib.decompressobj(47)  # gzip's or zlib's header
            try:
                plain = inflate.decompress(packed, size + 1)
            except zlib.error as error:
                raise FrameError("bad_frame", f"a gzipped tile is damaged ({one_line(error, 60)})") from None
        else:
            plain = bytes(packed)
        if len(plain) != size:
            raise FrameError("bad_frame", f"a tile of {pixels:,} pixels has another length than its {size:,} bytes")
        if method == "GZIP_2":  # first bytes of all numbers first
            plain = np.frombuffer(plain, np.uint8).reshape(code.itemsize, pixels).T.tobytes()
        return np.frombuffer(plain, code)

    def _parameter(self, name: str, default: int) -> int:
        for k in range(1, 10):
            if self.own.text(f"ZNAME{k}") == name:
                return self.own.whole(f"ZVAL{k}", low=0, high=1 << 20)
        return default

    def _figure(self, name: str, row: int, *, default: float) -> float:
        value = self.table.number(name, row) if name in self.table.columns else self.own.number(name)
        value = default if value is None else value
        if not math.isfinite(value) or abs(value) > 1e30:
            raise FrameError("bad_frame", f"{name} of tile {row + 1} is {value}")
        return value

    def _float(self, stored: npt.NDArray[Any], row: int) -> F32:
        """Quantised numbers → values."""
        scale, zero = self._figure("ZSCALE", row, default=1.0), self._figure("ZZERO", row, default=0.0)
        blank = self._figure("ZBLANK", row, default=NULL)
        values = stored.astype(np.int32)
        if int(blank) != NULL:
            values[values == int(blank)] = NULL
        kind = self.own.text("ZQUANTIZ")
        out: F32 = np.empty(len(values), np.float32)
        if kind.startswith("SUBTRACTIVE_DITHER"):
            seed = self.own.whole("ZDITHER0", low=1, high=10_000) if "ZDITHER0" in self.own else 1
            undither(values, out, scale, zero, _random(), row + seed - 1, kind.endswith("_2"))
        else:
            out[:] = values * scale + zero
            out[values == NULL] = np.nan
        return out


def _table(unit: ImageUnit) -> _Table:
    own = unit.own
    width, rows = own.whole("NAXIS1", low=1, high=1 << 20), own.whole("NAXIS2", low=0, high=1 << 26)
    heap = own.whole("THEAP", low=width * rows, high=len(unit.data)) if "THEAP" in own else width * rows
    if heap > len(unit.data) or own.get("BITPIX") != 8:
        raise FrameError("bad_frame", f"a table of {rows:,} rows of {width:,} bytes, and {len(unit.data):,} bytes of data")
    columns: dict[str, _Column] = {}
    start = 0
    for k in range(1, own.whole("TFIELDS", low=1, high=32) + 1):
        form = _FORM.fullmatch(own.text(f"TFORM{k}"))
        if form is None:
            raise FrameError("bad_frame", f"TFORM{k} is {one_line(own.text(f'TFORM{k}'), 20)!r}")
        count = int(form[1] or 1)
        if form[2]:
            size, code, item = (8, ">i4", _WIDTHS.get(form[3], 1)) if form[2] == "P" else (16, ">i8", _WIDTHS.get(form[3], 1))
        else:
            size, code, item = _WIDTHS.get(form[3], 1), {"I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}.get(form[3], "u1"), 0
        if count:
            columns.setdefault(own.text(f"TTYPE{k}").upper(), _Column(start, code, item))
        start += size * count
    if start != width:
        raise FrameError("bad_frame", f"its columns have {start} bytes and its rows {width}")
    return _Table(unit.data, width, rows, heap, columns)
