"""A position that is measured on every frame: `photometry_position.avsc` as a dataclass."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.avro.wire import PacketError
from schemas.records.parts import check_finite, check_texts

POSITION_NAME = re.compile(r"[A-Za-z0-9+\-._]{1,64}", re.ASCII)
"""The object id of the position's alerts is its name; `schemas.surveys.frame_alerts` takes the same."""
FOUND, LISTED = "detection", "listed"
MOST_PIXELS = 1e6


@dataclass(frozen=True, slots=True)
class PhotometryPosition:
    """A position; every field stands in `photometry_position.avsc`, in the same order. It has a place on the sky, or on a detector."""

    name: str
    ra: float | None
    dec: float | None
    detector: str = ""
    field: str = ""
    y: float | None = None
    x: float | None = None
    public: bool = True
    origin: str = LISTED
    frame_id: str = ""
    first_mjd: float | None = None

    @property
    def key(self) -> bytes:
        """Key on the compacted topic."""
        return self.name.encode()


def from_row(row: Mapping[str, Any]) -> PhotometryPosition:
    """A position from its plain values.

    Raises
    ------
    schemas.avro.wire.PacketError
        A value that no position of ours has.
    """
    check_texts(row, "detector", "field", "frame_id")
    if POSITION_NAME.fullmatch(row["name"]) is None:
        raise PacketError("bad_value", f"{row['name'][:40]!r} is not a position's name: letters, digits and + - . _, 64 at most")
    if row["origin"] not in (FOUND, LISTED):
        raise PacketError("bad_value", f"origin is {row['origin'][:40]!r}: {FOUND} or {LISTED}")
    check_finite(row, *(name for name in ("ra", "dec", "y", "x", "first_mjd") if row[name] is not None))
    on_sky, on_pixels = row["ra"] is not None and row["dec"] is not None, row["y"] is not None and row["x"] is not None
    if on_sky == on_pixels or (on_pixels and not row["detector"]):
        raise PacketError("bad_value", "a position has ra and dec, or detector, y and x")
    if on_sky and not (0 <= row["ra"] < 360 and -90 <= row["dec"] <= 90):
        raise PacketError("bad_value", f"ra {row['ra']}, dec {row['dec']} are not on the sky")
    if on_pixels and not (-1 < row["y"] < MOST_PIXELS and -1 < row["x"] < MOST_PIXELS):
        raise PacketError("bad_value", f"y {row['y']}, x {row['x']} are not on an image")
    return PhotometryPosition(**row)
