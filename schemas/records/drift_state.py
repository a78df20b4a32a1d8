"""What the drift process knows of a model's alerts: `drift_state.avsc` as a dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.avro.wire import PacketError
from schemas.records.parts import check_counts, check_texts

CHARTS, REFERENCE = "charts", "reference"
"""Parts of a state: what changes with every window, and what seldom changes."""


@dataclass(frozen=True, slots=True)
class DriftState:
    """A part of the state of a model; every field stands in `drift_state.avsc`, in the same order."""

    model: str
    part: str
    revision: int
    author: str
    made_ms: int
    body: bytes

    @property
    def key(self) -> bytes:
        """Of its message on the compacted topic."""
        return f"{self.model}/{self.part}".encode()


def from_row(row: Mapping[str, Any]) -> DriftState:
    """A state from its plain values; its body is not looked at.

    Raises
    ------
    schemas.avro.wire.PacketError
        A value that no state of ours has.
    """
    check_texts(row, "model", "part", "author")
    check_counts("revision and made_ms", (row["revision"], row["made_ms"]))
    if row["part"] not in (CHARTS, REFERENCE):
        raise PacketError("bad_value", f"part is {row['part'][:40]!r}, neither {CHARTS} nor {REFERENCE}")
    return DriftState(**row)
