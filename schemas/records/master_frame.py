"""A master frame and what it is valid for: `master_frame.avsc` as a dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.avro.wire import PacketError
from schemas.records.parts import check_counts, check_file, check_finite, check_texts

MASTER_KINDS = ("bias", "dark", "flat", "bad")
MOST_BINNED = 64
"""Pixels read as one along an axis, at most."""


@dataclass(frozen=True, slots=True)
class MasterFrame:
    """A master frame; every field stands in `master_frame.avsc`, in the same order."""

    kind: str
    detector: str
    filter: str
    binning: tuple[int, int]
    gain: float | None
    temperature: float | None
    exposure: float | None
    valid_from: float
    valid_to: float | None
    uri: str
    length: int
    sha256: str
    n_frames: int
    made_ms: int
    overscan: bool = False

    @property
    def key(self) -> bytes:
        """Key on the compacted topic: a master made anew for the same frames replaces the one before, a tombstone withdraws it."""
        figures = "/".join("" if figure is None else f"{figure:g}" for figure in (self.gain, self.temperature, self.exposure))
        readout = f"{self.binning[0]}x{self.binning[1]}{'+overscan' if self.overscan else ''}"
        return f"{self.detector}/{self.kind}/{self.filter}/{readout}/{figures}/{self.valid_from:.6f}".encode()


def from_row(row: Mapping[str, Any]) -> MasterFrame:
    """A master from its plain values.

    Raises
    ------
    schemas.avro.wire.PacketError
        A value that no master of ours has.
    """
    check_texts(row, "detector", "filter")
    check_file(row)
    check_counts("n_frames and made_ms", (row["n_frames"], row["made_ms"]))
    check_finite(row, "valid_from", *(name for name in ("gain", "temperature", "exposure", "valid_to") if row[name] is not None))
    if row["kind"] not in MASTER_KINDS:
        raise PacketError("bad_value", f"kind is {row['kind'][:40]!r}: {', '.join(MASTER_KINDS)}")
    if len(row["binning"]) != 2 or not all(0 < n <= MOST_BINNED for n in row["binning"]):
        raise PacketError("bad_value", f"binning is {row['binning'][:4]}: two numbers from 1 to {MOST_BINNED}")
    if row["valid_to"] is not None and row["valid_to"] < row["valid_from"]:
        raise PacketError("bad_value", f"valid_to is {row['valid_to']}, before valid_from {row['valid_from']}")
    return MasterFrame(**{**row, "binning": tuple(row["binning"])})
