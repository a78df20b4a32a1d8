"""The body of a client that looks a schema up, or registers it → the version that is the same schema.

Confluent's serialisers register their schema, or look it up, before they write the first record. Nothing can be registered here, but a
schema that is there already is answered with its id, as Confluent's registry does.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import fastavro.schema
from starlette.requests import Request

from schemas.records.table import RegisteredSchema

MOST_BYTES = 1_000_000
"""Of a request's body; the largest schema in the data has 70 kB."""


class BadRequestError(ValueError):
    """The body is not a request of a registry's client."""


async def schema_of(request: Request) -> Any:
    """The schema in a request's body, parsed.

    Raises
    ------
    BadRequestError
        It is too large, not JSON, or holds no Avro schema of its own.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise BadRequestError(f"the body is larger than {MOST_BYTES:,} bytes")
    try:
        asked = json.loads(bytes(body))
        if not isinstance(asked, dict) or not isinstance(asked.get("schema"), str):
            raise BadRequestError('the body must be {"schema": "…"}')
        if asked.get("schemaType", "AVRO") != "AVRO" or asked.get("references"):
            raise BadRequestError("only Avro schemas without references are here")
        return json.loads(asked["schema"])
    except (ValueError, RecursionError) as error:
        raise error if isinstance(error, BadRequestError) else BadRequestError("it is not JSON") from None


def the_same(schema: Any, versions: Sequence[RegisteredSchema]) -> RegisteredSchema | None:
    """The latest version that is this schema: equal, or equal in Avro's canonical form (documentation and defaults apart)."""
    for version in reversed(versions):
        if json.loads(version.schema_text) == schema:
            return version
    canonical = _canonical(schema)
    if canonical is None:
        return None
    return next((version for version in reversed(versions) if _canonical(json.loads(version.schema_text)) == canonical), None)


def _canonical(schema: Any) -> str | None:
    """Avro's Parsing Canonical Form; None: it is not a schema."""
    try:
        return str(fastavro.schema.to_parsing_canonical_form(fastavro.schema.parse_schema(schema, _write_hint=False)))
    except Exception:  # fastavro raises whatever a hostile schema makes it raise: SchemaParseException, KeyError, RecursionError …
        return None
