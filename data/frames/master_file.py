"""A master frame ↔ a FITS file: the combined image, what it is of, for when it holds, and what it was made of.

in → the mean of bias, dark or flat frames, or a mask of bad pixels, with a `MasterLabel`
out → a file, the same bytes for the same master; and back, its values checked
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from data.connectors.fits_headers import Header
from data.frames.fits_pixels import pixels_of
from data.frames.fits_units import File, bytes_of, digest_of, image_units
from data.frames.fits_writer import image, primary
from data.frames.frame_error import FrameError
from operators.images.combine import LEAST_FLAT

MasterKind: TypeAlias = Literal["bias", "dark", "flat", "bad"]
KINDS: tuple[MasterKind, ...] = ("bias", "dark", "flat", "bad")
UNITS = {"bias": "adu", "dark": "adu/s", "flat": "", "bad": ""}
MOST_MISSING = 0.05
"""Share of a master's pixels that may have no value."""


@dataclass(frozen=True, slots=True)
class MasterLabel:
    """What a master is of and for when it holds."""

    kind: MasterKind
    detector: str
    filter: str = ""
    """Of a flat."""
    binning: tuple[int, int] = (1, 1)
    """(y, x)"""
    shape: tuple[int, int] = (0, 0)
    """(h, w)"""
    overscan: bool = False
    """Whether the level of an overscan was taken from the frames it was made of."""
    gain: float = math.nan
    """[e-/ADU]"""
    temperature: float = math.nan
    """Of the detector [deg C]."""
    exposure: float = math.nan
    """Of the darks [s]."""
    valid_from: float = -math.inf
    """First moment it holds for [MJD TAI]."""
    valid_to: float = math.inf
    n_frames: int = 0
    digest: str = ""
    """sha256 of its file."""

    def __str__(self) -> str:
        parts = [self.kind, self.detector, self.filter, f"{self.binning[1]}x{self.binning[0]}"]
        return " ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class MasterFile:
    """A master with its values."""

    label: MasterLabel
    image: npt.NDArray[Any]
    """float32 [ADU, without its overscan level], [ADU/s], [1, median 1]; uint8 of bad pixels."""
    variance: npt.NDArray[np.float32] | None = None
    """Of the mean."""


def encode_master(master: MasterFile, *, sources: Sequence[str] = (), history: Sequence[str] = ()) -> list[bytes | memoryview]:
    """The bytes of a master's file, in pieces.

    Parameters
    ----------
    master : MasterFile
    sources : sequence of str
        Names and digests of the frames it was made of, written as HISTORY.
    history : sequence of str
        What was left out and why.
    """
    label = master.label
    cards: dict[str, str | int | float | bool | None] = {
        "PROTOMST": label.kind, "IMAGETYP": f"MASTER {label.kind.upper()}", "DETECTOR": label.detector, "FILTER": label.filter,
        "CCDSUM": f"{label.binning[1]} {label.binning[0]}", "OVERSCAN": label.overscan, "GAIN": float(label.gain),
        "CCD-TEMP": float(label.temperature), "EXPTIME": float(label.exposure), "TIMESYS": "TAI", "VALFROM": float(label.valid_from),
        "VALTO": float(label.valid_to), "NCOMBINE": label.n_frames,
    }  # fmt: skip
    steps = [*history, *(f"of {source}" for source in sources)]
    out: list[bytes | memoryview] = [primary(cards, comments={"VALFROM": "[d] MJD", "VALTO": "[d] MJD"}, steps=steps)]
    values = np.asarray(master.image, np.uint8 if label.kind == "bad" else np.float32)
    out += image("MASTER", values, cards={"BUNIT": UNITS[label.kind] or None})
    if master.variance is not None:
        out += image("VAR", np.asarray(master.variance, np.float32), cards={})
    return out


def decode_master(file: File, *, planes: bool = True) -> MasterFile:
    """Read a master and check its values.

    Parameters
    ----------
    file : bytes or Path
    planes : bool
        Whether the variance is wanted.

    Raises
    ------
    FrameError
        `bad_master`: damaged, not a master, or with values that nothing can be calibrated by.
    """
    try:
        data = bytes_of(file)
        units = {}
        for unit in image_units(data):
            units[unit.name] = unit
            if unit.name == "MASTER" and not planes:
                break
        if "MASTER" not in units:
            raise FrameError("bad_master", "it has no unit MASTER: `protonova masters build` makes them")
        values = pixels_of(units["MASTER"])
        variance = pixels_of(units["VAR"]).astype(np.float32) if "VAR" in units else None
    except FrameError as error:
        raise FrameError("bad_master", str(error)) from None
    label = replace(label_of(units["MASTER"].header), shape=(values.shape[0], values.shape[1]), digest=digest_of(data))
    values = values.astype(np.uint8 if label.kind == "bad" else np.float32, copy=False)
    check_values(values, label)
    return MasterFile(label, values, variance)


def label_of(header: Header) -> MasterLabel:
    """The label on a master's header; shape and digest are the caller's to add.

    Raises
    ------
    FrameError
        `bad_master`.
    """
    kind, binning = header.text("PROTOMST"), re.fullmatch(r"(\d{1,2}) (\d{1,2})", header.text("CCDSUM"))
    if kind not in KINDS or binning is None or not header.text("DETECTOR") or (kind == "flat" and not header.text("FILTER")):
        raise FrameError("bad_master", "its header lacks kind, detector, binning or a flat's filter: `protonova masters build` makes them")
    start, end = header.number("VALFROM"), header.number("VALTO")
    figures = [header.number(name) for name in ("GAIN", "CCD-TEMP", "EXPTIME")]
    gain, temperature, exposure = (math.nan if figure is None else figure for figure in figures)
    return MasterLabel(
        kind, header.text("DETECTOR"), header.text("FILTER"), (int(binning[2]), int(binning[1])),
        overscan=header.get("OVERSCAN") is True, gain=gain, temperature=temperature, exposure=exposure,
        valid_from=-math.inf if start is None else start, valid_to=math.inf if end is None else end,
        n_frames=int(header.number("NCOMBINE") or 0),
    )  # fmt: skip


def check_values(values: npt.NDArray[Any], label: MasterLabel) -> None:
    """Refuse a master by which nothing can be calibrated.

    Raises
    ------
    FrameError
        `bad_master`: too many pixels without a value, a flat of zeros or below, one that is not normalised.
    """
    if label.kind == "bad":
        share = float((values != 0).mean())
        if share > 0.5:
            raise FrameError("bad_master", f"{label}: {share:.0%} of its pixels are bad")
        return
    there = np.isfinite(values)
    missing = 1 - float(there.mean())
    if missing > MOST_MISSING:
        raise FrameError("bad_master", f"{label}: {missing:.1%} of its pixels have no value (NaN); {MOST_MISSING:.0%} may")
    if label.kind == "flat":
        found = values[there]
        unlit = float((found < LEAST_FLAT).mean())
        if unlit > MOST_MISSING:
            raise FrameError("bad_master", f"{label}: {unlit:.1%} of its pixels are 0 or nearly so; {MOST_MISSING:.0%} may")
        middle = float(np.median(found))
        if not 0.5 < middle < 2:
            raise FrameError("bad_master", f"{label}: its median is {middle:.3g}, not 1")
