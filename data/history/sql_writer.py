"""Portions → rows and the positions behind them, in one transaction each, by one process: what both engines share.

What goes into which table is said here; how many rows are put at once, how an alert's number is found and what a transaction is, an engine
says (`sqlite_writer`, `postgres_writer`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from operator import itemgetter
from typing import Any, NamedTuple, Self

import numpy as np

from data.history import sql_counts
from data.history.cells import cells_of
from data.history.counting import Sample
from data.history.database import Database
from data.history.nights import night_of
from data.history.portion import (
    DETECTED,
    REJECTED,
    AlertRow,
    EmbeddingRow,
    HistoryConflictError,
    Place,
    Portion,
    RejectRow,
)


class Put(NamedTuple):
    """Rows of a table; where one with the same key is there, `then` says what becomes of it (empty: it stays)."""

    table: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    then: str


def put(table: str, columns: str, *, key: str, then: str | None = None) -> Put:
    """Say what is put into a table; without `then` the new row takes the place of the old one."""
    names, keys = tuple(columns.split()), tuple(key.split())
    if then is None:
        then = ", ".join(f"{name} = excluded.{name}" for name in names if name not in keys)
    return Put(table, names, keys, then)


ALERT_COLUMNS = (
    "id", "survey", "candid", "digest", "object_id", "programid", "mjd", "class", "probability", "published", "novelty", "night",
    "arrived_ms", "topic", "partition", '"offset"', "schema_id", "body",
)  # fmt: skip
NIGHT = ALERT_COLUMNS.index("night")
_LATER = "excluded.last_mjd >= objects.last_mjd"
_OF_LATEST = ", ".join(
    f"{name} = CASE WHEN {_LATER} THEN excluded.{name} ELSE objects.{name} END"
    for name in ("last_alert", "class", "probability", "novelty", "last_mjd")
)
_DETECTIONS = put(
    "detections",
    "object_id alert night survey candid programid ra dec mjd band flux flux_err class probability novelty",
    key="object_id alert",
)
_OBJECTS = put(
    "objects", "object_id survey programid cell ra dec n first_mjd last_mjd last_alert class probability novelty",
    key="object_id survey programid",
    then="n = objects.n + excluded.n,"
    " first_mjd = CASE WHEN excluded.first_mjd < objects.first_mjd THEN excluded.first_mjd ELSE objects.first_mjd END," + _OF_LATEST,
)  # fmt: skip
_INPUTS = put("inputs", 'topic partition "offset" outcome records', key='topic partition "offset"')
_UNPLACED = put("unplaced", "night survey n", key="night survey", then="n = unplaced.n + excluded.n")
_REJECTS = put(
    "rejects", 'topic partition "offset" records survey error_class reason attempt size complete arrived_ms at_partition at_offset',
    key='topic partition "offset"',
)  # fmt: skip
_EMBEDDINGS = put(
    "embeddings", "object_id survey programid mjd encoder_id vector", key="object_id survey programid",
    then="mjd = excluded.mjd, encoder_id = excluded.encoder_id, vector = excluded.vector"
    " WHERE excluded.mjd >= embeddings.mjd OR excluded.encoder_id <> embeddings.encoder_id",
)  # fmt: skip
_POSITIONS = put("positions", "topic partition next", key="topic partition")
_NIGHTS = put("nights", "night topic partition first", key="night topic partition", then="")
_ENDS = put("ends", "topic partition next seen_ms", key="topic partition")
OF_OFFSETS = ("inputs", "ledgers", "spans", "nights", "ends")
"""Tables of what is known of a topic's offsets."""


class _Seen(NamedTuple):
    """What a portion says of an object: a row of `objects` behind the key."""

    cell: int
    ra: float
    dec: float
    n: int
    first_mjd: float
    last_mjd: float
    last_alert: int
    class_name: str
    probability: float
    novelty: float


class Kept(NamedTuple):
    """Where an alert is kept."""

    number: int
    night: int
    new: bool
    """It was not there."""


class SqlWriter(ABC):
    """The one writer of a history."""

    def __init__(self) -> None:
        self._topics: dict[str, int] = {}

    @property
    @abstractmethod
    def where(self) -> str:
        """Name the history for a message; without secrets."""

    @property
    @abstractmethod
    def _database(self) -> Database:
        """What is asked."""

    @abstractmethod
    def close(self) -> None:
        """End it."""

    @abstractmethod
    def clear(self) -> None:
        """Drop everything: the topics are read again from their start."""

    @abstractmethod
    def checkpoint(self) -> bool:
        """Tidy up behind a portion where it is time to; whether it was."""

    @abstractmethod
    def used_bytes(self) -> int:
        """Size of what is in use."""

    @abstractmethod
    def _transaction(self) -> AbstractContextManager[object]:
        """All or nothing, and no other writer meanwhile."""

    @abstractmethod
    def _put(self, what: Put, rows: Sequence[tuple[Any, ...]]) -> None:
        """Put rows, no two of them with the same key."""

    @abstractmethod
    def _put_records(self, rows: Sequence[AlertRow]) -> list[Kept]:
        """Put alerts, a row a packet; one that is there gets the new record."""

    def _forget(self) -> None:
        """Forget what is kept in memory: a transaction was not."""
        self._topics.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def positions(self) -> dict[Place, int]:
        """The first offset of each partition that is not in the history."""
        return {
            Place(topic, partition): at for topic, partition, at in self._database.execute("SELECT topic, partition, next FROM positions")
        }

    def commit(self, portion: Portion) -> Counter[str]:
        """Write a portion, all or nothing.

        Returns
        -------
        Counter
            Of "new" and "again" (detections of packets that were there), "rejected", "embeddings".

        Raises
        ------
        HistoryConflictError
            The history's positions are not those that the portion begins at.
        """
        counts: Counter[str] = Counter()
        with self._transaction():
            held = self.positions()
            if any(held.get(place) != moved.before for place, moved in portion.moved.items()):
                raise HistoryConflictError(f"another process writes to {self.where}: only one historian may keep a history")
            self._put_alerts(portion.alerts, counts)
            self._put_rejects(portion.rejects)
            self._put_embeddings(portion.embeddings)
            self._put(_POSITIONS, [(place.topic, place.partition, moved.next) for place, moved in portion.moved.items()])
        counts["rejected"] += len(portion.rejects)
        counts["embeddings"] += len(portion.embeddings)
        return counts

    def seek(self, begins: Mapping[Place, int]) -> None:
        """Set positions outright, as of a topic that was made anew."""
        with self._transaction():
            self._put(_POSITIONS, [(*place, at) for place, at in begins.items()])

    def same_topics(self, marks: Mapping[str, str]) -> list[str]:
        """Compare the ids of topics with those that the history is of, and remember them.

        What is known of the offsets of a topic that was made anew is forgotten; alerts and objects stay.

        Returns
        -------
        list of str
            Topics that were made anew.
        """
        changed = []
        with self._transaction():
            for name, mark in marks.items():
                number = self._topic(name)
                [(known,)] = self._database.execute("SELECT mark FROM topics WHERE id = ?", (number,))
                if known and mark and known != mark:
                    changed.append(name)
                    for table in OF_OFFSETS:
                        self._database.execute(f"DELETE FROM {table} WHERE topic = ?", (number,))
                    self._database.execute("UPDATE alerts SET topic = NULL WHERE topic = ?", (number,))
                    self._database.execute("DELETE FROM positions WHERE topic = ?", (name,))
                if mark:
                    self._database.execute("UPDATE topics SET mark = ? WHERE id = ?", (mark, number))
        return changed

    def settle(self, samples: Iterable[Sample]) -> None:
        """Take what workers committed, once everything that they sent before is here; see `counting`."""
        with self._transaction():
            for sample in samples:
                sql_counts.settle(self._database, self._topic(sample.topic), sample=sample)

    def nights(self, firsts: Iterable[tuple[int, Place, int]]) -> None:
        """Remember at which offset of an input partition a night begins: (night, place, offset)."""
        with self._transaction():
            rows = {(night, self._topic(place.topic), place.partition): first for night, place, first in firsts}
            self._put(_NIGHTS, [(*key, first) for key, first in rows.items()])

    def ends(self, ends: Mapping[Place, int], seen_ms: int) -> None:
        """Remember where the input partitions end now."""
        with self._transaction():
            self._put(_ENDS, [(self._topic(place.topic), place.partition, end, seen_ms) for place, end in ends.items()])

    def known_nights(self) -> set[tuple[int, str, int]]:
        """(night, topic, partition) whose beginning is known."""
        return set(self._database.execute("SELECT night, name, partition FROM nights JOIN topics ON topics.id = topic"))

    def _topic(self, name: str) -> int:
        number = self._topics.get(name)
        if number is None:
            self._database.execute("INSERT INTO topics (name) VALUES (?) ON CONFLICT (name) DO NOTHING", (name,))
            [(number,)] = self._database.execute("SELECT id FROM topics WHERE name = ?", (name,))
            self._topics[name] = number
        return int(number)

    def _put_alerts(self, rows: Sequence[AlertRow], counts: Counter[str]) -> None:
        if not rows:
            return
        latest = [rows[i] for i in {(r.survey, r.candid, r.digest): i for i, r in enumerate(rows)}.values()]  # by first arrival
        kept = self._put_records(latest)
        new = sum(k.new for k in kept)
        counts["new"] += new
        counts["again"] += len(rows) - new
        cells = cells_of(np.array([r.ra for r in latest]), np.array([r.dec for r in latest])).tolist()
        detections: list[tuple[Any, ...]] = []
        objects: dict[tuple[str, str, int], _Seen] = {}
        for r, (number, night, is_new), cell in zip(latest, kept, cells, strict=True):
            detections.append(
                (r.object_id, number, night, r.survey, r.candid, r.programid, r.ra, r.dec, r.mjd, r.band, r.flux, r.flux_err, r.class_name,
                 r.probability, r.novelty)
            )  # fmt: skip
            key = (r.object_id, r.survey, r.programid)
            seen = _Seen(cell, r.ra, r.dec, int(is_new), r.mjd, r.mjd, number, r.class_name, r.probability, r.novelty)
            objects[key] = seen if key not in objects else _joined(objects[key], seen)
        self._put(_DETECTIONS, sorted(detections, key=itemgetter(0, 1)))
        self._put(_OBJECTS, [(*key, *seen) for key, seen in sorted(objects.items())])
        inputs = {(self._topic(r.origin.topic), r.origin.partition, r.origin.offset): DETECTED + r.programid for r in rows if r.origin}
        self._put(_INPUTS, [(*place, outcome, 1) for place, outcome in sorted(inputs.items())])
        unplaced = Counter((night_of(r.arrived_ms, r.survey), r.survey) for r in rows if r.origin is None)
        self._put(_UNPLACED, [(*key, n) for key, n in unplaced.items()])

    def _values(self, number: int, r: AlertRow) -> tuple[Any, ...]:
        """A row of `alerts`."""
        place = (self._topic(r.origin.topic), r.origin.partition, r.origin.offset) if r.origin else (None, None, None)
        return (
            number, r.survey, r.candid, r.digest, r.object_id, r.programid, r.mjd, r.class_name, r.probability, r.published, r.novelty,
            night_of(r.arrived_ms, r.survey), r.arrived_ms, *place, r.schema_id, r.body,
        )  # fmt: skip

    def _put_rejects(self, rows: Sequence[RejectRow]) -> None:
        placed = {(self._topic(r.origin.topic), r.origin.partition, r.origin.offset): r for r in rows}
        self._put(
            _REJECTS,
            [(*place, r.records, r.survey, r.error_class, r.reason, r.attempt, r.size, r.complete, r.arrived_ms, r.partition, r.offset)
             for place, r in placed.items()],
        )  # fmt: skip
        self._put(_INPUTS, [(*place, REJECTED, r.records) for place, r in placed.items()])

    def _put_embeddings(self, rows: Sequence[EmbeddingRow]) -> None:
        latest: dict[tuple[str, str, int], EmbeddingRow] = {}
        for r in rows:
            key = (r.object_id, r.survey, r.programid)
            if key not in latest or r.mjd >= latest[key].mjd:
                latest[key] = r
        self._put(_EMBEDDINGS, [(*key, r.mjd, r.encoder_id, r.vector) for key, r in sorted(latest.items())])


def _joined(a: _Seen, b: _Seen) -> _Seen:
    """What two detections of one object say, the first one's place."""
    last = b if b.last_mjd >= a.last_mjd or math.isnan(a.last_mjd) else a
    return a._replace(
        n=a.n + b.n, first_mjd=min(a.first_mjd, b.first_mjd), last_mjd=max(a.last_mjd, b.last_mjd), last_alert=last.last_alert,
        class_name=last.class_name, probability=last.probability, novelty=last.novelty,
    )  # fmt: skip
