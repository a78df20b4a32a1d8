"""Rows of tables that brokers keep alerts in → packets again.

Fink stores ZTF's and Rubin's alerts as parquet: the survey's own record, field by field, with the broker's columns beside it. Written
back with the survey's schema they are packets like any other, but for numbers a table has widened.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from data.identifiers import InexactIdError, whole
from schemas.avro.container import ZTF_SCHEMA, encode_rubin, encode_ztf
from schemas.avro.schema_store import SchemaStore
from schemas.avro.wire import PacketError, sniff


class RowError(ValueError):
    """A row that makes no packet, and why."""


Narrow: TypeAlias = Mapping[str, int]
"""Column, as ``candidate.candid`` or ``prv_candidates[].candid`` → bits of its floating-point type, where these are fewer than 64."""


def encoder_of(
    names: Sequence[str], binary: Sequence[str], *, narrow: Narrow = MappingProxyType({})
) -> Callable[[Mapping[str, Any]], bytes] | None:
    """How rows with these columns become packets, or None: they do not."""
    have = set(names)
    if {"candidate", "objectId"} <= have:
        return partial(_ztf, narrow=narrow)
    if {"diaSource", "diaSourceId"} <= have:
        return partial(_rubin, narrow=narrow)
    packets = [name for name in binary if not name.startswith("cutout")]
    if len(packets) == 1:
        column = packets[0]

        def from_column(row: Mapping[str, Any]) -> bytes:
            data = row[column]
            if not isinstance(data, bytes) or sniff(data) is None:
                raise RowError(f"the column {column} holds no packet")
            return data

        return from_column
    return None


def _ztf(row: Mapping[str, Any], narrow: Narrow) -> bytes:
    candidate = row["candidate"]
    if not isinstance(candidate, Mapping):
        raise RowError("the row has no candidate")
    record = dict(row)
    record.setdefault("candid", candidate.get("candid"))
    record["candidate"] = {**_ZTF_REQUIRED, **{k: v for k, v in candidate.items() if v is not None}}
    for name, required in (("prv_candidates", {"rbversion": ""}), ("fp_hists", {"rfid": 0, "ranr": 0.0, "decnr": 0.0})):
        rows = record.get(name)
        if rows is not None:
            record[name] = [{**required, **{k: v for k, v in item.items() if v is not None}} for item in rows]
    try:
        return encode_ztf(_Conform(record, narrow)(record, _ztf_schema()))
    except InexactIdError as error:
        raise RowError(str(error)) from error
    except Exception as error:  # a row may hold anything
        raise RowError(f"it does not fit ZTF's schema 4.02: {error}") from error


_ZTF_REQUIRED: dict[str, Any] = {
    "ranr": 0.0,
    "decnr": 0.0,
    "nmtchps": 0,
    "rfid": 0,
    "jdstartref": 0.0,
    "jdendref": 0.0,
    "nframesref": 0,
    "rbversion": "",
    "nmatches": 0,
    "drbversion": "",
    "pid": 0,
    "programid": 1,
    "ndethist": 0,
    "ncovhist": 0,
}
"""Fields that older versions of the packet did not have and the newest must have; all of Fink's alerts are public."""


@lru_cache(maxsize=1)
def _ztf_schema() -> Any:
    return json.loads(ZTF_SCHEMA.read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def _store() -> SchemaStore:
    return SchemaStore()


def _rubin(row: Mapping[str, Any], narrow: Narrow) -> bytes:
    version = re.search(r"v?(\d+)_(\d+)$", str(row.get("lsst_schema_version") or ""))
    if version is None:
        raise RowError("the row does not say which of Rubin's schemas it was written with (lsst_schema_version)")
    schema_id = 100 * int(version[1]) + int(version[2])
    try:
        schema = _store().get(schema_id)
        return encode_rubin(_Conform(row, narrow)(row, schema), schema_id, _store())
    except PacketError as error:
        raise RowError(error.reason) from error
    except InexactIdError as error:
        raise RowError(str(error)) from error
    except Exception as error:
        raise RowError(f"it does not fit Rubin's schema {version[0]}: {error}") from error


class _Conform:
    """A table's row in a schema's types: integers that became floating-point are whole again, unknown columns go.

    An id that its column cannot hold is taken from where the row has it exactly under the same name (Rubin's diaObject repeats the id
    of its diaSource). In the history, where it may be missing, it is left out; else the row is refused.

    Raises
    ------
    InexactIdError
        An id of the alert is not exact.
    """

    def __init__(self, row: Mapping[str, Any], narrow: Narrow) -> None:
        self._narrow = narrow
        self._named: dict[str, Any] = {}
        self._exact: dict[str, set[int]] = {}
        self._collect(row)

    def _collect(self, record: Mapping[str, Any]) -> None:
        for name, value in record.items():
            if isinstance(value, Mapping):
                self._collect(value)
            elif isinstance(value, int):
                self._exact.setdefault(name, set()).add(value)

    def __call__(self, value: Any, schema: Any, *, path: str = "", optional: bool = False) -> Any:
        """The value in the schema's type."""
        if isinstance(schema, list):
            branch = next(branch for branch in schema if branch != "null")
            return None if value is None else self(value, branch, path=path, optional="null" in schema)
        if isinstance(schema, str):
            if schema in self._named:
                return self(value, self._named[schema], path=path, optional=optional)
            return self._whole(value, path, optional=optional) if schema in ("int", "long") else value
        kind = schema["type"]
        if kind == "record":
            space = schema.get("namespace")
            self._named[schema["name"]] = schema
            if space:
                self._named[f"{space}.{schema['name']}"] = schema
            inner = f"{path}." if path else ""
            return {f["name"]: self(value.get(f["name"], f.get("default")), f["type"], path=inner + f["name"]) for f in schema["fields"]}
        if kind == "array":
            return [self(item, schema["items"], path=f"{path}[]") for item in value or []]
        return self(value, kind, path=path, optional=optional)

    def _whole(self, value: Any, path: str, *, optional: bool) -> int | None:
        bits = self._narrow.get(path, 64)
        try:
            return whole(value, path, bits=bits)
        except InexactIdError:
            kind = {16: np.float16, 32: np.float32}.get(bits, np.float64)
            same = [n for n in self._exact.get(path.rpartition(".")[2], ()) if isinstance(value, float) and kind(n) == value]
            if len(same) == 1:
                return same[0]
            if optional and "[]" in path:
                return None
            raise
