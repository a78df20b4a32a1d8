"""A calibrated frame ↔ a multi-extension FITS file: SCI [e-], VAR [e-^2], MASK with the names of its bits, and how it was made.

in → `Calibrated`, `Quality`, the `RawFrame` and `Masters` it was made of
out → a file, the same bytes for the same frame; and back
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from data.connectors.fits_headers import Header
from data.frames.fits_pixels import pixels_of
from data.frames.fits_units import File, ImageUnit, bytes_of, digest_of, image_units
from data.frames.fits_writer import image, primary
from data.frames.frame_error import FrameError
from data.frames.sky_positions import checked_sky_map, wcs_cards
from data.whole_file import write_whole
from operators.images.planes import MASK_NAMES, Calibrated, FrameKind, Masters, Quality, RawFrame, Readout

VERSION = 1
"""Of what the cards mean."""
MOST_STARS = 10_000_000
_QUALITY = {
    "sky": "SKY", "noise": "SKYNOISE", "seeing": "SEEING", "elongation": "ELONGATN", "n_stars": "NSTARS", "saturated_share": "SATSHARE",
    "cosmic_ray_share": "CRSHARE", "bad_share": "BADSHARE", "zero_point": "MAGZP", "zero_point_err": "MAGZPERR", "limit": "LIMFLUX",
}  # fmt: skip
_COMMENTS = {
    "MJD-AVG": "[d] mid-exposure, TAI", "EXPTIME": "[s]", "GAIN": "[e-/ADU]", "RDNOISE": "[e-]", "SATURATE": "[ADU]", "CCD-TEMP": "[deg C]",
    "LINLIMIT": "[ADU above bias]", "NONLIN": "[1/ADU]", "SKY": "[e-/pixel]", "SKYNOISE": "[e-/pixel]", "SEEING": "[pixel] FWHM",
    "MAGZP": "AB magnitude of 1 e-", "MAGZPERR": "[mag]", "LIMFLUX": "[uJy] 5 sigma, point source", "PUBLIC": "F: private topics only",
}  # fmt: skip
_BOX = re.compile(r"\[(\d+):(\d+),(\d+):(\d+)\]")


@dataclass(frozen=True, slots=True)
class CalibratedFile:
    """What a calibrated file holds."""

    calibrated: Calibrated
    quality: Quality
    raw: RawFrame
    """Without its pixels: `data` is (0, 0)."""
    masters: tuple[str, ...]
    """Digests of the masters it was made with."""
    history: tuple[str, ...]
    digest: str
    """sha256 of the file."""


def write(
    path: Path, calibrated: Calibrated, quality: Quality, raw: RawFrame, masters: Masters, *, steps: Sequence[str] | None = None
) -> str:
    """Write a calibrated frame, whole or not at all.

    Parameters
    ----------
    path : Path
        Its folder is there.
    calibrated, quality, raw, masters
        As the calibration took and gave them; of `raw` the pixels are not used.
    steps : sequence of str, optional
        Lines of HISTORY; default: those of `operators.images.calibrate`.

    Returns
    -------
    str
        sha256 of the file.
    """
    parts = encode(calibrated, quality, raw, masters, steps=steps)
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    write_whole(path, *parts)
    return digest.hexdigest()


def encode(
    calibrated: Calibrated, quality: Quality, raw: RawFrame, masters: Masters, *, steps: Sequence[str] | None = None
) -> list[bytes | memoryview]:
    """The bytes of a calibrated file, in pieces; as `write`."""
    cards: dict[str, str | int | float | bool | None] = {"PROTOVER": VERSION, **frame_cards(raw)}
    cards |= {name: cast("float", getattr(quality, what)) for what, name in _QUALITY.items()}
    cards |= {f"FLAG{k}": flag for k, flag in enumerate(quality.flags, 1)} | {
        f"MASTER{k}": digest for k, digest in enumerate(masters.ids, 1)
    }
    names = {f"BIT{int(math.log2(bit))}": name for bit, name in MASK_NAMES.items()}
    sky = (raw.wcs or "").splitlines()
    made = steps_of(raw, masters) if steps is None else steps
    out: list[bytes | memoryview] = [primary(cards, comments=_COMMENTS, steps=made)]
    for name, values, more in (
        ("SCI", calibrated.science, {"BUNIT": "electron"}),
        ("VAR", calibrated.variance, {"BUNIT": "electron2"}),
        ("MASK", calibrated.mask, names),
    ):
        out += image(name, np.asarray(values, np.uint8 if name == "MASK" else np.float32), cards=more, more=sky)
    return out


def read(file: File) -> CalibratedFile:
    """Read a calibrated file.

    Raises
    ------
    FrameError
        `bad_frame`: damaged, or not one of ours.
    """
    data = bytes_of(file)
    units = {unit.name: unit for unit in image_units(data)}
    if missing := [name for name in ("SCI", "VAR", "MASK") if name not in units]:
        raise FrameError("bad_frame", f"a calibrated file has SCI, VAR and MASK; {', '.join(missing)} is missing")
    science, variance, mask = (pixels_of(units[name]) for name in ("SCI", "VAR", "MASK"))
    if not science.shape == variance.shape == mask.shape:
        raise FrameError("bad_frame", f"its planes are of {science.shape}, {variance.shape} and {mask.shape} pixels")
    header = units["SCI"].header
    if header.get("PROTOVER") != VERSION:
        raise FrameError("bad_frame", f"a calibrated file of version {header.get('PROTOVER', 'none')!r:.20}; {VERSION} is read")
    planes = Calibrated(science.astype(np.float32, copy=False), variance.astype(np.float32, copy=False), mask.astype(np.uint8))
    figures = {what: _number(header, name) for what, name in _QUALITY.items()}
    counted = figures.pop("n_stars")
    n_stars = int(counted) if 0 <= counted <= MOST_STARS else 0
    quality = Quality(**figures, n_stars=n_stars, flags=_texts(header, "FLAG"))
    return CalibratedFile(planes, quality, frame_of_cards(units["SCI"]), _texts(header, "MASTER"), history_of(data), digest_of(data))


def frame_cards(raw: RawFrame) -> dict[str, str | int | float | bool | None]:
    """What is kept of a raw frame beside its pixels."""
    r = raw.readout
    return {
        "IMAGETYP": raw.kind, "FRAMEID": raw.frame_id, "DETECTOR": raw.detector, "FILTER": raw.filter, "EXPTIME": float(raw.exposure),
        "TIMESYS": "TAI", "MJD-AVG": float(raw.mjd), "CCDSUM": f"{raw.binning[1]} {raw.binning[0]}", "CCD-TEMP": float(raw.temperature),
        "FIELD": raw.field, "PUBLIC": raw.public, "GAIN": float(r.gain), "RDNOISE": float(r.read_noise), "SATURATE": float(r.saturation),
        "LINLIMIT": float(r.linear_to), "NONLIN": float(r.nonlinearity), "RAWTRIM": box_text(r.trim),
        "RAWBIAS": None if r.overscan is None else box_text(r.overscan), "WCSWHY": raw.wcs_problem.replace("'", "") or None,
    }  # fmt: skip


def frame_of_cards(unit: ImageUnit) -> RawFrame:
    """The frame of `frame_cards`, without its pixels.

    Raises
    ------
    FrameError
        `bad_frame`.
    """
    header, own = unit.header, unit.own
    binning = re.fullmatch(r"(\d{1,2}) (\d{1,2})", header.text("CCDSUM"))
    trim, mjd, kind = _box(header, "RAWTRIM"), _number(header, "MJD-AVG"), header.text("IMAGETYP")
    if binning is None or trim is None or not math.isfinite(mjd) or kind not in ("science", "bias", "dark", "flat"):
        raise FrameError("bad_frame", "its cards are not those of one of our files")
    linear, public = header.number("LINLIMIT"), header.get("PUBLIC")
    if not isinstance(public, bool):
        raise FrameError("bad_frame", "PUBLIC is missing")
    saturation = header.number("SATURATE")
    readout = Readout(
        _number(header, "GAIN"), _number(header, "RDNOISE"), math.inf if saturation is None else saturation, trim, _box(header, "RAWBIAS"),
        math.inf if linear is None else linear, header.number("NONLIN") or 0.0,
    )  # fmt: skip
    wcs, problem = _sky_text(own, (trim[1] - trim[0], trim[3] - trim[2]))
    return RawFrame(
        np.empty((0, 0), np.float32), readout, cast("FrameKind", kind), header.text("FRAMEID"), header.text("DETECTOR"),
        header.text("FILTER"),
        header.number("EXPTIME") or 0.0, mjd, binning=(int(binning[2]), int(binning[1])), temperature=_number(header, "CCD-TEMP"),
        field=header.text("FIELD"), public=public, wcs=wcs, wcs_problem=header.text("WCSWHY") or problem,
    )  # fmt: skip


def steps_of(raw: RawFrame, masters: Masters) -> list[str]:
    """What `operators.images.calibrate` did, a line a step."""
    r = raw.readout
    digests = ", ".join(digest[:12] for digest in masters.ids) or "none"
    lines = [f"saturation flagged at {r.saturation:g} ADU of the raw frame; values that are not finite flagged NO_DATA"]
    lines += [f"overscan: median of columns {box_text(r.overscan)} of each row subtracted"] if r.overscan else ["overscan: none"]
    lines += [f"trimmed to {box_text(r.trim)}", "bias subtracted"]
    lines += [f"non-linearity: x (1 + {r.nonlinearity:g} x), flagged above {r.linear_to:g} ADU"] if r.nonlinearity else []
    lines += [f"dark x {raw.exposure:g} s subtracted", "divided by the flat"]
    lines += [f"x gain {r.gain:g} e-/ADU; variance from light and {r.read_noise:g} e- read noise"]
    return [*lines, "cosmic rays flagged (L.A.Cosmic, van Dokkum 2001)", f"masters: {digests}"]


def box_text(box: tuple[int, int, int, int]) -> str:
    """y0, y1, x0, x1 → ``[x1:x2,y1:y2]``, 1-based and inclusive."""
    return f"[{box[2] + 1}:{box[3]},{box[0] + 1}:{box[1]}]"


def history_of(data: bytes) -> tuple[str, ...]:
    """Lines of HISTORY in the first header."""
    found: list[str] = []
    for at in range(0, len(data), 80):
        line = data[at : at + 80]
        if line.startswith(b"HISTORY "):
            found.append(line[8:].decode("latin-1").rstrip())
        elif line.rstrip() == b"END" or at > 2880 * 100:
            break
    return tuple(found)


def _number(header: Header, name: str) -> float:
    found = header.number(name)
    return math.nan if found is None else found


def _texts(header: Header, stem: str) -> tuple[str, ...]:
    """STEM1, STEM2 and so on."""
    found: list[str] = []
    while text := header.text(f"{stem}{len(found) + 1}"):
        found.append(text)
    return tuple(found)


def _box(header: Header, name: str) -> tuple[int, int, int, int] | None:
    found = _BOX.fullmatch(header.text(name))
    return None if found is None else (int(found[3]) - 1, int(found[4]), int(found[1]) - 1, int(found[2]))


def _sky_text(own: Header, shape: tuple[int, int]) -> tuple[str | None, str]:
    try:
        cards = wcs_cards(own)
        checked_sky_map(cards, shape)
    except FrameError as error:
        return None, str(error)
    return cards, ""
