"""What an alert is known to be: `known_label.avsc` as a dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.avro.wire import PacketError
from schemas.records.parts import check_counts, check_finite, check_texts
from schemas.taxonomy import class_name_problem


@dataclass(frozen=True, slots=True)
class KnownLabel:
    """What an alert is known to be; every field stands in `known_label.avsc`, in the same order."""

    survey: str
    candid: int
    object_id: str
    label: str
    source: str
    confidence: float
    author: str
    made_ms: int

    @property
    def key(self) -> bytes:
        """Key on the compacted topic: an alert has one label, the latest; a tombstone under it takes the label back."""
        return label_key(self.survey, self.candid)


def label_key(survey: str, candid: int) -> bytes:
    """Key of an alert's label on `labels.known`, and of the question for one on `labels.wanted`."""
    return f"{survey}:{candid}".encode()


def from_row(row: Mapping[str, Any]) -> KnownLabel:
    """A label from its plain values.

    Raises
    ------
    schemas.avro.wire.PacketError
        A value that no label of ours has.
    """
    check_texts(row, "survey", "object_id", "label", "source", "author")
    check_counts("made_ms", (row["made_ms"],))
    check_finite(row, "confidence")
    if not row["survey"]:
        raise PacketError("bad_value", "a label names no survey")
    if (problem := class_name_problem(row["label"])) is not None:
        raise PacketError("bad_value", problem)
    if not 0 <= row["confidence"] <= 1:
        raise PacketError("bad_value", f"confidence is {row['confidence']}")
    return KnownLabel(**row)
