"""`/v1/watchlists`: the caller's lists of positions, which filters name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from data.areas.drafts import draft_list
from data.areas.filter_set import positions_of
from errors import UserError
from schemas.records.filter_defined import owned_key
from schemas.records.watchlist import Watchlist
from service.api.endpoints import Answer, Call, Endpoint
from service.api.history_access import in_thread, iso, not_there
from service.api.owned import definitions_of, next_revision, owner_of, unprocessable, write
from service.api.problems import ProblemError
from streams.kafka import topics

MOST_BODY = 24 << 20


class WantedList(BaseModel):
    """A list, or another revision of it."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    positions: list[tuple[float, float]] = Field(max_length=100_000, description="ra, dec of each, ICRS [deg]")
    radius: float | list[float] = Field(2.0, description="Of all, or of each [arcsec]")
    names: list[str] | None = Field(None, max_length=100_000, description="Of each; null: they have none")
    note: str = Field("", max_length=1_000, description="Where it is from")
    based_on: int | None = Field(None, ge=0, description="The revision that was seen; another one is 409. 0: there is none yet")


class ListPath(BaseModel):
    """The path's parameters."""

    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=40, description="Name of the list")


class ShownList(BaseModel):
    """A list, without its positions."""

    name: str = Field(description="Its name")
    owner: str = Field(description="Whose it is")
    revision: int = Field(description="Counted from 1")
    n: int = Field(description="Positions")
    note: str = Field(description="Where it is from")
    made: str | None = Field(description="When this revision was made, ISO 8601, UTC")


class Listed(BaseModel):
    """A position of a list."""

    name: str = Field(description="Its name, or its number from 1")
    ra: float = Field(description="Right ascension, ICRS", json_schema_extra={"unit": "deg", "ucd": "pos.eq.ra"})
    dec: float = Field(description="Declination, ICRS", json_schema_extra={"unit": "deg", "ucd": "pos.eq.dec"})
    radius: float = Field(description="Radius", json_schema_extra={"unit": "arcsec"})


async def list_watchlists(call: Call) -> Answer:
    """The caller's lists."""
    owner, found = owner_of(call), definitions_of(call).watchlists
    return Answer(rows=[_row(one) for one in sorted(found.values(), key=lambda one: one.name) if one.owner == owner])


async def show_watchlist(call: Call) -> Answer:
    """The positions of a list."""
    one = definitions_of(call).watchlists.get(owned_key(owner_of(call), call.path.name))
    if one is None:
        raise not_there(f"watchlist {call.path.name}")
    names = one.names.decode().split("\n") if one.names else [str(i + 1) for i in range(len(one))]
    rows = zip(names, positions_of(one.positions).tolist(), strict=True)
    return Answer(rows=[{"name": name, "ra": ra, "dec": dec, "radius": 3600 * radius} for name, (ra, dec, radius) in rows])


async def put_watchlist(call: Call) -> Answer:
    """Make a list, or another revision of it; filters that name it see the change at once, and search the past for what is new in it."""
    wanted: WantedList = call.body
    held, owner = definitions_of(call).watchlists, owner_of(call)
    radii = wanted.radius if isinstance(wanted.radius, list) else [wanted.radius] * len(wanted.positions)
    if len(radii) != len(wanted.positions):
        raise ProblemError(422, f"{len(radii):,} radii of {len(wanted.positions):,} positions")

    def draft() -> Watchlist:
        positions = [(ra, dec, radius / 3600) for (ra, dec), radius in zip(wanted.positions, radii, strict=True)]
        return draft_list(owner, call.path.name, positions=positions, names=wanted.names, note=wanted.note)

    try:
        made = await in_thread(draft)
    except UserError as error:
        raise unprocessable(error, "positions") from None
    revision = next_revision(held, made.key, owner=owner, based_on=wanted.based_on)
    record = replace(made, revision=revision, made_ms=int(1000 * call.services.clock()))
    await write(call, topics.WATCHLISTS, key=record.key, record=record, held=held)
    return Answer(_row(record))


async def remove_watchlist(call: Call) -> Answer:
    """Take a list away; a filter that names it is not asked until there is one of this name again."""
    held, key = definitions_of(call).watchlists, owned_key(owner_of(call), call.path.name)
    if key not in held:
        raise not_there(f"watchlist {call.path.name}")
    await write(call, topics.WATCHLISTS, key=key, record=None, held=held)
    return Answer(status=204)


def _row(one: Watchlist) -> dict[str, Any]:
    return {"name": one.name, "owner": one.owner, "revision": one.revision, "n": len(one), "note": one.note, "made": iso(one.made_ms)}


ROWS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET", path="/v1/watchlists", scope="subscribe", summary="The caller's watchlists", handler=list_watchlists,
        answer=ShownList, table=True, tag="filters",
    ),
    Endpoint(
        method="GET", path="/v1/watchlists/{name}", scope="subscribe", summary="The positions of a watchlist", handler=show_watchlist,
        parameters=ListPath, answer=Listed, table=True, tag="filters",
    ),
    Endpoint(
        method="PUT", path="/v1/watchlists/{name}", scope="subscribe", summary="Make a watchlist, or another revision of it",
        handler=put_watchlist, parameters=ListPath, body=WantedList, most_body=MOST_BODY, answer=ShownList, audited=True, tag="filters",
        errors={409: "It was changed meanwhile"},
    ),
    Endpoint(
        method="DELETE", path="/v1/watchlists/{name}", scope="subscribe", summary="Take a watchlist away", handler=remove_watchlist,
        parameters=ListPath, status=204, audited=True, tag="filters",
    ),
)  # fmt: skip
