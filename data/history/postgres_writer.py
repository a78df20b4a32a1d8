"""Portions → PostgreSQL, by one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from data.history.portion import AlertRow
from data.history.postgres_tables import PostgresDatabase, connect, drop, make_tables, shown, type_of
from data.history.sql_writer import ALERT_COLUMNS, NIGHT, Kept, Put, SqlWriter

_COPY = f"COPY alerts ({', '.join(ALERT_COLUMNS)}) FROM STDIN (FORMAT BINARY)"
_COPIED = [type_of("alerts", name) for name in ALERT_COLUMNS]
_REPLACED = [ALERT_COLUMNS.index(name) for name in ("class", "probability", "published", "novelty", "schema_id", "body")]
_NEW = """
INSERT INTO packets (survey, candid, digest, id, night)
SELECT * FROM unnest(%b::text[], %b::bigint[], %b::bytea[], %b::bigint[], %b::bigint[]) ON CONFLICT DO NOTHING RETURNING id
"""
_KNOWN = """
SELECT p.survey, p.candid, p.digest, p.id, p.night FROM unnest(%b::text[], %b::bigint[], %b::bytea[]) w(survey, candid, digest)
JOIN packets p USING (survey, candid, digest)
"""
_REPLACE = """
UPDATE alerts SET class = %s, probability = %s, published = %s, novelty = %s, schema_id = %s, body = %s, updates = updates + 1
WHERE night = %s AND id = %s
"""


class PostgresWriter(SqlWriter):
    """The one writer of a history in PostgreSQL.

    Parameters
    ----------
    url : str
        ``postgresql://…`` of a role that may make a schema in the database.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._nights: set[int] | None = None
        """Parts of `alerts` that are there; None: not read yet."""
        self._db = connect(url, writes=True)
        try:
            make_tables(self._db)
        except BaseException:
            self._db.close()
            raise

    @property
    def where(self) -> str:
        """The address without its secrets."""
        return shown(self._url)

    @property
    def _database(self) -> PostgresDatabase:
        return self._db

    def close(self) -> None:
        """End the connection."""
        self._db.close()

    def clear(self) -> None:
        """Drop everything: the topics are read again from their start."""
        with self._db.connection.transaction():
            drop(self._db)
        make_tables(self._db)
        self._forget()

    def checkpoint(self) -> bool:
        """Nothing: the server tidies up by itself."""
        return False

    def used_bytes(self) -> int:
        """Size of the tables and their indexes."""
        question = """SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c
            JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = current_schema() AND c.relkind = 'r'"""
        [(size,)] = self._db.execute(question)
        return int(size)

    def _forget(self) -> None:
        super()._forget()
        self._nights = None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            with self._db.connection.transaction():
                # Readers read on; a second historian waits here, and finds then that the positions are not his.
                self._db.connection.execute("LOCK TABLE positions IN EXCLUSIVE MODE")
                yield
        except BaseException:
            self._forget()
            raise

    def _put(self, what: Put, rows: Sequence[tuple[Any, ...]]) -> None:
        if rows:
            columns = [clean(column) for clean, column in zip(_cleaners(what.table, what.columns), zip(*rows, strict=True), strict=True)]
            self._db.connection.execute(_statement(what), columns)

    def _put_records(self, rows: Sequence[AlertRow]) -> list[Kept]:
        connection = self._db.connection
        [(last,)] = connection.execute(
            "UPDATE facts SET value = CAST(value AS bigint) + %s WHERE name = 'last_alert' RETURNING CAST(value AS bigint)", (len(rows),)
        )
        values = [self._values(number, r) for number, r in enumerate(rows, last - len(rows) + 1)]
        columns = [clean(column) for clean, column in zip(_cleaners("alerts", ALERT_COLUMNS), zip(*values, strict=True), strict=True)]
        numbers, nights, packets = columns[0], columns[NIGHT], columns[1:4]
        added = {number for (number,) in connection.execute(_NEW, (*packets, numbers, nights), binary=True)}
        kept = [Kept(number, night, number in added) for number, night in zip(numbers, nights, strict=True)]
        for night in sorted({one.night for one in kept if one.new}):
            self._make_night(night)
        with connection.cursor() as cursor:
            with cursor.copy(_COPY) as copy:
                copy.set_types(_COPIED)
                for one, row in zip(kept, zip(*columns, strict=True), strict=True):
                    if one.new:
                        copy.write_row(row)
            if len(added) < len(rows):
                known = {tuple(row[:3]): row[3:] for row in connection.execute(_KNOWN, packets, binary=True)}
                again = [k for k, one in enumerate(kept) if not one.new]
                for k in again:
                    number, night = known[packets[0][k], packets[1][k], packets[2][k]]
                    kept[k] = Kept(number, night, False)
                replaced = [[columns[place][k] for place in _REPLACED] + [kept[k].night, kept[k].number] for k in again]
                cursor.executemany(_REPLACE, replaced)
        return kept

    def _make_night(self, night: int) -> None:
        """Make a night's part of `alerts`: attached when it is made, so that readers of other nights wait for nothing."""
        if self._nights is None:
            found = self._db.execute("SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = 'alerts'::regclass")
            self._nights = {int(name.removeprefix("alerts_")) for (name,) in found}
        if night in self._nights:
            return
        name = f"alerts_{int(night)}"
        for statement in (
            f"CREATE TABLE {name} (LIKE alerts INCLUDING DEFAULTS INCLUDING CONSTRAINTS)",
            f"ALTER TABLE alerts ATTACH PARTITION {name} FOR VALUES IN ({int(night)})",
        ):
            self._db.connection.execute(statement)
        self._nights.add(night)


def _texts(column: Sequence[str | None]) -> list[str | None]:
    """Without zero bytes, which PostgreSQL cannot have in a text."""
    return [value.replace("\x00", "\ufffd") if value and "\x00" in value else value for value in column]


def _numbers(column: Sequence[float | None]) -> list[float | None]:
    """Null for what is not a number, as in SQLite."""
    return [None if value is None or value != value else float(value) for value in column]


_CLEAN: dict[str, Callable[[Sequence[Any]], list[Any]]] = {"text": _texts, "float8": _numbers}


@lru_cache(maxsize=64)
def _cleaners(table: str, columns: tuple[str, ...]) -> list[Callable[[Sequence[Any]], list[Any]]]:
    return [_CLEAN.get(type_of(table, name), list) for name in columns]


@lru_cache(maxsize=64)
def _statement(what: Put) -> str:
    """Many rows' INSERT, a list a column. A rejected packet that comes again is the latest one: it gets a new number."""
    arrays = ", ".join(f"%b::{type_of(what.table, name)}[]" for name in what.columns)
    then = what.then + (", id = excluded.id" if what.table == "rejects" else "")
    return (
        f"INSERT INTO {what.table} ({', '.join(what.columns)}) SELECT * FROM unnest({arrays})"
        f" ON CONFLICT ({', '.join(what.key)}) {f'DO UPDATE SET {then}' if then else 'DO NOTHING'}"
    )
