"""Keyset pages: the last row of a page ↔ an opaque cursor of the next one.

A cursor holds the keys of the last row, so that a page costs the same however far it lies and rows that come meanwhile shift nothing. It
is bound to the query it was made for. It is not secret and grants nothing: rights are asked again for each page.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import orjson
from pydantic import BaseModel, ConfigDict, Field

from service.api.problems import ProblemError

Key = str | int | float | None
LONGEST = 2_000
"""Of a cursor [characters]."""
MOST_KEYS = 8
APART = ("cursor", "limit", "format")
"""Parameters that may differ from page to page."""


class QueryModel(BaseModel):
    """Parameters behind the question mark: what is not described is refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class PageQuery(QueryModel):
    """Parameters of a resource that comes in pages."""

    limit: int = Field(100, ge=1, le=1000, description="Rows of a page at most")
    cursor: str | None = Field(None, max_length=LONGEST, description="Where the page begins, from the `next` or the Link of the one before")


def query_mark(path: str, parameters: Sequence[tuple[str, str]]) -> str:
    """What a cursor is bound to: the resource and its parameters."""
    kept = sorted((name, value) for name, value in parameters if name not in APART)
    return hashlib.sha256(orjson.dumps([path, kept])).hexdigest()[:16]


def cursor_of(keys: Sequence[Key], mark: str) -> str:
    """The cursor behind a row."""
    return base64.urlsafe_b64encode(orjson.dumps([mark, *keys])).decode().rstrip("=")


def keys_of(cursor: str, mark: str) -> tuple[Any, ...]:
    """The keys in a cursor.

    Raises
    ------
    ProblemError
        It is none of ours, or of another query.
    """
    try:
        found = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error):
        found = None
    if not isinstance(found, list) or not 1 < len(found) <= MOST_KEYS + 1 or not all(_is_key(key) for key in found):
        errors = [{"loc": ["query", "cursor"], "msg": "not a cursor of ours"}]
        raise ProblemError(422, "cursor: not a cursor of ours; leave it out for the first page", errors=errors)
    if found[0] != mark:
        errors = [{"loc": ["query", "cursor"], "msg": "made for another query"}]
        raise ProblemError(422, "cursor: made for another query; leave it out for the first page", errors=errors)
    return tuple(found[1:])


def _is_key(value: object) -> bool:
    """Whether it may be a row's key: integers as wide as a store's."""
    if isinstance(value, bool):
        return False
    return value is None or isinstance(value, str | float) or (isinstance(value, int) and -(1 << 63) <= value < 1 << 63)


def link_next(path: str, parameters: Sequence[tuple[str, str]], *, cursor: str) -> str:
    """The Link header's value that leads to the next page (RFC 8288)."""
    kept = [(name, value) for name, value in parameters if name != "cursor"]
    return f'<{path}?{urlencode([*kept, ("cursor", cursor)])}>; rel="next"'
