"""Our own records on the wire.

in → `Detection`, `ScoreSummary`
out → bytes: Confluent framing (0x00, schema id, body) or an Avro object container; and back

The ids are those of `subjects.py`. A `Rejected` has no body of its own: `rejected.avsc` tells what the headers of a rejected packet mean.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from io import BytesIO
from typing import Any, NamedTuple

import fastavro

from schemas.avro.container import Container
from schemas.avro.wire import PacketError, read_body, read_header, sniff
from schemas.avro.writer import varint
from schemas.records.subjects import DETECTION_ID, SUBJECTS, TELEMETRY_ID


class ClassProbability(NamedTuple):
    """One class of a detection; see `detection.avsc`."""

    name: str
    probability: float
    prior_probability: float


class Feature(NamedTuple):
    """One named light-curve feature."""

    name: str
    value: float


@dataclass(frozen=True, slots=True)
class Detection:
    """One scored alert; every field's unit and meaning stand in `detection.avsc`, in the same order."""

    detection_id: str
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
    n_detections: int
    classes: tuple[ClassProbability, ...]
    top_class: str
    top_probability: float
    conformal_set: tuple[str, ...]
    novelty: float
    nearest_prototype: str
    prototype_distance: float
    real_bogus: float | None
    star_galaxy: float | None
    solar_system_distance: float | None
    features: tuple[Feature, ...]
    model: str
    engine: str
    scoring_id: str
    taxonomy: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """A packet that could not be scored, and why."""

    error_class: str
    reason: str
    survey: str | None = None


def encode(record: Detection | ScoreSummary) -> bytes:
    """A record in Confluent framing; the same record gives the same bytes."""
    if isinstance(record, Detection):
        return _DETECTION_PREFIX + _body(record)
    body = BytesIO()
    fastavro.schemaless_writer(body, _parsed(TELEMETRY_ID), {f.name: getattr(record, f.name) for f in fields(record)})
    return struct.pack(">bI", 0, TELEMETRY_ID) + body.getvalue()


def encode_container(detection: Detection) -> bytes:
    """A detection as an Avro object container, which carries its own schema."""
    return _container(DETECTION_ID).wrap(_body(detection))


def decode_detection(value: bytes) -> Detection:
    """A detection from either form.

    Raises
    ------
    PacketError
        the bytes are no detection of ours
    """
    row = _decode(value, DETECTION_ID)
    row["classes"] = tuple(ClassProbability(**entry) for entry in row["classes"])
    row["features"] = tuple(Feature(**entry) for entry in row["features"])
    row["conformal_set"] = tuple(row["conformal_set"])
    return Detection(**row)


def to_row(detection: Detection) -> dict[str, Any]:
    """A detection as plain Python (lists of dictionaries inside): for pyarrow, JSON, fastavro."""
    row: dict[str, Any] = {name: getattr(detection, name) for name in _NAMES}
    row["classes"] = [{"name": c.name, "probability": c.probability, "prior_probability": c.prior_probability} for c in detection.classes]
    row["features"] = [{"name": f.name, "value": f.value} for f in detection.features]
    row["conformal_set"] = list(detection.conformal_set)
    return row


@dataclass(frozen=True, slots=True)
class ScoreSummary:
    """What drift detection reads instead of every detection; every field stands in `telemetry.avsc`, in the same order."""

    worker: str
    scoring_id: str
    survey: str
    band: str
    region: str
    mjd_first: float
    mjd_last: float
    n: int
    classes: Mapping[str, int]
    empty_sets: int
    novelty_sum: float
    novelty_squares: float
    novelty: Sequence[int]
    top_probability_sum: float
    top_probability: Sequence[int]
    distance_sum: float
    flux: Sequence[int]


def decode_summary(value: bytes) -> ScoreSummary:
    """A summary from its bytes.

    Raises
    ------
    PacketError
        the bytes are no summary of ours
    """
    return ScoreSummary(**_decode(value, TELEMETRY_ID))


_NAMES = tuple(f.name for f in fields(Detection))
_DETECTION_PREFIX = struct.pack(">bI", 0, DETECTION_ID)
_FLOAT = struct.Struct("<f").pack
_TWO_FLOATS = struct.Struct("<ff").pack
_PLACE_AND_TIME = struct.Struct("<ddd").pack


def _string(text: str) -> bytes:
    coded = text.encode()
    return varint(len(coded)) + coded


class _Words(dict[str, bytes]):
    """Strings that come again and again, coded: class names, feature names, ids of models. Fifty a record, so no function is called."""

    def __missing__(self, text: str) -> bytes:
        coded = _string(text)
        if len(self) < 4096:
            self[text] = coded
        return coded


_WORD = _Words()


def _optional(value: float | None) -> bytes:
    return b"\x00" if value is None else b"\x02" + _FLOAT(value)


def _list(items: list[bytes]) -> bytes:
    return varint(len(items)) + b"".join(items) + b"\x00" if items else b"\x00"


def _body(d: Detection) -> bytes:
    """The record written by hand, in the order of `detection.avsc`: a third of the time a general writer takes."""
    word = _WORD
    return b"".join(
        (
            _string(d.detection_id), word[d.survey], varint(d.candid), _string(d.object_id), varint(d.programid),
            _PLACE_AND_TIME(d.ra, d.dec, d.mjd), word[d.band], _optional(d.flux), _optional(d.flux_err), varint(d.n_detections),
            _list([word[name] + _TWO_FLOATS(balanced, prior) for name, balanced, prior in d.classes]),
            word[d.top_class], _FLOAT(d.top_probability), _list([word[name] for name in d.conformal_set]), _FLOAT(d.novelty),
            word[d.nearest_prototype], _FLOAT(d.prototype_distance), _optional(d.real_bogus), _optional(d.star_galaxy),
            _optional(d.solar_system_distance), _list([word[name] + _FLOAT(value) for name, value in d.features]),
            word[d.model], word[d.engine], word[d.scoring_id], word[d.taxonomy],
        )
    )  # fmt: skip


def _schema_text(schema_id: int) -> str:
    return next(registered.schema_text for registered in SUBJECTS.values() if registered.id == schema_id)


@lru_cache(maxsize=8)
def _parsed(schema_id: int) -> Any:
    return fastavro.parse_schema(json.loads(_schema_text(schema_id)))


@lru_cache(maxsize=8)
def _container(schema_id: int) -> Container:
    return Container(json.loads(_schema_text(schema_id)))


def _decode(value: bytes, schema_id: int) -> dict[str, Any]:
    kind = sniff(value)
    if kind == "framed" and int.from_bytes(value[1:5], "big") == schema_id:
        data, writer = value[5:], _parsed(schema_id)
    elif kind == "container":
        codec, text, at = read_header(value)
        plain, start, end = read_body(value, at, codec)
        data, writer = plain[start:end], fastavro.parse_schema(json.loads(text))
    else:
        raise PacketError("bad_schema_id", f"the message is neither framed with schema id {schema_id} nor an Avro container")
    try:
        row = fastavro.schemaless_reader(BytesIO(data), writer, _parsed(schema_id))
    except (
        EOFError,
        ValueError,
        IndexError,
        KeyError,
        TypeError,
        OverflowError,
        MemoryError,
        fastavro.schema.SchemaParseException,
    ) as error:
        raise PacketError("bad_avro", f"the message is not a {_parsed(schema_id)['name']} ({type(error).__name__})") from None
    return dict(row)  # type: ignore[arg-type]
