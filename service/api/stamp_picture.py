"""A cut-out → a PNG that a browser shows: greys between the 1st and the 99.5th percentile, missing pixels transparent."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

from operators.types import F32
from schemas.surveys.cutout_files import pixels_of


def picture(fits: bytes) -> bytes | None:
    """A FITS image as a PNG; None: it cannot be read, or has no pixel."""
    image = pixels_of(fits)
    return None if image is None or not np.isfinite(image).any() else png(greys(image))


def greys(image: F32) -> npt.NDArray[np.uint8]:
    """Grey and opacity (H, W, 2), the highest row of the image first."""
    real = np.isfinite(image)
    low, high = np.percentile(image[real], [1, 99.5])
    scaled = np.clip((np.where(real, image, low) - low) / max(float(high - low), 1e-9), 0, 1)
    grey = np.round(255 * np.sqrt(scaled)).astype(np.uint8)
    return np.stack([grey, np.where(real, 255, 0).astype(np.uint8)], axis=-1)[::-1]  # the first row of a FITS image is the lowest


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Grey and opacity (H, W, 2) → a PNG file."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in np.ascontiguousarray(pixels))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 4, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
