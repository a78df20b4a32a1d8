"""Questions about the past → rows of the SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from data.history.sql_reader import SqlReader
from data.history.sqlite_tables import FILE, open_reader


class SqliteReader(SqlReader[sqlite3.Connection]):
    """A history in a file, for readers.

    Parameters
    ----------
    folder : Path
        The historian's; it need not be there yet.
    """

    FAULTS = (sqlite3.DatabaseError,)

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._path = folder / FILE

    def where(self) -> str:
        """The file's name."""
        return str(self._path)

    def _connect(self) -> sqlite3.Connection:
        return open_reader(self._path)

    def _grouped(self, condition: str, seen: Callable[[str], str]) -> str:
        of_object = f"FROM objects i WHERE i.object_id = o.object_id AND i.survey = o.survey AND {seen('i.')} ORDER BY first_mjd LIMIT 1"
        ra, dec, first = (f"(SELECT {name} {of_object}) {name}" for name in ("ra", "dec", "first_mjd"))
        # With max() in it SQLite takes the bare columns from the row that has the maximum: those of the latest detection.
        return (
            f"SELECT object_id, survey, {ra}, {dec}, sum(n) n, {first}, max(last_mjd) last_mjd, class, probability, novelty"
            f" FROM objects o WHERE {condition} GROUP BY object_id, survey ORDER BY object_id, survey"
        )
