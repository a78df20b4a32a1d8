"""A FITS file of whatever instrument → a `RawFrame`, or a named reason why not.

in → bytes or a path: plain, gzipped or tile-compressed FITS, one image or several
out → `RawFrame`: pixels, and what the header says of detector, filter, time, readout and sky in one form

Nothing that a header states is believed before it was compared with what is there; `fits_units` bounds bytes and pixels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np

from data.connectors.fits_headers import Header, Value
from data.frames.exposure_time import day_of, mid_exposure
from data.frames.fits_pixels import pixels_of
from data.frames.fits_units import File, ImageUnit, bytes_of, image_unit, image_units
from data.frames.frame_error import FrameError
from data.frames.instrument_table import Instrument, filter_of, instrument_of, kind_of
from data.frames.sky_positions import checked_sky_map, wcs_cards
from errors import one_line
from operators.images.planes import FrameKind, RawFrame, Readout

if TYPE_CHECKING:
    from operators.types import Array

LONGEST_EXPOSURE = 100_000.0
"""[s]"""
KELVIN_FROM = 60.0
"""A detector's temperature above it is in kelvin [deg C]."""
_SECTION = re.compile(r"\[\s*(-?\d{1,6})\s*:\s*(-?\d{1,6})\s*,\s*(-?\d{1,6})\s*:\s*(-?\d{1,6})\s*\]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_YES = (True, "T", "Y", "YES", "TRUE", "1", 1)
_NO = (False, "F", "N", "NO", "FALSE", "0", 0)

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Reader:
    """A header read by an instrument's row."""

    header: Header
    row: Instrument

    def text(self, what: str) -> str:
        """The first keyword that says something; "" where none does."""
        return next((one_line(text, 120) for name in self.row.names(what) if (text := self.header.text(name))), "")

    def number(self, what: str) -> float | None:
        """The first that is a finite number, also one in quotes; else the row's figure."""
        for name in self.row.names(what):
            value = self.header.number(name)
            if value is None and _NUMBER.fullmatch(text := self.header.text(name)):
                value = float(text)
            if value is not None and math.isfinite(value):
                return value
        return self.row.figures.get(what)

    def value(self, what: str) -> Value | None:
        """The first card that is there."""
        return next((self.header[name] for name in self.row.names(what) if name in self.header), None)


def images_of(file: File) -> list[tuple[int, str]]:
    """Number and name of each image in a file."""
    return [(unit.number, unit.name) for unit in image_units(bytes_of(file))]


def read_frame(file: File, *, origin: str = "", extension: str | int | None = None) -> RawFrame:
    """A raw frame.

    Parameters
    ----------
    file : bytes or Path
    origin : str
        Where it came from, for a name of the exposure where its header has none; default: the path.
    extension : str or int, optional
        EXTNAME or number of the image to read; None: the first.

    Raises
    ------
    FrameError
        `bad_frame`, `frame_too_large`, `no_detector`, `no_filter`, `no_time`.
    """
    unit = image_unit(bytes_of(file), extension)
    return frame_of(unit, origin=origin or (file.name if not isinstance(file, bytes) else ""))


def frame_of(unit: ImageUnit, *, origin: str = "") -> RawFrame:
    """The raw frame of one image of a file; as `read_frame`."""
    row = instrument_of(unit.header)
    reader = _Reader(unit.header, row)
    kind = _kind(reader)
    detector = slug(reader.text("detector"))
    if not detector:
        raise FrameError("no_detector", f"none of {', '.join(row.names('detector'))} names the detector")
    band = _band(reader, kind)
    exposure = _exposure(reader, kind)
    mjd = mid_exposure(unit.header, row, exposure=exposure)
    data = pixels_of(unit)
    readout = _readout(reader, data, kind=kind)
    wcs, problem = _sky(unit.header, readout.trim) if kind == "science" else (None, "")
    return RawFrame(
        data, readout, kind, _frame_id(reader, origin, mjd=mjd), detector, band, exposure, mjd,
        binning=_binning(reader), temperature=_temperature(reader), field=slug(reader.text("field")), public=_public(reader, mjd),
        wcs=wcs, wcs_problem=problem,
    )  # fmt: skip


def slug(text: str) -> str:
    """A name that can stand in a key, a file name and a topic: letters, digits, ``_ . -``, 64 at most."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text.strip()).strip("_.")[:64]


def section(text: str, shape: Sequence[int], *, name: str = "the section") -> Box:
    """``[x1:x2,y1:y2]``, 1-based and inclusive (IRAF) → y0, y1, x0, x1, 0-based and exclusive.

    Raises
    ------
    FrameError
        `bad_frame`: it cannot be read, or does not lie in the image.
    """
    found = _SECTION.fullmatch(text.strip())
    if not found:
        raise FrameError("bad_frame", f"{name} is {one_line(text, 40)!r}, not [x1:x2,y1:y2]")
    xs, ys = sorted(int(n) for n in found.groups()[:2]), sorted(int(n) for n in found.groups()[2:])
    if xs[0] < 1 or ys[0] < 1 or xs[1] > shape[1] or ys[1] > shape[0]:
        raise FrameError("bad_frame", f"{name} {one_line(text, 40)} does not lie in the image of {shape[1]} x {shape[0]} pixels")
    return ys[0] - 1, ys[1], xs[0] - 1, xs[1]


def _kind(reader: _Reader) -> FrameKind:
    text = reader.text("kind")
    kind = kind_of(text) if text else "science"
    if kind is None:
        raise FrameError("bad_frame", f"its kind is {text!r}: bias, dark, flat and science are read")
    return kind


def _band(reader: _Reader, kind: FrameKind) -> str:
    if kind in ("bias", "dark"):
        return ""
    name = reader.text("filter")
    band = filter_of(reader.row, name) if name else None
    if band is None:
        said = f"filter {name!r} is not known" if name else f"none of {', '.join(reader.row.names('filter'))} names the filter"
        raise FrameError("no_filter", said)
    return band


def _exposure(reader: _Reader, kind: FrameKind) -> float:
    exposure = reader.number("exposure")
    if exposure is None and kind == "bias":
        return 0.0
    if exposure is None or not 0 <= exposure <= LONGEST_EXPOSURE or (exposure == 0 and kind != "bias"):
        raise FrameError("bad_frame", f"its exposure is {'missing' if exposure is None else f'{exposure:g} s'}")
    return exposure


def _readout(reader: _Reader, data: Array, *, kind: FrameKind) -> Readout:
    shape = data.shape
    trim: Box = (0, shape[0], 0, shape[1])
    for what in reader.row.names("trim"):
        if text := reader.header.text(what):
            trim = section(text, shape, name=what)
            break
    overscan: Box | None = None
    for what in reader.row.names("overscan"):
        if text := reader.header.text(what):
            overscan = _columns(section(text, shape, name=what), trim, name=what)
            break
    gain, noise = reader.number("gain"), reader.number("read_noise")
    if kind == "science":
        for name, value, low in (("gain", gain, 1e-3), ("read noise", noise, 0.0)):
            if value is None or not low <= value <= 1e4:
                raise FrameError(
                    "bad_frame", f"its {name} is {'missing' if value is None else f'{value:g}'}: set its keyword or the instrument's row"
                )
    limit = 65_535.0 if np.dtype(data.dtype).kind == "u" else 32_767.0 if np.dtype(data.dtype).kind == "i" else math.inf
    saturation = reader.number("saturation")
    if saturation is None or saturation <= 0:
        saturation = limit  # at the converter's end at the latest
    linear = reader.number("linear_to")
    return Readout(
        gain if gain is not None else math.nan, noise if noise is not None else math.nan, min(saturation, limit), trim, overscan,
        linear if linear is not None and linear > 0 else math.inf, reader.number("nonlinearity") or 0.0,
    )  # fmt: skip


def _columns(box: Box, trim: Box, *, name: str) -> Box:
    """The overscan of the image's rows."""
    y0, y1, x0, x1 = max(box[0], trim[0]), min(box[1], trim[1]), box[2], box[3]
    if (y0, y1) != trim[:2] or (x0 < trim[3] and x1 > trim[2]):
        raise FrameError("bad_frame", f"{name} is not columns beside the image, of each of its rows")
    return y0, y1, x0, x1


def _binning(reader: _Reader) -> tuple[int, int]:
    """Pixels read as one, along y and x."""
    both = re.fullmatch(r"(\d{1,2})[\s,x]+(\d{1,2})", reader.text("binning"))
    x, y = (int(both[1]), int(both[2])) if both else (reader.number("binning_x") or 1, reader.number("binning_y") or 1)
    if not (1 <= x <= 64 and 1 <= y <= 64 and x == int(x) and y == int(y)):
        raise FrameError("bad_frame", f"its binning is {x:g} x {y:g}")
    return int(y), int(x)


def _temperature(reader: _Reader) -> float:
    found = reader.number("temperature")
    if found is None or not -273.15 <= found <= 400:
        return math.nan
    return found - 273.15 if found > KELVIN_FROM else found


def _public(reader: _Reader, mjd: float) -> bool:
    """False where the header says so in any way; a word that is not understood counts as private."""
    private, public, since = reader.value("private"), reader.value("public"), day_of(reader.header, reader.row)
    if private is not None and (private.strip().upper() if isinstance(private, str) else private) not in _NO:
        return False
    if public is not None and (public.strip().upper() if isinstance(public, str) else public) not in _YES:
        return False
    return since is None or since <= mjd + 1


def _frame_id(reader: _Reader, origin: str, *, mjd: float) -> str:
    name = reader.text("frame_id") or PurePath(origin).name
    name = re.sub(r"(\.(fits?|fts|fz|gz))+$", "", name, flags=re.IGNORECASE)
    return slug(name) or f"mjd{mjd:.6f}"


def _sky(header: Header, trim: Box) -> tuple[str | None, str]:
    """The cards of the trimmed image's world coordinates; None and why."""
    try:
        cards = wcs_cards(header, y0=trim[0], x0=trim[2])
        checked_sky_map(cards, (trim[1] - trim[0], trim[3] - trim[2]))
    except FrameError as error:
        return None, str(error)
    return cards, ""
