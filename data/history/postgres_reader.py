"""Questions about the past → rows of PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import psycopg

from data.history.postgres_tables import PostgresDatabase, connect, shown
from data.history.sql_reader import OBJECT, SqlReader


class PostgresReader(SqlReader[PostgresDatabase]):
    """A history in PostgreSQL, for readers.

    Parameters
    ----------
    url : str
        ``postgresql://…``; what may only read is enough.
    """

    ALERTS = "packets p JOIN alerts a ON a.night = p.night AND a.id = p.id"
    ALERT = "p"
    SAME_ALERT = "a.night = d.night AND a.id = d.alert"
    FAULTS = (psycopg.Error,)

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    def where(self) -> str:
        """The address without its secrets."""
        return shown(self._url)

    def _connect(self) -> PostgresDatabase:
        return connect(self._url, writes=False)

    def _within(self, cells: Sequence[tuple[int, int]], seen: str) -> list[Any]:
        # `OFFSET 0` keeps the planner from making a join of it: each range is a look into the index, however little is known of the table.
        return self._ask(
            f"SELECT {OBJECT} FROM unnest(CAST(? AS bigint[]), CAST(? AS bigint[])) r(low, high) CROSS JOIN LATERAL"
            f" (SELECT * FROM objects WHERE cell >= low AND cell < high AND {seen} OFFSET 0) o",
            ([low for low, _ in cells], [high for _, high in cells]),
        )

    def _grouped(self, condition: str, seen: Callable[[str], str]) -> str:
        first = ", ".join(f"(array_agg({name} ORDER BY first_mjd))[1] {name}" for name in ("ra", "dec"))
        last = ", ".join(f"(array_agg({name} ORDER BY last_mjd DESC))[1] {name}" for name in ("class", "probability", "novelty"))
        return (
            f"SELECT object_id, survey, {first}, CAST(sum(n) AS bigint) n, min(first_mjd) first_mjd, max(last_mjd) last_mjd, {last}"
            f" FROM objects WHERE {condition} GROUP BY object_id, survey ORDER BY object_id, survey"
        )
