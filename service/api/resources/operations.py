"""`/v1/operations`, `/v1/sources`, `/v1/schemas`: what runs, what is mirrored from elsewhere, what records are written in."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from schemas.records.table import BY_ID, TABLE
from service.api.endpoints import Answer, Call, Endpoint, need
from service.api.history_access import iso, not_there
from streams.source_states import SILENT_S

SCHEMA = "application/vnd.apache.avro+json"


class WorkerShown(BaseModel):
    """A process that scores packets."""

    worker: str = Field(description="Its name")
    alive: bool = Field(description="Whether it was heard of late")
    age_s: float = Field(description="Since it was heard last [s]")
    rate: float = Field(description="Packets a second of late [1/s]")
    total: int = Field(description="Packets since this process began to listen")
    scoring_id: str = Field(description="What it scores with")


class PartitionLag(BaseModel):
    """A partition of packets."""

    topic: str = Field(description="Its topic")
    partition: int = Field(description="Its number")
    committed: int | None = Field(description="Up to where outcomes are acknowledged; null: nothing was")
    end: int = Field(description="Where the topic ends")
    lag: int = Field(description="What is not acknowledged yet")


class PartShown(BaseModel):
    """A process beside the workers."""

    part: str = Field(description="Its name")
    state: str = Field(description="running, waiting, failing, silent")
    done: int = Field(description="Records that it worked up")
    lag: int = Field(description="Records that wait for it")
    why: str = Field(description="What it waits for; empty: nothing is wrong")
    age_s: float = Field(description="Since it was heard last [s]")


class LatencyShown(BaseModel):
    """From the broker's append of a packet to the detection's."""

    p50: float | None = Field(description="Median [ms]")
    p99: float | None = Field(description="Of one in a hundred it is longer [ms]")
    n: int = Field(description="Packets")


class Operations(BaseModel):
    """How the stream does."""

    state: str = Field(description="live, quiet, behind, waiting, loss or down")
    text: str = Field(description="The same in words")
    model: str = Field(description="Model that the workers score with; empty: none was heard")
    scoring_id: str = Field(description="What the scores depend on besides the packet")
    engine: str = Field(description="What runs the network")
    rates: dict[str, float] = Field(description="in, detections, rejected, duplicates of late [1/s]")
    latency_ms: LatencyShown = Field(description="Of late")
    balance: str = Field(description="balanced, unknown or loss: whether every packet is accounted for")
    lag_total: int = Field(description="Packets that wait")
    lag: list[PartitionLag] = Field(description="By partition")
    workers: list[WorkerShown] = Field(description="Processes that score")
    parts: list[PartShown] = Field(description="Mirrors, work on frames, increments, drift")
    api_engine: str | None = Field(description="What runs the network in the process that answers; null: it does not score")
    api_scoring_id: str | None = Field(description="What this process scores with")
    api_waiting: int | None = Field(description="Packets that wait to be scored by this process")


class Source(BaseModel):
    """Another cluster whose topics are mirrored."""

    source: str = Field(description="Its name")
    state: str = Field(description="running, waiting, failing; silent: not heard of late; not started")
    topics: list[str] = Field(description="What is mirrored")
    copied: int = Field(description="Packets")
    lag: int = Field(description="Packets that wait there")
    rejected: int = Field(description="Packets that were rejected on the way")
    lost: int = Field(description="Packets that had left the source before they were read")
    heard: str | None = Field(description="When it was heard last, ISO 8601 in UTC")
    why: str = Field(description="What is wrong; empty: nothing")


class SchemaShown(BaseModel):
    """A schema of records."""

    id: int = Field(description="In the framing of each record")
    subject: str = Field(description="What is written in it: topic and -value")
    version: int = Field(description="Of the subject, the latest is the highest")
    name: str = Field(description="Of the record")


class SchemaPath(BaseModel):
    """Names a schema."""

    schema_id: int = Field(ge=0, le=2**31 - 1, description="Its id")


async def show_operations(call: Call) -> Answer:
    """How the stream does."""
    found = await need(call.services.watching, "the stream cannot be watched").snapshot()
    scorers = call.services.scorers
    current = None if scorers is None else scorers.holder.current
    names = ("model", "scoring_id", "engine", "rates", "latency_ms", "lag_total", "lag", "workers", "parts", "state")
    data: dict[str, Any] = {name: found[name] for name in names}
    data |= {
        "text": found["state_text"], "balance": found["balance"]["state"], "api_engine": current and current.engine,
        "api_scoring_id": current and current.scoring_id, "api_waiting": None if scorers is None else scorers.current.waiting,
    }  # fmt: skip
    return Answer(data)


async def list_sources(call: Call) -> Answer:
    """Sources that are mirrored, or were to be."""
    facts, now = need(call.services.facts, "the sources cannot be read"), call.services.clock()
    found = await facts.sources()
    configured = {source.name for source in call.services.settings.source}
    nothing = {"topics": [], "copied": 0, "lag": 0, "rejected": 0, "lost": 0, "heard": None, "why": ""}
    rows: list[dict[str, Any]] = []
    for name in sorted(configured | found.keys()):
        if (s := found.get(name)) is None:
            rows.append({"source": name, "state": "not started", **nothing})
            continue
        state = s.state if now - s.updated_ms / 1000 < SILENT_S else "silent"
        rows.append(
            {"source": name, "state": state, "topics": list(s.topics), "copied": s.copied, "lag": s.lag, "rejected": s.rejected,
             "lost": s.lost, "heard": iso(s.updated_ms), "why": s.error}
        )  # fmt: skip
    return Answer(rows=rows)


async def list_schemas(call: Call) -> Answer:
    """Every schema of what travels on a topic of ours."""
    return Answer(rows=[{"id": row.id, "subject": row.subject, "version": row.version, "name": row.name} for row in TABLE])


async def show_schema(call: Call) -> Answer:
    """A schema itself."""
    row = BY_ID.get(call.path.schema_id)
    if row is None:
        raise not_there(f"schema {call.path.schema_id}")
    return Answer(raw=row.schema_text.encode(), media_type=SCHEMA, headers={"ETag": f'"{row.id}"'})


ROWS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET", path="/v1/operations", scope="operate", summary="How the stream does: lag, workers, engines", handler=show_operations,
        description="What the status page shows. The first question waits some seconds for what the workers report.", answer=Operations,
        tag="operations",
    ),
    Endpoint(
        method="GET", path="/v1/sources", scope="operate", summary="Other clusters whose topics are mirrored", handler=list_sources,
        answer=Source, table=True, tag="operations",
    ),
    Endpoint(
        method="GET", path="/v1/schemas", scope="read", summary="Schemas of what travels on topics", handler=list_schemas,
        answer=SchemaShown, table=True, tag="operations",
    ),
    Endpoint(
        method="GET", path="/v1/schemas/{schema_id}", scope="read", summary="A schema, as Avro writes it", handler=show_schema,
        description="The same ids as on the status page's schema registry; a schema never changes under its id.", parameters=SchemaPath,
        gives=(SCHEMA,), tag="operations",
    ),
)  # fmt: skip
