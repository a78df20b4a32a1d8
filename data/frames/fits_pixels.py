"""The bytes of an image's data → its pixels, whatever BITPIX, BZERO, BSCALE and BLANK say, or a reason why not.

in → a unit of a file (`fits_units.ImageUnit`), its lengths checked
out → (rows, columns): uint16, int16 or float32
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from data.connectors.fits_headers import PIXELS, FitsError, Header
from data.frames.fits_units import ImageUnit
from data.frames.frame_error import FrameError
from data.frames.tiles import tiled_pixels

LARGEST = 1e30
"""Of BZERO and BSCALE: what is beyond overflows float32."""


def pixels_of(unit: ImageUnit) -> npt.NDArray[Any]:
    """The pixels of an image with two axes; others of length 1 are dropped.

    They are unsigned or signed integers of 16 bits where the image holds such, else float32.

    Raises
    ------
    FrameError
        `bad_frame`.
    """
    try:
        if unit.own.get("ZIMAGE") is True:
            header, stored = tiled_pixels(unit)
        else:
            header = unit.header
            axes = unit.own.axes()
            stored = np.frombuffer(unit.data, PIXELS[unit.own.whole("BITPIX", low=-64, high=64)], math.prod(axes)).reshape(axes[::-1])
    except FitsError as error:
        raise FrameError("bad_frame", str(error)) from None
    while stored.ndim > 2 and 1 in stored.shape:
        stored = stored.reshape([n for k, n in enumerate(stored.shape) if k != stored.shape.index(1)])
    if stored.ndim != 2:
        raise FrameError("bad_frame", f"its image has the axes {' x '.join(map(str, stored.shape[::-1]))}, not two")
    return scaled(stored, header)


def scaled(stored: npt.NDArray[Any], header: Header) -> npt.NDArray[Any]:
    """Stored numbers → values: BSCALE x + BZERO, NaN where an integer is BLANK.

    Raises
    ------
    FrameError
        A figure that cannot be.
    """
    zero, scale = _figure(header, "BZERO", default=0.0), _figure(header, "BSCALE", default=1.0)
    if scale == 0:
        raise FrameError("bad_frame", "BSCALE is 0: every pixel has the same value")
    whole = stored.dtype.kind in "iu"
    blank = header.get("BLANK") if whole else None
    empty = stored == blank if isinstance(blank, int) and not isinstance(blank, bool) else None
    if empty is not None and not empty.any():
        empty = None
    if whole and stored.dtype.itemsize <= 2 and scale == 1 and empty is None:
        if zero == 0:
            return stored.astype(np.int16 if stored.dtype.kind == "i" else np.uint16)
        if zero == 32768 and (stored.dtype.kind, stored.dtype.itemsize) == ("i", 2):
            return stored.astype(np.int16).view(np.uint16) ^ np.uint16(0x8000)
    with np.errstate(over="ignore", invalid="ignore"):
        values = (stored * scale + zero).astype(np.float32) if (scale, zero) != (1.0, 0.0) else stored.astype(np.float32)
    if empty is not None:
        values[empty] = np.nan
    return values


def _figure(header: Header, name: str, *, default: float) -> float:
    if name not in header:
        return default
    value = header.number(name)
    if value is None or abs(value) > LARGEST:
        raise FrameError("bad_frame", f"{name} is {header[name]!r:.40}: not a number that can be")
    return value
