"""Rows and services → an ASGI application, with the description of itself at `/v1/openapi.json` and probes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from service.api import http_metrics
from service.api.dispatch import SECURITY, Desk, Resource
from service.api.endpoints import Endpoint
from service.api.openapi import describe
from service.api.problems import PROBLEM, problem_body
from service.api.shortcut import Shortcut, exact_paths
from service.hosts import AllowedHosts

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]
DESCRIPTION = "/v1/openapi.json"


def make_api(
    rows: Sequence[Endpoint],
    desk: Desk,
    *,
    version: str,
    host: str = "127.0.0.1",
    allowed_hosts: Iterable[str] = (),
    lifespan: Lifespan | None = None,
) -> ASGIApp:
    """The application.

    Parameters
    ----------
    rows : sequence of Endpoint
        In the order in which they are tried.
    desk : Desk
    version : str
        Of the program.
    host : str
        Address it is bound to; only requests to a name of ours are answered (`service.hosts`).
    allowed_hosts : iterable of str
        Further names by which it may be asked.
    lifespan : callable, optional
        Starts and ends what the services work with.

    Raises
    ------
    ValueError
        Two rows of one path have the same method, or two handlers the same name.
    """
    by_path: dict[str, list[Endpoint]] = {}
    for row in rows:
        by_path.setdefault(row.path, []).append(row)
    names = [row.name for row in rows]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two rows have the handler {', '.join(sorted(twice))}")
    description = orjson.dumps(describe(rows, version=version))

    async def show_description(request: Request) -> Response:
        return Response(description, media_type="application/json", headers=_security())

    async def healthy(request: Request) -> Response:
        return Response("ok\n", media_type="text/plain", headers=_security())

    async def ready(request: Request) -> Response:
        missing = waiting_for(desk)
        return Response(f"{missing or 'ready'}\n", status_code=503 if missing else 200, media_type="text/plain", headers=_security())

    resources = {path: Resource(group, desk) for path, group in by_path.items()}
    app = Starlette(
        routes=[
            *(Route(path, resource, name=by_path[path][0].name) for path, resource in resources.items()),
            Route(DESCRIPTION, show_description),
            Route("/healthz", healthy),
            Route("/readyz", ready),
        ],
        exception_handlers={HTTPException: _problem},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    further = tuple(allowed_hosts)
    fixed = {exact: resource for path, resource in resources.items() for exact in exact_paths(path, by_path[path][0])}
    return AllowedHosts(Shortcut(app, fixed), host, further=further, setting="PROTONOVA_API_ALLOWED_HOSTS", refused=_refused)


def waiting_for(desk: Desk) -> str:
    """What the process waits for before it serves all that it is to serve; empty: nothing."""
    intake, keys = desk.services.intake, desk.services.keys
    if keys is not None and not keys.complete:
        return "API keys were not read yet"
    return "the broker does not answer" if intake is not None and not intake.is_open else ""


def _security() -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in SECURITY}


def _refused(status: int, reason: str) -> Response:
    http_metrics.count(http_metrics.NO_ENDPOINT, "other", status=status, seconds=0.0)
    return Response(problem_body(status, reason), status, headers=_security(), media_type=PROBLEM)


async def _problem(request: Request, error: Exception) -> Response:
    """What Starlette itself refuses: an unknown path."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    http_metrics.count(http_metrics.NO_ENDPOINT, "other", status=status, seconds=0.0)
    headers = {**_security(), **(dict(getattr(error, "headers", None) or {}))}
    return Response(problem_body(status), status, headers=headers, media_type=PROBLEM)
