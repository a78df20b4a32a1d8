"""An order to train anew: `retrain_command.avsc` as a dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.avro.wire import PacketError
from schemas.records.parts import check_counts, check_texts

RECIPES = ("head", "last_layers", "fine_tune", "from_scratch")
"""What can be trained; the first is what drift asks for."""


@dataclass(frozen=True, slots=True)
class RetrainCommand:
    """An order to train anew; every field stands in `retrain_command.avsc`, in the same order. Two with one id are one."""

    command_id: str
    model: str
    reason: str
    alarm_id: str
    since_ms: int
    recipe: str = "head"
    from_ms: int = 0
    until_ms: int = 0
    author: str = "drift"


def from_row(row: Mapping[str, Any]) -> RetrainCommand:
    """A command from its plain values.

    Raises
    ------
    schemas.avro.wire.PacketError
        A value that no command of ours has.
    """
    check_texts(row, "command_id", "model", "reason", "alarm_id", "recipe", "author")
    check_counts("since_ms, from_ms and until_ms", (row["since_ms"], row["from_ms"], row["until_ms"]))
    if row["recipe"] not in RECIPES:
        raise PacketError("bad_value", f"recipe is {row['recipe'][:40]!r}, none of {', '.join(RECIPES)}")
    return RetrainCommand(**row)
