"""Schemas of our records over the versions: a schema never changes under its id, and every version of a subject reads every other one."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

import fastavro
import pytest
from fastavro.schema import to_parsing_canonical_form

from schemas.records import codec, table
from schemas.records.codec import decode_detection
from schemas.records.detection import Detection, to_row
from schemas.records.table import TABLE, RegisteredSchema, subjects
from tests.schemas.test_records import ALARM, COMMAND, DETECTION, FULL, SUMMARY

FOR_EVER = {
    1_000_001: ("detections-value", 1, "147df1066e05ece4"),
    1_000_002: ("alerts.rejected-headers", 1, "6be15f633fe10e6d"),
    1_000_003: ("telemetry.scores-value", 1, "db9ef04645b5d8fd"),
    1_000_004: ("alerts.tess-value", 1, "08527393174daace"),
    1_000_005: ("telemetry.scores-protonova.WorkerSummary", 1, "f3a37aa35ff0652c"),
    1_000_006: ("drift.alarms-value", 1, "871e5a84dc5386c3"),
    1_000_007: ("commands.retrain-value", 1, "83f7a9e7f9075914"),
    1_000_008: ("embeddings-value", 1, "825f71abb7c2ccfb"),
    1_000_009: ("detections-value", 2, "62d8a72e0f5e24a6"),
    1_000_010: ("alerts.rejected-headers", 2, "35d276312cff2010"),
    1_000_011: ("sources.positions-value", 1, "3fc3b99c6a821710"),
    1_000_012: ("sources.states-value", 1, "d7dc05dd9a1caafd"),
    1_000_013: ("detections-value", 3, "2603e46941a06125"),
    1_000_014: ("telemetry.scores-protonova.WorkerSummary", 2, "4bf10a621a5af234"),
    1_000_015: ("alerts.frames-value", 1, "22285598a7f980f4"),
    1_000_016: ("frames.raw-value", 1, "5188844f2ec59880"),
    1_000_017: ("calibration.masters-value", 1, "0cb1eb769df0d580"),
    1_000_018: ("frames.calibrated-value", 1, "6f2adb1922bf85d7"),
    1_000_019: ("photometry.positions-value", 1, "b41eb08e2d52868c"),
    1_000_020: ("photometry.measured-value", 1, "0e170e25fef14608"),
    1_000_031: ("support.examples-value", 1, "9d10801b625f693d"),
    1_000_032: ("loop.events-value", 1, "b60acbee24031131"),
    1_000_038: ("telemetry.scores-value", 2, "8d84272455fe221d"),
    1_000_039: ("drift.alarms-value", 2, "7d6e0e270bc67317"),
    1_000_040: ("commands.retrain-value", 2, "d24247850a760406"),
    1_000_041: ("drift.states-value", 1, "79019da2d541d47f"),
    1_000_033: ("models.bundles-value", 1, "804309745f0ba192"),
    1_000_034: ("models.announced-value", 1, "b280db20c0021548"),
    1_000_042: ("access.tokens-value", 1, "dbbb36fa7535093e"),
    1_000_043: ("filters.defined-value", 1, "2e87a8c3e8ec0be7"),
    1_000_044: ("filters.matches-value", 1, "4c7020fa165c3f94"),
    1_000_045: ("filters.watchlists-value", 1, "c03fc043209915b8"),
    1_000_035: ("labels.known-value", 1, "075624746d5844a6"),
    1_000_036: ("labels.wanted-value", 1, "ce1a5f04b3b38f86"),
    1_000_037: ("loop.events-protonova.GateReport", 1, "8f8453a40b1e7559"),
    1_000_046: ("candidates-value", 1, "ac9b1d4a565b223d"),
}
"""id → subject, version, and the beginning of the sha256 of the schema without its documentation. A new row is added; none ever changes."""


def fingerprint(row: RegisteredSchema) -> str:
    return hashlib.sha256(to_parsing_canonical_form(json.loads(row.schema_text)).encode()).hexdigest()[:16]


def test_what_was_released_under_an_id_stays() -> None:
    assert {row.id: (row.subject, row.version, fingerprint(row)) for row in TABLE} == FOR_EVER


def test_ids_are_far_from_rubins_and_versions_count_from_one() -> None:
    assert all(row.id > 1_000_000 for row in TABLE)
    for versions in subjects().values():
        assert [row.version for row in versions] == list(range(1, len(versions) + 1))


def problems(writer: Any, reader: Any, path: str = "") -> list[str]:
    """Why a reader's schema does not read a writer's (Avro specification, "Schema Resolution")."""
    if isinstance(writer, dict) and isinstance(reader, dict) and writer["type"] == reader["type"] == "record":
        known = {f["name"]: f for f in writer["fields"]}
        out = []
        for field in reader["fields"]:
            where = f"{path}.{field['name']}"
            if field["name"] in known:
                out += problems(known[field["name"]]["type"], field["type"], where)
            elif "default" not in field:
                out.append(f"{where} is new and has no default")
        return out
    if isinstance(writer, dict) and isinstance(reader, dict) and writer["type"] == reader["type"] in ("array", "map"):
        inner = "items" if writer["type"] == "array" else "values"
        return problems(writer[inner], reader[inner], f"{path}[]")
    if isinstance(writer, list) and isinstance(reader, list):
        if len(writer) != len(reader):
            return [f"{path} is another union"]
        return [p for one, other in zip(writer, reader, strict=True) for p in problems(one, other, path)]
    return [] if writer == reader else [f"{path} was {writer} and is {reader}"]


@pytest.mark.parametrize(
    ("writer", "reader"),
    [(one, other) for versions in subjects().values() for one in versions for other in versions],
    ids=lambda row: str(row.id),
)
def test_every_version_reads_every_other(writer: RegisteredSchema, reader: RegisteredSchema) -> None:
    assert problems(json.loads(writer.schema_text), json.loads(reader.schema_text)) == []


def test_the_check_finds_what_breaks_a_reader() -> None:
    one = {"type": "record", "name": "a", "fields": [{"name": "x", "type": "int"}]}
    assert problems(one, {**one, "fields": [*one["fields"], {"name": "y", "type": "int"}]}) == [".y is new and has no default"]  # type: ignore[misc]
    assert problems(one, {**one, "fields": [{"name": "x", "type": "string"}]}) == [".x was int and is string"]


@pytest.mark.parametrize("found", [DETECTION, FULL])
def test_a_reader_of_version_1_reads_version_2(found: Detection) -> None:
    old = fastavro.parse_schema(json.loads(table.BY_ID[table.DETECTION_V1].schema_text))
    row: Any = fastavro.schemaless_reader(io.BytesIO(codec.encode(found)[5:]), table.parsed(table.DETECTION), old)
    assert row == {name: value for name, value in to_row(found).items() if name in row}
    assert len(row) == 27


@pytest.mark.parametrize(
    ("old", "record"),
    [(table.SCORE_SUMMARY_V1, SUMMARY), (table.DRIFT_ALARM_V1, ALARM), (table.RETRAIN_COMMAND_V1, COMMAND)],
)
def test_what_was_written_before_drift_was_diagnosed_is_read_both_ways(old: int, record: Any) -> None:
    """Version 1 on a topic is the record without the new fields, and a reader of version 1 reads the new one."""
    named = [field["name"] for field in json.loads(table.BY_ID[old].schema_text)["fields"]]
    row = {name: getattr(record, name) for name in named}
    out = io.BytesIO(b"\0" + old.to_bytes(4, "big"))
    out.seek(5)
    fastavro.schemaless_writer(out, table.parsed(old), row)
    assert codec.decode(out.getvalue()) == type(record)(**row)
    new = codec.encode(record)
    schema = fastavro.parse_schema(json.loads(table.BY_ID[old].schema_text))
    read: Any = fastavro.schemaless_reader(io.BytesIO(new[5:]), table.parsed(int.from_bytes(new[1:5], "big")), schema)
    assert read == row


@pytest.mark.parametrize("container", [False, True])
def test_a_detection_of_version_1_that_lies_on_a_topic_is_read(container: bool) -> None:
    old = json.loads(table.BY_ID[table.DETECTION_V1].schema_text)
    out = io.BytesIO()
    if container:
        fastavro.writer(out, fastavro.parse_schema(old), [to_row(DETECTION)])
    else:
        out.write(b"\0" + table.DETECTION_V1.to_bytes(4, "big"))
        fastavro.schemaless_writer(out, fastavro.parse_schema(old), to_row(DETECTION))
    found = decode_detection(out.getvalue())
    assert (found.packet_id, found.decision, found.crossmatches, found.host) == ("", None, (), None)
    assert (found.detection_id, found.classes, found.features) == (DETECTION.detection_id, DETECTION.classes, DETECTION.features)
