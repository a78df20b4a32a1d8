"""The reference image of a field ↔ a FITS file, and the folder that has one for each field, filter and detector.

in → calibrated files of one field, filter and detector
out → `Reference`: registered, combined with clipping, with its stars and PSF; a `FrameError` where there is none
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data.connectors.fits_headers import FitsError, read_header
from data.frames.fits_pixels import pixels_of
from data.frames.fits_units import File, ImageUnit, bytes_of, digest_of, image_units
from data.frames.fits_writer import image, primary
from data.frames.frame_error import FrameError
from data.frames.sky_positions import checked_sky_map, sky_map, wcs_cards
from data.whole_file import write_whole
from errors import one_line
from operators.images.planes import Reference, Stars

VERSION = 1
COLUMNS = ("y", "x", "flux", "flux_err", "fwhm", "elongation", "flags")
"""Rows of the unit STARS, as `planes.Stars` has them."""
KEPT_BYTES = 64 * 2**20
"""Of references that are kept ready, and one at least: 21 MB each of 2,048 x 2,048 pixels."""
LEAST_COMMON = 0.2
"""Share of a frame that a reference of another field's name must cover."""


def encode_reference(reference: Reference, *, history: tuple[str, ...] = ()) -> list[bytes | memoryview]:
    """The bytes of a reference's file, in pieces."""
    h, w = reference.image.shape
    out: list[bytes | memoryview] = [
        primary(
            {
                "PROTOREF": VERSION, "FIELD": reference.field, "FILTER": reference.filter, "DETECTOR": reference.detector,
                "SKYNOISE": float(reference.noise), "MAGZP": float(reference.zero_point), "DEPTH": float(reference.depth),
                "HEIGHT": int(h), "WIDTH": int(w), "PUBLIC": reference.public,
            },
            comments={"SKYNOISE": "[e-/pixel]", "MAGZP": "AB magnitude of 1 e-"},
            steps=history,
        )
    ]  # fmt: skip
    sky = (reference.wcs or "").splitlines()
    out += image("IMAGE", np.asarray(reference.image, np.float32), cards={"BUNIT": "electron"}, more=sky)
    out += image("MASK", np.asarray(reference.mask, np.uint8), cards={}, more=sky)
    out += image("PSF", np.asarray(reference.psf, np.float32), cards={})
    stars = np.array([getattr(reference.stars, name) for name in COLUMNS], np.float64)
    if stars.shape[1]:
        out += image("STARS", stars, cards={f"ROW{k}": name for k, name in enumerate(COLUMNS, 1)})
    return out


def write_reference(path: Path, reference: Reference, *, history: tuple[str, ...] = ()) -> str:
    """Write a reference, whole or not at all; its sha256."""
    parts = encode_reference(reference, history=history)
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    write_whole(path, *parts)
    return digest.hexdigest()


def read_reference(file: File) -> Reference:
    """Read a reference.

    Raises
    ------
    FrameError
        `bad_frame`: damaged, or not a reference.
    """
    data = bytes_of(file)
    units = {unit.name: unit for unit in image_units(data)}
    if missing := [name for name in ("IMAGE", "MASK", "PSF") if name not in units]:
        raise FrameError("bad_frame", f"a reference has IMAGE, MASK and PSF; {', '.join(missing)} is missing")
    unit = units["IMAGE"]
    pixels, mask, psf = (pixels_of(units[name]) for name in ("IMAGE", "MASK", "PSF"))
    header = unit.header
    noise, zero, depth = (header.number(name) for name in ("SKYNOISE", "MAGZP", "DEPTH"))
    if header.get("PROTOREF") != VERSION or pixels.shape != mask.shape:
        raise FrameError(
            "bad_frame", f"a reference of version {header.get('PROTOREF', 'none')!r:.20} and {pixels.shape}, {mask.shape} pixels"
        )
    if psf.shape[0] != psf.shape[1] or psf.shape[0] % 2 == 0 or not np.isfinite(psf).all() or not 0.9 < float(psf.sum()) < 1.1:
        raise FrameError("bad_frame", "its PSF is not a square of odd size with the sum 1")
    if noise is None or noise <= 0:
        raise FrameError("bad_frame", "SKYNOISE is missing or not above 0")
    return Reference(
        pixels.astype(np.float32, copy=False), mask.astype(np.uint8), psf.astype(np.float32), noise, math.nan if zero is None else zero,
        _stars(units.get("STARS")), _sky(unit, pixels.shape), header.text("FIELD"), header.text("FILTER"), header.text("DETECTOR"),
        id=digest_of(data), depth=depth if depth is not None and depth > 0 else 1.0, public=header.get("PUBLIC") is True,
    )  # fmt: skip


def _stars(unit: ImageUnit | None) -> Stars:
    if unit is None:
        return Stars(*np.zeros((len(COLUMNS), 0)))
    if unit.own.get("BITPIX") != -64 or unit.own.axes()[1:] != [len(COLUMNS)]:
        raise FrameError("bad_frame", f"its stars are not {len(COLUMNS)} columns of float64")
    return Stars(*np.frombuffer(unit.data, ">f8").reshape(len(COLUMNS), -1).astype(np.float64))


def _sky(unit: ImageUnit, shape: tuple[int, ...]) -> str | None:
    try:
        cards = wcs_cards(unit.own)
        checked_sky_map(cards, shape)
    except FrameError:
        return None
    return cards


def _size(reference: Reference) -> int:
    """Bytes of its planes."""
    return np.asarray(reference.image).nbytes + np.asarray(reference.mask).nbytes


@dataclass(frozen=True, slots=True)
class ReferenceEntry:
    """A reference that is known, not yet read."""

    path: Path
    field: str
    filter: str
    detector: str
    shape: tuple[int, int]
    wcs: str | None


class ReferencesFolder:
    """A folder of reference images.

    Parameters
    ----------
    path : Path or str
        Read when it is made and by `scan`.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.rejects: dict[str, str] = {}
        """Files that are not references, and why."""
        self._entries: list[ReferenceEntry] = []
        self._ready: OrderedDict[Path, Reference] = OrderedDict()
        self.scan()

    def __len__(self) -> int:
        return len(self._entries)

    def entries(self) -> list[ReferenceEntry]:
        """All references that are known."""
        return list(self._entries)

    def scan(self) -> None:
        """Read the labels of the folder's files anew."""
        self._entries, self.rejects, self._ready = [], {}, OrderedDict()
        for path in sorted(self.path.glob("*.fits")) if self.path.is_dir() else ():
            try:
                with path.open("rb") as file:
                    header, image_header = read_header(file, first=True), read_header(file, first=False)
                assert header is not None
                if header.get("PROTOREF") != VERSION or image_header is None:
                    raise FrameError("bad_frame", "not a reference")
                size = (header.whole("HEIGHT", low=1, high=1 << 20), header.whole("WIDTH", low=1, high=1 << 20))
                cards = wcs_cards(image_header)
                self._entries.append(
                    ReferenceEntry(path, header.text("FIELD"), header.text("FILTER"), header.text("DETECTOR"), size, cards)
                )
            except (OSError, FitsError, FrameError) as error:
                self.rejects[path.name] = one_line(error, 200)

    def put(self, reference: Reference, *, history: tuple[str, ...] = ()) -> tuple[Path, Reference]:
        """Write a reference into the folder, in the place of the one before of its field, filter and detector."""
        self.path.mkdir(parents=True, exist_ok=True)
        path = self.path / "_".join(["reference", reference.field or "nofield", reference.filter, f"{reference.detector}.fits"])
        digest = write_reference(path, reference, history=history)
        self.scan()
        return path, replace(reference, id=digest)

    def of(self, field: str, filter: str, *, detector: str, wcs: str | None, shape: tuple[int, int] | None = None) -> Reference:
        """The reference of a frame: of its field and detector; else of its field; else one that covers it on the sky.

        Parameters
        ----------
        field, filter, detector : str
        wcs : str, optional
            Of the frame's trimmed image.
        shape : (h, w), optional
            Of the frame; default: the reference's.

        Raises
        ------
        FrameError
            `no_reference`: and what there is instead.
        """
        right = [e for e in self._entries if e.filter == filter]
        named = [e for e in right if field and e.field == field]
        covered = [e for e in right if self._covers(e, wcs, shape=shape) >= LEAST_COMMON]
        by_name = [e for e in named if e in covered or not (wcs and e.wcs)]  # without positions on the sky the name decides
        ranked = [e for e in by_name if e.detector == detector] + by_name + covered
        if not ranked:
            others = sorted({e.filter for e in self._entries if field and e.field == field and e.filter != filter})
            instead = f"there are of filter {', '.join(others)}" if others else "none covers it"
            raise FrameError(
                "no_reference", f"no reference of field {field or 'unnamed'}, filter {filter}, detector {detector} ({instead})"
            )
        path = ranked[0].path
        if path not in self._ready:
            self._ready[path] = read_reference(path)
            while len(self._ready) > 1 and sum(map(_size, self._ready.values())) > KEPT_BYTES:
                self._ready.popitem(last=False)
        self._ready.move_to_end(path)
        return self._ready[path]

    @staticmethod
    def _covers(entry: ReferenceEntry, wcs: str | None, *, shape: tuple[int, int] | None) -> float:
        """Share of a frame's pixels (of a grid) that lie on a reference."""
        h, w = shape or entry.shape
        frame, there = sky_map(wcs, (h, w)), sky_map(entry.wcs, entry.shape)
        if frame is None or there is None:
            return 0.0
        grid = np.stack(np.meshgrid(np.linspace(0, h - 1, 9), np.linspace(0, w - 1, 9), indexing="ij"), -1).reshape(-1, 2)
        return float(np.mean(there.holds(*frame.to_sky(grid))))
