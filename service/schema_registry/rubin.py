"""Rubin's schemas that ship → a subject of the registry, under the ids that Rubin's own registry gives them."""

from __future__ import annotations

from functools import cache

from schemas.avro.schema_store import RUBIN_SCHEMAS
from schemas.avro.wire import MAX_PACKET
from schemas.records.table import RegisteredSchema

SUBJECT = "alerts.lsst-value"


@cache
def subjects() -> dict[str, tuple[RegisteredSchema, ...]]:
    """The subject → its versions, in order of id (100 · major + minor)."""
    found = sorted((int(path.stem), path.read_text(encoding="utf-8").strip()) for path in RUBIN_SCHEMAS.glob("*.json"))
    return {SUBJECT: tuple(RegisteredSchema(SUBJECT, number, k, text, MAX_PACKET) for k, (number, text) in enumerate(found, 1))}
