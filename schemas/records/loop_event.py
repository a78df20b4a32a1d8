"""A step of the loop around the model: `loop_event.avsc` as a dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.records.parts import check_counts, check_texts

TAUGHT, FORGOTTEN = "taught", "forgotten"
RETRAIN_COMMANDED, RETRAIN_MERGED, RETRAIN_FAILED = "retrain_commanded", "retrain_merged", "retrain_failed"
CHALLENGER_MADE, ANNOUNCED, GATES_JUDGED, LABELS_WANTED = "challenger_made", "announced", "gates_judged", "labels_wanted"
PROMOTED, ROLLED_BACK = "promoted", "rolled_back"
MODEL_STEPS = (ANNOUNCED, PROMOTED, ROLLED_BACK)
"""Steps about a model, whose record is a `ModelAnnounced`."""


@dataclass(frozen=True, slots=True)
class LoopEvent:
    """A step of the loop; every field stands in `loop_event.avsc`, in the same order."""

    event: str
    subject: str
    revision: int
    author: str
    note: str
    record: bytes
    made_ms: int


def from_row(row: Mapping[str, Any]) -> LoopEvent:
    """An event from its plain values.

    Raises
    ------
    schemas.avro.wire.PacketError
        A value that no event of ours has.
    """
    check_texts(row, "event", "subject", "author", "note")
    check_counts("revision and made_ms", (row["revision"], row["made_ms"]))
    return LoopEvent(**row)
