"""The table of labels beside a folder of packets.

a folder with `LABELS.csv` → objectId → label
"""

from __future__ import annotations

import csv
from pathlib import Path

from errors import UserError

TABLE = "LABELS.csv"
UNKNOWN_COLUMNS = f"{TABLE} needs the columns objectId and klass"


class PacketsError(UserError):
    """The folder cannot be used. One line."""


def labels_of(folder: Path) -> dict[str, str]:
    """Labels of a table: objectId → label.

    Raises
    ------
    PacketsError
        There is no table, or it lacks a column.
    """
    try:
        with (folder / TABLE).open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            if not {"objectId", "klass"} <= set(rows.fieldnames or ()):
                raise PacketsError(f"{folder}: {UNKNOWN_COLUMNS}")
            return {str(row["objectId"]): str(row["klass"] or "").strip() for row in rows}
    except OSError:
        raise PacketsError(f"{folder / TABLE} is not there: --packets takes a folder of packets and their {TABLE}") from None
