"""Rows → their description as OpenAPI 3.1, of the very models that check the requests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from service.api.endpoints import Endpoint
from service.api.formats import MEDIA_TYPES
from service.api.problems import PROBLEM, TITLES, Problem
from service.auth.caller import ANY, SCOPES

ABOUT = (
    "Score alerts, push them into the stream, look up what was detected. Right ascension and declination are ICRS [deg], radii [arcsec], "
    "times `mjd` TAI with ISO 8601 UTC beside it, fluxes [µJy]. Ids are text. Absent and null mean the same: not known. Tables come as "
    "JSON, CSV, VOTable, Avro or Parquet, by `?format=` or Accept; pages by cursor, with a Link to the next."
)
_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")
_HEADERS = {
    "RateLimit": {"description": "What is left of the credential's limit.", "schema": {"type": "string"}},
    "RateLimit-Policy": {"description": "The credential's limit.", "schema": {"type": "string"}},
}
_LINK = {"description": "Leads to the next page (`rel=next`), where there is one.", "schema": {"type": "string"}}
_LOCATION = {"description": "Where the answer will be.", "schema": {"type": "string"}}
_RETRY = {"description": "When to try again [s].", "schema": {"type": "integer"}}


def describe(rows: Sequence[Endpoint], *, version: str) -> dict[str, Any]:
    """The description of all rows.

    Parameters
    ----------
    rows : sequence of Endpoint
    version : str
        Of the program.
    """
    schemas = _Schemas(rows)
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        paths.setdefault(_PARAMETER.sub(r"{\1}", row.path), {})[row.method.lower()] = _operation(row, schemas)
    bearer = "An API key (`pn_…`, from `protonova keys add`) or, where an issuer is configured, its access token."
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Protonova",
            "version": version,
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas.shared(),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": bearer}},
        },
        "tags": [{"name": name} for name in dict.fromkeys(row.tag for row in rows if row.tag)],
    }


class _Schemas:
    """JSON Schemas of the models, each once."""

    def __init__(self, rows: Iterable[Endpoint]) -> None:
        pairs: list[tuple[type[BaseModel], JsonSchemaMode]] = [(Problem, "serialization")]
        apart: list[tuple[type[BaseModel], JsonSchemaMode]] = []
        for row in rows:
            if row.answer is not None:
                pairs.append((row.answer, "serialization"))
            if row.accepted is not None:
                pairs.append((row.accepted, "serialization"))
            if row.body is not None:
                pairs.append((row.body, "validation"))
            pairs += [(model, "validation") for model in row.described.values()]
            apart += [(model, "validation") for model in (row.query, row.parameters) if model is not None]
        found, definitions = models_json_schema([*dict.fromkeys([*pairs, *apart])], ref_template="#/components/schemas/{model}")
        self._found = found
        self._all: dict[str, Any] = definitions.get("$defs", {})
        self._apart = {self._name(*pair) for pair in apart} - {self._name(*pair) for pair in pairs}

    def _name(self, model: type[BaseModel], mode: JsonSchemaMode) -> str:
        return str(self._found[model, mode]["$ref"]).rpartition("/")[2]

    def ref(self, model: type[BaseModel], mode: JsonSchemaMode) -> dict[str, Any]:
        """A reference to a model's schema."""
        return dict(self._found[model, mode])

    def fields(self, model: type[BaseModel]) -> tuple[dict[str, Any], set[str]]:
        """The schemas of a model's fields, and which are required."""
        schema = self._all[self._name(model, "validation")]
        return schema.get("properties", {}), set(schema.get("required", ()))

    def shared(self) -> dict[str, Any]:
        """All but those that are taken apart into parameters."""
        return {name: schema for name, schema in self._all.items() if name not in self._apart}


def _operation(row: Endpoint, schemas: _Schemas) -> dict[str, Any]:
    found: dict[str, Any] = {"operationId": row.name, "summary": row.summary, "responses": _responses(row, schemas)}
    if row.description:
        found["description"] = row.description
    if row.tag:
        found["tags"] = [row.tag]
    found["security"] = [] if row.scope is None else [{"bearer": [] if row.scope == ANY else [row.scope]}]
    if row.scope is not None:
        found["x-scope"] = row.scope
    if parameters := [*_path_parameters(row, schemas), *_query_parameters(row, schemas)]:
        found["parameters"] = parameters
    if row.body is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": schemas.ref(row.body, "validation")}}}
    elif row.takes:
        found["requestBody"] = {
            "required": True,
            "content": {media: {"schema": _read_by_handler(row, media, schemas=schemas)} for media in row.takes},
        }
    return found


def _read_by_handler(row: Endpoint, media: str, *, schemas: _Schemas) -> dict[str, Any]:
    """The schema of a body that the handler reads: a model's, or bytes."""
    return schemas.ref(row.described[media], "validation") if media in row.described else {"type": "string", "format": "binary"}


def _path_parameters(row: Endpoint, schemas: _Schemas) -> Iterable[dict[str, Any]]:
    properties, _ = schemas.fields(row.parameters) if row.parameters is not None else ({}, set())
    for name in _PARAMETER.findall(row.path):
        yield _parameter(name, "path", schema=properties.get(name, {"type": "string"}), required=True)


def _query_parameters(row: Endpoint, schemas: _Schemas) -> Iterable[dict[str, Any]]:
    if row.query is not None:
        properties, required = schemas.fields(row.query)
        for name, schema in properties.items():
            yield _parameter(name, "query", schema=schema, required=name in required)
    if row.table:
        schema = {"type": "string", "enum": list(MEDIA_TYPES)}
        yield {
            "name": "format",
            "in": "query",
            "required": False,
            "schema": schema,
            "description": "How the table is written; beats Accept",
        }


def _parameter(name: str, where: str, *, schema: dict[str, Any], required: bool) -> dict[str, Any]:
    plain = {key: value for key, value in schema.items() if key not in ("description", "title")}
    return {"name": name, "in": where, "required": required, "description": schema.get("description", ""), "schema": plain}


def _responses(row: Endpoint, schemas: _Schemas) -> dict[str, Any]:
    problem = {PROBLEM: {"schema": schemas.ref(Problem, "serialization")}}
    found: dict[str, Any] = {str(row.status): _success(row, schemas)}
    if row.accepted is not None:
        data = {"type": "object", "properties": {"data": schemas.ref(row.accepted, "serialization")}, "required": ["data"]}
        headers = {**_HEADERS, "Location": _LOCATION, "Retry-After": _RETRY}
        found["202"] = {"description": "Accepted: fetch it later.", "content": {"application/json": {"schema": data}}, "headers": headers}
    for status in sorted(statuses_of(row) | row.errors.keys()):
        said = row.errors.get(status) or f"{TITLES[status]}."
        found[str(status)] = {"description": said, "content": problem}
        if status in (429, 503):
            found[str(status)]["headers"] = {"Retry-After": _RETRY}
    return found


def statuses_of(row: Endpoint) -> set[int]:
    """Statuses other than success that any row of the kind may have."""
    found = {400, 405, 406, 414, 422, 431}
    if row.scope is not None:
        found |= {401, 403, 429, 503}
    if "{" in row.path:
        found.add(404)
    if row.has_body:
        found |= {413, 415}
    return found


def _success(row: Endpoint, schemas: _Schemas) -> dict[str, Any]:
    headers = dict(_HEADERS) if row.scope is not None else {}
    content: dict[str, Any] = {}
    if row.answer is not None:
        one = schemas.ref(row.answer, "serialization")
        data = {"type": "array", "items": one} if row.many or row.table else one
        schema: dict[str, Any] = data
        if row.envelope:
            schema = {"type": "object", "properties": {"data": data}, "required": ["data"]}
            if row.paged:
                cursor = {"type": ["string", "null"], "description": "Cursor of the next page; null: this is the last."}
                schema = {"type": "object", "properties": {"data": data, "next": cursor}, "required": ["data", "next"]}
        content["application/json"] = {"schema": schema}
        if row.table:
            content |= {media: {"schema": {"type": "string", "format": "binary"}} for form, media in MEDIA_TYPES.items() if form != "json"}
    content |= {media: {"schema": {"type": "string", "format": "binary"}} for media in row.gives}
    if row.paged:
        headers["Link"] = _LINK
    return {"description": "As asked.", **({"content": content} if content else {}), **({"headers": headers} if headers else {})}


def scopes_of(rows: Iterable[Endpoint]) -> dict[str, str]:
    """The scopes that rows need, each with what it allows."""
    needed = {row.scope for row in rows}
    return {name: text for name, text in SCOPES.items() if name in needed}
