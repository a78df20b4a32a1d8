"""An order to train anew: `retrain_command.avsc` as a dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.records.parts import check_counts, check_texts


@dataclass(frozen=True, slots=True)
class RetrainCommand:
    """An order to train anew; every field stands in `retrain_command.avsc`, in the same order. Two with one id are one."""

    command_id: str
    model: str
    reason: str
    alarm_id: str
    since_ms: int


def from_row(row: Mapping[str, Any]) -> RetrainCommand:
    """A command from its plain values.

    Raises
    ------
    schemas.avro.wire.PacketError
        A value that no command of ours has.
    """
    check_texts(row, "command_id", "model", "reason", "alarm_id")
    check_counts("since_ms", (row["since_ms"],))
    return RetrainCommand(**row)
