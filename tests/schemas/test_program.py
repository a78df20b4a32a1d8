"""The compiled projection against fastavro, on schemas that no survey sends."""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.avro.machine import Scratch, run
from schemas.avro.program import Want, code, compile_schema, slots
from schemas.avro.wire import PacketError

WANT = Want(
    {"a": "number", "in.b": "number", "in.name": "text", "blob": "bytes", "id": "integer", "color": "text", "flag": "number"},
    {"rows": {"x": "number", "s": "text", "e": "text"}},
)
COLOR = {"type": "enum", "name": "space.color", "symbols": ["red", "green", "blue"]}
ROW = {
    "type": "record",
    "name": "space.row",
    "fields": [
        {"name": "pad", "type": ["null", {"type": "map", "values": {"type": "array", "items": "float"}}]},
        {"name": "x", "type": ["float", "null"]},
        {"name": "s", "type": ["null", "string"]},
        {"name": "nested", "type": {"type": "array", "items": {"type": "array", "items": "string"}}},
        {"name": "e", "type": ["null", "color"]},
    ],
}
SCHEMA = {
    "type": "record",
    "name": "top",
    "fields": [
        {"name": "color", "type": COLOR},
        {"name": "a", "type": ["string", "null", "double", "long"]},
        {"name": "skip", "type": ["null", {"type": "fixed", "name": "sixteen", "size": 16}]},
        {"name": "when", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {
            "name": "in",
            "type": [
                "null",
                {
                    "type": "record",
                    "name": "inner",
                    "fields": [
                        {"name": "b", "type": "int"},
                        {"name": "again", "type": ["null", "sixteen"]},
                        {"name": "name", "type": "string"},
                    ],
                },
            ],
        },
        {"name": "rows", "type": ["null", {"type": "array", "items": ROW}]},
        {"name": "others", "type": {"type": "array", "items": "space.row"}},
        {"name": "blob", "type": ["null", "bytes"]},
        {"name": "flag", "type": "boolean"},
        {"name": "nothing", "type": "null"},
        {"name": "id", "type": "long"},
    ],
}
PARSED = fastavro.parse_schema(json.loads(json.dumps(SCHEMA)))
PROGRAM = compile_schema(SCHEMA, WANT)
S, A, C = slots(WANT)

f32 = st.floats(width=32, allow_nan=False)
rows = st.fixed_dictionaries(
    {
        "pad": st.none() | st.dictionaries(st.text(max_size=3), st.lists(f32, max_size=2), max_size=2),
        "x": st.none() | f32,
        "s": st.none() | st.text(st.characters(codec="ascii"), max_size=6),
        "nested": st.lists(st.lists(st.text(max_size=3), max_size=2), max_size=2),
        "e": st.none() | st.sampled_from(COLOR["symbols"]),
    }
)
records = st.fixed_dictionaries(
    {
        "color": st.sampled_from(COLOR["symbols"]),
        "a": st.none() | st.floats(allow_nan=False),
        "skip": st.none() | st.binary(min_size=16, max_size=16),
        "when": st.integers(0, 10**12),
        "in": st.none()
        | st.fixed_dictionaries(
            {"b": st.integers(-(2**31), 2**31 - 1), "again": st.none() | st.binary(min_size=16, max_size=16), "name": st.text(max_size=9)}
        ),
        "rows": st.none() | st.lists(rows, max_size=6),
        "others": st.lists(rows, max_size=3),
        "blob": st.none() | st.binary(max_size=9),
        "flag": st.booleans(),
        "nothing": st.none(),
        "id": st.integers(-(2**63), 2**63 - 1),
    }
)


def encode(record: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, PARSED, record)
    return out.getvalue()


def project(data: bytes, program: Any = PROGRAM) -> Scratch:
    scratch = Scratch(program.n_scalars, program.n_columns, n_arrays=len(program.columns), capacity=2)
    run(program, np.frombuffer(data, np.uint8), start=0, end=len(data), scratch=scratch)
    return scratch


def number(value: Any) -> float:
    return float("nan") if value is None else float(value)


@settings(max_examples=150, deadline=None)
@given(records)
def test_equals_fastavro(record: Any) -> None:
    data = encode(record)
    got = project(data)

    def piece(slot: int) -> bytes | None:
        start, size = got.whole[slot]
        return None if size < 0 else data[start : start + size]

    np.testing.assert_equal(got.number[S["a"]], number(record["a"]))
    inner = record["in"] or {"b": None, "name": None}
    np.testing.assert_equal(got.number[S["in.b"]], number(inner["b"]))
    assert piece(S["in.name"]) == (None if inner["name"] is None else inner["name"].encode())
    assert piece(S["blob"]) == record["blob"]
    assert got.number[S["color"]] == code(record["color"])
    assert got.number[S["flag"]] == record["flag"]
    assert got.whole[S["id"], 0] == record["id"]
    items = record["rows"] or []
    assert got.count[A["rows"]] == len(items)
    for j, item in enumerate(items):
        np.testing.assert_equal(got.table[C["rows.x"], j], number(item["x"]))
        np.testing.assert_equal(got.table[C["rows.s"], j], number(None if item["s"] is None else code(item["s"])))
        np.testing.assert_equal(got.table[C["rows.e"], j], number(None if item["e"] is None else code(item["e"])))


@settings(max_examples=40, deadline=None)
@given(records)
def test_every_cut_is_an_error(record: Any) -> None:
    data = encode(record)
    for cut in range(len(data)):
        with pytest.raises(PacketError):
            project(data[:cut])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_end(data: bytes) -> None:
    with contextlib.suppress(PacketError):  # anything else, or a crash, fails
        got = project(data)
        assert (got.count <= len(data)).all()


def test_blocks_of_an_array_with_and_without_their_size() -> None:
    schema = {"type": "record", "name": "r", "fields": [{"name": "rows", "type": {"type": "array", "items": ROW_SMALL}}]}
    item = np.float32(1.5).tobytes()
    data = b"\x02" + item + b"\x03\x10" + item + item + b"\x02" + item + b"\x00"  # 1; -2 with 8 bytes; 1; end
    program = compile_schema(schema, WANT)
    got = project(data, program)
    assert got.count[0] == 4
    assert got.table[C["rows.x"], :4].tolist() == [1.5] * 4
    [(_, back)] = fastavro.schemaless_reader(io.BytesIO(data), fastavro.parse_schema(schema), None).items()  # type: ignore[union-attr]
    assert len(back) == 4


ROW_SMALL = {"type": "record", "name": "small", "fields": [{"name": "x", "type": "float"}]}


def test_the_path_stands_in_the_reason() -> None:
    schema = {
        "type": "record",
        "name": "r",
        "fields": [{"name": "a", "type": "double"}, {"name": "rows", "type": {"type": "array", "items": ROW_SMALL}}],
    }
    program = compile_schema(schema, WANT)
    with pytest.raises(PacketError, match=r"rows\[\].x"):
        project(bytes(8) + b"\x02\x00", program)


def test_a_schema_is_left_as_it_was() -> None:
    before = json.dumps(SCHEMA)
    compile_schema(SCHEMA, WANT)
    assert json.dumps(SCHEMA) == before


def test_a_branch_that_does_not_exist() -> None:
    schema = {"type": "record", "name": "r", "fields": [{"name": "a", "type": ["null", "double"]}]}
    with pytest.raises(PacketError, match="branch"):
        project(b"\x04" + bytes(8), compile_schema(schema, WANT))
