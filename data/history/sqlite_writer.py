"""Portions → rows of the SQLite file and the positions behind them, in one transaction each; by one process."""

from __future__ import annotations

import math
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from data.history import sqlite_counts
from data.history.cells import cells_of
from data.history.counting import Sample
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
from data.history.sqlite_tables import FILE, NAMES, PAGE_BYTES, is_passing, open_writer
from settings.private import private_folder

CHECKPOINT_BYTES = 64 << 20
"""What is written ahead before it is copied into the file [bytes]: readers go on meanwhile, and only the writer waits."""
WAL_BYTES = 1 << 30
"""Beyond this the writer waits for readers, so that the log can begin anew [bytes]."""

_ALERT = """alerts (id, survey, candid, digest, object_id, programid, mjd, class, probability, published, novelty, night, arrived_ms, topic,
    partition, "offset", schema_id, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_PUT_ALERT = f"INSERT INTO {_ALERT}"
_PUT_NEW = f"INSERT OR IGNORE INTO {_ALERT}"
_FIND_ALERT = "SELECT id FROM alerts WHERE survey = ? AND candid = ? AND digest = ?"
_REPLACE_ALERT = """
UPDATE alerts SET class = ?, probability = ?, published = ?, novelty = ?, schema_id = ?, body = ?, updates = updates + 1 WHERE id = ?
"""
_PUT_DETECTION = "INSERT OR REPLACE INTO detections VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PUT_OBJECT = """
INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (object_id, survey, programid) DO UPDATE SET n = n + excluded.n, first_mjd = min(first_mjd, excluded.first_mjd),
    last_alert = iif(excluded.last_mjd >= last_mjd, excluded.last_alert, last_alert),
    class = iif(excluded.last_mjd >= last_mjd, excluded.class, class),
    probability = iif(excluded.last_mjd >= last_mjd, excluded.probability, probability),
    novelty = iif(excluded.last_mjd >= last_mjd, excluded.novelty, novelty), last_mjd = max(last_mjd, excluded.last_mjd)
"""
_PUT_EMBEDDING = """
INSERT INTO embeddings VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (object_id, survey, programid) DO UPDATE SET mjd = excluded.mjd, encoder_id = excluded.encoder_id, vector = excluded.vector
    WHERE excluded.mjd >= mjd OR excluded.encoder_id <> encoder_id
"""
_PUT_REJECT = """
INSERT OR REPLACE INTO rejects (topic, partition, "offset", records, survey, error_class, reason, attempt, size, complete, arrived_ms,
    at_partition, at_offset) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


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


class SqliteWriter:
    """The one writer of a history.

    Parameters
    ----------
    folder : Path
        Made if missing, for us alone: what it holds may not be public.
    """

    def __init__(self, folder: Path) -> None:
        self.path = private_folder(folder) / FILE
        self._db = self._open()
        self._topics: dict[str, int] = {name: number for number, name in self._db.execute("SELECT id, name FROM topics")}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Copy what was written ahead into the file, and close it."""
        try:
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")
        finally:
            self._db.close()

    def positions(self) -> dict[Place, int]:
        """The first offset of each partition that is not in the history."""
        return {Place(topic, partition): at for topic, partition, at in self._db.execute("SELECT topic, partition, next FROM positions")}

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
                raise HistoryConflictError(f"another process writes to {self.path}: only one historian may run on a state folder")
            self._put_alerts(portion.alerts, counts)
            self._put_rejects(portion.rejects)
            self._put_embeddings(portion.embeddings)
            self._db.executemany(
                "INSERT OR REPLACE INTO positions VALUES (?, ?, ?)",
                [(place.topic, place.partition, moved.next) for place, moved in portion.moved.items()],
            )
        counts["rejected"] += len(portion.rejects)
        counts["embeddings"] += len(portion.embeddings)
        return counts

    def seek(self, begins: Mapping[Place, int]) -> None:
        """Set positions outright, as of a topic that was made anew."""
        with self._transaction():
            self._db.executemany("INSERT OR REPLACE INTO positions VALUES (?, ?, ?)", [(*place, at) for place, at in begins.items()])

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
                [(known,)] = self._db.execute("SELECT mark FROM topics WHERE id = ?", (number,))
                if known and mark and known != mark:
                    changed.append(name)
                    for table in ("inputs", "ledgers", "spans", "nights", "ends"):
                        self._db.execute(f"DELETE FROM {table} WHERE topic = ?", (number,))
                    self._db.execute("UPDATE alerts SET topic = NULL WHERE topic = ?", (number,))
                    self._db.execute("DELETE FROM positions WHERE topic = ?", (name,))
                if mark:
                    self._db.execute("UPDATE topics SET mark = ? WHERE id = ?", (mark, number))
        return changed

    def clear(self) -> None:
        """Drop everything: the topics are read again from their start."""
        with self._transaction():
            for name in NAMES:
                self._db.execute(f"DELETE FROM {name}")
            self._topics.clear()

    def settle(self, samples: Iterable[Sample]) -> None:
        """Take what workers committed, once everything that they sent before is here; see `counting`."""
        with self._transaction():
            for sample in samples:
                sqlite_counts.settle(self._db, self._topic(sample.topic), sample=sample)

    def nights(self, firsts: Iterable[tuple[int, Place, int]]) -> None:
        """Remember at which offset of an input partition a night begins: (night, place, offset)."""
        with self._transaction():
            self._db.executemany(
                "INSERT OR IGNORE INTO nights VALUES (?, ?, ?, ?)",
                [(night, self._topic(place.topic), place.partition, first) for night, place, first in firsts],
            )

    def ends(self, ends: Mapping[Place, int], seen_ms: int) -> None:
        """Remember where the input partitions end now."""
        with self._transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO ends VALUES (?, ?, ?, ?)",
                [(self._topic(place.topic), place.partition, end, seen_ms) for place, end in ends.items()],
            )

    def known_nights(self) -> set[tuple[int, str, int]]:
        """(night, topic, partition) whose beginning is known."""
        return set(self._db.execute("SELECT night, name, partition FROM nights JOIN topics ON topics.id = topic"))

    def checkpoint(self) -> bool:
        """Copy what was written ahead into the file if it has grown large; whether it was."""
        try:
            written = self.path.with_name(self.path.name + "-wal").stat().st_size
        except FileNotFoundError:
            return False
        if written < CHECKPOINT_BYTES:
            return False
        how = "RESTART" if written > WAL_BYTES else "PASSIVE"
        self._db.execute(f"PRAGMA wal_checkpoint({how})")
        return True

    def used_bytes(self) -> int:
        """Size of what is in use."""
        pages, free = (self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count"))
        return int(pages - free) * PAGE_BYTES

    def _open(self) -> sqlite3.Connection:
        try:
            return open_writer(self.path)
        except sqlite3.DatabaseError as error:
            if is_passing(error):
                raise
            remove(self.path)  # a damaged file, or another one: the topics have it all
            return open_writer(self.path)

    def _transaction(self) -> _Transaction:
        return _Transaction(self._db)

    def _topic(self, name: str) -> int:
        number = self._topics.get(name)
        if number is None:
            self._db.execute("INSERT OR IGNORE INTO topics (name) VALUES (?)", (name,))
            [(number,)] = self._db.execute("SELECT id FROM topics WHERE name = ?", (name,))
            self._topics[name] = number
        return int(number)

    def _put_alerts(self, rows: Sequence[AlertRow], counts: Counter[str]) -> None:
        if not rows:
            return
        db = self._db
        latest = [rows[i] for i in {(r.survey, r.candid, r.digest): i for i, r in enumerate(rows)}.values()]  # by first arrival
        numbers, new = self._put_records(latest)
        counts["new"] += new.count(True)
        counts["again"] += len(rows) - new.count(True)
        cells = cells_of(np.array([r.ra for r in latest]), np.array([r.dec for r in latest])).tolist()
        detections: list[tuple[Any, ...]] = []
        objects: dict[tuple[str, str, int], _Seen] = {}
        for r, number, is_new, cell in zip(latest, numbers, new, cells, strict=True):
            detections.append(
                (r.object_id, number, r.survey, r.candid, r.programid, r.ra, r.dec, r.mjd, r.band, r.flux, r.flux_err, r.class_name,
                 r.probability, r.novelty)
            )  # fmt: skip
            key = (r.object_id, r.survey, r.programid)
            seen = _Seen(cell, r.ra, r.dec, is_new, r.mjd, r.mjd, number, r.class_name, r.probability, r.novelty)
            objects[key] = seen if key not in objects else _joined(objects[key], seen)
        db.executemany(_PUT_DETECTION, sorted(detections, key=itemgetter(0, 1)))
        db.executemany(_PUT_OBJECT, [(*key, *seen) for key, seen in sorted(objects.items())])
        db.executemany(
            "INSERT OR REPLACE INTO inputs VALUES (?, ?, ?, ?, 1)",
            [(self._topic(r.origin.topic), r.origin.partition, r.origin.offset, DETECTED + r.programid) for r in rows if r.origin],
        )
        unplaced = Counter((night_of(r.arrived_ms, r.survey), r.survey) for r in rows if r.origin is None)
        db.executemany(
            "INSERT INTO unplaced VALUES (?, ?, ?) ON CONFLICT (night, survey) DO UPDATE SET n = n + excluded.n",
            [(*key, n) for key, n in unplaced.items()],
        )

    def _put_records(self, rows: Sequence[AlertRow]) -> tuple[list[int], list[bool]]:
        """Each alert's number, and whether it is new; a row a packet."""
        db = self._db
        [(last,)] = db.execute("SELECT coalesce(max(id), 0) FROM alerts")
        numbers = list(range(last + 1, last + 1 + len(rows)))
        values = [self._values(number, r) for number, r in zip(numbers, rows, strict=True)]
        db.execute("SAVEPOINT records")
        if db.executemany(_PUT_NEW, values).rowcount == len(rows):  # as ever, but after a redelivery
            db.execute("RELEASE records")
            return numbers, [True] * len(rows)
        db.execute("ROLLBACK TO records")
        db.execute("RELEASE records")
        new = []
        for k, r in enumerate(rows):
            known = db.execute(_FIND_ALERT, (r.survey, r.candid, r.digest)).fetchone()
            new.append(known is None)
            if known is None:
                db.execute(_PUT_ALERT, values[k])
            else:
                numbers[k] = known[0]
                db.execute(_REPLACE_ALERT, (r.class_name, r.probability, r.published, r.novelty, r.schema_id, r.body, known[0]))
        return numbers, new

    def _values(self, number: int, r: AlertRow) -> tuple[Any, ...]:
        """A row of `alerts`."""
        place = (self._topic(r.origin.topic), r.origin.partition, r.origin.offset) if r.origin else (None, None, None)
        return (
            number, r.survey, r.candid, r.digest, r.object_id, r.programid, r.mjd, r.class_name, r.probability, r.published, r.novelty,
            night_of(r.arrived_ms, r.survey), r.arrived_ms, *place, r.schema_id, r.body,
        )  # fmt: skip

    def _put_rejects(self, rows: Sequence[RejectRow]) -> None:
        placed = [(self._topic(r.origin.topic), r) for r in rows]
        self._db.executemany(
            _PUT_REJECT,
            [(topic, r.origin.partition, r.origin.offset, r.records, r.survey, r.error_class, r.reason, r.attempt, r.size, r.complete,
              r.arrived_ms, r.partition, r.offset) for topic, r in placed],
        )  # fmt: skip
        self._db.executemany(
            "INSERT OR REPLACE INTO inputs VALUES (?, ?, ?, ?, ?)",
            [(topic, r.origin.partition, r.origin.offset, REJECTED, r.records) for topic, r in placed],
        )

    def _put_embeddings(self, rows: Sequence[EmbeddingRow]) -> None:
        latest: dict[tuple[str, str, int], EmbeddingRow] = {}
        for r in rows:
            key = (r.object_id, r.survey, r.programid)
            if key not in latest or r.mjd >= latest[key].mjd:
                latest[key] = r
        self._db.executemany(_PUT_EMBEDDING, [(*key, r.mjd, r.encoder_id, r.vector) for key, r in sorted(latest.items())])


class _Transaction:
    """BEGIN IMMEDIATE … COMMIT, or ROLLBACK."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._db.execute("COMMIT")
        elif self._db.in_transaction:
            self._db.execute("ROLLBACK")


def _joined(a: _Seen, b: _Seen) -> _Seen:
    """What two detections of one object say, the first one's place."""
    last = b if b.last_mjd >= a.last_mjd or math.isnan(a.last_mjd) else a
    return a._replace(
        n=a.n + b.n, first_mjd=min(a.first_mjd, b.first_mjd), last_mjd=max(a.last_mjd, b.last_mjd), last_alert=last.last_alert,
        class_name=last.class_name, probability=last.probability, novelty=last.novelty,
    )  # fmt: skip


def remove(path: Path) -> None:
    """Delete a history with its journal."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
