"""How far a source is mirrored: `source_position.avsc` as a dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.records.parts import check_counts, check_texts


@dataclass(frozen=True, slots=True)
class SourcePosition:
    """How far a partition of a source is mirrored; the fields stand in `source_position.avsc`, in the same order."""

    source: str
    topic: str
    partition: int
    offset: int

    @property
    def key(self) -> bytes:
        """Key on the compacted topic: the latest position of a partition is kept."""
        return f"{self.source}/{self.topic}/{self.partition}".encode()


def from_row(row: Mapping[str, Any]) -> SourcePosition:
    """A position from its plain values.

    Raises
    ------
    schemas.avro.wire.PacketError
        A value that no position of ours has.
    """
    check_texts(row, "source", "topic")
    check_counts("partition and offset", (row["partition"], row["offset"]))
    return SourcePosition(**row)
