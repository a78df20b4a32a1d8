"""`/v1/stream`: detections as they come, as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator

from pydantic import Field

from errors import UserError
from schemas.filters.filter_expression import read_expression
from service.api.endpoints import Answer, Call, Endpoint, need
from service.api.live_stream import LiveStream, TooManyClientsError, places_in
from service.api.pages import QueryModel
from service.api.problems import ProblemError

EVENTS = "text/event-stream"


class StreamQuery(QueryModel):
    """Which detections."""

    where: str = Field("true", max_length=2_000, description="A filter, as behind SQL's WHERE (docs/filters.md)")


async def stream_detections(call: Call) -> Answer:
    """Detections as they come."""
    live: LiveStream = need(call.services.live, "there is no live stream")
    taught = () if call.services.facts is None else await call.services.facts.taught()
    try:
        expression = read_expression(call.query.where, taught=taught)
    except UserError as error:
        raise ProblemError(422, str(error), errors=[{"loc": ["query", "where"], "msg": str(error)}]) from None
    since = call.headers.get("last-event-id") or None
    if since is not None:
        try:
            places_in(since, {})
        except ValueError:
            raise ProblemError(422, "Last-Event-ID is not an id of this stream: leave it out to begin with what comes now") from None
    pieces = live.events(expression, private=call.private, since=since)
    try:
        first = await anext(pieces)
    except TooManyClientsError:
        raise ProblemError(503, "this process has as many listeners as it may have", headers={"Retry-After": "5"}) from None
    return Answer(live=_joined(first, pieces), media_type=EVENTS)


async def _joined(first: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in pieces:
        yield piece


ROWS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET", path="/v1/stream", scope="read", summary="Detections as they come, as server-sent events",
        handler=stream_detections, query=StreamQuery, gives=(EVENTS,), tag="alerts",
        description="An event's id says where each partition goes on: with `Last-Event-ID` any process goes on from there. `event: cut` "
        "ends the connection of a client that does not keep up.",
    ),
)  # fmt: skip
