"""What is asked of a history, whatever keeps it; the rows it answers with.

Every question names the private data that its caller may see: a set of programids beside the public one. What a caller may not see is not
there for him: it is in no page, no count and no object's summary.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from data.history.counting import TopicNight
from data.history.portion import Origin, RejectRow

PUBLIC = 1
"""The programid of public alerts."""
Rights = Collection[int]
"""Programids beside the public one that a caller may see."""


class ObjectRow(NamedTuple):
    """An object as a caller may see it."""

    object_id: str
    survey: str
    ra: float
    dec: float
    """Of the first detection, ICRS [deg]."""
    n: int
    """Detections, each packet once."""
    first_mjd: float
    last_mjd: float
    class_name: str
    """The decision of the latest detection, and its prior probability and novelty."""
    probability: float
    novelty: float


class Near(NamedTuple):
    """An object in a cone."""

    separation: float
    """From the cone's centre [arcsec]."""
    object: ObjectRow


class PointRow(NamedTuple):
    """A detection of a light curve."""

    survey: str
    candid: int
    ra: float
    dec: float
    mjd: float
    band: str
    flux: float | None
    flux_err: float | None
    class_name: str
    probability: float
    novelty: float
    programid: int


class AlertSummary(NamedTuple):
    """An alert of a page."""

    id: int
    """Its number in this history, in the order of arrival."""
    survey: str
    candid: int
    packet_id: str
    object_id: str
    programid: int
    mjd: float
    class_name: str
    probability: float
    published: bool
    novelty: float
    arrived_ms: int


class StoredAlert(NamedTuple):
    """An alert with its record."""

    summary: AlertSummary
    origin: Origin | None
    revisions: tuple[str, ...]
    """The packet ids of this candid that the caller may see, the newest first."""
    schema_id: int
    body: bytes


class RejectedRow(NamedTuple):
    """A rejected packet of a page."""

    id: int
    packet: RejectRow


class Neighbour(NamedTuple):
    """An object whose latest embedding is like another's."""

    cosine: float
    object_id: str
    survey: str


class Part(NamedTuple):
    """Consecutive alerts of a night that are fetched at once."""

    first: int
    last: int
    """Their ids."""
    rows: int
    updates: int
    """How often records of it were replaced."""
    size: int
    """Of the records [bytes]."""
    offsets: tuple[tuple[str, int, int, int], ...]
    """Where the packets lie: topic, partition, first and last offset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertFilter:
    """Which alerts; None: any."""

    survey: str | None = None
    class_name: str | None = None
    published: bool | None = None
    least_probability: float | None = None
    least_novelty: float | None = None
    since_mjd: float | None = None
    until_mjd: float | None = None
    first_detected: bool = False
    """Since and until are of the object's first detection, not of the alert."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectFilter:
    """Which objects; None: any."""

    survey: str | None = None
    class_name: str | None = None
    least_probability: float | None = None
    least_novelty: float | None = None
    least_detections: int | None = None
    since_mjd: float | None = None
    """Of the last detection."""
    until_mjd: float | None = None
    first_since_mjd: float | None = None
    first_until_mjd: float | None = None
    ids: Sequence[str] | None = None


class HistoryStore(Protocol):
    """A history, for readers. Pages go on behind a cursor, which is the key of the last row of the page before."""

    def object(self, object_id: str, *, private: Rights) -> ObjectRow | None:
        """An object by its name; None: there is none that the caller may see."""
        ...

    def objects(self, wanted: ObjectFilter, *, private: Rights, limit: int, after: str | None = None) -> list[ObjectRow]:
        """Objects in the order of their names."""
        ...

    def cone(
        self, ra: float, dec: float, *, radius: float, private: Rights, limit: int, after: tuple[float, str] | None = None
    ) -> list[Near]:
        """Objects within a radius [deg] of a place, the nearest first."""
        ...

    def lightcurve(self, object_id: str, *, private: Rights) -> list[PointRow]:
        """Every detection of an object, the oldest first."""
        ...

    def records(self, object_id: str, *, private: Rights, limit: int, before: tuple[float, int] | None = None) -> list[StoredAlert]:
        """The alerts of an object with their records, the newest first."""
        ...

    def alert(self, survey: str, candid: int, *, private: Rights, packet_id: str | None = None) -> StoredAlert | None:
        """An alert, the newest revision of it unless one is named; None: there is none that the caller may see."""
        ...

    def alerts(self, wanted: AlertFilter, *, private: Rights, limit: int, before: tuple[float, int] | None = None) -> list[AlertSummary]:
        """Alerts, the latest observed first."""
        ...

    def neighbours(self, object_id: str, *, private: Rights, limit: int) -> list[Neighbour] | None:
        """Objects with embeddings like this one's, of the same encoder; None: it has none."""
        ...

    def rejects(self, *, limit: int, before: int | None = None, error_class: str | None = None) -> list[RejectedRow]:
        """Rejected packets, the latest first."""
        ...

    def counts(self, night: int, *, private: Rights) -> list[TopicNight]:
        """What became of a night's packets, a row a topic of alerts."""
        ...

    def parts(self, night: int, *, private: Rights, rows: int) -> list[Part]:
        """The alerts of a night, cut into parts."""
        ...

    def bodies(self, night: int, *, private: Rights, first: int, last: int) -> list[tuple[int, bytes]]:
        """Schema id and record of the alerts of a part."""
        ...
