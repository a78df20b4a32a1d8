"""The figures → an ASGI application: the page, JSON, probes, metrics and the schema registry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import orjson
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schemas.records.table import RegisteredSchema
from service.hosts import AllowedHosts
from service.schema_registry import confluent, json_schemas, rubin
from service.status.exposition import exposition
from service.status.figures import Figures
from service.status.page import live, page

STATIC = Path(__file__).parent / "static"
HEADERS = {
    # Nothing inline and nothing from elsewhere: a detection's text can never become a script.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class SecurityHeaders:
    """Adds the headers above to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request; every response carries the security headers."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self.app(scope, receive, with_headers)


def make_app(
    figures: Figures,
    subjects: Mapping[str, Sequence[RegisteredSchema]],
    *,
    host: str,
    feed: Callable[[], Awaitable[None]] | None = None,
    classes: Iterable[str] = (),
    allowed_hosts: Iterable[str] = (),
) -> Starlette:
    """The status service.

    Parameters
    ----------
    figures : Figures
        What is shown.
    subjects : mapping
        The schemas served.
    host : str
        Address it is bound to. Only requests to a name of ours are answered (`service.hosts`).
    feed : callable, optional
        Runs as long as the service does and feeds the figures.
    classes : iterable of str
        Slugs whose topics have subjects in the registry.
    allowed_hosts : iterable of str
        Further names by which it may be asked.
    """

    async def show_page(request: Request) -> Response:
        return HTMLResponse(page(figures.snapshot()))

    async def show_live(request: Request) -> Response:
        return HTMLResponse(live(figures.snapshot()))

    async def show_json(request: Request) -> Response:
        return Response(orjson.dumps(figures.snapshot(), option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")

    async def show_metrics(request: Request) -> Response:
        return Response(exposition(figures.snapshot()), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthy(request: Request) -> Response:
        return Response("ok\n", media_type="text/plain")

    async def ready(request: Request) -> Response:
        # Ready: the broker answers now. That no worker runs is shown on the page; it does not justify a restart of this service.
        said = "ready" if figures.ready else figures.snapshot()["state_text"]
        return Response(f"{said}\n", status_code=200 if figures.ready else 503, media_type="text/plain")

    async def plain_error(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        detail = error.detail if isinstance(error, HTTPException) else "internal error"
        return Response(f"{status} {detail}\n", status_code=status, media_type="text/plain", headers=getattr(error, "headers", None))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        task = asyncio.ensure_future(feed()) if feed is not None else None
        yield
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    middleware = [Middleware(SecurityHeaders), Middleware(AllowedHosts, bound_to=host, further=tuple(allowed_hosts))]
    return Starlette(
        routes=[
            Route("/", show_page),
            Route("/live", show_live),
            Route("/status.json", show_json),
            Route("/metrics", show_metrics),
            Route("/healthz", healthy),
            Route("/readyz", ready),
            *confluent.routes({**subjects, **rubin.subjects()}, classes),
            *json_schemas.routes(),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=middleware,
        exception_handlers={HTTPException: plain_error, Exception: plain_error},
        lifespan=lifespan,
    )
