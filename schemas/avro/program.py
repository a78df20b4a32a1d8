"""An Avro schema and a list of wanted fields → a flat program, which `schemas.avro.machine` runs over records.

in → a writer schema, a `Want`
out → a `Program`, or a `PacketError` for a schema that breaks Avro's rules or whose records have no bound

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

from schemas.avro.wire import PacketError

Kind: TypeAlias = Literal["number", "integer", "text", "bytes"]
"""What the reader of a field expects. A text's value is its first four bytes as a number (see `code`), beside where it lies."""

MAX_PROGRAM = 20_000
MAX_STEPS = 5 * MAX_PROGRAM
"""Types looked at while a schema is written out: records of records of nothing but skipped numbers make few rows, but no end of work."""
MAX_SYMBOLS = 50_000
"""Of all enum types and unions of a program together."""
MAX_DEPTH = 24

# operations
SKIP, SKIP_LONG, SKIP_BYTES, LONG, FLOAT, DOUBLE, TEXT, BOOLEAN, ENUM, FIXED, UNION, JUMP, ARRAY, ARRAY_END, WRONG = range(15)
NOWHERE, SCALAR, COLUMN = range(3)
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


def record_fields(schema: Any, field: str | None = None) -> dict[str, Any]:
    """Name → type of a record schema's fields, or of the record that one of its fields holds; {} where there is none."""
    fields = schema.get("fields") if isinstance(schema, dict) else None
    if not isinstance(fields, list):
        return {}
    found = {item["name"]: item.get("type") for item in fields if isinstance(item, dict) and isinstance(item.get("name"), str)}
    if field is None:
        return found
    kind = found.get(field)
    named: dict[str, Any] | None = None
    for branch in kind if isinstance(kind, list) else [kind]:
        if isinstance(branch, str):  # defined further up, by the array of earlier sources
            named = _records(schema) if named is None else named
            branch = named.get(branch.rpartition(".")[2])
        inner = record_fields(branch)
        if inner:
            return inner
    return {}


def _records(schema: Any) -> dict[str, Any]:
    """(Short) name → the first record type of that name, wherever in a schema it is defined. One pass, whatever the schema says."""
    found: dict[str, Any] = {}
    left = [schema]
    while left:
        part = left.pop()
        if isinstance(part, list):
            left.extend(reversed(part))
        elif isinstance(part, dict):
            if isinstance(part.get("name"), str) and "fields" in part:
                found.setdefault(part["name"].rpartition(".")[2], part)
            left.extend(part.get(key) for key in ("fields", "items", "type"))
    return found


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
        self.steps = 0

    def compile(self, schema: Any) -> Program:
        if not isinstance(schema, dict) or schema.get("type") != "record":
            raise PacketError("bad_avro", "the writer schema is not a record")
        try:
            self.add(copy.deepcopy(schema), "", namespace="", depth=0)  # a copy, because full names are written into it
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
    """No row jumps to the last one, so another skip may be merged into it."""

    def here(self) -> int:
        self.fusible = False
        return len(self.rows)

    def add(self, schema: Any, path: str, *, namespace: str, depth: int, null: int = -1) -> int:
        """Write the rows of a type; the least number of bytes it takes."""
        self.steps += 1
        if self.steps > MAX_STEPS or len(self.aux) > MAX_SYMBOLS:
            raise PacketError("bad_avro", f"the writer schema has more than {MAX_STEPS:,} types when its named types are written out")
        if depth > MAX_DEPTH:
            raise PacketError("bad_avro", f"the writer schema is nested deeper than {MAX_DEPTH} levels")
        if isinstance(schema, list):
            return self.union(schema, path, namespace=namespace, depth=depth)
        if isinstance(schema, str):
            named = self.lookup(schema, namespace)
            return (
                self.leaf(schema, path, null=null)
                if named is None
                else self.complex(named, path, namespace=namespace, depth=depth, null=null)
            )
        if not isinstance(schema, dict):
            raise PacketError("bad_avro", f"the type of {path or 'the record'} is neither a name nor an object")
        kind = schema.get("type")
        if isinstance(kind, (dict, list)):
            return self.add(kind, path, namespace=namespace, depth=depth + 1, null=null)
        if kind in ("record", "error", "enum", "fixed"):
            self.define(schema, namespace)
        if kind in ("record", "error", "enum", "fixed", "array", "map"):
            return self.complex(schema, path, namespace=namespace, depth=depth, null=null)
        if not isinstance(kind, str):
            raise PacketError("bad_avro", f"the type of {path or 'the record'} has no name")
        named = self.lookup(kind, namespace)
        return self.leaf(kind, path, null=null) if named is None else self.complex(named, path, namespace=namespace, depth=depth, null=null)

    def complex(self, schema: dict[str, Any], path: str, *, namespace: str, depth: int, null: int) -> int:
        kind = schema["type"]
        if kind in ("record", "error"):
            return self.record(schema, path, depth=depth)
        if kind == "fixed":
            size = schema.get("size")
            if not isinstance(size, int) or not 0 <= size <= 1 << 24:
                raise PacketError("bad_avro", f"the fixed type of {path} has an impossible size")
            return self.place("fixed", path, null=null, size=size)
        if kind == "enum":
            return self.enum(schema, path, null=null)
        return self.array(schema, path, namespace=namespace, depth=depth)

    def record(self, schema: dict[str, Any], path: str, *, depth: int) -> int:
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
            least += self.add(
                field["type"], f"{path}.{field['name']}" if path else field["name"], namespace=schema["__space__"], depth=depth + 1
            )
        self.open.pop()
        return least

    def union(self, branches: list[Any], path: str, *, namespace: str, depth: int) -> int:
        if not 0 < len(branches) <= 64:
            raise PacketError("bad_avro", f"the union of {path} has {len(branches)} branches")
        if len(branches) == 2 and branches.count("null") == 1:
            null = branches.index("null")
            other = self.resolve(branches[1 - null], namespace)
            if isinstance(other, str) or other["type"] in ("enum", "fixed"):
                self.add(branches[1 - null], path, namespace=namespace, depth=depth + 1, null=null)
                return 1
        union = self.emit(path, UNION, len(branches), NOWHERE, len(self.aux), -1)
        table = len(self.aux)
        self.aux.extend([0] * len(branches))
        ends = []
        least = []
        for i, branch in enumerate(branches):
            self.aux[table + i] = self.here()
            least.append(self.add(branch, path, namespace=namespace, depth=depth + 1))
            ends.append(self.emit(path, JUMP, 0, NOWHERE, -1, -1))
        after = self.here()
        for end in ends:
            self.rows[end][1] = after
        self.rows[union][3] = table
        return 1 + min(least)

    def array(self, schema: dict[str, Any], path: str, *, namespace: str, depth: int) -> int:
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
        least += self.add(schema[content], f"{path}[]", namespace=namespace, depth=depth + 1)
        if least == 0:
            raise PacketError("bad_avro", f"the items of the array {path} take no bytes, so their number has no bound")
        self.here()
        self.emit(path, ARRAY_END, begin, NOWHERE, -1, -1)
        self.rows[begin][1] = self.here()
        return 1

    def enum(self, schema: dict[str, Any], path: str, *, null: int) -> int:
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

    def leaf(self, name: str, path: str, *, null: int) -> int:
        if name in _SIZES:
            return self.place(name, path, null=null, size=_SIZES[name])
        if name in ("int", "long", "string", "bytes"):
            return self.place(name, path, null=null, size=1)
        raise PacketError("bad_avro", f"the type {name[:60]!r} of {path or 'the record'} is unknown")

    def place(self, name: str, path: str, *, null: int, size: int) -> int:
        """The row of a leaf. A wanted field of an unexpected type fails only if the record really holds it."""
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


def slots(want: Want) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """Where things lie in a `Scratch`: scalar path → slot, array name → number, "array.field" → column."""
    columns: dict[str, int] = {}
    for name, fields in want.arrays.items():
        for field in fields:
            columns[f"{name}.{field}"] = len(columns)
    return {p: i for i, p in enumerate(want.scalars)}, {a: i for i, a in enumerate(want.arrays)}, columns
