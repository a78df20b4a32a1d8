"""What of a request is read, each part with its bound: parameters, headers, body."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from starlette.types import Receive, Scope

from schemas.avro.compression import FAULTS
from service.api.endpoints import Endpoint
from service.api.problems import ProblemError, not_as_described
from service.ingest.bodies import CodingError, TooLargeError, uncoded

MOST_PARAMETERS = 200
INLINE_BYTES = 262_144
"""A compressed body up to this is inflated on the event loop; a larger one in a thread [bytes]."""
JSON_TYPES = ("application/json", "")
"""Media types of a body that a model checks; none stated is taken as JSON."""


class GoneError(Exception):
    """The client went away."""


def headers_of(scope: Scope) -> dict[str, str]:
    """Headers by their names in small letters; of those given twice the last."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def parameters_of(scope: Scope) -> list[tuple[str, str]]:
    """The parameters behind the question mark, in order.

    Raises
    ------
    ProblemError
        There are too many.
    """
    text = scope["query_string"]
    if not text:
        return []
    try:
        return parse_qsl(text.decode("latin-1"), keep_blank_values=True, max_num_fields=MOST_PARAMETERS)
    except ValueError:
        raise ProblemError(422, f"more than {MOST_PARAMETERS} parameters") from None


def query_of(endpoint: Endpoint, given: list[tuple[str, str]], *, repeated: frozenset[str]) -> BaseModel | None:
    """The parameters by the row's model; `format` is not part of it.

    Raises
    ------
    ProblemError
        422: one is not described, given twice, or not of its type.
    """
    values: dict[str, Any] = {}
    for name, value in given:
        if name == "format":
            continue
        if name in repeated:
            values.setdefault(name, []).append(value)
        elif name in values:
            raise ProblemError(422, f"{name[:80]} is given twice", errors=[{"loc": ["query", name[:80]], "msg": "given twice"}])
        else:
            values[name] = value
    if endpoint.query is None:
        if values:
            name = next(iter(values))[:80]
            raise ProblemError(422, f"{name} is not a parameter here", errors=[{"loc": ["query", name], "msg": "not a parameter here"}])
        return None
    try:
        # Only the other way takes lists; it reads numbers and truths from text as well.
        return endpoint.query.model_validate(values) if repeated else endpoint.query.model_validate_strings(values)
    except ValidationError as error:
        raise not_as_described(error, "query") from None


def path_of(endpoint: Endpoint, given: Mapping[str, str]) -> Any:
    """The path's parameters by the row's model.

    Raises
    ------
    ProblemError
        404: what does not fit names nothing.
    """
    if endpoint.parameters is None:
        return given
    try:
        return endpoint.parameters.model_validate_strings(dict(given))
    except ValidationError as error:
        fault = not_as_described(error, "path")
        raise ProblemError(404, fault.detail, errors=fault.errors) from None


def media_type_of(headers: Mapping[str, str]) -> str:
    """The body's media type without its parameters; empty: none is stated."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def check_media_type(endpoint: Endpoint, headers: Mapping[str, str]) -> None:
    """Refuse a body of a type that is not read, before it is.

    Raises
    ------
    ProblemError
        415.
    """
    media = media_type_of(headers)
    known = JSON_TYPES if endpoint.body is not None else (*endpoint.takes, "")
    if media not in known and not (endpoint.body is not None and media.startswith("application/") and media.endswith("+json")):
        raise ProblemError(415, f"send one of {', '.join(filter(None, known))}", headers={"Accept-Post": ", ".join(filter(None, known))})


async def read_body(receive: Receive, headers: Mapping[str, str], *, most: int) -> bytes:
    """The whole body, inflated where it is coded, never more than `most` bytes of it in either form.

    Raises
    ------
    ProblemError
        413: it is too large; 415: a coding that is not read; 400: it is damaged.
    GoneError
        The client went away before its end.
    """
    stated = headers.get("content-length")
    if stated is not None and (len(stated) > 12 or int(stated) > most):
        raise too_large(most)
    event = await receive()
    if event["type"] == "http.disconnect":
        raise GoneError
    body: bytes = event.get("body", b"")
    if event.get("more_body"):
        parts, size = [body], len(body)
        while event.get("more_body"):
            event = await receive()
            if event["type"] == "http.disconnect":
                raise GoneError
            parts.append(event.get("body", b""))
            size += len(parts[-1])
            if size > most:
                raise too_large(most)
        body = b"".join(parts)
    if len(body) > most:
        raise too_large(most)
    coding = headers.get("content-encoding")
    if coding is None:
        return body
    try:
        if len(body) <= INLINE_BYTES:
            return uncoded(body, coding, most=most)
        return await asyncio.to_thread(uncoded, body, coding, most=most)
    except TooLargeError:
        raise too_large(most) from None
    except CodingError as error:
        raise ProblemError(415, str(error), headers={"Accept-Encoding": "gzip, zstd"}) from None
    except FAULTS:
        raise ProblemError(400, f"the body is not whole {coding[:40]} data") from None


def too_large(most: int) -> ProblemError:
    """The problem of a body beyond its bound; the connection ends, so that the rest need not be read."""
    return ProblemError(413, f"{most:,} bytes are read at most, compressed or not", headers={"Connection": "close"})


def body_of(endpoint: Endpoint, body: bytes) -> Any:
    """The body by the row's model; the bytes where the handler reads them itself.

    Raises
    ------
    ProblemError
        422.
    """
    if endpoint.body is None:
        return body
    try:
        return endpoint.body.model_validate_json(body, strict=True)  # true is not a number, nor is "5"
    except ValidationError as error:
        raise not_as_described(error, "body") from None
