"""``protonova scans``: the history as Parquet in the HATS layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from console.report import write
from errors import UserError, say

if TYPE_CHECKING:
    from settings.model import Settings


def run(settings: Settings, nights: Sequence[str], *, folder: Path | None, report: Path | None) -> int:
    """Write nights (none: every one) and all objects; returns the exit status.

    Raises
    ------
    UserError
        A night is not a date, or there is no history.
    """
    from data.history import engines
    from data.history.nightly_scans import write_night, write_objects
    from data.history.nights import parse_night
    from data.history.portion import HistoryError

    try:
        wanted = sorted({parse_night(text) for text in nights})
    except ValueError:
        raise UserError(f"a night is a date such as 2026-11-29, not {', '.join(nights)}") from None
    target = folder or settings.scans_path()
    reader = engines.reader(settings)
    try:
        found = [one for night in wanted or reader.known_alert_nights() for one in write_night(reader, target, night=night)]
        found += write_objects(reader, target)
    except HistoryError as error:
        raise UserError(f"{error}: `protonova historian` makes it") from None
    finally:
        reader.close()
    table = Table(pad_edge=False)
    for name in ("catalogue", "rows", "files", "MB"):
        table.add_column(name, justify="left" if name == "catalogue" else "right")
    for one in found:
        table.add_row(one.name, f"{one.rows:,}", str(one.files), f"{one.size / 1e6:.1f}")
    Console().print(table)
    say(f"written to {target}")
    write(
        report,
        {"command": "scans", "folder": str(target), "catalogues": [{"name": o.name, "rows": o.rows, "bytes": o.size} for o in found]},
    )
    return 0
