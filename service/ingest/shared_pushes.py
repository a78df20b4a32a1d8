"""Answers to pushes in a file of the state folder: a repeat gets the first one's from every process of this machine, and after a restart.

    claim ──► ours: decode, send, settle (or release)
          └─► another's: its answer, or wait for it

A push in hand of a process that is gone is taken over: what that one had sent lies on the topic, and the stream drops the duplicate. The
file is written without waiting for the disk: after a power cut a repeat may be sent anew. Several machines do not share it.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import structlog

from errors import one_line
from service.ingest.remembered import KEPT, MOST
from settings.private import private_folder

log = structlog.get_logger(__name__)

FILE = "api/pushes.sqlite"
"""In the state folder."""
IN_HAND = 30.0
"""Age at which a push without an answer is taken over [s]: well above what a push may take."""
PRUNED_EVERY = 256
"""Pushes."""
_PRUNED_AT_ONCE = 1_024
_TABLE = """
CREATE TABLE IF NOT EXISTS pushes(
  id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, digest BLOB NOT NULL, begun REAL NOT NULL, owner INTEGER NOT NULL, answer BLOB)
"""
_CLAIM = """
INSERT INTO pushes(name, digest, begun, owner) VALUES(:name, :digest, :now, :owner)
ON CONFLICT(name) DO UPDATE SET digest = :digest, begun = :now, owner = :owner, answer = NULL
WHERE begun < :old OR answer IS NULL AND (begun < :stale OR owner = :gone)
"""


class Earlier(NamedTuple):
    """A push of the same name."""

    digest: bytes
    """Of its bytes."""
    answer: bytes | None
    """None: it is in hand."""
    owner: int
    """Process that has or had it."""


class SharedPushes:
    """The file.

    Parameters
    ----------
    path : Path
    most : int
        Answers that are kept.
    clock : callable
        Seconds since 1970.
    """

    def __init__(self, path: Path, *, most: int = MOST, clock: Callable[[], float] = time.time) -> None:
        self._path, self._most, self._clock, self._own = path, most, clock, os.getpid()
        self._file: sqlite3.Connection | None = None
        self._claims = 0
        self._broken_until = float("-inf")

    def claim(self, name: bytes, digest: bytes) -> Earlier | None:
        """Begin a push of a name; None: it is the caller's, and has to be settled or released.

        A file that cannot be used shares nothing: every push is its caller's then, and the log says so.
        """
        return self._tried(lambda file: self._claim(file, name, digest=digest))

    def settle(self, name: bytes, answer: bytes) -> None:
        """Keep the answer of a push."""
        self._change("UPDATE pushes SET answer = ? WHERE name = ? AND owner = ?", answer, name, self._own)

    def release(self, name: bytes) -> None:
        """Give up a push that failed: a repeat tries anew."""
        self._change("DELETE FROM pushes WHERE name = ? AND owner = ? AND answer IS NULL", name, self._own)

    def _change(self, statement: str, *values: object) -> None:
        def work(file: sqlite3.Connection) -> None:
            file.execute(statement, values)

        self._tried(work)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _claim(self, file: sqlite3.Connection, name: bytes, *, digest: bytes) -> Earlier | None:
        now = self._clock()
        given = {"name": name, "digest": digest, "now": now, "owner": self._own, "old": now - KEPT, "stale": now - IN_HAND, "gone": 0}
        for _ in range(2):
            if file.execute(_CLAIM, given).rowcount:
                self._claims += 1
                if self._claims % PRUNED_EVERY == 0:
                    self._prune(file, now)
                return None
            row = file.execute("SELECT digest, answer, owner FROM pushes WHERE name = ?", (name,)).fetchone()
            if row is None:
                continue  # it was released meanwhile
            earlier = Earlier(*row)
            if earlier.answer is not None or _is_alive(earlier.owner):
                return earlier
            given["gone"] = earlier.owner
        return None

    def _prune(self, file: sqlite3.Connection, now: float) -> None:
        """Forget the oldest: those of yesterday, and those above the number that is kept."""
        file.execute(
            "DELETE FROM pushes WHERE id IN (SELECT id FROM pushes ORDER BY id LIMIT ?) "
            "AND (begun < ? OR id <= (SELECT max(id) FROM pushes) - ?)",
            (_PRUNED_AT_ONCE, now - KEPT, self._most),
        )

    def _tried(self, work: Callable[[sqlite3.Connection], Earlier | None]) -> Earlier | None:
        if time.monotonic() < self._broken_until:
            return None
        try:
            if self._file is None:
                self._file = self._opened()
            return work(self._file)
        except (sqlite3.Error, OSError) as error:
            log.error("answers to pushes are not shared with other processes for a while", why=one_line(error, 200), file=str(self._path))
            self._broken_until = time.monotonic() + IN_HAND
            with suppress(sqlite3.Error):
                self.close()
            return None

    def _opened(self) -> sqlite3.Connection:
        private_folder(self._path.parent)
        try:
            return _open(self._path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):  # in use, or the disk: it may be whole
                raise
            log.error("the file of answers to pushes is damaged and made anew", file=str(self._path))
            for suffix in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            return _open(self._path)


def _open(path: Path) -> sqlite3.Connection:
    file = sqlite3.connect(path, timeout=0.25, isolation_level=None)
    try:
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("PRAGMA synchronous = OFF")
        file.execute(_TABLE)
    except sqlite3.Error:
        file.close()
        raise
    return file


def _is_alive(process: int) -> bool:
    """Whether a process of this machine runs."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
