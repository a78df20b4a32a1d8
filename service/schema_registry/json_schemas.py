"""The JSON Schemas of our records in JSON: what a message's ``$schema`` names."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from schemas.records.json_form import HERE

MEDIA_TYPE = "application/schema+json"


def routes() -> list[Route]:
    """Every version that there was."""
    texts = {path.name: path.read_bytes() for path in sorted(HERE.glob("*.schema.json"))}

    async def one(request: Request) -> Response:
        text = texts.get(request.path_params["name"])
        return Response(text or b"not found\n", status_code=200 if text else 404, media_type=MEDIA_TYPE if text else "text/plain")

    return [Route("/json-schemas/{name}", one)]
