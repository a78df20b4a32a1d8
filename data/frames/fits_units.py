"""A FITS file, plain or gzipped → the headers of its units and the bytes of one unit's data, within bounds.

What a header states is compared with what is there before anything is allocated; a gzip stream is inflated piece by piece, to its end
within a bound, so that its checksum counts.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from data.connectors.fits_headers import MOST_UNITS, FitsError, Header, data_size, fill, read_header
from data.frames.frame_error import FrameError
from errors import one_line

MOST_OF_FILE = 640 * 2**20
"""Bytes of a file of frames, and of what one inflates to."""
MOST_PIXELS = 1 << 26
"""Of one image: 8,192 x 8,192."""
_PIECE = 1 << 20
_GZIP = b"\x1f\x8b"

File: TypeAlias = bytes | Path


class _Bytes:
    """Bytes as a stream that can skip."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._at = 0

    def read(self, n: int, /) -> bytes:
        """At most n bytes."""
        return bytes(self.take(n))

    def take(self, n: int) -> memoryview:
        """The same without a copy."""
        found = self._data[self._at : self._at + n]
        self._at += len(found)
        return found

    def skip(self, n: int) -> int:
        """Go on by n bytes; how many there were."""
        return len(self.take(n))

    def finish(self) -> None:
        """Nothing is checked at the end of plain bytes."""


class _Inflated:
    """A gzip stream, inflated piece by piece."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._at = 0
        self._inflate = zlib.decompressobj(31)
        self._left = b""
        self.given = 0

    def _piece(self, n: int) -> bytes:
        """At least a byte and at most n; none at the end."""
        while True:
            if self._inflate.eof:
                self._at -= len(self._inflate.unused_data)
                if bytes(self._data[self._at : self._at + 2]) != _GZIP:  # what is behind the last member is not gzip: fill
                    self._at = len(self._data)
                    return b""
                self._inflate, self._left = zlib.decompressobj(31), b""
            source = self._left
            if not source:
                source = bytes(self._data[self._at : self._at + _PIECE])
                self._at += len(source)
                if not source:
                    raise FrameError("bad_frame", "its gzip stream ends early")
            try:
                found = self._inflate.decompress(source, n)
            except zlib.error as error:
                raise FrameError("bad_frame", f"its gzip stream is damaged ({one_line(error, 80)})") from None
            self._left = self._inflate.unconsumed_tail
            if found:
                self.given += len(found)
                if self.given > MOST_OF_FILE:
                    raise FrameError("frame_too_large", f"it inflates to more than {MOST_OF_FILE:,} bytes")
                return found

    def read(self, n: int, /) -> bytes:
        """At most n bytes, fewer at the end only."""
        return bytes(self.take(n))

    def take(self, n: int) -> memoryview:
        """The same; nothing is allocated that is not there."""
        out = bytearray()
        while len(out) < n and (piece := self._piece(min(_PIECE, n - len(out)))):
            out += piece
        return memoryview(out)

    def skip(self, n: int) -> int:
        """Go on by n bytes; how many there were."""
        done = 0
        while done < n and (piece := self._piece(min(_PIECE, n - done))):
            done += len(piece)
        return done

    def finish(self) -> None:
        """Inflate to the end, so that the checksum is compared."""
        self.skip(MOST_OF_FILE + 1)


@dataclass(frozen=True, slots=True)
class ImageUnit:
    """One image of a file."""

    header: Header
    """Its cards, those of the file's first header where it lacks them."""
    own: Header
    """Its cards alone."""
    name: str
    """EXTNAME; empty: it has none."""
    number: int
    """0: the first unit."""
    data: memoryview
    """Bytes of its data, without the fill."""


def bytes_of(file: File) -> bytes:
    """A file's bytes within the bound.

    Raises
    ------
    FrameError
        `frame_too_large`; `bad_frame` where it cannot be read.
    """
    if isinstance(file, bytes):
        data = file
    else:
        try:
            with file.open("rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                data = stream.read(MOST_OF_FILE + 1) if size <= MOST_OF_FILE else b""
        except OSError as error:
            raise FrameError("bad_frame", f"{file} cannot be read ({error.strerror})") from None
        if size > MOST_OF_FILE:
            raise FrameError("frame_too_large", f"{size:,} bytes; a frame has {MOST_OF_FILE:,} at most")
    if len(data) > MOST_OF_FILE:
        raise FrameError("frame_too_large", f"{len(data):,} bytes; a frame has {MOST_OF_FILE:,} at most")
    return data


def digest_of(data: bytes) -> str:
    """sha256 of bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def image_units(data: bytes) -> Iterator[ImageUnit]:
    """The units of a file that hold an image, one after another; their data are read, checked by DATASUM where they have one.

    Raises
    ------
    FrameError
        `bad_frame`, `frame_too_large`.
    """
    yield from _units(_stream(data))


def _stream(data: bytes) -> _Bytes | _Inflated:
    return _Inflated(data) if data[:2] == _GZIP else _Bytes(data)


def _units(source: _Bytes | _Inflated) -> Iterator[ImageUnit]:
    first: Header | None = None
    for number in range(MOST_UNITS):
        try:
            own = read_header(source, first=number == 0)
            if own is None:
                return
            size = data_size(own)
        except FitsError as error:
            raise FrameError("bad_frame", f"unit {number}: {error}") from None
        first = own if first is None else first
        header = Header({**first, **own})
        if not _is_image(own, number=number):
            if (there := source.skip(size)) < size:
                raise FrameError("bad_frame", f"unit {number} states {size:,} bytes of data and has {there:,}")
            source.skip(fill(size))
            continue
        _check_size(own, size, number=number)
        held = source.take(size)
        if len(held) < size:
            raise FrameError("bad_frame", f"truncated: unit {number} states {size:,} bytes of data and has {len(held):,}")
        source.skip(fill(size))
        stated = own.text("DATASUM")
        if re.fullmatch(r"[0-9]{1,20}", stated) and int(stated) != data_sum(held):
            raise FrameError("bad_frame", f"the data of unit {number} do not match their DATASUM")
        yield ImageUnit(header, own, own.text("EXTNAME"), number, held)
        held = memoryview(b"")
    raise FrameError("bad_frame", f"more than {MOST_UNITS} units")


def image_unit(data: bytes, extension: str | int | None = None) -> ImageUnit:
    """The image of a file: the first, or the one of a name or number.

    Raises
    ------
    FrameError
    """
    source = _stream(data)
    for unit in _units(source):
        if extension is None or extension == unit.number or (isinstance(extension, str) and extension.upper() == unit.name.upper()):
            source.finish()  # a gzip stream's checksum stands at its end
            return unit
    raise FrameError("bad_frame", "it holds no image" if extension is None else f"it holds no image in unit {one_line(extension, 40)}")


def _is_image(own: Header, *, number: int) -> bool:
    kind = own.text("XTENSION")
    if kind == "BINTABLE":
        return own.get("ZIMAGE") is True
    return (number == 0 or kind == "IMAGE") and isinstance(own.get("NAXIS"), int) and int(own["NAXIS"]) >= 2 and bool(math.prod(own.axes()))


def _check_size(own: Header, size: int, *, number: int) -> None:
    prefix = "Z" if own.text("XTENSION") == "BINTABLE" else ""
    try:
        axes = [own.whole(f"{prefix}NAXIS{k}", low=0, high=1 << 40) for k in range(1, own.whole(f"{prefix}NAXIS", low=0, high=9) + 1)]
    except FitsError as error:
        raise FrameError("bad_frame", f"unit {number}: {error}") from None
    if math.prod(axes) > MOST_PIXELS or size > MOST_OF_FILE:
        raise FrameError("frame_too_large", f"{' x '.join(map(str, axes))} pixels; a frame has {MOST_PIXELS:,} at most")


def data_sum(data: memoryview) -> int:
    """The ones'-complement sum of data as 32-bit words, the fill counted as zeros (FITS standard 4.0, appendix J)."""
    whole = len(data) // 4 * 4
    total = int(np.frombuffer(data[:whole], ">u4").sum(dtype=np.uint64))
    if whole < len(data):
        total += int.from_bytes(bytes(data[whole:]).ljust(4, b"\0"), "big")
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total
