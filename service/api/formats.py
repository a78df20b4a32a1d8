"""Rows ↔ the formats astronomers read: JSON, CSV, VOTable, Avro, Parquet, by `?format=` or Accept.

The columns are the fields of a pydantic model: types, units (``json_schema_extra={"unit": "deg", "ucd": "pos.eq.ra"}``), descriptions.
What a table has no type for (lists, nested records) is JSON text in a column. Missing and not finite is null, in CSV and VOTable empty.
"""

from __future__ import annotations

import csv
import io
import math
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal
from xml.sax.saxutils import escape, quoteattr

import orjson
from pydantic import BaseModel

from service.api.problems import ProblemError

Format = Literal["json", "csv", "votable", "avro", "parquet"]
MEDIA_TYPES: dict[Format, str] = {
    "json": "application/json",
    "csv": "text/csv",
    "votable": "application/x-votable+xml",
    "avro": "application/vnd.apache.avro",
    "parquet": "application/vnd.apache.parquet",
}
CONTENT_TYPES: dict[Format, str] = {**MEDIA_TYPES, "csv": "text/csv; charset=utf-8; header=present"}
ACCEPTED: dict[str, Format] = {
    **{media: form for form, media in MEDIA_TYPES.items()},
    "application/avro": "avro",
    "avro/binary": "avro",
    "application/parquet": "parquet",
    "text/xml": "votable",
    "application/*": "json",
    "text/*": "csv",
    "*/*": "json",
}
"""Media types that may be asked for."""
LONGEST_ACCEPT = 1_000
"""Of an Accept header that is looked at [characters]."""

Kind = Literal["string", "long", "double", "boolean", "json"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    name: str
    kind: Kind
    description: str
    unit: str
    ucd: str


def chosen(wanted: str | None, accept: str | None, *, table: bool) -> Format:
    """The format of an answer.

    Parameters
    ----------
    wanted : str or None
        The parameter `format`, which beats the header.
    accept : str or None
        The header Accept (RFC 9110, 12.5.1).
    table : bool
        Whether the resource has other formats than JSON.

    Raises
    ------
    ProblemError
        422: not a format; 406: not one of this resource.
    """
    if wanted is not None:
        form = next((form for form in MEDIA_TYPES if form == wanted), None)
        if form is None:
            message = f"a format is one of {', '.join(MEDIA_TYPES)}"
            raise ProblemError(422, f"format: {message}", errors=[{"loc": ["query", "format"], "msg": message}])
        if form != "json" and not table:
            raise ProblemError(406, f"format: this resource is not a table; it comes as {MEDIA_TYPES['json']}")
        return form
    if accept is None or accept in ("*/*", "application/json"):
        return "json"
    ranked = sorted(_preferences(accept[:LONGEST_ACCEPT]), key=lambda pair: -pair[1])
    for media, quality in ranked:
        form = ACCEPTED.get(media)
        if form is not None and quality > 0:
            if form == "json" or table:
                return form
            if media == "text/*":
                continue
    raise ProblemError(406, f"accept one of {', '.join(MEDIA_TYPES.values() if table else [MEDIA_TYPES['json']])}")


def _preferences(accept: str) -> Iterable[tuple[str, float]]:
    for part in accept.split(","):
        media, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = 0.0
        yield media, quality if 0 <= quality <= 1 else 0.0


@lru_cache(maxsize=256)
def columns_of(model: type[BaseModel]) -> tuple[Column, ...]:
    """The columns of a model, in its order."""
    found = []
    for name, info in model.model_fields.items():
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        about = info.description or "", str(extra.get("unit", "")), str(extra.get("ucd", ""))
        found.append(Column(info.serialization_alias or info.alias or name, _kind(info.annotation), *about))
    return tuple(found)


def _kind(annotation: Any) -> Kind:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        kinds = {_kind(part) for part in typing.get_args(annotation) if part is not type(None)}
        return kinds.pop() if len(kinds) == 1 else "json"
    if typing.get_origin(annotation) is Literal:
        return "string"
    if typing.get_origin(annotation) is typing.Annotated:
        return _kind(typing.get_args(annotation)[0])
    plain: dict[Any, Kind] = {str: "string", bool: "boolean", int: "long", float: "double"}
    return plain.get(annotation, "json")


def written(form: Format, rows: Sequence[Mapping[str, Any]], *, model: type[BaseModel], name: str = "result") -> bytes:
    """A table in a format other than JSON.

    Parameters
    ----------
    form : str
        One of csv, votable, avro, parquet.
    rows : sequence of mapping
        Values by column; one that is missing is null.
    model : type of BaseModel
        What a row holds.
    name : str
        Of the table.
    """
    columns = columns_of(model)
    values = [[_value(row.get(c.name), c.kind) for c in columns] for row in rows]
    if form == "csv":
        return _csv(columns, values)
    if form == "votable":
        return _votable(columns, values, name=name)
    if form == "avro":
        return _avro(columns, values, name=name)
    return _parquet(columns, values)


def _value(value: Any, kind: Kind) -> Any:
    """A cell: text, a number, a truth or None."""
    if value is None:
        return None
    if kind == "json":
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY, default=_default).decode()
    if kind == "double":
        number = float(value)
        return number if math.isfinite(number) else None
    return {"string": str, "long": int, "boolean": bool}[kind](value)


def _default(value: Any) -> Any:
    """What orjson does not know: models and named tuples."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if hasattr(value, "_asdict"):
        return value._asdict()
    raise TypeError(type(value).__name__)


def json_of(value: Any) -> bytes:
    """Any of our values as JSON; what is not finite is null."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY, default=_default)


def _csv(columns: Sequence[Column], values: Sequence[Sequence[Any]]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")  # RFC 4180
    writer.writerow([c.name for c in columns])
    for row in values:
        writer.writerow(["" if cell is None else str(cell).lower() if isinstance(cell, bool) else cell for cell in row])
    return out.getvalue().encode()


_VOTABLE: dict[Kind, str] = {
    "string": 'datatype="char" arraysize="*"',
    "json": 'datatype="char" arraysize="*"',
    "long": 'datatype="long"',
    "double": 'datatype="double"',
    "boolean": 'datatype="boolean"',
}


def _votable(columns: Sequence[Column], values: Sequence[Sequence[Any]], *, name: str) -> bytes:
    """VOTable 1.4 (IVOA), its data as TABLEDATA; text that is not ASCII is legal in `char` since 1.4's UTF-8 encoding."""
    out = ['<?xml version="1.0" encoding="utf-8"?>\n<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">\n']
    out.append(f'<RESOURCE type="results">\n<INFO name="QUERY_STATUS" value="OK"/>\n<TABLE name={quoteattr(name)}>\n')
    for c in columns:
        unit = f" unit={quoteattr(c.unit)}" if c.unit else ""
        ucd = f" ucd={quoteattr(c.ucd)}" if c.ucd else ""
        out.append(
            f"<FIELD name={quoteattr(c.name)} {_VOTABLE[c.kind]}{unit}{ucd}><DESCRIPTION>{_xml(c.description)}</DESCRIPTION></FIELD>\n"
        )
    out.append("<DATA><TABLEDATA>\n")
    for row in values:
        out.append("<TR>" + "".join(f"<TD>{_cell(cell)}</TD>" for cell in row) + "</TR>\n")
    out.append("</TABLEDATA></DATA>\n</TABLE>\n</RESOURCE>\n</VOTABLE>\n")
    return "".join(out).encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return "true" if value is True else "false" if value is False else _xml(str(value))


def _xml(text: str) -> str:
    """Text as XML 1.0 can hold it."""
    return escape(
        "".join(c if c in "\t\n\r" or (c >= " " and c not in "\ufffe\uffff" and not "\ud800" <= c <= "\udfff") else "?" for c in text)
    )


_AVRO: dict[Kind, str] = {"string": "string", "json": "string", "long": "long", "double": "double", "boolean": "boolean"}


def _avro(columns: Sequence[Column], values: Sequence[Sequence[Any]], *, name: str) -> bytes:
    """An object container, deflated; each field may be null."""
    import fastavro

    fields = [
        {
            "name": c.name,
            "type": ["null", _AVRO[c.kind]],
            "default": None,
            "doc": f"{c.description} [{c.unit}]" if c.unit else c.description,
        }
        for c in columns
    ]
    schema = fastavro.parse_schema({"type": "record", "name": name, "namespace": "protonova.api", "fields": fields})
    out = io.BytesIO()
    names = [c.name for c in columns]
    fastavro.writer(out, schema, (dict(zip(names, row, strict=True)) for row in values), codec="deflate")
    return out.getvalue()


def _parquet(columns: Sequence[Column], values: Sequence[Sequence[Any]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds: dict[Kind, Any] = {"string": pa.string(), "json": pa.string(), "long": pa.int64(), "double": pa.float64(), "boolean": pa.bool_()}
    fields = [pa.field(c.name, kinds[c.kind], metadata={"unit": c.unit, "description": c.description, "ucd": c.ucd}) for c in columns]
    arrays = [pa.array([row[i] for row in values], kinds[c.kind]) for i, c in enumerate(columns)]
    out = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(fields)), out, compression="zstd")
    return out.getvalue()
