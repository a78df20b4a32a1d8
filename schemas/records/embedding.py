"""What the network made of an alert: `embedding.avsc` as a dataclass, its bytes, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from schemas.avro.wire import PacketError
from schemas.records.parts import WORD, ClassProbability, Feature, check_texts, framing, length
from schemas.records.table import EMBEDDING

if TYPE_CHECKING:
    from schemas.records.detection import Coded, Detection

PREFIX = framing(EMBEDDING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """The embedding of one alert; every field's unit and meaning stand in `embedding.avsc`, in the same order."""

    packet_id: str
    survey: str
    candid: int
    object_id: str
    programid: int
    ra: float
    dec: float
    mjd: float
    encoder_id: str
    scoring_id: str
    embedding: bytes
    classes: tuple[ClassProbability, ...]
    features: tuple[Feature, ...]

    def vector(self) -> npt.NDArray[np.float32]:
        """The embedding as numbers, (E,)."""
        return np.frombuffer(self.embedding, "<f2").astype(np.float32)


def body(d: Detection, part: Coded) -> bytes:
    """The record of a detection's embedding, in the order of `embedding.avsc`."""
    vector = d.embedding
    return b"".join(
        (part.packet_id, part.alert, WORD[d.encoder_id or d.model], WORD[d.scoring_id], length(vector), vector, part.classes, part.features)
    )


def from_row(row: Mapping[str, Any]) -> Embedding:
    """An embedding from its plain values.

    Raises
    ------
    schemas.avro.wire.PacketError
        A value that no embedding of ours has.
    """
    values = dict(row)
    check_texts(values, "packet_id", "survey", "object_id", "encoder_id", "scoring_id")
    if len(values["embedding"]) % 2:
        raise PacketError("bad_value", f"an embedding of {len(values['embedding'])} bytes is not one of 16-bit numbers")
    values["classes"] = tuple(ClassProbability(**entry) for entry in values["classes"])
    values["features"] = tuple(Feature(**entry) for entry in values["features"])
    return Embedding(**values)
