"""`/v1/cone`: objects near a place, or near each of a thousand."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from service.api.endpoints import Answer, Call, Endpoint
from service.api.history_access import ask
from service.api.history_models import LARGEST_RADIUS, MOST_POSITIONS, SMALLEST_RADIUS, Dec, NearObject, Question, Ra, Radius, near_json
from service.api.pages import PageQuery

_ARCSEC = 1 / 3600


class ConeQuery(PageQuery):
    """A circle on the sky."""

    ra: Ra
    dec: Dec
    radius: Radius


class Position(Question):
    """A place with a name of the caller's."""

    name: str = Field(min_length=1, max_length=128, description="Comes back with what is found")
    ra: Ra
    dec: Dec
    radius: float | None = Field(None, ge=SMALLEST_RADIUS, le=LARGEST_RADIUS, description="Of this place, else the one of all [arcsec]")


class ConesQuestion(Question):
    """Many circles."""

    positions: list[Position] = Field(min_length=1, max_length=MOST_POSITIONS, description="Places")
    radius: float = Field(5.0, ge=SMALLEST_RADIUS, le=LARGEST_RADIUS, description="Of each place that states none [arcsec]")
    limit: int = Field(10, ge=1, le=100, description="Objects of a place at most, the nearest first")


class Cone(BaseModel):
    """What lies near a place."""

    name: str = Field(description="The caller's name of the place")
    objects: list[NearObject] = Field(description="The nearest first; empty where there are none")


async def search_cone(call: Call) -> Answer:
    """Objects in a cone, the nearest first."""
    q = call.query
    after = None if call.after is None else (float(call.after[0]), str(call.after[1]))
    found = await ask(
        call, lambda store, private: store.cone(q.ra, q.dec, radius=q.radius * _ARCSEC, private=private, limit=q.limit + 1, after=after)
    )
    last = found[q.limit - 1] if len(found) > q.limit else None
    return Answer(rows=[near_json(n) for n in found[: q.limit]], next=None if last is None else (last.separation, last.object.object_id))


async def search_cones(call: Call) -> Answer:
    """Objects near each of many places."""
    body: ConesQuestion = call.body

    def question(store: Any, private: frozenset[int]) -> list[dict[str, Any]]:
        out = []
        for p in body.positions:
            near = store.cone(p.ra, p.dec, radius=(p.radius or body.radius) * _ARCSEC, private=private, limit=body.limit)
            out.append({"name": p.name, "objects": [near_json(n) for n in near]})
        return out

    return Answer(await ask(call, question))


ROWS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET", path="/v1/cone", scope="read", summary="Objects in a cone, the nearest first", handler=search_cone, query=ConeQuery,
        answer=NearObject, table=True, tag="objects",
    ),
    Endpoint(
        method="POST", path="/v1/cone", scope="read", summary="Objects near each of up to 1,000 places", handler=search_cones,
        body=ConesQuestion, answer=Cone, many=True, tag="objects",
    ),
)  # fmt: skip
