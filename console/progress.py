"""A progress bar on standard error where that is a terminal, else nothing: standard output stays clean for results."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class Bar:
    """What a command reports of its progress."""

    def __init__(self, display: Progress, task: TaskID) -> None:
        self._display = display
        self._task = task
        self._done = 0

    def advance(self, by: int = 1) -> None:
        """So many more are done."""
        self._done += by
        elapsed = self._display.tasks[0].elapsed or 0
        self._display.update(self._task, advance=by, speed=f"{self._done / elapsed:,.0f}/s" if elapsed > 0.5 else "")

    def describe(self, what: str) -> None:
        """What is being done now."""
        self._display.update(self._task, description=what)

    def total(self, total: int) -> None:
        """How many there will be."""
        self._display.update(self._task, total=total)


@contextmanager
def progress(what: str, unit: str, *, total: int | None = None) -> Iterator[Bar]:
    """Show progress while the block runs.

    Parameters
    ----------
    what, unit : str
        What is being done, and to what.
    total : int, optional
        How many there will be, if known.
    """
    console = Console(stderr=True)
    columns = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=30), MofNCompleteColumn(), TextColumn(unit)]
    shown = Progress(
        *columns, TextColumn("{task.fields[speed]}"), TimeElapsedColumn(), console=console, transient=True, disable=not sys.stderr.isatty()
    )
    with shown:
        yield Bar(shown, shown.add_task(what, total=total, speed=""))
