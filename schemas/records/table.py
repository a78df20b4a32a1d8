"""Every schema of what travels on a topic of ours, and the id it has for ever.

`*.avsc` → `TABLE`: id, subject, version

The status service serves them by the API of Confluent's registry, so that any client decodes; `codec.decode` reads what is framed with one
of these ids and nothing else. The ids lie above those of any survey (Rubin's are 100 · version). A schema never changes under its id:
another version is a new row, and every version of a subject reads every other one (full-transitive; a test holds it).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from schemas.avro.schema_store import FRAMES_ID, TESS_ID

_HERE = Path(__file__).parent
_SURVEYS = _HERE.parent / "surveys"

DETECTION_V1, REJECTED_V1, SCORE_SUMMARY_V1, WORKER_SUMMARY_V1 = 1_000_001, 1_000_002, 1_000_003, 1_000_005
DRIFT_ALARM_V1, RETRAIN_COMMAND_V1, EMBEDDING, DETECTION_V2, REJECTED = 1_000_006, 1_000_007, 1_000_008, 1_000_009, 1_000_010
SOURCE_POSITION, SOURCE_STATE, DETECTION, WORKER_SUMMARY = 1_000_011, 1_000_012, 1_000_013, 1_000_014
FRAME_CLAIM, MASTER_FRAME, CALIBRATED_FRAME, PHOTOMETRY_POSITION, PHOTOMETRY_MEASURED = range(1_000_016, 1_000_021)
CLASS_RECORD, LOOP_EVENT = 1_000_031, 1_000_032  # 15 to 30: records of raw frames
SCORE_SUMMARY, DRIFT_ALARM, RETRAIN_COMMAND, DRIFT_STATE = range(1_000_038, 1_000_042)
MODEL_BUNDLE, MODEL_ANNOUNCED = 1_000_033, 1_000_034
ACCESS_TOKEN, FILTER_DEFINED, FILTER_MATCH, WATCHLIST = range(1_000_042, 1_000_046)
CANDIDATE = 1_000_046
KNOWN_LABEL, LABEL_WANTED, GATE_REPORT = range(1_000_035, 1_000_038)
BODY_BYTES = 65_536
"""Largest body of a record of ours: 1 kB is usual, and a detection with 500 taught classes stays below [bytes]."""

CLASS_BYTES = 990_000
"""Largest body of a taught class, and of the event that holds it: the views of 500 examples [bytes]."""
BUNDLE_BYTES = 8_200_000
"""Largest body of a bundle: 8 MB of files and their names [bytes]."""

WATCHLIST_BYTES = 8_200_000
"""Largest body of a watchlist: a hundred thousand positions with names [bytes]."""
AREA_BYTES = 990_000
"""Largest body of a filter: its area has most of it [bytes]."""

STATE_BYTES = 990_000
"""Largest body of a state of the drift process [bytes]."""


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """A schema under a fixed id."""

    subject: str
    id: int
    version: int
    schema_text: str
    """Its JSON, without white space."""
    max_bytes: int
    """Of a body in it that is read."""

    @property
    def name(self) -> str:
        """Of the record."""
        return str(json.loads(self.schema_text)["name"])


def _row(subject: str, schema_id: int, *, version: int, file: str | Path, max_bytes: int = BODY_BYTES) -> RegisteredSchema:
    text = json.dumps(json.loads((_HERE / file).read_text(encoding="utf-8")), separators=(",", ":"))
    return RegisteredSchema(subject, schema_id, version, text, max_bytes)


TABLE: tuple[RegisteredSchema, ...] = (
    _row("detections-value", DETECTION_V1, version=1, file="detection_v1.avsc"),
    _row("detections-value", DETECTION_V2, version=2, file="detection_v2.avsc"),
    _row("detections-value", DETECTION, version=3, file="detection.avsc"),
    _row("embeddings-value", EMBEDDING, version=1, file="embedding.avsc"),
    _row("alerts.rejected-headers", REJECTED_V1, version=1, file="rejected_v1.avsc"),
    _row("alerts.rejected-headers", REJECTED, version=2, file="rejected.avsc"),
    # Two kinds of record share telemetry.scores: the second is named by topic and record (Confluent's TopicRecordNameStrategy).
    _row("telemetry.scores-value", SCORE_SUMMARY_V1, version=1, file="score_summary_v1.avsc"),
    _row("telemetry.scores-value", SCORE_SUMMARY, version=2, file="score_summary.avsc"),
    _row("telemetry.scores-protonova.WorkerSummary", WORKER_SUMMARY_V1, version=1, file="worker_summary_v1.avsc"),
    _row("telemetry.scores-protonova.WorkerSummary", WORKER_SUMMARY, version=2, file="worker_summary.avsc"),
    _row("drift.alarms-value", DRIFT_ALARM_V1, version=1, file="drift_alarm_v1.avsc"),
    _row("drift.alarms-value", DRIFT_ALARM, version=2, file="drift_alarm.avsc"),
    _row("drift.states-value", DRIFT_STATE, version=1, file="drift_state.avsc", max_bytes=STATE_BYTES),
    _row("commands.retrain-value", RETRAIN_COMMAND_V1, version=1, file="retrain_command_v1.avsc"),
    _row("commands.retrain-value", RETRAIN_COMMAND, version=2, file="retrain_command.avsc"),
    _row("sources.positions-value", SOURCE_POSITION, version=1, file="source_position.avsc"),
    _row("sources.states-value", SOURCE_STATE, version=1, file="source_state.avsc"),
    _row("support.examples-value", CLASS_RECORD, version=1, file="class_record.avsc", max_bytes=CLASS_BYTES),
    _row("loop.events-value", LOOP_EVENT, version=1, file="loop_event.avsc", max_bytes=CLASS_BYTES),
    _row("models.bundles-value", MODEL_BUNDLE, version=1, file="model_bundle.avsc", max_bytes=BUNDLE_BYTES),
    _row("models.announced-value", MODEL_ANNOUNCED, version=1, file="model_announced.avsc"),
    _row("candidates-value", CANDIDATE, version=1, file="candidate.avsc"),
    _row("access.tokens-value", ACCESS_TOKEN, version=1, file="access_token.avsc"),
    _row("filters.defined-value", FILTER_DEFINED, version=1, file="filter_defined.avsc", max_bytes=AREA_BYTES),
    # On every filters.<user>.<name>.
    _row("filters.matches-value", FILTER_MATCH, version=1, file="filter_match.avsc", max_bytes=2 * BODY_BYTES),
    _row("filters.watchlists-value", WATCHLIST, version=1, file="watchlist.avsc", max_bytes=WATCHLIST_BYTES),
    _row("labels.known-value", KNOWN_LABEL, version=1, file="known_label.avsc"),
    _row("labels.wanted-value", LABEL_WANTED, version=1, file="label_wanted.avsc"),
    # It travels within an event of the loop.
    _row("loop.events-protonova.GateReport", GATE_REPORT, version=1, file="gate_report.avsc"),
    _row("frames.raw-value", FRAME_CLAIM, version=1, file="frame_claim.avsc"),
    _row("calibration.masters-value", MASTER_FRAME, version=1, file="master_frame.avsc"),
    _row("frames.calibrated-value", CALIBRATED_FRAME, version=1, file="calibrated_frame.avsc"),
    _row("photometry.positions-value", PHOTOMETRY_POSITION, version=1, file="photometry_position.avsc"),
    _row("photometry.measured-value", PHOTOMETRY_MEASURED, version=1, file="photometry_measured.avsc"),
    _row("alerts.tess-value", TESS_ID, version=1, file=_SURVEYS / "tess.avsc"),
    _row("alerts.frames-value", FRAMES_ID, version=1, file=_SURVEYS / "frames.avsc"),
)
BY_ID: dict[int, RegisteredSchema] = {row.id: row for row in TABLE}
if len(BY_ID) != len(TABLE):
    raise RuntimeError("two schemas are registered under one id")


def subjects() -> dict[str, tuple[RegisteredSchema, ...]]:
    """Subject → its versions, the latest last."""
    found: dict[str, tuple[RegisteredSchema, ...]] = {}
    for row in TABLE:
        found[row.subject] = (*found.get(row.subject, ()), row)
    return found


@cache
def latest(subject: str) -> RegisteredSchema:
    """The version of a subject that is written."""
    return subjects()[subject][-1]


@cache
def layout(schema_id: int) -> str:
    """The schema of an id in Avro's parsing canonical form: names and types, without documentation and defaults.

    For messages that carry the schema they are written by: it has a third of the bytes.
    """
    from fastavro.schema import to_parsing_canonical_form

    return str(to_parsing_canonical_form(json.loads(BY_ID[schema_id].schema_text)))


@cache
def parsed(schema_id: int) -> Any:
    """The schema of an id, parsed by fastavro."""
    import fastavro

    return fastavro.parse_schema(json.loads(BY_ID[schema_id].schema_text))
