"""What a mirror does with a source: `source_state.avsc` as a dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.records.parts import check_counts, check_texts


@dataclass(frozen=True, slots=True)
class SourceState:
    """State of a source; the fields stand in `source_state.avsc`, in the same order."""

    source: str
    state: str
    error: str
    topics: tuple[str, ...]
    copied: int
    rejected: int
    lost: int
    lag: int
    updated_ms: int


def from_row(row: Mapping[str, Any]) -> SourceState:
    """A state from its plain values.

    Raises
    ------
    schemas.avro.wire.PacketError
        A value that no state of ours has.
    """
    check_texts(row, "source", "state", "error")
    check_counts("counts", tuple(row[name] for name in ("copied", "rejected", "lost", "lag", "updated_ms")))
    return SourceState(**{**row, "topics": tuple(row["topics"])})
