"""Packets of `schemas/surveys/tess.py` → whole light curves of stars, for pictures and studies, and back.

a packet → `StarCurve`: every cadence, as the file gave it (the decoder of the stream keeps the good ones and averages fast ones)
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

import fastavro
import numpy as np

from errors import UserError, one_line
from operators.detrend import QUALITY
from operators.types import F64
from operators.whole_curves import Curve
from schemas.surveys import tess


class NotAStarCurve(UserError):  # noqa: N818 - what it says of a packet, not a fault of ours
    """A packet that holds no light curve of a star."""


@dataclass(frozen=True, slots=True)
class StarCurve:
    """One star in one sector, quarter or campaign."""

    number: int
    """Of TIC, KIC or EPIC."""
    sector: int
    """As in the packet: quarters and campaigns are sectors of their own."""
    magnitude: float | None
    """TESS's or Kepler's."""
    ra: float
    """[deg]"""
    dec: float
    """[deg]"""
    cadence: int
    """Number of the last cadence."""
    curve: Curve
    """time [d, BTJD], flux and error [e-/s], quality bits."""

    @property
    def name(self) -> str:
        """Such as ``TIC 25155310``."""
        return f"{tess.catalogue(self.sector)} {self.number}"

    @property
    def observed(self) -> str:
        """Such as ``sector 1``, ``quarter 5``, ``campaign 18``."""
        if self.sector >= tess.K2_SECTOR:
            return f"campaign {self.sector - tess.K2_SECTOR}"
        if self.sector >= tess.KEPLER_SECTOR:
            return f"quarter {self.sector - tess.KEPLER_SECTOR}"
        return f"sector {self.sector}"

    @property
    def quality(self) -> int:
        """Bits by which its mission takes points out."""
        return QUALITY["tess" if self.sector < tess.KEPLER_SECTOR else "kepler"]

    def with_flux(self, flux: F64) -> StarCurve:
        """The same star with another flux (N,) [e-/s]."""
        return replace(self, curve=self.curve._replace(flux=flux))

    def without(self, points: np.ndarray) -> StarCurve:
        """The same star without some points (N,) of truth values."""
        return replace(self, curve=Curve(*(column[~points] for column in self.curve)))

    def packet(self) -> bytes:
        """The packet of it."""
        fields = {
            "tic": self.number,
            "sector": self.sector,
            "cadence": self.cadence,
            "ra": self.ra,
            "dec": self.dec,
            "tmag": self.magnitude,
            "baseline": None,
        }
        time, flux, flux_err, quality = self.curve
        return tess.encode_columns(fields, time, flux=flux, flux_err=flux_err, quality=quality)


def star_curve(packet: bytes) -> StarCurve:
    """Read a packet.

    Raises
    ------
    NotAStarCurve
        It is of another survey, damaged, or holds no point with time and flux.
    """
    try:
        record: object = next(fastavro.reader(io.BytesIO(packet)))
    except Exception as error:  # fastavro raises what the bytes led it to
        raise NotAStarCurve(f"not a container of a light curve: {one_line(error, 80)}") from None
    if not isinstance(record, dict) or "tic" not in record or not record.get("light_curve"):
        raise NotAStarCurve("an alert, not a light curve of a star")
    points = record["light_curve"]
    time, flux, flux_err = (
        np.array([np.nan if (x := point[name]) is None else x for point in points], np.float64) for name in ("btjd", "flux", "flux_err")
    )
    if not (np.isfinite(time) & np.isfinite(flux)).any():
        raise NotAStarCurve("no point with a time and a flux")
    curve = Curve(time, flux, flux_err, np.array([point["quality"] or 0 for point in points], np.int64))
    magnitude = None if record["tmag"] is None else float(record["tmag"])
    return StarCurve(record["tic"], record["sector"], magnitude, record["ra"], record["dec"], record["cadence"], curve)
