"""Forced photometry at a position on one frame: `photometry_measured.avsc` as a dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.avro.wire import PacketError
from schemas.records.calibrated_frame import MOST_FLAGS
from schemas.records.parts import check_finite, check_texts


@dataclass(frozen=True, slots=True)
class PhotometryMeasured:
    """A measurement; every field stands in `photometry_measured.avsc`, in the same order."""

    position: str
    frame_id: str
    detector: str
    mjd: float
    filter: str
    flux: float
    flux_err: float
    limit: float | None = None
    detected: bool = False
    mask: int = 0
    flags: tuple[str, ...] = ()
    public: bool = True

    @property
    def key(self) -> bytes:
        """Key on the topic: a position's measurements stay in order."""
        return self.position.encode()


def from_row(row: Mapping[str, Any]) -> PhotometryMeasured:
    """A measurement from its plain values.

    Raises
    ------
    schemas.avro.wire.PacketError
        A value that no measurement of ours has.
    """
    check_texts(row, "position", "frame_id", "detector", "filter")
    check_finite(row, "mjd", "flux", "flux_err", *(("limit",) if row["limit"] is not None else ()))
    if row["flux_err"] <= 0 or not 0 <= row["mask"] < 256:
        raise PacketError("bad_value", f"flux_err is {row['flux_err']} and mask {row['mask']}")
    if len(row["flags"]) > MOST_FLAGS or any(len(flag) > MOST_FLAGS for flag in row["flags"]):
        raise PacketError("bad_value", "flags are more or longer than any of ours")
    return PhotometryMeasured(**{**row, "flags": tuple(row["flags"])})
