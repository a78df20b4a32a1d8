"""A detection as one JSON object, and back; the JSON Schema of such an object.

What JSON cannot hold is settled by the field's type in `detection.avsc`: a `long` is text (most readers round integers beyond 2^53), a
number that is not finite is null, a 32-bit number has as many digits as it needs. ``$schema`` names the record and its version.
Everything here is derived from the Avro schema; what is read is checked value by value, then written as Avro and read as any Avro record.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Callable, Mapping
from functools import cache
from io import BytesIO
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeAlias

import fastavro
import numpy as np
import orjson

from schemas.avro.wire import PacketError
from schemas.records import detection
from schemas.records.detection import Detection
from schemas.records.parts import plain
from schemas.records.table import BY_ID, DETECTION, TABLE, parsed

SUBJECT = BY_ID[DETECTION].subject
URIS = {f"urn:protonova:detection:{row.version}": row.id for row in TABLE if row.subject == SUBJECT}
"""Values of ``$schema`` → the Avro schema that the object follows."""
URI = next(uri for uri, schema_id in URIS.items() if schema_id == DETECTION)
"""The one that is written."""
HERE = Path(__file__).parent
FILE = f"detection-{BY_ID[DETECTION].version}.schema.json"
"""Name of the file in `HERE` that holds the JSON Schema; `tools/docs` writes it."""
OBJECT_ID = "objectId"
"""The object once more, by the name that Lasair's clients look for."""
MOST_NAMES = 4096
"""Remembered with their quotes."""
MAX_JSON = 262_144
"""Largest object that is read: four times the largest body in Avro [bytes]."""

Convert: TypeAlias = Callable[[Any], Any]
_LONG = re.compile(r"-?[0-9]{1,19}")
_INT = 1 << 31
_NUMBERS: dict[str, dict[str, Any]] = {
    "float": {"type": ["number", "null"]},
    "double": {"type": ["number", "null"]},
    "int": {"type": "integer", "minimum": -_INT, "maximum": _INT - 1},
    "long": {"type": "string", "pattern": f"^{_LONG.pattern}$"},
    "string": {"type": "string"},
    "boolean": {"type": "boolean"},
}


def to_json(record: Detection) -> bytes:
    """One line of JSON without a line break; the embedding is left out, as in Avro."""
    # Some fifty 32-bit numbers stand in classes and features: made digits of all at once, they cost a tenth of one by one.
    classes, features = record.classes, record.features
    values = [number for _, balanced, prior in classes for number in (balanced, prior)]
    values += [value for _, value in features]
    digits = orjson.dumps(np.array(values, dtype=np.float32), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
    n, m = len(classes), len(features)
    places = [b""] * (6 * n)
    places[0::6], places[1::6], places[2::6] = [_NAMED[name] for name, _, _ in classes], [_BALANCED] * n, digits[0 : 2 * n : 2]
    places[3::6], places[4::6], places[5::6] = [_PRIOR] * n, digits[1 : 2 * n : 2], [_END] * n
    of_features = [b""] * (4 * m)
    of_features[0::4], of_features[1::4] = [_NAMED[name] for name, _ in features], [_VALUE] * m
    of_features[2::4], of_features[3::4] = digits[2 * n : 2 * n + m], [_END] * m
    row: dict[str, Any] = {"$schema": URI, OBJECT_ID: record.object_id}
    row.update(zip(detection.NAMES, _FIELDS(record), strict=True))
    row["classes"] = orjson.Fragment(b"[" + b"".join(places)[:-1] + b"]")
    row["features"] = orjson.Fragment(b"[" + b"".join(of_features)[:-1] + b"]")
    for name, convert in _field_writers():
        value = row[name]
        if value:  # neither missing nor empty
            value = plain(value) if isinstance(value, tuple) else value
            row[name] = value if convert is None else convert(value)
        elif value is not None and convert is not None:
            row[name] = convert(value)
    return orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY)


def body_of(value: bytes) -> tuple[int, bytes]:
    """The Avro schema of a JSON object of ours, and the record in it.

    Raises
    ------
    schemas.avro.wire.PacketError
        It is none of ours, or a value is not of its type.
    """
    if len(value) > MAX_JSON:
        raise PacketError("too_large", f"a JSON object of {len(value):,} bytes; {MAX_JSON:,} are read at most")
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError:
        raise PacketError("not_avro", "the message begins like JSON and is not") from None
    uri = found.get("$schema") if isinstance(found, dict) else None
    schema_id = URIS.get(uri) if isinstance(uri, str) else None
    if schema_id is None:
        raise PacketError("not_avro", "the message is JSON whose $schema is none of ours")
    row = _reader(schema_id)(found)
    body = BytesIO()
    try:
        fastavro.schemaless_writer(body, parsed(schema_id), row)
    except (ValueError, TypeError, OverflowError, struct.error) as error:
        raise PacketError("bad_value", f"the JSON object is not a detection ({type(error).__name__})") from None
    return schema_id, body.getvalue()


def json_schema(schema_id: int = DETECTION) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of what `to_json` writes."""
    row = BY_ID[schema_id]
    declared = json.loads(row.schema_text)
    uri = next(uri for uri, known in URIS.items() if known == schema_id)
    described = _described(declared, {})
    extra = {"$schema": {"const": uri}, OBJECT_ID: {"type": "string", "description": "object_id, as Lasair's clients call it."}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": uri,
        "title": row.name,
        "description": f"{declared.get('doc', '')} A 64-bit integer is text; a number that is not finite is null.".strip(),
        **described,
        "properties": {**extra, **described["properties"]},
        "required": [*extra, *described["required"]],
    }


def _described(declared: Any, names: dict[str, Any]) -> dict[str, Any]:
    """The JSON Schema of an Avro type."""
    if isinstance(declared, list):
        inner = [_described(branch, names) for branch in declared if branch != "null"]
        return {"anyOf": [*inner, {"type": "null"}]} if "null" in declared else {"anyOf": inner}
    if isinstance(declared, str):
        return names[declared] if declared in names else _NUMBERS[declared]
    if declared["type"] == "array":
        return {"type": "array", "items": _described(declared["items"], names)}
    if declared["type"] != "record":
        return _described(declared["type"], names)
    properties = {}
    for part in declared["fields"]:
        about = {"description": part["doc"]} if "doc" in part else {}
        properties[part["name"]] = {**about, **_described(part["type"], names)}
    names[declared["name"]] = found = {"type": "object", "properties": properties, "required": list(properties)}
    return found


class _Named(dict[str, bytes]):
    """Names of classes and features, each as the beginning of its object."""

    def __missing__(self, name: str) -> bytes:
        coded = b'{"name":' + orjson.dumps(name)
        if len(self) < MOST_NAMES:
            self[name] = coded
        return coded


_NAMED = _Named()
_BALANCED, _PRIOR, _VALUE, _END = b',"probability":', b',"prior_probability":', b',"value":', b"},"
_FIELDS = attrgetter(*detection.NAMES)


@cache
def _field_writers() -> tuple[tuple[str, Convert | None], ...]:
    """The fields of a detection that do not stay as they are, and what they are converted by; None: they are made plain values."""
    names: dict[str, Any] = {}
    found = []
    for part in json.loads(BY_ID[DETECTION].schema_text)["fields"]:
        convert = _compile(part["type"], _WRITE, names=names)
        if part["name"] not in ("classes", "features") and (convert is not None or _is_nested(part["type"])):
            found.append((part["name"], convert))
    return tuple(found)


def _is_nested(declared: Any) -> bool:
    """Whether an Avro type is more than a number, a truth or a text."""
    if isinstance(declared, list):
        return any(_is_nested(branch) for branch in declared)
    return isinstance(declared, dict) or declared not in (*_NUMBERS, "null", "bytes")


@cache
def _reader(schema_id: int) -> Convert:
    return _compile(json.loads(BY_ID[schema_id].schema_text), _READ, names={}, checked=True) or (lambda row: row)


def _compile(declared: Any, leaves: Mapping[str, Convert], *, names: dict[str, Any], checked: bool = False) -> Convert | None:
    """What a value of an Avro type is converted by; None: it stays as it is.

    Parameters
    ----------
    declared : Avro type
    leaves : mapping
        Primitive type → conversion.
    names : dict
        Records met so far.
    checked : bool
        The value was read: it may be anything.
    """
    if isinstance(declared, str):
        return names[declared] if declared in names else leaves.get(declared)
    if isinstance(declared, list):
        [branch] = [branch for branch in declared if branch != "null"]  # a test holds that our unions are of that kind
        inner = _compile(branch, leaves, names=names, checked=checked)
        return None if inner is None else lambda value: None if value is None else inner(value)
    found: Convert | None
    if declared["type"] == "array":
        return _array(_compile(declared["items"], leaves, names=names, checked=checked), checked=checked)
    if declared["type"] != "record":
        return _compile(declared["type"], leaves, names=names, checked=checked)
    parts = {part["name"]: _compile(part["type"], leaves, names=names, checked=checked) for part in declared["fields"]}
    if checked:
        found = _checked_record(declared["name"], parts, defaults={p["name"]: p["default"] for p in declared["fields"] if "default" in p})
    else:
        converted = {name: convert for name, convert in parts.items() if convert is not None}
        found = _record(converted) if converted else None
    names[declared["name"]] = found
    return found


def _array(inner: Convert | None, *, checked: bool) -> Convert | None:
    if not checked:
        return None if inner is None else lambda values: [inner(value) for value in values]

    def read(values: Any) -> Any:
        if not isinstance(values, list):
            raise PacketError("bad_value", "a value that is not a list stands where one belongs")
        return values if inner is None else [inner(value) for value in values]

    return read


def _record(converted: Mapping[str, Convert]) -> Convert:
    def write(row: dict[str, Any]) -> dict[str, Any]:
        out = dict(row)
        for name, convert in converted.items():
            out[name] = convert(row[name])
        return out

    return write


def _checked_record(title: str, parts: Mapping[str, Convert | None], *, defaults: Mapping[str, Any]) -> Convert:
    def read(row: Any) -> dict[str, Any]:
        if not isinstance(row, dict):
            raise PacketError("bad_value", f"{title} is not an object")
        out = {}
        for name, convert in parts.items():
            if name not in row:
                if name not in defaults:
                    raise PacketError("bad_value", f"{title} has no {name}")
                out[name] = defaults[name]
            else:
                out[name] = row[name] if convert is None else convert(row[name])
        return out

    return read


def _read_number(value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise PacketError("bad_value", "a value that is not a number stands where one belongs")
    return float(value)


def _read_long(value: Any) -> int:
    if not isinstance(value, str) or _LONG.fullmatch(value) is None:
        raise PacketError("bad_value", "a 64-bit integer is not written as text")
    return int(value)


def _read_int(value: Any) -> int:
    if type(value) is not int or not -_INT <= value < _INT:
        raise PacketError("bad_value", "a value that is not a 32-bit integer stands where one belongs")
    return value


def _of_type(kind: type) -> Convert:
    def read(value: Any) -> Any:
        if type(value) is not kind:
            raise PacketError("bad_value", f"a value that is not {kind.__name__} stands where one belongs")
        return value

    return read


_WRITE: dict[str, Convert] = {"long": str, "float": np.float32}
_READ: dict[str, Convert] = {
    "long": _read_long,
    "int": _read_int,
    "float": _read_number,
    "double": _read_number,
    "string": _of_type(str),
    "boolean": _of_type(bool),
}
