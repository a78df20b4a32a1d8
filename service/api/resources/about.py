"""What the API is: its description, and who the caller is."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from service.api.endpoints import Answer, Call, Endpoint
from service.api.http_metrics import MEDIA_TYPE, exposition
from service.auth.caller import ANY


class Caller(BaseModel):
    """Who calls."""

    name: str = Field(description="Owner of the key, or subject of the token")
    credential: str = Field(description="Id of the key, or the beginning of the token's digest")
    kind: str = Field(description="key, local key or token")
    scopes: list[str] = Field(description="What the credential may")
    private: bool = Field(description="Whether alerts that are not public may be seen")


class Scope(BaseModel):
    """A scope."""

    name: str = Field(description="What a credential holds")
    allows: str = Field(description="What it may then")


async def show_caller(call: Call) -> Answer:
    """Who calls."""
    who = call.caller
    data: dict[str, Any] = {
        "name": who.name,
        "credential": who.credential,
        "kind": who.kind,
        "scopes": sorted(who.scopes),
        "private": who.private,
    }
    return Answer(data)


async def list_scopes(call: Call) -> Answer:
    """The scopes there are."""
    from service.auth.caller import SCOPES

    return Answer(rows=[{"name": name, "allows": text} for name, text in SCOPES.items()])


async def show_metrics(call: Call) -> Answer:
    """Requests by endpoint and status, for Prometheus."""
    return Answer(raw=exposition(), media_type=MEDIA_TYPE)


ROWS: tuple[Endpoint, ...] = (
    Endpoint(method="GET", path="/v1/whoami", scope=ANY, summary="Who calls", handler=show_caller, answer=Caller, tag="about"),
    Endpoint(
        method="GET",
        path="/v1/scopes",
        scope=None,
        summary="The scopes of credentials",
        handler=list_scopes,
        answer=Scope,
        table=True,
        tag="about",
    ),
    Endpoint(
        method="GET",
        path="/metrics",
        scope="operate",
        summary="Requests by endpoint and status, for Prometheus",
        handler=show_metrics,
        gives=("text/plain",),
        tag="about",
    ),
)
