"""A path's rows → an ASGI application.

Who calls, what was asked, the handler, the answer's bytes: in this order, so that nothing is read of a request that is refused.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from sse_starlette import EventSourceResponse
from starlette.types import Receive, Scope, Send

from errors import one_line
from service.api import http_metrics
from service.api.endpoints import Answer, Call, Endpoint, Services
from service.api.formats import CONTENT_TYPES, Format, chosen, json_of, written
from service.api.pages import cursor_of, keys_of, link_next, query_mark
from service.api.problems import PROBLEM, ProblemError, problem_body
from service.api.requests import GoneError, body_of, check_media_type, headers_of, parameters_of, path_of, query_of, read_body
from service.auth.audit import AuditLog
from service.auth.caller import Identity
from service.auth.guard import Guard
from service.timed_httptools import LONG

log = structlog.get_logger(__name__)

PING_S = 20
"""How often a comment shows that a live answer goes on [s]."""

Headers = list[tuple[bytes, bytes]]
SECURITY: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; sandbox"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]
"""Of every answer: none of it is a page, and no cache keeps what a key was needed for."""


class Desk:
    """What the resources of an API share.

    Parameters
    ----------
    services : Services
    guard : Guard
    audit : AuditLog
    """

    def __init__(self, services: Services, guard: Guard, *, audit: AuditLog) -> None:
        self.services, self.guard, self.audit = services, guard, audit


class Resource:
    """The rows of one path.

    Parameters
    ----------
    rows : sequence of Endpoint
        Of one path, each of another method.
    desk : Desk
    """

    def __init__(self, rows: Sequence[Endpoint], desk: Desk) -> None:
        self._desk = desk
        self._rows = {row.method: (row, row.repeated()) for row in rows}
        if "GET" in self._rows:
            self._rows["HEAD"] = self._rows["GET"]  # type: ignore[index]
        if len({row.path for row in rows}) > 1 or len({row.method for row in rows}) < len(rows):
            raise ValueError(f"the rows of {rows[0].path} are not of one path with a method each")
        self._name = rows[0].name
        self._allow = ", ".join(sorted(self._rows)).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        begun = time.perf_counter()
        found = self._rows.get(scope["method"])
        if found is None:
            http_metrics.count(self._name, "other", status=405, seconds=0.0)
            await send_problem(send, 405, extra=[(b"allow", self._allow)])
            return
        row, repeated = found
        who: Identity | None = None
        extra: Headers = []
        status = 500
        try:
            headers = headers_of(scope)
            client = scope["client"]
            address = client[0] if client else ""
            if row.scope is not None:
                who, extra = await self._desk.guard.admit(headers, address, needs=row.scope)
            answer, form, more = await self._answer(
                row, scope, receive=receive, headers=headers, repeated=repeated, who=who, address=address
            )
            status = answer.status or row.status
            if answer.live is not None:
                await send_live(scope, receive, send=send, pieces=answer.live, extra=[*extra, *more])
                return
            await send_answer(send, answer, row=row, status=status, form=form, extra=[*extra, *more])
        except ProblemError as problem:
            status, who = problem.status, who or problem.caller
            extra = [*extra, *((name.lower().encode(), value.encode("latin-1", "replace")) for name, value in problem.headers.items())]
            await send_problem(send, status, body=problem.body(), extra=extra)
        except GoneError:
            status = 499
        except Exception as error:
            number = secrets.token_hex(6)
            log.error(
                "a request failed",
                operation=row.name,
                incident=number,
                why=f"{type(error).__name__}: {one_line(error, 300)}",
                exc_info=error,
            )
            await send_problem(send, 500, detail=f"a fault of ours; it is in the log as incident {number}", extra=extra)
        finally:
            http_metrics.count(row.name, row.method, status=status, seconds=time.perf_counter() - begun)
            if row.is_audited:
                self._desk.audit.write(row, who, path=scope["path"], address=scope["client"][0] if scope["client"] else "", status=status)

    async def _answer(
        self, row: Endpoint, scope: Scope, *, receive: Receive, headers: Mapping[str, str], repeated: frozenset[str], who: Identity | None,
        address: str,
    ) -> tuple[Answer, Format, Headers]:  # fmt: skip
        given = parameters_of(scope)
        path = path_of(row, scope["path_params"])
        wanted = next((value for name, value in given if name == "format"), None)
        form = chosen(wanted, headers.get("accept"), table=row.table) if row.answer is not None else "json"
        query = query_of(row, given, repeated=repeated) if given or row.query is not None else None
        mark = query_mark(scope["path"], given) if row.paged else ""
        cursor = getattr(query, "cursor", None) if row.paged else None
        after = keys_of(cursor, mark) if cursor is not None else None
        body: Any = None
        if row.has_body:
            check_media_type(row, headers)
            if row.before_body is not None:
                row.before_body(self._desk.services)
            body = body_of(row, await read_body(receive, headers, most=row.most_body))
        call = Call(query, path, body, who, self._desk.services, headers, form, address, after)
        answer = await row.handler(call)
        more: Headers = []
        if answer.next is not None:
            cursor = cursor_of(answer.next, mark)
            more.append((b"link", link_next(scope["path"], given, cursor=cursor).encode()))
            answer.headers["next"] = cursor
        return answer, form, more


async def send_answer(
    send: Send, answer: Answer, *, row: Endpoint, status: int, form: Format, extra: Iterable[tuple[bytes, bytes]]
) -> None:
    """Write an answer."""
    cursor = answer.headers.pop("next", None)
    headers: Headers = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in answer.headers.items()]
    if isinstance(answer.raw, AsyncIterator):
        await _stream(send, answer.raw, status=status, headers=[(b"content-type", answer.media_type.encode()), *headers, *extra, *SECURITY])
        return
    if answer.raw is not None:
        body, media = answer.raw, answer.media_type
    elif answer.rows is not None and form != "json" and row.answer is not None:
        body, media = written(form, answer.rows, model=row.answer, name=row.name), CONTENT_TYPES[form]
    else:
        data = answer.rows if answer.rows is not None else answer.data
        content: Any = data
        if row.envelope:
            content = {"data": data} if not row.paged else {"data": data, "next": cursor}
        body, media = (b"", "") if status == HTTPStatus.NO_CONTENT else (json_of(content), CONTENT_TYPES["json"])
    start: Headers = [(b"content-type", media.encode())] if media else []
    start += [(b"content-length", b"%d" % len(body)), *headers, *extra, *SECURITY]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})


async def send_live(scope: Scope, receive: Receive, *, send: Send, pieces: AsyncIterator[bytes], extra: Headers) -> None:
    """Send events until the client leaves, is cut, or the process ends."""
    scope[LONG] = True
    headers = {name.decode(): value.decode("latin-1") for name, value in [*extra, *SECURITY]}
    await EventSourceResponse(pieces, headers=headers, ping=PING_S)(scope, receive, send)


async def _stream(send: Send, pieces: AsyncIterator[bytes], *, status: int, headers: Headers) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    async for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def send_problem(
    send: Send, status: int, *, detail: str = "", body: bytes | None = None, extra: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Write a problem; its body where it has one already."""
    body = problem_body(status, detail) if body is None else body
    headers: Headers = [(b"content-type", PROBLEM.encode()), (b"content-length", b"%d" % len(body)), *extra, *SECURITY]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
