"""Avro schema → a function that writes records of it: {field: value} → bytes.

For packets made in bulk: fastavro checks every value of a union before it writes one, which costs 4 ms for a packet with forty points
of history, four times what all else of it costs. fastavro is the oracle in the tests.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Writer: TypeAlias = Callable[[Any, bytearray], None]
_NUMBERS = {"float": struct.Struct("<f"), "double": struct.Struct("<d")}


def compile_writer(schema: Any) -> Writer:
    """The writer of a schema of records, arrays, primitive types and unions of null and one other type.

    A field that may be null may be left out of a record.

    Raises
    ------
    ValueError : the schema holds another kind of type
    """
    return _compile(schema, {})


def varint(number: int) -> bytes:
    """Avro's zig-zag variable-length long."""
    coded = (number << 1) ^ (number >> 63)
    out = bytearray()
    while coded > 0x7F:
        out.append(coded & 0x7F | 0x80)
        coded >>= 7
    out.append(coded)
    return bytes(out)


def _compile(schema: Any, named: dict[str, Writer]) -> Writer:
    if isinstance(schema, str):
        return named[schema] if schema in named else _primitive(schema)
    if isinstance(schema, list):
        if len(schema) != 2 or "null" not in schema:
            raise ValueError(f"a union other than of null and one type: {schema}")
        null = schema.index("null")
        return _optional(_compile(schema[1 - null], named), null)
    kind = schema["type"]
    if kind == "record":
        space, name = schema.get("namespace"), schema["name"]
        full = name if "." in name or not space else f"{space}.{name}"
        writer = _record([(field["name"], _compile(field["type"], named), _nullable(field["type"])) for field in schema["fields"]])
        named[full] = named[name] = writer
        return writer
    if kind == "array":
        return _array(_compile(schema["items"], named))
    if isinstance(kind, (dict, list)) or kind in named:
        return _compile(kind, named)
    return _primitive(kind)


def _primitive(kind: str) -> Writer:
    if kind in _NUMBERS:
        pack = _NUMBERS[kind].pack

        def number(value: Any, out: bytearray) -> None:
            out += pack(value)

        return number
    if kind in ("int", "long"):

        def integer(value: Any, out: bytearray) -> None:
            out += varint(int(value))

        return integer
    if kind in ("string", "bytes"):

        def text(value: Any, out: bytearray) -> None:
            raw = value.encode() if isinstance(value, str) else value
            out += varint(len(raw))
            out += raw

        return text
    if kind == "boolean":

        def boolean(value: Any, out: bytearray) -> None:
            out.append(1 if value else 0)

        return boolean
    raise ValueError(f"no writer for the type {kind}")


def _optional(inner: Writer, null: int) -> Writer:
    empty, full = 2 * null, 2 * (1 - null)  # a branch's number as a zig-zag varint

    def optional(value: Any, out: bytearray) -> None:
        if value is None:
            out.append(empty)
        else:
            out.append(full)
            inner(value, out)

    return optional


def _nullable(schema: Any) -> bool:
    """Null is the first branch: a missing value is one zero byte."""
    return isinstance(schema, list) and schema[0] == "null"


def _record(fields: list[tuple[str, Writer, bool]]) -> Writer:
    def record(value: Mapping[str, Any], out: bytearray) -> None:
        get = value.get
        for name, write, optional in fields:
            item = get(name)
            if item is None and optional:  # most of a limit's row: not worth a call
                out.append(0)
            else:
                write(item, out)

    return record


def _array(inner: Writer) -> Writer:
    def array(value: Any, out: bytearray) -> None:
        if len(value):
            out += varint(len(value))
            for item in value:
                inner(item, out)
        out.append(0)

    return array
