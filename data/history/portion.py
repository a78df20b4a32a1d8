"""What is written to a history at once: rows, and up to where of the topics they were made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from errors import RetryableError

REJECTED, DETECTED = 2, 10
"""Outcomes of an input; of a detection its programid is added, so that private ones are counted apart."""


class Origin(NamedTuple):
    """The place of a packet on its topic of alerts."""

    topic: str
    partition: int
    offset: int


class AlertRow(NamedTuple):
    """A detection; units as in `detection.avsc`."""

    survey: str
    candid: int
    digest: bytes
    """Of the packet (16 bytes), the last part of its `packet_id`."""
    object_id: str
    programid: int
    ra: float
    dec: float
    mjd: float
    band: str
    flux: float | None
    flux_err: float | None
    class_name: str
    """The decision's."""
    probability: float
    """Its prior probability."""
    published: bool
    novelty: float
    arrived_ms: int
    """When the broker took the packet [ms since 1970]; 0: unknown."""
    origin: Origin | None
    """None: written by a release that did not say."""
    schema_id: int
    body: bytes
    """The record without framing."""


class EmbeddingRow(NamedTuple):
    """What the network made of an alert."""

    object_id: str
    survey: str
    programid: int
    mjd: float
    encoder_id: str
    vector: bytes
    """float16, little-endian."""


class RejectRow(NamedTuple):
    """A packet that could not be scored."""

    origin: Origin
    records: int
    """How many offsets it stands for."""
    survey: str | None
    error_class: str
    reason: str
    attempt: int
    size: int
    complete: bool
    arrived_ms: int
    partition: int
    offset: int
    """Where its bytes lie on `alerts.rejected`."""


class Place(NamedTuple):
    """A partition of a topic that is read."""

    topic: str
    partition: int


class Moved(NamedTuple):
    """How far a partition was read."""

    before: int | None
    """The offset that the store had; None: it knew none."""
    next: int


@dataclass(slots=True)
class Portion:
    """What is committed at once."""

    alerts: list[AlertRow] = field(default_factory=list)
    embeddings: list[EmbeddingRow] = field(default_factory=list)
    rejects: list[RejectRow] = field(default_factory=list)
    moved: dict[Place, Moved] = field(default_factory=dict)


class HistoryError(RetryableError):
    """The history cannot be read or written now."""


class HistoryConflictError(HistoryError):
    """Another process writes to the same history."""
