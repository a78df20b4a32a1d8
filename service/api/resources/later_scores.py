"""`/v1/results/{name}`: what `POST /v1/score` with `Prefer: respond-async` has accepted, once it is there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel, Field

from service.api.endpoints import Answer, Call, Endpoint, need
from service.api.formats import CONTENT_TYPES, MEDIA_TYPES, json_of, written
from service.api.history_access import iso
from service.api.later_results import Done, Later
from service.api.problems import ProblemError
from service.auth.caller import Identity

AGAIN_S = 1.0
"""Between two looks whether there is room to score [s]."""


class ResultPath(BaseModel):
    """Names a result."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{24}$", description="From the Location of the answer 202")


class AcceptedScore(BaseModel):
    """A request that is answered later."""

    name: str = Field(description="Its result is at /v1/results/{name}, for the same caller alone")
    packets: int = Field(description="Packets of the request")
    accepted: str | None = Field(description="When, ISO 8601 in UTC")
    expires: str | None = Field(description="When its result is gone at the latest")


def owner_of(who: Identity) -> str:
    """By what a result's owner is known: a key, or the subject of tokens, which change."""
    return f"token:{who.name}" if who.kind == "token" else who.credential


def wants_later(call: Call) -> bool:
    """Whether the caller prefers to fetch the answer later (RFC 7240)."""
    given = call.headers.get("prefer", "")
    return any(part.partition(";")[0].strip().lower() == "respond-async" for part in given.split(","))


def accept(call: Call, work: Callable[[], Awaitable[Answer]], *, row: type[BaseModel], packets: int) -> Answer:
    """Answer 202 now, and work on it."""
    results = need(call.services.results, "nothing is answered later")

    async def done() -> Done:
        while True:
            try:
                answer = await work()
                break
            except ProblemError as problem:
                if problem.status != 503:
                    raise
                await asyncio.sleep(AGAIN_S)  # there is no room yet; how long one waits in all is bounded
        return await asyncio.to_thread(_written, answer, row, call=call)

    later: Later = results.add(owner_of(call.caller), done, packets=packets)
    headers = {"Location": f"/v1/results/{later.name}", "Preference-Applied": "respond-async"}
    return Answer(_accepted(later), status=202, headers=headers)


def _written(answer: Answer, row: type[BaseModel], *, call: Call) -> Done:
    if isinstance(answer.raw, bytes):
        return Done(200, answer.media_type, answer.raw, answer.headers)
    rows = answer.rows or ()
    body = json_of({"data": rows}) if call.form == "json" else written(call.form, rows, model=row, name="score_packets")
    return Done(200, CONTENT_TYPES[call.form], body, answer.headers)


def _accepted(later: Later) -> dict[str, Any]:
    return {"name": later.name, "packets": later.packets, "accepted": iso(round(1000 * later.accepted)),
            "expires": iso(round(1000 * later.expires))}  # fmt: skip


async def fetch_result(call: Call) -> Answer:
    """A result; 202 while it is not there."""
    results = need(call.services.results, "nothing is answered later")
    later = await asyncio.to_thread(results.of, call.path.name, owner_of(call.caller))
    if later.done is None:
        return Answer(_accepted(later), status=202, headers={"Retry-After": "1"})
    return Answer(raw=later.done.body, media_type=later.done.media_type, status=later.done.status, headers=later.done.headers)


async def drop_result(call: Call) -> Answer:
    """Give a result up."""
    results = need(call.services.results, "nothing is answered later")
    await asyncio.to_thread(results.drop, call.path.name, owner_of(call.caller))
    return Answer(status=204)


ROWS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET", path="/v1/results/{name}", scope="score", summary="Scores that were to be fetched later", handler=fetch_result,
        description="As `POST /v1/score` would have answered, in the form that was asked for then; 202 while they are not there. For the "
        "same caller alone, for an hour; then, and for any other, it is 404.", parameters=ResultPath,
        gives=tuple(MEDIA_TYPES.values()),
        accepted=AcceptedScore, errors={500: "What was asked for failed by a fault of ours."}, tag="score",
    ),
    Endpoint(
        method="DELETE", path="/v1/results/{name}", scope="score", summary="Give up scores that were to be fetched later",
        handler=drop_result, parameters=ResultPath, status=204, tag="score",
    ),
)  # fmt: skip
