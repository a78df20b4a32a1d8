"""A table that a person typed: all of its lines, or one error that names the bad ones.

CSV with a header → a row a line, as the command wants it
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from errors import UserError, one_line

SHOWN = 5
"""Bad lines that are shown."""

_Row = TypeVar("_Row")
Cells = Mapping[str, str]
"""What a column holds → the line's text, stripped; empty: the table has no such column, or the cell nothing."""


def rows_of(
    path: Path,
    *,
    what: str,
    columns_of: Callable[[Sequence[str]], Mapping[str, str]],
    needed: Sequence[str],
    row_of: Callable[[Cells], _Row],
    most: int,
) -> list[_Row]:
    """Read a table.

    Parameters
    ----------
    path : Path
    what : str
        A line is: "label".
    columns_of : callable
        The header's names → what a column holds, and its name.
    needed : sequence of str
        What there must be columns of.
    row_of : callable
        A line's cells → the row; raises a ValueError or a UserError where they are not one.
    most : int
        Lines.

    Raises
    ------
    UserError
        It cannot be read, lacks a column, or a line is bad: then nothing of it is taken.
    """
    rows: list[_Row] = []
    bad: list[str] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            table = csv.DictReader(handle)
            header = table.fieldnames or ()
            columns = columns_of(header)
            if set(needed) - columns.keys():
                word = "column" if len(needed) == 1 else "columns"
                raise UserError(f"{path} has no {word} {' and '.join(needed)}; it has {one_line(', '.join(header), 200)}")
            for line in table:
                try:
                    rows.append(row_of({key: (line.get(name) or "").strip() for key, name in columns.items()}))
                except (ValueError, UserError) as error:
                    bad.append(f"line {table.line_num}: {one_line(error, 120)}")
                if len(rows) > most:
                    raise UserError(f"{path} has more than {most:,} {what}s: split it")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as a table of {what}s: {one_line(error, 200)}") from error
    if bad:
        more = f", and {len(bad) - SHOWN:,} more" if len(bad) > SHOWN else ""
        raise UserError(f"nothing of {path} is taken: {'; '.join(bad[:SHOWN])}{more}")
    if not rows:
        raise UserError(f"{path} holds no {what}")
    return rows
