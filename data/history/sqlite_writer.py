"""Portions → the SQLite file, by one process.

Pages that were written ahead are copied into the file by a thread of its own: the writer and the readers go on meanwhile.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from data.history.portion import AlertRow
from data.history.sql_writer import ALERT_COLUMNS, NIGHT, Kept, Put, SqlWriter
from data.history.sqlite_tables import FILE, NAMES, PAGE_BYTES, copy_ahead, is_passing, open_writer
from settings.private import private_folder

CHECKPOINT_BYTES = 64 << 20
"""What is written ahead before it is copied into the file [bytes]; readers and writer go on meanwhile."""
CATCH_UP_BYTES = 512 << 20
"""Beyond this the writer waits until all is copied, so that the log can begin anew [bytes]."""
WAL_BYTES = 2 << 30
"""Beyond this it waits for readers, too [bytes]."""

_ALERT = f"alerts ({', '.join(ALERT_COLUMNS)}) VALUES ({', '.join('?' * len(ALERT_COLUMNS))})"
_PUT_ALERT = f"INSERT INTO {_ALERT}"
_PUT_NEW = f"INSERT OR IGNORE INTO {_ALERT}"
_FIND_ALERT = "SELECT id, night FROM alerts WHERE survey = ? AND candid = ? AND digest = ?"
_REPLACE_ALERT = """
UPDATE alerts SET class = ?, probability = ?, published = ?, novelty = ?, schema_id = ?, body = ?, updates = updates + 1 WHERE id = ?
"""


class SqliteWriter(SqlWriter):
    """The one writer of a history in a file.

    Parameters
    ----------
    folder : Path
        Made if missing, for us alone: what it holds may not be public.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = private_folder(folder) / FILE
        self._db = self._open()
        self._copying: threading.Thread | None = None
        self._topics = {name: number for number, name in self._db.execute("SELECT id, name FROM topics")}

    @property
    def where(self) -> str:
        """The file's name."""
        return str(self.path)

    @property
    def _database(self) -> sqlite3.Connection:
        return self._db

    def close(self) -> None:
        """Copy what was written ahead into the file, and close it."""
        try:
            self._wait()
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")
        finally:
            self._db.close()

    def clear(self) -> None:
        """Drop everything: the topics are read again from their start."""
        with self._transaction():
            for name in NAMES:
                self._db.execute(f"DELETE FROM {name}")
            self._topics.clear()

    def checkpoint(self) -> bool:
        """Copy what was written ahead into the file if it has grown large; whether it was, or is being copied."""
        try:
            written = self.path.with_name(self.path.name + "-wal").stat().st_size
        except FileNotFoundError:
            return False
        if written < CHECKPOINT_BYTES:
            return False
        if written > CATCH_UP_BYTES:
            self._wait()
            self._db.execute(f"PRAGMA wal_checkpoint({'RESTART' if written > WAL_BYTES else 'PASSIVE'})")
        elif self._copying is None or not self._copying.is_alive():
            self._copying = threading.Thread(target=copy_ahead, args=(self.path,), name="checkpoint", daemon=True)
            self._copying.start()
        return True

    def _wait(self) -> None:
        if self._copying is not None:
            self._copying.join()

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

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self._forget()
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _put(self, what: Put, rows: Sequence[tuple[Any, ...]]) -> None:
        self._db.executemany(_statement(what), rows)

    def _put_records(self, rows: Sequence[AlertRow]) -> list[Kept]:
        db = self._db
        [(last,)] = db.execute("SELECT coalesce(max(id), 0) FROM alerts")
        values = [self._values(last + 1 + k, r) for k, r in enumerate(rows)]
        kept = [Kept(v[0], v[NIGHT], True) for v in values]
        db.execute("SAVEPOINT records")
        if db.executemany(_PUT_NEW, values).rowcount == len(rows):  # as ever, but after a redelivery
            db.execute("RELEASE records")
            return kept
        db.execute("ROLLBACK TO records")
        db.execute("RELEASE records")
        for k, r in enumerate(rows):
            known = db.execute(_FIND_ALERT, (r.survey, r.candid, r.digest)).fetchone()
            if known is None:
                db.execute(_PUT_ALERT, values[k])
            else:
                kept[k] = Kept(known[0], known[1], False)
                db.execute(_REPLACE_ALERT, (r.class_name, r.probability, r.published, r.novelty, r.schema_id, r.body, known[0]))
        return kept


@lru_cache(maxsize=64)
def _statement(what: Put) -> str:
    """A row's INSERT. A rejected packet that comes again is the latest one: it gets a new number."""
    columns, marks = ", ".join(what.columns), ", ".join("?" * len(what.columns))
    if what.table == "rejects":
        return f"INSERT OR REPLACE INTO rejects ({columns}) VALUES ({marks})"
    then = f"DO UPDATE SET {what.then}" if what.then else "DO NOTHING"
    return f"INSERT INTO {what.table} ({columns}) VALUES ({marks}) ON CONFLICT ({', '.join(what.key)}) {then}"


def remove(path: Path) -> None:
    """Delete a history with its journal."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
