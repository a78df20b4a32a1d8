"""Rows and services → an ASGI application, with the description of itself at `/v1/openapi.json` and probes."""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.dispatch import SECURITY, Desk, Resource
from service.api.endpoints import Endpoint
from service.api.openapi import describe
from service.api.problems import PROBLEM, problem_body
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
    fixed = {exact: resource for path, resource in resources.items() for exact in _exact(path, by_path[path][0])}
    return AllowedHosts(Shortcut(app, fixed), host, further=tuple(allowed_hosts))


class Shortcut:
    """Paths that are known to the letter → their resources, without the five layers of a router: a tenth of what a score costs over the floor.

    Parameters
    ----------
    app : Starlette
        Everything else.
    fixed : mapping
        Path → the resource, and what its parameters are then.
    """

    def __init__(self, app: Starlette, fixed: Mapping[tuple[str, tuple[tuple[str, str], ...]], Resource]) -> None:
        self.app = app
        self._fixed = {path: (resource, dict(parameters)) for (path, parameters), resource in fixed.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        found = self._fixed.get(scope["path"]) if scope["type"] == "http" else None
        if found is None:
            await self.app(scope, receive, send)
            return
        resource, parameters = found
        scope["path_params"] = parameters
        await resource(scope, receive, send)


def _exact(path: str, row: Endpoint) -> Iterable[tuple[str, tuple[tuple[str, str], ...]]]:
    """The paths of a row that has no parameter, or a single one of few words."""
    if "{" not in path:
        yield path, ()
        return
    names = re.findall(r"{(\w+)}", path)
    info = row.parameters.model_fields.get(names[0]) if row.parameters is not None and len(names) == 1 else None
    if info is not None and typing.get_origin(info.annotation) is typing.Literal:
        for word in typing.get_args(info.annotation):
            yield path.replace(f"{{{names[0]}}}", word), ((names[0], word),)


def waiting_for(desk: Desk) -> str:
    """What the process waits for before it serves all that it is to serve; empty: nothing."""
    intake, keys = desk.services.intake, desk.services.keys
    if keys is not None and not keys.complete:
        return "API keys were not read yet"
    return "the broker does not answer" if intake is not None and not intake.is_open else ""


def _security() -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in SECURITY}


async def _problem(request: Request, error: Exception) -> Response:
    """What Starlette itself refuses: an unknown path."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = {**_security(), **(dict(getattr(error, "headers", None) or {}))}
    return Response(problem_body(status), status, headers=headers, media_type=PROBLEM)
