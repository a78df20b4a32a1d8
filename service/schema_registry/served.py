"""Every schema of what we publish, under the ids they have for good."""

from __future__ import annotations

from schemas.records.subjects import SUBJECTS, RegisteredSchema
from streams.telemetry import SCHEMA_ID, SCHEMA_TEXT

# Two kinds of record share telemetry.scores, so the second is named by topic and record (Confluent's TopicRecordNameStrategy).
_WORKER = RegisteredSchema("telemetry.scores-protonova.WorkerSummary", SCHEMA_ID, 1, SCHEMA_TEXT)


def subjects() -> dict[str, RegisteredSchema]:
    """Subject → schema.

    Raises
    ------
    RuntimeError
        Two schemas have one id: a client would decode garbage.
    """
    table = {**SUBJECTS, _WORKER.subject: _WORKER}
    if len({schema.id for schema in table.values()}) != len(table):
        raise RuntimeError("two schemas are registered under one id")
    return table
