"""What went wrong, as problem+json (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from pydantic import BaseModel, Field, ValidationError

from errors import ProtonovaError, one_line
from service.auth.caller import Identity

PROBLEM = "application/problem+json"
MOST_ERRORS = 50
"""Faults of one request that are listed."""
TITLES = {
    400: "The request cannot be read",
    401: "No credential, or one that is not known",
    403: "The credential does not allow it",
    404: "There is nothing of that name, or you may not see it",
    405: "Not a method of this resource",
    406: "Not a format of this resource",
    408: "The request took too long",
    409: "It was changed meanwhile",
    413: "The request is too large",
    414: "The address is too long",
    415: "Not a media type of this resource",
    422: "The request is not as described",
    429: "Too many requests",
    431: "The request's head is too large",
    503: "Not at present",
}


class Fault(BaseModel):
    """One fault of a request."""

    loc: list[str | int] = Field(description="Where: body or query, then names and positions")
    msg: str = Field(description="What is wrong there")


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    title: str = Field(description="The kind of problem, the same for a status")
    status: int = Field(description="The HTTP status")
    detail: str | None = Field(None, description="What is wrong this time, and what to do")
    errors: list[Fault] = Field([], description="Faults of the request one by one, where it has some")
    revision: int | None = Field(None, description="Of what was to be changed, as it is now; with 409 alone")


class ProblemError(ProtonovaError):
    """An answer that is a problem.

    Parameters
    ----------
    status : int
        HTTP status.
    detail : str
        What is wrong this time, in one line.
    errors : sequence of mapping
        Each ``{"loc": […], "msg": …}``.
    headers : mapping of str to str
        More headers of the answer.
    revision : int, optional
        Of what was to be changed, as it is now.
    """

    def __init__(
        self, status: int, detail: str = "", *, errors: Sequence[Mapping[str, Any]] = (), headers: Mapping[str, str] | None = None,
        revision: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(detail)
        self.revision = revision
        self.status, self.detail, self.errors, self.headers = status, detail, list(errors)[:MOST_ERRORS], dict(headers or {})
        self.caller: Identity | None = None
        """Who called, where that was known before the problem."""

    def body(self) -> bytes:
        """The answer's body."""
        return problem_body(self.status, self.detail, errors=self.errors, revision=self.revision)


def problem_body(status: int, detail: str = "", *, errors: Sequence[Mapping[str, Any]] = (), revision: int | None = None) -> bytes:
    """A problem as JSON."""
    content: dict[str, Any] = {"title": TITLES.get(status) or HTTPStatus(status).phrase, "status": status}
    if detail:
        content["detail"] = one_line(detail, 1000)
    if errors:
        content["errors"] = errors
    if revision is not None:
        content["revision"] = revision
    return orjson.dumps(content)


def faults_of(error: ValidationError, where: str) -> list[dict[str, Any]]:
    """The faults that pydantic found, without the values that were given.

    Parameters
    ----------
    error : pydantic.ValidationError
    where : str
        Which part of the request it is: body, query or path.
    """
    found = error.errors(include_url=False, include_context=False, include_input=False)[:MOST_ERRORS]
    return [{"loc": [where, *(one_line(part, 80) if isinstance(part, str) else part for part in fault["loc"])],
             "msg": one_line(fault["msg"], 300)} for fault in found]  # fmt: skip


def not_as_described(error: ValidationError, where: str) -> ProblemError:
    """The problem of a request whose values are not those described."""
    errors = faults_of(error, where)
    first = errors[0]
    return ProblemError(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}", errors=errors)
