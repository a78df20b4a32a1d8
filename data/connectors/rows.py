"""Rows of tables that brokers keep alerts in → packets again.

Fink stores ZTF's and Rubin's alerts as parquet: the survey's own record, field by field, with the broker's columns beside it. Written
back with the survey's schema they are packets like any other, but for numbers a table has widened.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from schemas.avro.container import encode_rubin, encode_ztf
from schemas.avro.schema_store import SchemaStore
from schemas.avro.wire import PacketError, sniff


class RowError(ValueError):
    """A row that makes no packet, and why."""


def encoder_of(names: Sequence[str], binary: Sequence[str]) -> Callable[[Mapping[str, Any]], bytes] | None:
    """How rows with these columns become packets, or None: they do not."""
    have = set(names)
    if {"candidate", "objectId"} <= have:
        return _ztf
    if {"diaSource", "diaSourceId"} <= have:
        return _rubin
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


def _ztf(row: Mapping[str, Any]) -> bytes:
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
        return encode_ztf(record)
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
def _store() -> SchemaStore:
    return SchemaStore()


def _rubin(row: Mapping[str, Any]) -> bytes:
    version = re.search(r"v?(\d+)_(\d+)$", str(row.get("lsst_schema_version") or ""))
    if version is None:
        raise RowError("the row does not say which of Rubin's schemas it was written with (lsst_schema_version)")
    schema_id = 100 * int(version[1]) + int(version[2])
    try:
        schema = _store().get(schema_id)
        return encode_rubin(_conform(row, schema, {}), schema_id, _store())
    except PacketError as error:
        raise RowError(error.reason) from error
    except Exception as error:
        raise RowError(f"it does not fit Rubin's schema {version[0]}: {error}") from error


def _conform(value: Any, schema: Any, named: dict[str, Any]) -> Any:
    """A table's value in a schema's type: integers that became floating-point are whole again, unknown columns go."""
    if isinstance(schema, list):
        if value is None:
            return None
        return _conform(value, next(branch for branch in schema if branch != "null"), named)
    if isinstance(schema, str):
        if schema in named:
            return _conform(value, named[schema], named)
        return int(value) if schema in ("int", "long") and value is not None else value
    kind = schema["type"]
    if kind == "record":
        space = schema.get("namespace")
        named[schema["name"]] = schema
        if space:
            named[f"{space}.{schema['name']}"] = schema
        return {f["name"]: _conform(value.get(f["name"], f.get("default")), f["type"], named) for f in schema["fields"]}
    if kind == "array":
        return [_conform(item, schema["items"], named) for item in value or []]
    return _conform(value, kind, named)
