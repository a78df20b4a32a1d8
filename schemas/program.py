"""An Avro schema and a list of wanted fields → a flat program; one compiled loop runs it over a record.

in → the record's bytes, a `Program`
out → the wanted scalars, where the wanted bytes lie, the wanted columns of the wanted arrays

Everything else is stepped over without making an object. Every read is checked against the record's end, so a broken record gives a
`PacketError` and never a read outside it.

A program is an int32 matrix of rows (op, a, kind, slot, null). `kind` says where a value goes: nowhere, a scalar, a column of an array.
`null` ≥ 0 marks a leaf that may be null (the number of the null branch): most fields of an alert are such, and one row does them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from schemas.compiled import compiled
from schemas.wire import PacketError

Kind: TypeAlias = Literal["number", "integer", "text", "bytes"]
"""What the reader of a field expects. A text's value is its first four bytes as a number (see `code`), beside where it lies."""

MAX_PROGRAM = 20_000
MAX_DEPTH = 24
MAX_ROWS = 65_536
"""Items of one array that are kept; more is no history of an alert."""

# operations
SKIP, SKIP_LONG, SKIP_BYTES, LONG, FLOAT, DOUBLE, TEXT, BOOLEAN, ENUM, FIXED, UNION, JUMP, ARRAY, ARRAY_END, WRONG = range(15)
NOWHERE, SCALAR, COLUMN = range(3)
# what the loop returns instead of a position
TRUNCATED, BAD_NUMBER, BAD_BRANCH, BAD_SIZE, WRONG_TYPE, MORE_ROWS = -1, -2, -3, -4, -5, -6

_SIZES = {"null": 0, "boolean": 1, "float": 4, "double": 8}
_ACCEPTED: dict[str, tuple[str, ...]] = {
    "number": ("int", "long", "float", "double", "boolean"),
    "integer": ("int", "long"),
    "text": ("string", "bytes", "enum"),
    "bytes": ("bytes", "string", "fixed"),
}


def code(text: str) -> float:
    """The number that a text field is read as: its first four bytes, little-endian."""
    return float(int.from_bytes(text.encode()[:4], "little"))


@dataclass(frozen=True, slots=True)
class Want:
    """The fields a survey reads.

    Parameters
    ----------
    scalars : path ("candidate.jd") → kind; the order gives the slots
    arrays : name of a top-level array → {field: kind}; the order gives the columns
    """

    scalars: Mapping[str, Kind]
    arrays: Mapping[str, Mapping[str, Kind]]


@dataclass(frozen=True, slots=True)
class Program:
    """What `run` needs; made by `compile_schema`."""

    rows: npt.NDArray[np.int32]
    aux: npt.NDArray[np.int32]
    columns: npt.NDArray[np.int32]
    """(arrays, 2): first column and the one after the last of every wanted array."""
    n_scalars: int
    n_columns: int
    paths: tuple[str, ...]
    """Of every row, for messages."""
    present: frozenset[str]
    """Wanted paths that the schema has."""


class Scratch:
    """Where a record's values land; one a thread, used again and again."""

    def __init__(self, n_scalars: int, n_columns: int, n_arrays: int, capacity: int = 256) -> None:
        self.number = np.full(n_scalars, np.nan)
        self.whole = np.zeros((n_scalars, 2), np.int64)
        self.table = np.empty((n_columns, capacity))
        self.count = np.zeros(n_arrays, np.int64)
        self.state = np.zeros(2, np.int64)


def record_fields(schema: Any, field: str | None = None) -> dict[str, Any]:
    """Name → type of a record schema's fields, or of the record that one of its fields holds; {} where there is none."""
    fields = schema.get("fields") if isinstance(schema, dict) else None
    if not isinstance(fields, list):
        return {}
    found = {item["name"]: item.get("type") for item in fields if isinstance(item, dict) and isinstance(item.get("name"), str)}
    if field is None:
        return found
    kind = found.get(field)
    for branch in kind if isinstance(kind, list) else [kind]:
        if isinstance(branch, str):  # defined further up, by the array of earlier sources
            branch = _definition(schema, branch.rpartition(".")[2], MAX_DEPTH)
        inner = record_fields(branch)
        if inner:
            return inner
    return {}


def _definition(schema: Any, name: str, depth: int) -> Any:
    """The record type of a (short) name, wherever in a schema it is defined."""
    if depth == 0:
        return None
    if (
        isinstance(schema, dict)
        and isinstance(schema.get("name"), str)
        and schema["name"].rpartition(".")[2] == name
        and "fields" in schema
    ):
        return schema
    inside = (
        schema if isinstance(schema, list) else [schema.get(k) for k in ("type", "items", "fields")] if isinstance(schema, dict) else []
    )
    found = (_definition(part, name, depth - 1) for part in inside)
    return next((part for part in found if part is not None), None)


def compile_schema(schema: Any, want: Want) -> Program:
    """Compile a writer schema.

    Raises
    ------
    PacketError
        recursive_schema; bad_avro for a schema that breaks Avro's rules, or asks for absurd depth, size or items of no bytes
    """
    return _Compiler(want).compile(schema)


class _Compiler:
    def __init__(self, want: Want) -> None:
        self.rows: list[list[int]] = []
        self.aux: list[int] = []
        self.paths: list[str] = []
        self.named: dict[str, dict[str, Any]] = {}
        self.open: list[str] = []
        self.present: set[str] = set()
        self.slots: dict[str, tuple[int, int, Kind]] = {path: (SCALAR, i, kind) for i, (path, kind) in enumerate(want.scalars.items())}
        self.arrays: dict[str, int] = {name: i for i, name in enumerate(want.arrays)}
        self.columns: list[tuple[int, int]] = []
        at = 0
        for name, fields in want.arrays.items():
            for j, (field, kind) in enumerate(fields.items()):
                self.slots[f"{name}[].{field}"] = (COLUMN, at + j, kind)
            self.columns.append((at, at + len(fields)))
            at += len(fields)
        self.n_scalars, self.n_columns = len(want.scalars), at

    def compile(self, schema: Any) -> Program:
        if not isinstance(schema, dict) or schema.get("type") != "record":
            raise PacketError("bad_avro", "the writer schema is not a record")
        try:
            self.add(copy.deepcopy(schema), "", "", 0)  # a copy, because full names are written into it
        except RecursionError:
            raise PacketError("bad_avro", "the writer schema is nested too deeply") from None
        return Program(
            np.array(self.rows, np.int32).reshape(-1, 5),
            np.array(self.aux or [0], np.int32),
            np.array(self.columns, np.int32).reshape(-1, 2),
            self.n_scalars,
            self.n_columns,
            tuple(self.paths),
            frozenset(self.present),
        )

    def emit(self, path: str, *row: int) -> int:
        if len(self.rows) >= MAX_PROGRAM:
            raise PacketError("bad_avro", f"the writer schema has more than {MAX_PROGRAM:,} fields when its named types are written out")
        if row[0] == SKIP and row[4] < 0 and self.fusible and self.rows and self.rows[-1][0] == SKIP and self.rows[-1][4] < 0:
            self.rows[-1][1] = min(self.rows[-1][1] + row[1], 1 << 30)  # beyond any packet, so it stays truncated
            return len(self.rows) - 1
        self.fusible = True
        self.rows.append(list(row))
        self.paths.append(path)
        return len(self.rows) - 1

    fusible = False
    """The last row is nobody's jump target, so another skip may be merged into it."""

    def here(self) -> int:
        self.fusible = False
        return len(self.rows)

    def add(self, schema: Any, path: str, namespace: str, depth: int, null: int = -1) -> int:
        """Write the rows of a type; the least number of bytes it takes."""
        if depth > MAX_DEPTH:
            raise PacketError("bad_avro", f"the writer schema is nested deeper than {MAX_DEPTH} levels")
        if isinstance(schema, list):
            return self.union(schema, path, namespace, depth)
        if isinstance(schema, str):
            named = self.lookup(schema, namespace)
            return self.leaf(schema, path, null) if named is None else self.complex(named, path, namespace, depth, null)
        if not isinstance(schema, dict):
            raise PacketError("bad_avro", f"the type of {path or 'the record'} is neither a name nor an object")
        kind = schema.get("type")
        if isinstance(kind, (dict, list)):
            return self.add(kind, path, namespace, depth + 1, null)
        if kind in ("record", "error", "enum", "fixed"):
            self.define(schema, namespace)
        if kind in ("record", "error", "enum", "fixed", "array", "map"):
            return self.complex(schema, path, namespace, depth, null)
        if not isinstance(kind, str):
            raise PacketError("bad_avro", f"the type of {path or 'the record'} has no name")
        named = self.lookup(kind, namespace)
        return self.leaf(kind, path, null) if named is None else self.complex(named, path, namespace, depth, null)

    def complex(self, schema: dict[str, Any], path: str, namespace: str, depth: int, null: int) -> int:
        kind = schema["type"]
        if kind in ("record", "error"):
            return self.record(schema, path, depth)
        if kind == "fixed":
            size = schema.get("size")
            if not isinstance(size, int) or not 0 <= size <= 1 << 24:
                raise PacketError("bad_avro", f"the fixed type of {path} has an impossible size")
            return self.place("fixed", path, null, size)
        if kind == "enum":
            return self.enum(schema, path, null)
        return self.array(schema, path, namespace, depth)

    def record(self, schema: dict[str, Any], path: str, depth: int) -> int:
        name, fields = schema["__name__"], schema.get("fields")
        if name in self.open:
            raise PacketError("recursive_schema", f"the record type {name} contains itself")
        if not isinstance(fields, list):
            raise PacketError("bad_avro", f"the record type {name} has no fields")
        self.open.append(name)
        seen: set[str] = set()
        least = 0
        for field in fields:
            if not isinstance(field, dict) or not isinstance(field.get("name"), str) or "type" not in field or field["name"] in seen:
                raise PacketError("bad_avro", f"the record type {name} has a field without name or type, or one name twice")
            seen.add(field["name"])
            least += self.add(field["type"], f"{path}.{field['name']}" if path else field["name"], schema["__space__"], depth + 1)
        self.open.pop()
        return least

    def union(self, branches: list[Any], path: str, namespace: str, depth: int) -> int:
        if not 0 < len(branches) <= 64:
            raise PacketError("bad_avro", f"the union of {path} has {len(branches)} branches")
        if len(branches) == 2 and branches.count("null") == 1:
            null = branches.index("null")
            other = self.resolve(branches[1 - null], namespace)
            if isinstance(other, str) or other["type"] in ("enum", "fixed"):
                self.add(branches[1 - null], path, namespace, depth + 1, null)
                return 1
        union = self.emit(path, UNION, len(branches), NOWHERE, len(self.aux), -1)
        table = len(self.aux)
        self.aux.extend([0] * len(branches))
        ends = []
        least = []
        for i, branch in enumerate(branches):
            self.aux[table + i] = self.here()
            least.append(self.add(branch, path, namespace, depth + 1))
            ends.append(self.emit(path, JUMP, 0, NOWHERE, -1, -1))
        after = self.here()
        for end in ends:
            self.rows[end][1] = after
        self.rows[union][3] = table
        return 1 + min(least)

    def array(self, schema: dict[str, Any], path: str, namespace: str, depth: int) -> int:
        is_map = schema["type"] == "map"
        content = "values" if is_map else "items"
        if content not in schema:
            raise PacketError("bad_avro", f"the {schema['type']} {path} has no {content}")
        wanted = -1 if is_map else self.arrays.get(path, -1)
        if wanted >= 0:
            self.present.add(path)
        begin = self.emit(path, ARRAY, 0, NOWHERE, wanted, -1)
        self.here()
        least = 0
        if is_map:
            self.emit(path, SKIP_BYTES, 0, NOWHERE, -1, -1)
            least = 1
        least += self.add(schema[content], f"{path}[]", namespace, depth + 1)
        if least == 0:
            raise PacketError("bad_avro", f"the items of the array {path} take no bytes, so their number has no bound")
        self.here()
        self.emit(path, ARRAY_END, begin, NOWHERE, -1, -1)
        self.rows[begin][1] = self.here()
        return 1

    def enum(self, schema: dict[str, Any], path: str, null: int) -> int:
        symbols = schema.get("symbols")
        if not isinstance(symbols, list) or not 0 < len(symbols) <= 4096 or not all(isinstance(s, str) and s.isascii() for s in symbols):
            raise PacketError("bad_avro", f"the enum type of {path} has no symbols, or others than ASCII")
        kind, slot = self.target("enum", path)
        if kind < 0:
            return self.wrong(path, null)
        if kind == NOWHERE:
            self.emit(path, SKIP_LONG, 0, NOWHERE, -1, null)
        else:
            table = len(self.aux)
            self.aux.append(len(symbols))
            self.aux.extend(int(code(symbol)) for symbol in symbols)
            self.emit(path, ENUM, table, kind, slot, null)
        return 1

    def leaf(self, name: str, path: str, null: int) -> int:
        if name in _SIZES:
            return self.place(name, path, null, _SIZES[name])
        if name in ("int", "long", "string", "bytes"):
            return self.place(name, path, null, 1)
        raise PacketError("bad_avro", f"the type {name[:60]!r} of {path or 'the record'} is unknown")

    def place(self, name: str, path: str, null: int, size: int) -> int:
        """The row of a leaf. A wanted field of a type that nobody expects fails only if the record really holds it."""
        kind, slot = self.target(name, path)
        if kind < 0:
            return self.wrong(path, null)
        if kind == NOWHERE or name == "null":
            op = {"int": SKIP_LONG, "long": SKIP_LONG, "string": SKIP_BYTES, "bytes": SKIP_BYTES}.get(name, SKIP)
            self.emit(path, op, size if op == SKIP else 0, NOWHERE, -1, null)
        else:
            ops = {"int": LONG, "long": LONG, "float": FLOAT, "double": DOUBLE, "boolean": BOOLEAN, "fixed": FIXED}
            self.emit(path, ops.get(name, TEXT), size, kind, slot, null)
        return size

    def target(self, name: str, path: str) -> tuple[int, int]:
        kind, slot, expected = self.slots.get(path, (NOWHERE, -1, "number"))
        if kind == NOWHERE:
            return NOWHERE, -1
        self.present.add(path)
        if name == "null":
            return NOWHERE, -1
        return (kind, slot) if name in _ACCEPTED[expected] else (-1, -1)

    def wrong(self, path: str, null: int) -> int:
        self.emit(path, WRONG, 0, NOWHERE, -1, null)
        return 1

    def define(self, schema: dict[str, Any], namespace: str) -> None:
        name, space = schema.get("name"), schema.get("namespace", namespace)
        if not isinstance(name, str) or not isinstance(space, str):
            raise PacketError("bad_avro", "a named type of the writer schema has no name")
        full = name if "." in name or not space else f"{space}.{name}"
        known = self.named.get(full)
        if known is not None and known.get("__source__") is not schema:
            raise PacketError("bad_avro", f"the writer schema defines {full} twice")
        if known is None:
            own = dict(schema)
            own.update(__name__=full, __space__=full.rpartition(".")[0], __source__=schema)
            self.named[full] = own
            schema.update(__name__=full, __space__=full.rpartition(".")[0])

    def lookup(self, name: str, namespace: str) -> dict[str, Any] | None:
        """The named type, in Avro's order: a primitive name stands for itself."""
        if name in _SIZES or name in ("int", "long", "string", "bytes"):
            return None
        if "." not in name and namespace and f"{namespace}.{name}" in self.named:
            return self.named[f"{namespace}.{name}"]
        return self.named.get(name)

    def resolve(self, schema: Any, namespace: str) -> Any:
        """A primitive's name, or the object of a type, looking through references and logical types."""
        for _ in range(MAX_DEPTH):
            if isinstance(schema, str):
                named = self.lookup(schema, namespace)
                return schema if named is None else named
            if not isinstance(schema, dict):
                return {"type": "union"}
            kind = schema.get("type")
            if isinstance(kind, str) and kind in ("record", "error", "enum", "fixed", "array", "map"):
                return schema
            schema = kind
        raise PacketError("bad_avro", f"the writer schema is nested deeper than {MAX_DEPTH} levels")


@compiled
def run_program(buf, at, end, rows, aux, columns, number, whole, table, count, state):  # type: ignore[no-untyped-def] # pragma: no cover
    """Run a program over ``buf[at:end]``; the position after the record, or a negative reason with the row in ``state[0]``.

    number (n_scalars,) float64, NaN where absent; whole (n_scalars, 2) int64: a long, or where bytes lie and how many, [0, -1] where
    absent; table (n_columns, capacity) float64, NaN where absent; count (n_arrays,) items.
    """
    number[:] = np.nan
    whole[:, 0] = 0
    whole[:, 1] = -1
    count[:] = 0
    n = rows.shape[0]
    capacity = table.shape[1]
    left = np.zeros(32, np.int64)  # MAX_DEPTH bounds the nesting
    depth = -1
    row = np.int64(0)
    view4 = np.empty(4, np.uint8)
    float4 = view4.view(np.float32)
    view8 = np.empty(8, np.uint8)
    float8 = view8.view(np.float64)
    pc = 0
    while pc < n:
        op = rows[pc, 0]
        state[0] = pc
        null = rows[pc, 4]
        if null >= 0:
            if at >= end:
                return TRUNCATED
            branch = buf[at]
            at += 1
            if branch != 0 and branch != 2:
                return BAD_BRANCH
            if branch >> 1 == null:
                pc += 1
                continue
        if op == SKIP:
            at += rows[pc, 1]
            if at > end:
                return TRUNCATED
            pc += 1
            continue
        if op == FLOAT:
            if at + 4 > end:
                return TRUNCATED
            view4[0] = buf[at]
            view4[1] = buf[at + 1]
            view4[2] = buf[at + 2]
            view4[3] = buf[at + 3]
            value = np.float64(float4[0])
            at += 4
        elif op == DOUBLE:
            if at + 8 > end:
                return TRUNCATED
            for b in range(8):
                view8[b] = buf[at + b]
            value = float8[0]
            at += 8
        elif op == BOOLEAN:
            if at >= end:
                return TRUNCATED
            value = np.float64(buf[at] != 0)
            at += 1
        elif op == JUMP:
            pc = rows[pc, 1]
            continue
        elif op == WRONG:
            return WRONG_TYPE
        elif op == FIXED:
            size = np.int64(rows[pc, 1])
            if at + size > end:
                return TRUNCATED
            value = np.float64(0.0)
            if rows[pc, 2] == SCALAR:
                whole[rows[pc, 3], 0] = at
                whole[rows[pc, 3], 1] = size
            at += size
        else:
            # every other operation begins with a long; the end of an array reads the next block's count only after its last item
            if op == ARRAY_END:
                left[depth] -= 1
                if left[depth] > 0:
                    begin = rows[pc, 1]
                    wanted = rows[begin, 3]
                    if wanted >= 0:
                        row = np.int64(row + 1)  # the block's count was checked against the capacity
                        for c in range(columns[wanted, 0], columns[wanted, 1]):
                            table[c, row] = np.nan
                    pc = begin + 1
                    continue
            coded = np.uint64(0)
            shift = np.uint64(0)
            while True:
                if at >= end:
                    return TRUNCATED
                byte = np.uint64(buf[at])
                at += 1
                coded |= (byte & np.uint64(0x7F)) << shift
                if byte < np.uint64(128):
                    break
                shift += np.uint64(7)
                if shift > np.uint64(63):
                    return BAD_NUMBER
            long = np.int64(coded >> np.uint64(1)) ^ -np.int64(coded & np.uint64(1))
            if op == SKIP_LONG:
                pc += 1
                continue
            if op == SKIP_BYTES:
                if long < 0:
                    return BAD_SIZE
                if long > end - at:
                    return TRUNCATED
                at += long
                pc += 1
                continue
            if op == LONG:
                value = np.float64(long)
                if rows[pc, 2] == SCALAR:
                    whole[rows[pc, 3], 0] = long
                    whole[rows[pc, 3], 1] = 0
            elif op == TEXT:
                if long < 0:
                    return BAD_SIZE
                if long > end - at:
                    return TRUNCATED
                value = np.float64(0.0)
                scale = 1.0
                for i in range(4):
                    if i >= long:
                        break
                    value += scale * buf[at + i]
                    scale *= 256.0
                if rows[pc, 2] == SCALAR:
                    whole[rows[pc, 3], 0] = at
                    whole[rows[pc, 3], 1] = long
                at += long
            elif op == ENUM:
                symbols = rows[pc, 1]
                if long < 0 or long >= aux[symbols]:
                    return BAD_BRANCH
                value = np.float64(aux[symbols + 1 + long])
            elif op == UNION:
                if long < 0 or long >= rows[pc, 1]:
                    return BAD_BRANCH
                pc = aux[rows[pc, 3] + long]
                continue
            else:  # ARRAY, ARRAY_END: the count of the next block
                begin = pc if op == ARRAY else int(rows[pc, 1])
                after = rows[begin, 1]
                if op == ARRAY:
                    depth += 1
                if long < 0:  # the block also says its size, which only one who skips it needs
                    if long == np.int64(-9223372036854775808):
                        return BAD_SIZE
                    long = -long
                    while True:
                        if at >= end:
                            return TRUNCATED
                        at += 1
                        if buf[at - 1] < 128:
                            break
                wanted = rows[begin, 3]
                if long == 0:
                    if wanted >= 0:
                        count[wanted] = row + 1 if op == ARRAY_END else 0
                        row = np.int64(0)
                    depth -= 1
                    pc = after
                    continue
                if long > end - at:  # every item takes a byte at least
                    return TRUNCATED
                left[depth] = long
                if wanted >= 0:
                    row = np.int64(0) if op == ARRAY else np.int64(row + 1)
                    if row + long > capacity:
                        state[1] = row + long
                        return MORE_ROWS
                    for c in range(columns[wanted, 0], columns[wanted, 1]):
                        table[c, row] = np.nan
                pc = begin + 1
                continue
        kind = rows[pc, 2]
        if kind == SCALAR:
            number[rows[pc, 3]] = value
        elif kind == COLUMN:
            table[rows[pc, 3], row] = value
        pc += 1
    return at


_REASONS: dict[int, tuple[str, str]] = {
    TRUNCATED: ("truncated", "the record ends inside {path}"),
    BAD_NUMBER: ("bad_avro", "the number in {path} has more than ten bytes"),
    BAD_BRANCH: ("bad_avro", "{path} names a branch or symbol that its type does not have"),
    BAD_SIZE: ("bad_avro", "{path} has a negative length"),
    WRONG_TYPE: ("wrong_type", "{path} is of a type that no packet of this survey gives it"),
}


def run(program: Program, data: npt.NDArray[np.uint8], start: int, end: int, scratch: Scratch) -> None:
    """Read one record into `scratch`.

    Raises
    ------
    PacketError
        truncated, bad_avro, wrong_type or too_large, with the field's path
    """
    while True:
        got = run_program(
            data, start, end, program.rows, program.aux, program.columns,
            scratch.number, scratch.whole, scratch.table, scratch.count, scratch.state,
        )  # fmt: skip
        if got == end:
            return
        if got >= 0:
            raise PacketError("bad_avro", f"{end - got:,} bytes are left after the record")
        path = program.paths[scratch.state[0]]
        if got != MORE_ROWS:
            error_class, reason = _REASONS[got]
            raise PacketError(error_class, reason.format(path=path or "the record"))
        needed = int(scratch.state[1])
        if needed > MAX_ROWS:
            raise PacketError("too_large", f"{path} has {needed:,} items; {MAX_ROWS:,} are read at most")
        scratch.table = np.empty((len(scratch.table), int(min(2 * needed, MAX_ROWS))))


def slots(want: Want) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """Where things lie in a `Scratch`: scalar path → slot, array name → number, "array.field" → column."""
    columns: dict[str, int] = {}
    for name, fields in want.arrays.items():
        for field in fields:
            columns[f"{name}.{field}"] = len(columns)
    return {p: i for i, p in enumerate(want.scalars)}, {a: i for i, a in enumerate(want.arrays)}, columns
