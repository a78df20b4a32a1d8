"""An alert whose label would decide between two models: `label_wanted.avsc` as a dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.records.known_label import label_key
from schemas.records.parts import check_counts, check_finite, check_texts


@dataclass(frozen=True, slots=True)
class LabelWanted:
    """An alert whose label is wanted; every field stands in `label_wanted.avsc`, in the same order."""

    survey: str
    candid: int
    object_id: str
    packet_id: str
    why: str
    champion_class: str
    challenger_class: str
    gain: float
    model: str
    asked_ms: int

    @property
    def key(self) -> bytes:
        """That of the label which answers it."""
        return label_key(self.survey, self.candid)


def from_row(row: Mapping[str, Any]) -> LabelWanted:
    """A question for a label from its plain values.

    Raises
    ------
    schemas.avro.wire.PacketError
        A value that no question of ours has.
    """
    check_texts(row, "survey", "object_id", "packet_id", "why", "champion_class", "challenger_class", "model")
    check_counts("asked_ms", (row["asked_ms"],))
    check_finite(row, "gain")
    return LabelWanted(**row)
