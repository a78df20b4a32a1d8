"""`/v1/drift`, `/v1/loop/events`: by what the stream's change is seen, and what the loop around the model did."""

from __future__ import annotations

import math
from typing import Any

from pydantic import BaseModel, Field

from schemas.records.drift_alarm import DriftAlarm
from service.api.endpoints import Answer, Call, Endpoint, need
from service.api.history_access import iso
from service.api.pages import QueryModel

MOST_STEPS = 1_000


class DriftQuery(QueryModel):
    """Which alarms and charts."""

    model: str | None = Field(None, pattern=r"^[0-9a-f]{1,64}$", description="Of one model, by the beginning of its id")
    alarms: int = Field(50, ge=0, le=1000, description="Alarms at most, the latest")


class ChartShare(BaseModel):
    """What a stratum adds to a chart."""

    stratum: str = Field(description="Survey, band and region of the sky")
    excess: float = Field(description="Deviations of its windows, added up [spreads of usual windows]")
    alerts: int = Field(description="Alerts in them")
    mean: float | None = Field(description="The statistic's mean of these alerts")
    usual: float | None = Field(description="The same of the reference")


class DriftChart(BaseModel):
    """A statistic's cumulative sums."""

    model: str = Field(description="Model whose alerts they are")
    statistic: str = Field(description="What is averaged over windows of alerts")
    threshold: float | None = Field(description="From which a sum is an alarm; null: it supports a diagnosis and raises none")
    up: float = Field(description="Sum of what lies above the usual; 0: nothing has moved")
    down: float = Field(description="Sum of what lies below")
    since: str | None = Field(description="When the larger one left zero, ISO 8601 in UTC")
    windows: int = Field(description="Windows since then")
    strata: list[ChartShare] = Field(description="What each stratum adds to the larger one, the largest first")


class DriftAlarmShown(BaseModel):
    """A statistic that moved."""

    alarm_id: str = Field(description="Its id")
    raised: str | None = Field(description="When it was raised, ISO 8601 in UTC")
    since: str | None = Field(description="Since when the statistic has moved, ISO 8601 in UTC")
    model: str = Field(description="Model whose alerts they are")
    statistic: str = Field(description="What moved most")
    stratum: str = Field(description="Where")
    before: float = Field(description="Its mean before")
    after: float = Field(description="Its mean since")
    severity: float = Field(description="Mean deviation since [spreads of usual windows]")
    diagnosis: str = Field(description="instrument: what of it, or population")
    moved: list[str] = Field(description="Every statistic that moved")
    edges: list[float] = Field(description="Edges of the bins of both histograms; empty: there are none")
    before_bins: list[float] = Field(description="Shares of the bins before")
    after_bins: list[float] = Field(description="Shares of the bins since")
    examples: list[str] = Field(description="Packets of the farthest alerts; empty for who may not see what is not public")


class Drift(BaseModel):
    """How far the stream has moved from what is usual."""

    alarms: list[DriftAlarmShown] = Field(description="The latest first")
    charts: list[DriftChart] = Field(description="One a model and statistic, as the drift process wrote them down last")


class StepsQuery(QueryModel):
    """Which steps."""

    kind: str | None = Field(None, max_length=64, description="alarm, command, taught, forgotten, announced, promoted, rolled_back …")
    subject: str | None = Field(None, max_length=128, description="About this class, model or stratum")
    limit: int = Field(100, ge=1, le=MOST_STEPS, description="Steps at most, the latest")


class LoopStep(BaseModel):
    """Something that happened in the loop."""

    at: str | None = Field(description="When, ISO 8601 in UTC")
    kind: str = Field(description="alarm, command, or the event's name")
    subject: str = Field(description="What it is about: a stratum, a model, a class")
    text: str = Field(description="What happened, in one line")
    author: str = Field(description="Who did it, where it was someone")
    id: str = Field(description="By which a later step names it")
    because: str = Field(description="The id of the step that led to it; empty: nothing that is known")


async def show_drift(call: Call) -> Answer:
    """Alarms and charts of drift."""
    facts, wanted = need(call.services.facts, "drift cannot be read"), call.query.model
    alarms = [one for one in await facts.alarms() if wanted is None or one.model.startswith(wanted)]
    charts = [one for one in await facts.charts() if wanted is None or one.model.startswith(wanted)]
    latest = alarms[::-1][: call.query.alarms]
    return Answer({"alarms": [_alarm(one, private=call.private) for one in latest], "charts": [_chart(one) for one in charts]})


async def list_steps(call: Call) -> Answer:
    """Steps of the loop, the latest first."""
    q: StepsQuery = call.query
    steps = await need(call.services.facts, "the loop's steps cannot be read").steps()
    found = [one for one in steps if q.kind in (None, one.kind) and q.subject in (None, one.subject)]
    rows = [
        {"at": iso(s.at_ms), "kind": s.kind, "subject": s.subject, "text": s.text, "author": s.author, "id": s.id, "because": s.because}
        for s in found[::-1][: q.limit]
    ]
    return Answer(rows=rows)


def _alarm(alarm: DriftAlarm, *, private: bool) -> dict[str, Any]:
    names = ("alarm_id", "model", "statistic", "stratum", "before", "after", "severity", "diagnosis")
    lists = ("moved", "edges", "before_bins", "after_bins")
    return {
        **{name: getattr(alarm, name) for name in names}, **{name: list(getattr(alarm, name)) for name in lists},
        "raised": iso(alarm.raised_ms), "since": iso(alarm.since_ms),
        "examples": list(alarm.examples) if private else [],  # an alarm does not say which of them are public
    }  # fmt: skip


def _chart(chart: Any) -> dict[str, Any]:
    return {
        "model": chart.model, "statistic": chart.statistic, "threshold": chart.threshold if math.isfinite(chart.threshold) else None,
        "up": chart.up, "down": chart.down, "since": iso(chart.since_ms), "windows": chart.windows,
        "strata": [one._asdict() for one in chart.strata],
    }  # fmt: skip


ROWS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET", path="/v1/drift", scope="read", summary="How far the stream has moved from what is usual", handler=show_drift,
        query=DriftQuery, answer=Drift, tag="loop",
    ),
    Endpoint(
        method="GET", path="/v1/loop/events", scope="read", summary="Steps of the loop, the latest first", handler=list_steps,
        description="Alarms, commands, challengers, gates, promotions, classes that were taught: each names the step that led to it.",
        query=StepsQuery, answer=LoopStep, table=True, tag="loop",
    ),
)  # fmt: skip
