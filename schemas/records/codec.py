"""Any record of ours ↔ its bytes.

in → a record, or a message's value and key
out → bytes in Confluent framing (0x00, schema id, body); a `Record`, or a `BadRecord` with the reason

A detection is read from each form that `dialects` writes. The message itself says which it is, not the settings: what a topic holds is
older than they are. A reader trusts nothing of what it reads: the id must be one of the table's, the writer schema of a container or in a
key must be one of the table's (another layout is not ours, whatever it is called), the body is bounded in bytes before it is read, must end
where the record ends, and every value is one that we write. No schema of ours holds itself or an item of no bytes (a test), so a body's
length bounds its depth and counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from io import BytesIO
from typing import Any, TypeAlias, TypeVar

import fastavro
import fastavro.schema

from schemas.avro.container import Container
from schemas.avro.wire import PacketError, load_schema, read_body, read_header, sniff
from schemas.avro.writer import varint
from schemas.records import (
    access_token,
    calibrated_frame,
    candidate,
    class_record,
    detection,
    drift_alarm,
    drift_state,
    embedding,
    filter_defined,
    filter_match,
    frame_claim,
    gate_report,
    json_form,
    known_label,
    label_wanted,
    loop_event,
    master_frame,
    model_announced,
    model_bundle,
    photometry_measured,
    photometry_position,
    retrain_command,
    score_summary,
    source_position,
    source_state,
    watchlist,
    worker_summary,
)
from schemas.records.access_token import AccessToken
from schemas.records.calibrated_frame import CalibratedFrame
from schemas.records.candidate import Candidate
from schemas.records.class_record import ClassRecord
from schemas.records.detection import Detection
from schemas.records.drift_alarm import DriftAlarm
from schemas.records.drift_state import DriftState
from schemas.records.embedding import Embedding
from schemas.records.filter_defined import FilterDefined
from schemas.records.filter_match import FilterMatch
from schemas.records.frame_claim import FrameClaim
from schemas.records.gate_report import GateReport
from schemas.records.known_label import KnownLabel
from schemas.records.label_wanted import LabelWanted
from schemas.records.loop_event import LoopEvent
from schemas.records.master_frame import MasterFrame
from schemas.records.model_announced import ModelAnnounced
from schemas.records.model_bundle import ModelBundle
from schemas.records.parts import framing, plain
from schemas.records.photometry_measured import PhotometryMeasured
from schemas.records.photometry_position import PhotometryPosition
from schemas.records.retrain_command import RetrainCommand
from schemas.records.score_summary import ScoreSummary
from schemas.records.source_position import SourcePosition
from schemas.records.source_state import SourceState
from schemas.records.table import (
    ACCESS_TOKEN,
    BODY_BYTES,
    BUNDLE_BYTES,
    BY_ID,
    CALIBRATED_FRAME,
    CANDIDATE,
    CLASS_RECORD,
    DETECTION,
    DRIFT_ALARM,
    DRIFT_STATE,
    FILTER_DEFINED,
    FILTER_MATCH,
    FRAME_CLAIM,
    GATE_REPORT,
    KNOWN_LABEL,
    LABEL_WANTED,
    LOOP_EVENT,
    MASTER_FRAME,
    MODEL_ANNOUNCED,
    MODEL_BUNDLE,
    PHOTOMETRY_MEASURED,
    PHOTOMETRY_POSITION,
    RETRAIN_COMMAND,
    SCORE_SUMMARY,
    SOURCE_POSITION,
    SOURCE_STATE,
    TABLE,
    WATCHLIST,
    WATCHLIST_BYTES,
    WORKER_SUMMARY,
    RegisteredSchema,
    latest,
    layout,
    parsed,
)
from schemas.records.watchlist import Watchlist
from schemas.records.worker_summary import WorkerSummary

Written: TypeAlias = (
    Detection
    | ScoreSummary
    | WorkerSummary
    | DriftAlarm
    | DriftState
    | RetrainCommand
    | SourcePosition
    | SourceState
    | ClassRecord
    | LoopEvent
    | ModelBundle
    | ModelAnnounced
    | KnownLabel
    | LabelWanted
    | GateReport
    | FrameClaim
    | MasterFrame
    | CalibratedFrame
    | PhotometryPosition
    | PhotometryMeasured
    | AccessToken
    | Candidate
    | FilterDefined
    | FilterMatch
    | Watchlist
)
"""What `encode` writes."""
Record: TypeAlias = Written | Embedding
_Kind = TypeVar("_Kind", bound=Record)

MAX_VALUE = 1_000_000
"""Largest value that is looked at, but for a bundle and a watchlist: the topics of our other records take no larger one [bytes]."""
MAX_SCHEMA = 65_536
"""Largest writer schema of a container that is looked at: ours have 15 kB at most [bytes]."""

_READERS: dict[str, Callable[[Mapping[str, Any]], Record]] = {
    "Detection": detection.from_row,
    "Embedding": embedding.from_row,
    "ScoreSummary": score_summary.from_row,
    "WorkerSummary": worker_summary.from_row,
    "DriftAlarm": drift_alarm.from_row,
    "DriftState": drift_state.from_row,
    "RetrainCommand": retrain_command.from_row,
    "SourcePosition": source_position.from_row,
    "SourceState": source_state.from_row,
    "ClassRecord": class_record.from_row,
    "LoopEvent": loop_event.from_row,
    "ModelBundle": model_bundle.from_row,
    "ModelAnnounced": model_announced.from_row,
    "KnownLabel": known_label.from_row,
    "LabelWanted": label_wanted.from_row,
    "GateReport": gate_report.from_row,
    "FrameClaim": frame_claim.from_row,
    "MasterFrame": master_frame.from_row,
    "CalibratedFrame": calibrated_frame.from_row,
    "PhotometryPosition": photometry_position.from_row,
    "PhotometryMeasured": photometry_measured.from_row,
    "AccessToken": access_token.from_row,
    "Candidate": candidate.from_row,
    "FilterDefined": filter_defined.from_row,
    "FilterMatch": filter_match.from_row,
    "Watchlist": watchlist.from_row,
}
_READ_BY_NAME = {row.id: _READERS[row.name] for row in TABLE if row.name in _READERS}
_SMALL: dict[type[Any], int] = {
    WorkerSummary: WORKER_SUMMARY,
    DriftAlarm: DRIFT_ALARM,
    DriftState: DRIFT_STATE,
    RetrainCommand: RETRAIN_COMMAND,
    SourcePosition: SOURCE_POSITION,
    SourceState: SOURCE_STATE,
    ClassRecord: CLASS_RECORD,
    LoopEvent: LOOP_EVENT,
    ModelBundle: MODEL_BUNDLE,
    ModelAnnounced: MODEL_ANNOUNCED,
    KnownLabel: KNOWN_LABEL,
    LabelWanted: LABEL_WANTED,
    GateReport: GATE_REPORT,
    FrameClaim: FRAME_CLAIM,
    MasterFrame: MASTER_FRAME,
    CalibratedFrame: CALIBRATED_FRAME,
    PhotometryPosition: PHOTOMETRY_POSITION,
    PhotometryMeasured: PHOTOMETRY_MEASURED,
    AccessToken: ACCESS_TOKEN,
    Candidate: CANDIDATE,
    FilterDefined: FILTER_DEFINED,
    FilterMatch: FILTER_MATCH,
    Watchlist: WATCHLIST,
}
_SUMMARY = framing(SCORE_SUMMARY)
_BUNDLE = framing(MODEL_BUNDLE)
_LARGEST = {_BUNDLE: len(_BUNDLE) + BUNDLE_BYTES, framing(WATCHLIST): len(_BUNDLE) + WATCHLIST_BYTES}
_BROKEN = (EOFError, ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError, AttributeError)
"""What fastavro falls over in a body that is none of the schema's."""


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A message that is not a record of ours, and why."""

    error_class: str
    """Short name to count by: bad_schema_id, bad_avro, too_large, truncated, bad_value, unknown_codec, many_records, not_avro."""
    reason: str


def encode(record: Written) -> bytes:
    """A record in Confluent framing; the same record gives the same bytes. An `Embedding` is written beside its detection."""
    if isinstance(record, Detection):
        return detection.PREFIX + detection.body(record, detection.coded(record))
    if isinstance(record, ScoreSummary):
        return _SUMMARY + score_summary.body(record)
    schema_id = _SMALL[type(record)]
    if isinstance(record, WorkerSummary):
        row = worker_summary.to_row(record)
    else:
        row = {f.name: plain(getattr(record, f.name)) for f in fields(record)}
    body = BytesIO()
    fastavro.schemaless_writer(body, parsed(schema_id), row)
    return framing(schema_id) + body.getvalue()


def encode_container(record: Detection) -> bytes:
    """A detection as an Avro object container, which carries its own schema."""
    return container_of(detection.body(record, detection.coded(record)))


def container_of(body: bytes) -> bytes:
    """A detection's body as an Avro object container; see `table.layout` for the schema it carries."""
    return _container(DETECTION).wrap(body)


def container_of_many(bodies: Sequence[bytes]) -> bytes:
    """Detections' bodies in one container of one block."""
    made = _container(DETECTION)
    joined = b"".join(bodies)
    return b"".join((made.header, varint(len(bodies)), varint(len(joined)), joined, made.sync))


def encode_both(record: Detection) -> tuple[bytes, bytes | None]:
    """A detection's body, without framing, and its embedding in Confluent framing, what both hold coded once; None: it has no embedding."""
    part = detection.coded(record)
    return detection.body(record, part), embedding.PREFIX + embedding.body(record, part) if record.embedding else None


def decode(value: bytes | None, key: bytes | None = None) -> Record | BadRecord:
    """A record of ours from a message's value and key, or what is wrong with it; within milliseconds, whatever they hold."""
    try:
        return _decode(value or b"", key)
    except PacketError as error:
        return BadRecord(error.error_class, error.reason)


def expect(value: bytes | None, kind: type[_Kind], *, key: bytes | None = None) -> _Kind:
    """A record of one kind; of a detection in fink's form, the key too.

    Raises
    ------
    schemas.avro.wire.PacketError
        It is none, or one of another kind.
    """
    record = _decode(value or b"", key)
    if not isinstance(record, kind):
        raise PacketError("bad_avro", f"the message is a {type(record).__name__}, not a {kind.__name__}")
    return record


def decode_detection(value: bytes, key: bytes | None = None) -> Detection:
    """A detection from any form and of any version; see `expect`."""
    return expect(value, Detection, key=key)


def decode_summary(value: bytes) -> ScoreSummary:
    """A summary of scores; see `expect`."""
    return expect(value, ScoreSummary)


def _decode(value: bytes, key: bytes | None) -> Record:
    most = _LARGEST.get(value[:5], MAX_VALUE)
    if len(value) > most:
        raise PacketError("too_large", f"the message has {len(value):,} bytes; {most:,} are read at most")
    schema_id, data = _body(value, key)
    registered = BY_ID[schema_id]
    if len(data) > registered.max_bytes:
        raise PacketError("too_large", f"a {registered.name} of {len(data):,} bytes; {registered.max_bytes:,} are read at most")
    return _READ_BY_NAME[schema_id](_row(data, registered))


def _body(value: bytes, key: bytes | None) -> tuple[int, bytes]:
    """The schema of a message, one of the table's, and the record in it."""
    if key is not None and key[:1] == b"{" and len(key) <= MAX_SCHEMA and (schema_id := _known_schema(key)) in _READ_BY_NAME:
        return schema_id, value
    kind = sniff(value)
    if kind == "framed":
        schema_id = int.from_bytes(value[1:5], "big")
        if schema_id not in _READ_BY_NAME:
            raise PacketError("bad_schema_id", f"schema id {schema_id} is none of a record of ours")
        return schema_id, value[5:]
    if kind == "container":
        codec, text, at = read_header(value)
        schema_id = _known_schema(text) if len(text) <= MAX_SCHEMA else 0
        if schema_id not in _READ_BY_NAME:
            raise PacketError("bad_avro", "the container's writer schema is none of ours")
        plain, start, end = read_body(value, at, codec=codec, most=BODY_BYTES)
        return schema_id, plain[start:end]
    if value[:1] == b"{":
        return json_form.body_of(value)
    raise PacketError("not_avro", "the message is neither in Confluent framing nor an Avro container, nor a JSON object of ours")


def _row(data: bytes, registered: RegisteredSchema) -> Mapping[str, Any]:
    """Plain values by the latest schema of the subject."""
    body = BytesIO(data)
    newest = latest(registered.subject)
    reader = None if newest is registered else parsed(newest.id)  # resolving a schema with itself takes ten times as long
    try:
        row = fastavro.schemaless_reader(body, parsed(registered.id), reader)
    except (*_BROKEN, fastavro.schema.SchemaParseException) as error:
        raise PacketError("bad_avro", f"the message is not a {registered.name} ({type(error).__name__})") from None
    if body.tell() != len(data):
        raise PacketError("bad_avro", f"{len(data) - body.tell():,} bytes follow the {registered.name}")
    return row  # type: ignore[return-value]


@lru_cache(maxsize=64)
def _known_schema(text: bytes) -> int:
    """Which row of the table a schema is; 0: none."""
    try:
        return _BY_FORM.get(fastavro.schema.to_parsing_canonical_form(load_schema(text)), 0)
    except (*_BROKEN, RecursionError, fastavro.schema.SchemaParseException):
        return 0


_BY_FORM = {layout(row.id): row.id for row in TABLE}


@lru_cache(maxsize=8)
def _container(schema_id: int) -> Container:
    return Container(json.loads(layout(schema_id)))
