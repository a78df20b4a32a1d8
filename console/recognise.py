"""A packet → the alert topic it belongs to, and its object's id where that is cheap to read.

The fields of the writer schema decide, never a file's name. A header that was seen before costs one comparison.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from schemas.avro.schema_store import SchemaStore
from schemas.avro.wire import PacketError, load_schema, read_header, read_long, sniff
from schemas.surveys import frame_alerts, lsst, tess, ztf

UNKNOWN_CONTAINER = "alerts.ztf"
"""Where a container of a survey we do not know goes: it ends there as a counted rejection."""
FRAMED = "alerts.lsst"
"""Where a framed packet goes whose schema id we do not know: framing is Rubin's."""
SURVEYS = ((ztf, "alerts.ztf"), (lsst, "alerts.lsst"), (tess, "alerts.tess"), (frame_alerts, "alerts.frames"))
"""Who claims a schema by its fields, and where its packets go."""
KEY_FIELD = "objectId"
_REMEMBERED = 64
_STRING = ("string", "bytes")


class Layout(NamedTuple):
    """What a header says."""

    topic: str
    before: tuple[str, ...] | None
    """Types of the fields before the object's id; None: it cannot be reached by stepping over strings and integers."""


class Recogniser:
    """Finds topics and keys; remembers headers and schema ids."""

    def __init__(self, store: SchemaStore | None = None) -> None:
        self._store = store or SchemaStore()
        self._headers: list[tuple[bytes, str, Layout]] = []
        self._ids: dict[int, str] = {}

    def __call__(self, packet: bytes) -> tuple[str, bytes | None]:
        """The topic, and the key (None: no cheap one)."""
        if sniff(packet) == "framed":
            return self._framed(int.from_bytes(packet[1:5], "big")), None
        known = next((entry for entry in self._headers if packet.startswith(entry[0])), None)
        if known is None:
            try:
                codec, text, at = read_header(packet)
                layout = _layout(load_schema(text))
            except PacketError:  # the worker will say what is wrong with it
                return UNKNOWN_CONTAINER, None
            known = (packet[:at], codec, layout)
            self._headers = [known, *self._headers[: _REMEMBERED - 1]]
        prefix, codec, layout = known
        return layout.topic, _key(packet, len(prefix) + 16, layout=layout) if codec == "null" else None

    def _framed(self, schema_id: int) -> str:
        if schema_id not in self._ids:
            try:
                topic = _topic(self._store.get(schema_id))
            except PacketError:
                topic = None
            self._ids[schema_id] = topic or FRAMED
        return self._ids[schema_id]


def _topic(schema: Any) -> str | None:
    """By which survey's reader claims the schema."""
    return next((topic for survey, topic in SURVEYS if survey.claims(schema)), None)


def _layout(schema: Any) -> Layout:
    before: list[str] = []
    for field in schema.get("fields", ()) if isinstance(schema, dict) else ():
        kind = field.get("type") if isinstance(field, dict) else None
        kind = kind if isinstance(kind, str) else json.dumps(kind)
        if isinstance(field, dict) and field.get("name") == KEY_FIELD and kind in _STRING:
            return Layout(_topic(schema) or UNKNOWN_CONTAINER, tuple(before))
        if kind not in (*_STRING, "int", "long"):
            break
        before.append(kind)
    return Layout(_topic(schema) or UNKNOWN_CONTAINER, None)


def _key(packet: bytes, at: int, *, layout: Layout) -> bytes | None:
    if layout.before is None:
        return None
    try:
        _, at = read_long(packet, at)  # records of the block
        _, at = read_long(packet, at)  # its bytes
        for kind in layout.before:
            value, at = read_long(packet, at)
            if kind in _STRING:
                if value < 0:
                    return None
                at += value
        size, at = read_long(packet, at)
    except PacketError:
        return None
    return packet[at : at + size] if 0 < size <= 64 and at + size <= len(packet) else None
