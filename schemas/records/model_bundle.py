"""A model's bundle as it travels: `model_bundle.avsc` as a dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.avro.wire import PacketError
from schemas.records.parts import check_counts, check_digests

MODEL_DIGITS = 16
"""Hex digits of a bundle's sha256 that name the model."""
MOST_FILES = 32
"""Of a bundle."""
LONGEST_NAME = 64
"""Of a file [characters]."""


@dataclass(frozen=True, slots=True)
class ModelBundle:
    """A bundle's files; every field stands in `model_bundle.avsc`, in the same order."""

    sha256: str
    model: str
    files: Mapping[str, bytes]
    made_ms: int

    @property
    def key(self) -> bytes:
        """Key on the compacted topic."""
        return self.sha256.encode()


def from_row(row: Mapping[str, Any]) -> ModelBundle:
    """A bundle from its plain values.

    Raises
    ------
    schemas.avro.wire.PacketError
        A value that no bundle of ours has.
    """
    check_model(row)
    check_counts("made_ms", (row["made_ms"],))
    if len(row["files"]) > MOST_FILES or any(len(name) > LONGEST_NAME for name in row["files"]):
        raise PacketError("bad_value", f"a bundle has {MOST_FILES} files at most, with names of {LONGEST_NAME} characters")
    return ModelBundle(**row)


def check_model(row: Mapping[str, Any]) -> None:
    """Refuse a sha256 that is none, and a model that is not its beginning."""
    check_digests("sha256", (row["sha256"],))
    if row["model"] != row["sha256"][:MODEL_DIGITS]:
        raise PacketError("bad_value", f"model is {row['model'][:40]!r}, and the sha256 begins otherwise")
