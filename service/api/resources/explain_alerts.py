"""`/v1/alerts/…/explain`, `/v1/projection`: why an alert is called what it is, and where alerts lie among the known ones."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from errors import RetryableError, UserError
from gpu.session import EngineError
from operators.head import judge
from operators.namespace import to_host
from operators.projection import Projection, projection_of
from registry.bundle import Bundle
from registry.bundle import load as load_bundle
from schemas.taxonomy import OTHER
from service.api.broker_facts import answered
from service.api.class_lesson import champion_of, recent_of
from service.api.endpoints import Answer, Call, Endpoint, need
from service.api.history_access import in_thread, iso, record_of
from service.api.history_models import AlertPath
from service.api.pages import QueryModel
from service.api.problems import ProblemError
from service.api.resources.past_alerts import RevisionQuery, packet_of, stored_alert
from streams.class_lessons import look_at
from streams.scorer import Pipeline

EXPLAIN_WITHIN = 120.0
"""A state of long ago is loaded first [s]."""
MOST_EFFECTS = 200


class ExplainQuery(RevisionQuery):
    """What is explained."""

    class_name: str | None = Field(None, alias="class", max_length=64, description="The class; the one that was shown, where none is named")


class PartEffect(BaseModel):
    """What one part of an alert does."""

    name: str = Field(description="What is left out")
    group: str = Field(description="packet, measurement, score, light curve, images or feature")
    value: float | None = Field(description="As the packet has it; null: it is not one number")
    log_odds: float = Field(description="Of the class with it, less those without it: above 0 it speaks for the class")


class KnownNeighbour(BaseModel):
    """A known alert that this one resembles."""

    class_name: str = Field(serialization_alias="class", description="What it is")
    cosine: float = Field(description="How alike, -1 to 1")
    packet_id: str = Field(description="Of an example that was taught; empty: a simulated alert of the bundle")


class ExplainedStep(BaseModel):
    """A step that led to the model that scored."""

    at: str | None = Field(description="When, ISO 8601 in UTC")
    kind: str = Field(description="alarm, command, or the event's name")
    subject: str = Field(description="What it is about")
    text: str = Field(description="What happened")
    author: str = Field(description="Who did it, where it was someone")


class AlertExplanation(BaseModel):
    """Why an alert is called what it is."""

    packet_id: str = Field(description="survey:candid:digest")
    model: str = Field(description="Model that scored it")
    scoring_id: str = Field(description="What the scores depend on besides the packet")
    class_name: str = Field(serialization_alias="class", description="The class that is explained")
    probability: float = Field(description="Its probability, at balanced classes [1]")
    second: str = Field(description="The most probable other class")
    second_probability: float = Field(description="Its probability [1]")
    novelty: float = Field(description="How unlike every known class, 0 to 1")
    same: bool = Field(description="Whether the packet scores now as it did; false: operators changed since")
    effects: list[PartEffect] = Field(description="The largest first, whichever way; they do not add up")
    neighbours: list[KnownNeighbour] = Field(description="The most alike first")
    steps: list[ExplainedStep] = Field(description="How its model came to score; empty: it was there when the workers started")


class ProjectionQuery(QueryModel):
    """What is drawn."""

    recent: int = Field(0, ge=0, le=2000, description="So many recent alerts beside the known classes")


class ClassPlace(BaseModel):
    """A known class in the projection."""

    name: str = Field(description="Slug of the class")
    x: float = Field(description="Mean place of its known alerts")
    y: float = Field(description="The same")
    z: float = Field(description="The same")
    spread: float = Field(description="Their mean distance from it")
    alerts: int = Field(description="Known alerts of the class")


class AlertPlace(BaseModel):
    """A recent alert in the projection."""

    packet_id: str = Field(description="survey:candid:digest")
    object_id: str = Field(description="The survey's name of the object")
    x: float = Field(description="Its place")
    y: float = Field(description="The same")
    z: float = Field(description="The same")
    class_name: str = Field(serialization_alias="class", description="Its most probable class, at balanced classes")
    probability: float = Field(description="The class's probability [1]")


class ProjectionShown(BaseModel):
    """Embeddings in three dimensions."""

    model: str = Field(description="Model whose embeddings they are; the projection is fixed for a model")
    share: list[float] = Field(description="Share of the spread between classes that each direction holds [1]")
    classes: list[ClassPlace] = Field(description="Where the known classes lie")
    alerts: list[AlertPlace] = Field(description="Recent alerts, as many as were asked for")


async def explain_alert(call: Call) -> Answer:
    """Why an alert is called what it is."""
    from streams.score_explanation import NotAtHandError, explained, origin

    stored = await stored_alert(call)
    need(call.services.settings.kafka, "what scored an alert cannot be read")
    packet, detection = await packet_of(call, stored), record_of(stored)
    current = None if call.services.scorers is None else call.services.scorers.holder.current
    at_hand = current.state if isinstance(current, Pipeline) else None
    steps = origin(await need(call.services.facts, "the loop's steps cannot be read").steps(), detection)
    try:
        async with call.services.heavy.turn():
            found, same = await answered(
                lambda: explained(call.services.settings, packet, detection=detection, class_name=call.query.class_name, at_hand=at_hand),
                within=EXPLAIN_WITHIN,
            )
    except NotAtHandError as error:
        raise ProblemError(404, str(error)) from None
    except UserError as error:
        raise ProblemError(422, str(error), errors=[{"loc": ["query", "class"], "msg": str(error)}]) from None
    except (EngineError, RetryableError) as error:
        raise ProblemError(503, str(error), headers={"Retry-After": "5"}) from None
    names = ("class_name", "probability", "second", "second_probability", "novelty")
    return Answer(
        {**{name: getattr(found, name) for name in names}, "packet_id": detection.packet_id, "model": detection.model,
         "scoring_id": detection.scoring_id, "same": same, "effects": [one._asdict() for one in found.effects[:MOST_EFFECTS]],
         "neighbours": [one._asdict() for one in found.neighbours],
         "steps": [{"at": iso(s.at_ms), "kind": s.kind, "subject": s.subject, "text": s.text, "author": s.author} for s in steps]}
    )  # fmt: skip


async def show_projection(call: Call) -> Answer:
    """Where classes and recent alerts lie."""
    champion = await champion_of(call)
    drawn, places = await in_thread(lambda: _known(champion.bundle.path, champion.bundle.sha256))
    rows: list[dict[str, Any]] = []
    if call.query.recent:
        async with call.services.heavy.turn():
            recent = await recent_of(call, call.query.recent)

            def work() -> list[dict[str, Any]]:
                seen = look_at(champion.state, recent, without=(), private=call.private)
                if not seen.names:
                    return []
                probability = np.asarray(judge(seen.views, champion.state.head.weights.map(to_host)).probability)
                where = drawn.of(to_host(seen.views.embedding))
                best, names = probability.argmax(axis=1), (*champion.state.classes, OTHER)
                return [
                    {"packet_id": packet, "object_id": thing, **_xyz(xyz), "class_name": names[k], "probability": float(probability[i, k])}
                    for i, ((packet, thing), xyz, k) in enumerate(zip(seen.names, where, best, strict=True))
                ]

            rows = await call.services.heavy.run(work)
    data = {"model": champion.bundle.sha256[:16], "share": drawn.share.tolist(), "classes": places, "alerts": rows}
    return Answer(data)


@lru_cache(maxsize=2)
def _known(path: Path, sha256: str) -> tuple[Projection, list[dict[str, Any]]]:
    """The projection of a bundle, and where its classes lie."""
    return places_of(load_bundle(path))


def places_of(bundle: Bundle) -> tuple[Projection, list[dict[str, Any]]]:
    """The projection of a bundle's known alerts, and where its classes lie in it."""
    embedding, label = np.asarray(bundle.reference.views.embedding, np.float64), bundle.reference.label
    drawn = projection_of(embedding, label)
    xyz = drawn.of(embedding)
    rows: list[dict[str, Any]] = []
    for k in np.unique(label).tolist():
        own = xyz[label == k]
        mean = own.mean(axis=0)
        spread = float(np.linalg.norm(own - mean, axis=1).mean())
        rows.append({"name": bundle.classes[k], **_xyz(mean), "spread": spread, "alerts": len(own)})
    return drawn, rows


def _xyz(place: Any) -> dict[str, float]:
    return dict(zip("xyz", map(float, place), strict=True))


ROWS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET", path="/v1/alerts/{survey}:{candid}/explain", scope="read", summary="Why an alert is called what it is",
        handler=explain_alert, description="Each part of the packet is left out in turn, and the alert scored without it by the state that "
        "scored it.", parameters=AlertPath, query=ExplainQuery, answer=AlertExplanation, tag="alerts",
    ),
    Endpoint(
        method="GET", path="/v1/projection", scope="read", summary="Embeddings in three dimensions", handler=show_projection,
        description="A linear projection along the directions in which the model's known classes lie farthest apart: fixed for a model.",
        query=ProjectionQuery, answer=ProjectionShown, tag="classes",
    ),
)  # fmt: skip
