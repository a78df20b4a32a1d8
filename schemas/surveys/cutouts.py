"""Cut-outs: bytes of a FITS image, gzipped or plain → pixels in a stamp of the batch.

A cut-out that cannot be read is a missing one: the alert keeps its light curve. Nothing in it can cost more than `MAX_IMAGE` bytes.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Any

import deflate
import numpy as np
import numpy.typing as npt

from operators.types import F32, RAW_STAMP, STAMP_SCALE, STAMP_SCALE_NEAR
from schemas.surveys.cutout_window import Windows

MAX_IMAGE = 2_000_000
"""Bytes of an inflated cut-out."""
MAX_SIDE = 1024
_BLOCK = 2880
_CARD = 80
_DTYPES = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
_KEYS = ("BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "BSCALE", "BZERO", "PC1_1", "PC1_2", "PC2_1", "PC2_2", "CD1_1", "CD1_2", "CD2_1", "CD2_2",
         "CDELT1", "CDELT2")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Header:
    """What a FITS header says of its image."""

    offset: int  # where the pixels begin
    width: int
    height: int
    dtype: np.dtype[Any]
    scale: float  # BSCALE
    zero: float  # BZERO
    pixel_scale: float  # [arcsec], NaN where there is no WCS


class Cutouts:
    """Reads cut-outs; remembers headers by their bytes, since a survey writes few different ones."""

    def __init__(self) -> None:
        self._headers: dict[bytes, Header] = {}
        self._windows = Windows(_window_scale)

    def read_windows(self, data: bytes, place: npt.NDArray[np.int64], *, stamps: F32) -> float | None:
        """The middle of three gzipped images of the stamp's size, where the network looks at nothing else; see `cutout_window`."""
        return self._windows.read(data, place, stamps=stamps)

    def read(self, data: bytes, stamp: F32, *, right: bool | None = None, top: bool | None = None) -> float | None:
        """Put the primary image into a stamp.

        Parameters
        ----------
        data : a FITS file, plain or gzipped
        stamp : (S, S) float32, overwritten; NaN where the image has no pixel
        right, top : of an image narrower (lower) than the stamp because a detector's edge cut it: True, it keeps the right (upper) part
            of the stamp; False, the left (lower); None, it is centred, its pixel [h // 2, w // 2] on the stamp's [S // 2, S // 2].
            A larger image is cropped about its centre.

        Returns
        -------
        the pixel scale the header states [arcsec/pixel] or NaN; None where the image cannot be read (the stamp is untouched)
        """
        plain = inflated(data)
        if plain is None or len(plain) > MAX_IMAGE:
            return None
        key = bytes(plain[:_BLOCK])
        header = self._headers.get(key)
        if header is None:
            header = read_header(plain)
            # Only what the first block alone decides may be remembered by it: a longer header, or one cut short, is read each time.
            if header is not None and header.offset == _BLOCK:
                if len(self._headers) >= 256:
                    self._headers.clear()
                self._headers[key] = header
        if header is None or header.offset + header.width * header.height * header.dtype.itemsize > len(plain):
            return None
        pixels: npt.NDArray[Any] = np.frombuffer(plain, header.dtype, header.width * header.height, header.offset)
        pixels = pixels.reshape(header.height, header.width)
        if header.scale != 1.0 or header.zero != 0.0:
            pixels = pixels * header.scale + header.zero
        side = stamp.shape[0]
        if pixels.shape == stamp.shape:
            stamp[...] = pixels
        else:
            to_y, from_y, rows = _place(header.height, side, far=top)
            to_x, from_x, columns = _place(header.width, side, far=right)
            stamp[...] = np.nan
            stamp[to_y : to_y + rows, to_x : to_x + columns] = pixels[from_y : from_y + rows, from_x : from_x + columns]
        return header.pixel_scale


def _window_scale(block: bytes) -> float | None:
    """The pixel scale a header states (NaN: none) if the window is all that is looked at: the stamp's size, and pixels of the network's."""
    # Text to its end, as FITS wants it: no checksum guards this header, and a stream that is damaged goes on with pixels in it.
    header = read_header(block) if block.isascii() and block.decode("ascii").isprintable() else None
    if header is None or (header.offset, header.width, header.height) != (_BLOCK, RAW_STAMP, RAW_STAMP):
        return None
    if (header.dtype, header.scale, header.zero) != (np.dtype(">f4"), 1.0, 0.0):
        return None
    return None if abs(header.pixel_scale / STAMP_SCALE - 1) > STAMP_SCALE_NEAR else header.pixel_scale  # NaN is not


def read_header(plain: bytes | bytearray) -> Header | None:
    """Parse the cards of the primary header; None where it is not an image we read (FITS 4.0, section 4)."""
    if not plain.startswith(b"SIMPLE  ="):
        return None
    cards: dict[str, float] = {}
    for at in range(0, min(len(plain), 20 * _BLOCK) - _CARD + 1, _CARD):
        key = plain[at : at + 8].rstrip().decode("ascii", "replace")
        if key == "END":
            offset = -(-(at + _CARD) // _BLOCK) * _BLOCK
            break
        if key in _KEYS and plain[at + 8 : at + 10] == b"= ":
            try:
                cards[key] = float(plain[at + 10 : at + _CARD].split(b"/")[0].decode("ascii", "replace").replace("D", "E"))
            except ValueError:
                return None
    else:
        return None
    width, height = cards.get("NAXIS1", 0), cards.get("NAXIS2", 0)
    code = _DTYPES.get(int(cards.get("BITPIX", 0)) if math.isfinite(cards.get("BITPIX", 0)) else 0)
    if code is None or cards.get("NAXIS") != 2 or not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        return None
    return Header(offset, int(width), int(height), np.dtype(code), cards.get("BSCALE", 1.0), cards.get("BZERO", 0.0), _pixel_scale(cards))


def _pixel_scale(cards: dict[str, float]) -> float:
    """√|determinant| of the coordinate matrix [arcsec], to 0.01: operators resample once a scale, not once an alert."""
    if "CD1_1" in cards or "CD1_2" in cards:
        a, b, c, d = (cards.get(key, 0.0) for key in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"))
        area = a * d - b * c
    elif "CDELT1" in cards and "CDELT2" in cards:
        a, b, c, d = (cards.get(key, default) for key, default in (("PC1_1", 1.0), ("PC1_2", 0.0), ("PC2_1", 0.0), ("PC2_2", 1.0)))
        area = (a * d - b * c) * cards["CDELT1"] * cards["CDELT2"]
    else:
        return math.nan
    scale = math.sqrt(abs(area)) * 3600 if math.isfinite(area) else math.nan
    return round(scale, 2) if 0.01 <= scale <= 100 else math.nan


def _place(size: int, side: int, *, far: bool | None) -> tuple[int, int, int]:
    """One axis: where in the stamp, from where in the image, how many."""
    if size >= side:
        return 0, size // 2 - side // 2, side
    if far is None:
        return side // 2 - size // 2, 0, size
    return (side - size if far else 0), 0, size


def inflated(data: bytes) -> bytes | bytearray | None:
    """A FITS file that may be gzipped, within `MAX_IMAGE`; None: it cannot be inflated."""
    return _gunzip(data) if data[:2] == b"\x1f\x8b" else data


def _gunzip(data: bytes) -> bytes | bytearray | None:
    """Inflate with a bound. libdeflate allocates what the last four bytes announce, so these are looked at first."""
    if len(data) < 18:
        return None
    announced = int.from_bytes(data[-4:], "little")
    if 0 < announced <= MAX_IMAGE:
        try:
            return deflate.gzip_decompress(data)
        except (deflate.DeflateError, ValueError):
            pass
    stream = zlib.decompressobj(31)  # several members, or bytes after the end
    try:
        plain = stream.decompress(data, MAX_IMAGE + 1)
    except zlib.error:
        return None
    return plain if stream.eof and len(plain) <= MAX_IMAGE else None
