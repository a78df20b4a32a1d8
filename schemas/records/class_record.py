"""A class taught beside those of the model: `class_record.avsc` as a dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.avro.wire import PacketError
from schemas.records.parts import LONGEST_TEXT, check_counts, check_finite, check_texts
from schemas.taxonomy import class_name_problem

MOST_EXAMPLES = 500
"""Of a class; the views of more would not fit its record."""
LONGEST_DESCRIPTION = 65_536
"""[characters]"""


@dataclass(frozen=True, slots=True)
class ClassRecord:
    """A taught class; every field stands in `class_record.avsc`, in the same order."""

    name: str
    revision: int
    author: str
    note: str
    description: str
    packet_ids: tuple[str, ...]
    object_ids: tuple[str, ...]
    private: tuple[bool, ...]
    encoder_id: str
    head_id: str
    embedding: bytes
    logits: bytes
    named: bytes
    prototype: bytes
    weights: bytes
    location: float
    scale: float
    prior: float
    threshold: float
    conformal: float
    false_calls: float
    window_calls: float
    window: int
    taught_ms: int

    @property
    def key(self) -> bytes:
        """Key on the compacted topic; a tombstone under it forgets the class."""
        return class_key(self.name)


def class_key(name: str) -> bytes:
    """Key of a class's record on `support.examples`."""
    return f"{name}/".encode()


def example_key(name: str, packet_id: str) -> bytes:
    """Key of an example's packet on `support.examples`."""
    return f"{name}/{packet_id}".encode()


def from_row(row: Mapping[str, Any]) -> ClassRecord:
    """A taught class from its plain values.

    Raises
    ------
    schemas.avro.wire.PacketError
        A value that no taught class of ours has.
    """
    check_texts(row, "name", "author", "note", "encoder_id", "head_id")
    if (problem := class_name_problem(row["name"])) is not None:
        raise PacketError("bad_value", problem)
    if len(row["description"]) > LONGEST_DESCRIPTION:
        raise PacketError("bad_value", f"description has {len(row['description']):,} characters")
    lists = ("packet_ids", "object_ids", "private")
    if len({len(row[name]) for name in lists}) > 1 or len(row["private"]) > MOST_EXAMPLES:
        raise PacketError("bad_value", f"a class has {MOST_EXAMPLES} examples at most, each with its packet, object and right")
    if any(len(text) > LONGEST_TEXT for name in lists[:2] for text in row[name]):
        raise PacketError("bad_value", "an example's name is too long")
    check_counts("revision, window and taught_ms", (row["revision"], row["window"], row["taught_ms"]))
    check_finite(row, "location", "scale", "prior", "threshold", "conformal", "false_calls", "window_calls")
    if row["scale"] <= 0 or not 0 < row["prior"] < 1:
        raise PacketError("bad_value", f"scale is {row['scale']} and prior {row['prior']}")
    return ClassRecord(**{**row, **{name: tuple(row[name]) for name in lists}})
