"""A detection's or an embedding's record → the fields that a store is ordered by, without making all of it.

A record has fifty features and twenty classes, which take a hundred microseconds to make. The program that reads packets reads records too
(`schemas.avro.program`): in a tenth of it, checked byte by byte.
"""

from __future__ import annotations

import json
import threading
from typing import NamedTuple

import numpy as np

from schemas.avro.machine import Scratch, run
from schemas.avro.program import Program, Want, compile_schema
from schemas.avro.wire import PacketError
from schemas.records.parts import LONGEST_TEXT
from schemas.records.table import BODY_BYTES, BY_ID, DETECTION, EMBEDDING

DETECTION_WANT = Want(
    {
        "packet_id": "text", "survey": "text", "candid": "integer", "object_id": "text", "programid": "integer", "ra": "number",
        "dec": "number", "mjd": "number", "band": "text", "flux": "number", "flux_err": "number", "decision.class_name": "text",
        "decision.prior_probability": "number", "decision.published": "number", "top_class": "text", "top_probability": "number",
        "novelty": "number",
    },
    {},
)  # fmt: skip
EMBEDDING_WANT = Want(
    {"object_id": "text", "survey": "text", "programid": "integer", "mjd": "number", "encoder_id": "text", "embedding": "bytes"}, {}
)


class KeyFields(NamedTuple):
    """Of a detection; units as in `detection.avsc`."""

    packet_id: str
    survey: str
    candid: int
    object_id: str
    programid: int
    ra: float
    dec: float
    mjd: float
    band: str
    flux: float | None
    flux_err: float | None
    class_name: str
    """Of the decision; a record without one: its most probable class at balanced classes."""
    probability: float
    published: bool
    novelty: float


class EmbeddingFields(NamedTuple):
    """Of an embedding."""

    object_id: str
    survey: str
    programid: int
    mjd: float
    encoder_id: str
    vector: bytes


class _Reading(threading.local):
    """A program and its room, one a thread."""

    def __init__(self, schema_id: int, want: Want) -> None:
        self.program: Program = compile_schema(json.loads(BY_ID[schema_id].schema_text), want)
        self.scratch = Scratch(self.program.n_scalars, max(1, self.program.n_columns), n_arrays=max(1, len(self.program.columns)))


_detections: _Reading | None = None
_embeddings: _Reading | None = None


def detection_fields(body: bytes) -> KeyFields:
    """The key fields of a detection's record in the latest version of its schema, without framing.

    Raises
    ------
    schemas.avro.wire.PacketError
        It is not one.
    """
    global _detections
    if _detections is None:
        _detections = _Reading(DETECTION, DETECTION_WANT)
    scratch = _run(_detections, body)
    number, whole = scratch.number.tolist(), scratch.whole.tolist()
    decided = whole[11][1] > 0
    flux, flux_err = number[9], number[10]
    return KeyFields(
        _text(body, whole[0]), _text(body, whole[1]), whole[2][0], _text(body, whole[3]), whole[4][0], number[5], number[6], number[7],
        _text(body, whole[8]), flux if flux == flux else None, flux_err if flux_err == flux_err else None,
        _text(body, whole[11] if decided else whole[14]), number[12] if decided else number[15], decided and number[13] > 0, number[16],
    )  # fmt: skip


def embedding_fields(body: bytes) -> EmbeddingFields:
    """The same of an embedding's record.

    Raises
    ------
    schemas.avro.wire.PacketError
        It is not one.
    """
    global _embeddings
    if _embeddings is None:
        _embeddings = _Reading(EMBEDDING, EMBEDDING_WANT)
    scratch = _run(_embeddings, body)
    number, whole = scratch.number.tolist(), scratch.whole.tolist()
    start, size = whole[5]
    if size % 2:
        raise PacketError("bad_value", f"an embedding of {size} bytes is not one of 16-bit numbers")
    return EmbeddingFields(
        _text(body, whole[0]), _text(body, whole[1]), whole[2][0], number[3], _text(body, whole[4]), body[start : start + max(0, size)]
    )


def _run(reading: _Reading, body: bytes) -> Scratch:
    if len(body) > BODY_BYTES:
        raise PacketError("too_large", f"a record of {len(body):,} bytes; {BODY_BYTES:,} are read at most")
    run(reading.program, np.frombuffer(body, np.uint8), start=0, end=len(body), scratch=reading.scratch)
    return reading.scratch


def _text(body: bytes, place: list[int]) -> str:
    start, size = place
    if size > LONGEST_TEXT:
        raise PacketError("bad_value", f"a text of {size:,} bytes")
    try:
        return body[start : start + max(0, size)].decode()
    except UnicodeDecodeError:
        raise PacketError("bad_value", "a text is not UTF-8") from None
