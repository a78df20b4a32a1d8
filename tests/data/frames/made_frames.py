"""Small frames, masters and references for the tests of data/frames, written by astropy: another writer than ours."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits

from data.frames.master_file import MasterFile, MasterLabel
from data.frames.masters_folder import MastersFolder

H, W, OVER = 40, 60, 8
"""The trimmed image, and columns of overscan to its right."""
MJD = 61_345.127841435185
"""2026-11-01T03:04:05.5 UTC"""
CARDS: dict[str, Any] = {
    "DETECTOR": "ccd1", "FRAMEID": "n1e7", "FILTER": "rp", "EXPTIME": 30.0, "GAIN": 1.5, "RDNOISE": 6.0, "SATURATE": 60_000,
    "CCDSUM": "1 1", "IMAGETYP": "Light Frame", "FIELD": "F 12", "CCD-TEMP": -20.0, "DATE-OBS": "2026-11-01T03:04:05.5",
    "TRIMSEC": f"[1:{W},1:{H}]", "BIASSEC": f"[{W + 1}:{W + OVER},1:{H}]",
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.5, "CRPIX1": 30.5, "CRPIX2": 20.5,
    "CD1_1": -1e-4, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 1e-4,
}  # fmt: skip


def pixels(seed: int = 1, shape: tuple[int, int] = (H, W + OVER)) -> npt.NDArray[np.uint16]:
    return np.random.default_rng(seed).normal(1_000, 20, shape).astype(np.uint16)


def cards(**changed: Any) -> fits.Header:
    """CARDS, some changed (by name with _ for -), some left out (None)."""
    header = fits.Header()
    for name, value in {**CARDS, **{name.replace("__", "-"): value for name, value in changed.items()}}.items():
        if value is not None:
            header[name] = value
    return header


def file_of(*units: Any) -> bytes:
    out = io.BytesIO()
    fits.HDUList(list(units)).writeto(out)
    return out.getvalue()


def frame_file(data: npt.NDArray[Any] | None = None, **changed: Any) -> bytes:
    return file_of(fits.PrimaryHDU(pixels() if data is None else data, cards(**changed)))


def tiled(data: npt.NDArray[Any], kind: str = "RICE_1", *, header: fits.Header | None = None, **how: Any) -> bytes:
    return file_of(fits.PrimaryHDU(), fits.CompImageHDU(data, cards() if header is None else header, compression_type=kind, **how))


def master(kind: str, value: float | npt.NDArray[Any] = 0.0, **label: Any) -> MasterFile:
    image = np.broadcast_to(np.asarray(value, np.uint8 if kind == "bad" else np.float32), (H, W)).copy()
    figures = {
        "filter": "r" if kind == "flat" else "",
        "temperature": -20.0,
        "exposure": 30.0,
        "gain": 1.5,
        "overscan": True,
        "n_frames": 9,
    }
    return MasterFile(MasterLabel(kind, label.pop("detector", "ccd1"), **{**figures, "shape": (H, W), **label}), image)  # type: ignore[arg-type]


def fill(folder: MastersFolder, *more: MasterFile) -> MastersFolder:
    """Bias, dark and flat of ccd1 in r, and more."""
    for one in (master("bias", 5.0), master("dark", 0.1), master("flat", 1.0), *more):
        folder.put(one)
    return folder
