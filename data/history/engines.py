"""Settings → the history's writer, a reader: a file, or PostgreSQL where an address is set."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from data.history.portion import HistoryError
from data.history.sql_reader import SqlReader
from data.history.sql_writer import SqlWriter
from data.history.sqlite_reader import SqliteReader
from data.history.sqlite_tables import FILE, is_passing
from data.history.sqlite_writer import SqliteWriter, remove
from errors import UserError, one_line

if TYPE_CHECKING:
    from settings.history_store import HistorySettings


class EngineMissingError(UserError):
    """The history is in a database that nothing here can speak to."""


@contextmanager
def writing(settings: HistorySettings) -> Iterator[SqlWriter]:
    """The one writer of the history, until the block ends.

    Raises
    ------
    HistoryError
        Also from within the block: it cannot be written now. A damaged file is removed before: the topics have it all.
    EngineMissingError
    """
    url = settings.history_url()
    if url is None:
        try:
            with SqliteWriter(settings.history_path()) as file:
                yield file
        except sqlite3.DatabaseError as error:
            if not is_passing(error):
                remove(settings.history_path() / FILE)
            raise HistoryError(f"the history cannot be written: {error!r}") from error
        return
    _needs_psycopg()
    import psycopg

    from data.history.postgres_writer import PostgresWriter

    try:
        with PostgresWriter(url) as database:
            yield database
    except psycopg.Error as error:
        raise HistoryError(f"the history cannot be written: {one_line(error, 200)}") from error


def reader(settings: HistorySettings) -> SqlReader[Any]:
    """A reader of the history; it need not be there yet.

    Raises
    ------
    EngineMissingError
    """
    url = settings.history_url()
    if url is None:
        return SqliteReader(settings.history_path())
    _needs_psycopg()
    from data.history.postgres_reader import PostgresReader

    return PostgresReader(url)


def may_be_there(settings: HistorySettings) -> bool:
    """Whether it is worth asking: there is a file, or an address."""
    return settings.history_url() is not None or (settings.history_path() / FILE).exists()


def _needs_psycopg() -> None:
    if find_spec("psycopg") is None:
        raise EngineMissingError("a history in PostgreSQL needs psycopg: pip install 'protonova[postgres]'")
