"""`/v1/classes`, `/v1/models`: which classes there are and what they are called elsewhere; which models the aliases name."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from operators.namespace import to_host
from registry.bundle import load
from schemas.taxonomy import CLASSES
from service.api.endpoints import Answer, Call, Endpoint, need
from service.api.history_access import in_thread, iso


class KnownClass(BaseModel):
    """A class that a detection may be decided as."""

    name: str = Field(description="Slug: of topics, filters and records")
    title: str = Field(description="What it is")
    taught: bool = Field(description="Taught beside the model's own")
    threshold: float | None = Field(None, description="Prior probability from which its topic takes an alert [1]")
    topic: str = Field(description="Its topic")
    revision: int | None = Field(None, description="Of a taught class's record")
    examples: int | None = Field(None, description="It was taught from so many that the caller may see")
    author: str | None = Field(None, description="Who taught it")
    taught_at: str | None = Field(None, description="When, ISO 8601 in UTC")
    alerce: str | None = Field(None, description="ALeRCE's name, or the next wider one")
    fink: str | None = Field(None, description="Fink's")
    tns: str | None = Field(None, description="TNS's")
    elasticc: int | None = Field(None, description="ELAsTiCC's code")


class KnownModel(BaseModel):
    """A model that an alias names."""

    alias: str = Field(description="champion, challenger or previous; bundle: what workers start with where nothing was announced")
    model: str = Field(description="First 16 hexadecimal digits of the bundle's sha256")
    sha256: str = Field(description="Of the bundle's manifest")
    revision: int | None = Field(None, description="Of the announcement")
    author: str | None = Field(None, description="Who announced it")
    note: str | None = Field(None, description="Why")
    announced_at: str | None = Field(None, description="When, ISO 8601 in UTC")


async def list_classes(call: Call) -> Answer:
    """Classes that a detection may be decided as."""
    facts = need(call.services.facts, "the taught classes cannot be read")
    (_, thresholds), taught = await asyncio.gather(in_thread(lambda: _bundle(call.services.settings.bundle)), facts.taught())
    names = {entry.slug: entry for entry in CLASSES}
    rows: list[dict[str, Any]] = []
    for slug, threshold in thresholds.items():
        entry = names.get(slug)
        known = {} if entry is None else {"alerce": entry.alerce, "fink": entry.fink, "tns": entry.tns, "elasticc": entry.elasticc}
        rows.append(
            {"name": slug, "title": slug if entry is None else entry.title, "taught": False, "threshold": threshold,
             "topic": f"detections.{slug}", **known}
        )  # fmt: skip
    for record in sorted(taught.values(), key=lambda one: one.name):
        examples = sum(call.private or not private for private in record.private)
        rows.append(
            {"name": record.name, "title": record.note or record.name, "taught": True, "threshold": record.threshold,
             "topic": f"detections.{record.name}", "revision": record.revision, "examples": examples,
             "author": record.author, "taught_at": iso(record.taught_ms)}
        )  # fmt: skip
    return Answer(rows=rows)


async def list_models(call: Call) -> Answer:
    """Models that the aliases name."""
    facts = need(call.services.facts, "the announced models cannot be read")
    (sha256, _), announced = await asyncio.gather(in_thread(lambda: _bundle(call.services.settings.bundle)), facts.announced())
    rows = [
        {"alias": m.alias, "model": m.model, "sha256": m.sha256, "revision": m.revision, "author": m.author, "note": m.note,
         "announced_at": iso(m.announced_ms)} for m in sorted(announced.values(), key=lambda one: one.alias)
    ]  # fmt: skip
    return Answer(rows=[*rows, {"alias": "bundle", "model": sha256[:16], "sha256": sha256}])


@lru_cache(maxsize=2)
def _bundle(path: Path | None) -> tuple[str, dict[str, float]]:
    """Its sha256, and the thresholds of its classes."""
    bundle = load(path)
    return bundle.sha256, dict(zip(bundle.classes, to_host(bundle.head.thresholds).tolist(), strict=True))


ROWS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET", path="/v1/classes", scope="read", summary="Classes that a detection may be decided as", handler=list_classes,
        answer=KnownClass, table=True, tag="models",
    ),
    Endpoint(
        method="GET", path="/v1/models", scope="read", summary="Models that the aliases name", handler=list_models, answer=KnownModel,
        table=True, tag="models",
    ),
)  # fmt: skip
