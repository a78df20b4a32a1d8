"""A claim check for a raw frame: `frame_claim.avsc` as a dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.records.parts import check_file


@dataclass(frozen=True, slots=True)
class FrameClaim:
    """Where a raw frame lies; every field stands in `frame_claim.avsc`, in the same order."""

    uri: str
    length: int
    sha256: str


def from_row(row: Mapping[str, Any]) -> FrameClaim:
    """A claim from its plain values.

    Raises
    ------
    schemas.avro.wire.PacketError
        A value that no claim of ours has.
    """
    check_file(row)
    return FrameClaim(**row)
