"""Light curves so far, and up to where of the topic they were made: one SQLite file, changed in one transaction.

What it holds follows from the topic alone, so it may be thrown away at any time: it is made anew by reading the topic from its start.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from data.joining.whole_curve import WholeCurve
from errors import RetryableError
from schemas.surveys.tess_increment import POINT

FORMAT = "1"
_TABLES = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS positions (partition INTEGER PRIMARY KEY, next INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS curves (
    tic INTEGER NOT NULL, sector INTEGER NOT NULL, cadence INTEGER NOT NULL, rank INTEGER NOT NULL,
    ra REAL NOT NULL, dec REAL NOT NULL, tmag REAL, baseline REAL, changed_ms INTEGER NOT NULL, points BLOB NOT NULL,
    UNIQUE (tic, sector));
CREATE INDEX IF NOT EXISTS by_age ON curves (changed_ms);
"""


class Moved(NamedTuple):
    """How far a partition was read."""

    before: int | None
    """The offset that the store had; None: it knew none."""
    next: int


class StoreConflictError(RetryableError):
    """Another process has changed the store in between."""


class CurveStore:
    """The file.

    Parameters
    ----------
    path : Path
        Of a folder of ours.
    topic_id : str
        Of the topic that the light curves are of: a store of another one is emptied.
    """

    def __init__(self, path: Path, topic_id: str) -> None:
        self._path, self._topic_id = path, topic_id
        self._db = sqlite3.connect(path, isolation_level=None, timeout=10.0)
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    @classmethod
    def open(cls, path: Path, topic_id: str) -> Self:
        """Open the file; another file, or a damaged one, is made anew."""
        try:
            return cls(path, topic_id)
        except sqlite3.DatabaseError as error:
            if is_passing(error):
                raise
            remove(path)
            return cls(path, topic_id)

    def positions(self) -> dict[int, int]:
        """Partition → the first offset that is not in the light curves."""
        return dict(self._db.execute("SELECT partition, next FROM positions"))

    def get(self, tic: int, sector: int) -> WholeCurve | None:
        """A light curve."""
        row = self._db.execute(
            "SELECT cadence, rank, ra, dec, tmag, baseline, points FROM curves WHERE tic = ? AND sector = ?", (tic, sector)
        ).fetchone()
        if row is None:
            return None
        cadence, rank, ra, dec, tmag, baseline, points = row
        none = float("nan")
        return WholeCurve(
            tic, sector, cadence, rank, ra, dec, none if tmag is None else tmag, none if baseline is None else baseline,
            points=np.frombuffer(points, POINT),
        )  # fmt: skip

    def commit(self, curves: Iterable[tuple[WholeCurve, int]], moved: Mapping[int, Moved]) -> None:
        """Write light curves with the time of their last increment [ms since 1970] and the positions that they reach, all or nothing.

        Raises
        ------
        StoreConflictError
            The store's position is not the one that these light curves begin at.
        """
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            if {p: m.before for p, m in moved.items()} != {p: self.positions().get(p) for p in moved}:
                raise StoreConflictError(f"another process writes to {self._path}: only one may join increments on a state folder")
            db.executemany(
                "INSERT INTO curves VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (tic, sector) DO UPDATE SET cadence = excluded.cadence,"
                " rank = excluded.rank, ra = excluded.ra, dec = excluded.dec, tmag = excluded.tmag, baseline = excluded.baseline,"
                " changed_ms = max(changed_ms, excluded.changed_ms), points = excluded.points",
                [(c.tic, c.sector, c.cadence, c.rank, c.ra, c.dec, c.tmag, c.baseline, ms, c.points.tobytes()) for c, ms in curves],
            )  # fmt: skip
            db.executemany("INSERT OR REPLACE INTO positions VALUES (?, ?)", [(p, m.next) for p, m in moved.items()])
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def forget(self, before_ms: int) -> int:
        """Drop light curves without an increment since a time [ms since 1970]; how many."""
        return self._db.execute("DELETE FROM curves WHERE changed_ms < ?", (before_ms,)).rowcount

    def clear(self) -> None:
        """Drop everything: the topic is read again from its start."""
        self._db.execute("DELETE FROM curves")
        self._db.execute("DELETE FROM positions")

    def newest_ms(self) -> int:
        """Time of the latest increment [ms since 1970]; 0: there is none."""
        return int(self._db.execute("SELECT coalesce(max(changed_ms), 0) FROM curves").fetchone()[0])

    def count(self) -> int:
        """Light curves."""
        return int(self._db.execute("SELECT count(*) FROM curves").fetchone()[0])

    def used_bytes(self) -> int:
        """Size of what is in use; pages that were freed are used again."""
        pages, free, size = (self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size"))
        return int((pages - free) * size)

    def _prepare(self) -> None:
        db = self._db
        for pragma in ("page_size = 8192", "journal_mode = WAL", "synchronous = NORMAL", "cache_size = -32768"):
            db.execute(f"PRAGMA {pragma}")
        db.executescript(_TABLES)
        wanted = {"format": FORMAT, "topic": self._topic_id}
        if dict(db.execute("SELECT name, value FROM facts")) != wanted:
            db.execute("BEGIN IMMEDIATE")
            self.clear()
            db.execute("DELETE FROM facts")
            db.executemany("INSERT INTO facts VALUES (?, ?)", wanted.items())
            db.execute("COMMIT")


def is_passing(error: sqlite3.Error) -> bool:
    """Whether an error is of the machine (a full disk, a lock), not of the file."""
    return isinstance(error, sqlite3.OperationalError)


def remove(path: Path) -> None:
    """Delete a store with its journal."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
