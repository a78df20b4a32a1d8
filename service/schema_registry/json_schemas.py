"""The JSON Schemas of our records in JSON: what a message's ``$schema`` names."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from schemas.records.json_form import FILE, HERE

MEDIA_TYPE = "application/schema+json"


def routes() -> list[Route]:
    """One path a schema."""
    text = (HERE / FILE).read_bytes()

    async def detection(request: Request) -> Response:
        return Response(text, media_type=MEDIA_TYPE)

    return [Route(f"/json-schemas/{FILE}", detection)]
