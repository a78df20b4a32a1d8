"""Items of a history that are read by their layout: the values of fastavro, and on damaged bytes those of the walk over every field."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.avro import machine
from schemas.avro.alike import LAYOUTS, WORTH
from schemas.avro.machine import Scratch, run, run_program
from schemas.avro.program import Want, code, compile_schema
from schemas.avro.writer import varint

WANT = Want(
    {"id": "integer", "after": "number"}, {"rows": {"t": "number", "f": "number", "n": "number", "s": "text", "e": "text", "b": "number"}}
)
ROW = {
    "type": "record",
    "name": "row",
    "fields": [
        {"name": "pad", "type": ["null", "float"]},
        {"name": "t", "type": "double"},
        {"name": "long", "type": "long"},
        {"name": "f", "type": ["null", "float"]},
        {"name": "name", "type": ["null", "string"]},
        {"name": "n", "type": ["null", "long"]},
        {"name": "s", "type": "string"},
        {"name": "e", "type": ["null", {"type": "enum", "name": "colour", "symbols": ["red", "green", "blue"]}]},
        {"name": "raw", "type": {"type": "fixed", "name": "five", "size": 5}},
        {"name": "b", "type": ["boolean", "null"]},
    ],
}
SCHEMA = {
    "type": "record",
    "name": "top",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "rows", "type": {"type": "array", "items": ROW}},
        {"name": "after", "type": "double"},
    ],
}
PARSED = fastavro.parse_schema(SCHEMA)
PROGRAM = compile_schema(SCHEMA, WANT)
F32 = st.floats(width=32, allow_nan=False)
ITEMS = st.fixed_dictionaries(
    {
        "pad": st.none() | F32,
        "t": st.floats(allow_nan=False),
        "long": st.sampled_from([0, -1, 63, 64, 10**9, -(2**63), 2**63 - 1]),
        "f": st.none() | F32,
        "name": st.none() | st.text(max_size=5),
        "n": st.none() | st.integers(-(2**40), 2**40),
        "s": st.sampled_from(["", "t", "f", "1", "longer than four", "é"]),
        "e": st.none() | st.sampled_from(["red", "green", "blue"]),
        "raw": st.binary(min_size=5, max_size=5),
        "b": st.none() | st.booleans(),
    }
)


def body(rows: list[dict[str, Any]], blocks: int = 1) -> bytes:
    """A record whose array comes in so many blocks."""

    def coded(row: dict[str, Any]) -> bytes:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, fastavro.parse_schema(ROW), row)
        return out.getvalue()

    parts = [part for part in np.array_split(np.array(rows, object), blocks) if len(part)]
    array = b"".join(varint(len(part)) + b"".join(map(coded, part)) for part in parts) + b"\0"
    return varint(7) + array + np.float64(2.5).tobytes()


def read(data: bytes) -> Scratch:
    scratch = Scratch(PROGRAM.n_scalars, PROGRAM.n_columns, n_arrays=1)
    run(PROGRAM, np.frombuffer(data, np.uint8), start=0, end=len(data), scratch=scratch)
    return scratch


def expected(row: dict[str, Any]) -> list[float]:
    missing = np.nan
    return [
        row["t"],
        missing if row["f"] is None else row["f"],
        missing if row["n"] is None else row["n"],
        code_of(row["s"]),
        missing if row["e"] is None else code(row["e"]),
        missing if row["b"] is None else float(row["b"]),
    ]


def code_of(text: str) -> float:
    return float(int.from_bytes(text.encode()[:4], "little"))


@settings(deadline=None, max_examples=200)
@given(st.lists(ITEMS, min_size=1, max_size=2 * LAYOUTS), st.integers(1, 6), st.integers(1, 4))
def test_values_are_fastavros(kinds: list[dict[str, Any]], repeats: int, blocks: int) -> None:
    rows = kinds * repeats
    data = body(rows, blocks)
    record = fastavro.schemaless_reader(io.BytesIO(data), PARSED, None)
    assert len(record["rows"]) == len(rows)  # type: ignore[arg-type,call-overload,index]
    scratch = read(data)
    assert scratch.count[0] == len(rows)
    np.testing.assert_array_equal(scratch.table[:, : len(rows)], np.array([expected(row) for row in rows]).T)
    assert scratch.whole[0, 0] == 7
    assert scratch.number[1] == 2.5


def walked(data: bytes, monkeypatch: pytest.MonkeyPatch) -> tuple[int, Scratch]:
    """What the walk over every field gives: the same code, not compiled, with no block long enough for layouts."""
    scratch = Scratch(PROGRAM.n_scalars, PROGRAM.n_columns, n_arrays=1)
    with monkeypatch.context() as patch:
        patch.setattr(machine, "WORTH", 1 << 40)
        got = run_program.py_func(
            np.frombuffer(data, np.uint8), 0, len(data), PROGRAM.rows, PROGRAM.aux, PROGRAM.columns,
            scratch.number, scratch.whole, scratch.table, scratch.count, scratch.state,
        )  # fmt: skip
    return int(got), scratch


def test_damaged_bytes_end_as_the_walk_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    row = {"pad": 1.5, "t": 2.0, "long": 5, "f": 0.5, "name": "ab", "n": 70, "s": "t", "e": "green", "raw": b"12345", "b": True}
    rows = [row, row | {"f": None, "n": None}, row | {"name": None}] * 6
    whole = body(rows)
    assert len(rows) >= WORTH
    reached = set()
    for k in range(400):
        data = bytearray(whole)
        if k % 4 == 3:
            data = data[: rng.integers(3, len(whole))]
        else:
            data[rng.integers(2, len(whole) - 8)] = rng.choice([0, 1, 2, 3, 4, 127, 128, 255, rng.integers(256)])
        scratch = Scratch(PROGRAM.n_scalars, PROGRAM.n_columns, n_arrays=1)
        got = run_program(
            np.frombuffer(bytes(data), np.uint8), 0, len(data), PROGRAM.rows, PROGRAM.aux, PROGRAM.columns,
            scratch.number, scratch.whole, scratch.table, scratch.count, scratch.state,
        )  # fmt: skip
        right, oracle = walked(bytes(data), monkeypatch)
        assert got == right
        reached.add(min(int(got), 0))
        if got >= 0:
            n = int(oracle.count[0])
            assert scratch.count[0] == n
            np.testing.assert_array_equal(scratch.table[:, :n], oracle.table[:, :n])
        else:
            assert scratch.state[0] == oracle.state[0]  # the same field is named
    assert len(reached) >= 4


def test_items_that_hold_arrays_or_are_huge_are_walked_over() -> None:
    wide = {"type": "record", "name": "wide", "fields": [{"name": "x", "type": "double"}, {"name": "blob", "type": "bytes"}]}
    deep = {
        "type": "record",
        "name": "deep",
        "fields": [{"name": "x", "type": "double"}, {"name": "a", "type": {"type": "array", "items": "int"}}],
    }
    for row, make in ((wide, lambda k: {"x": k, "blob": b"z" * 5000}), (deep, lambda k: {"x": k, "a": [1, 2, k]})):
        schema = {"type": "record", "name": "top", "fields": [{"name": "rows", "type": {"type": "array", "items": row}}]}
        program = compile_schema(schema, Want({}, {"rows": {"x": "number"}}))
        out = io.BytesIO()
        fastavro.schemaless_writer(out, fastavro.parse_schema(schema), {"rows": [make(k) for k in range(40)]})
        scratch = Scratch(0, 1, n_arrays=1)
        run(program, np.frombuffer(out.getvalue(), np.uint8), start=0, end=len(out.getvalue()), scratch=scratch)
        np.testing.assert_array_equal(scratch.table[0, :40], np.arange(40.0))
