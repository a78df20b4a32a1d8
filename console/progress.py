"""A progress bar on standard error where that is a terminal, else nothing: standard output stays clean for results."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from errors import one_line, say


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


class Transfers:
    """What a command reports of files that come over the network: a bar for the files, one for the bytes of the present one."""

    def __init__(self, display: Progress, what: str) -> None:
        self._display, self._what = display, what
        self._count, self._files = 0, 0
        self._task = display.add_task(what, total=None)

    def planned(self, files: int) -> None:
        """How many files there will be."""
        self._files = files

    def progress(self, message: str, done: int, total: int | None) -> None:
        """So many bytes of a file (`message` is its name) are there."""
        which = f"{self._what} {self._count + 1:,}/{self._files:,}" if self._files else self._what
        self._display.update(self._task, description=f"{which} {one_line(message, 60)}", completed=done, total=total)

    def done(self, name: str) -> None:
        """A file is done."""
        self._count += 1
        self._display.reset(self._task, description=self._what, total=None)

    def say(self, line: str) -> None:
        """Print a line beside the bar."""
        if self._display.disable:
            say(line)
        else:
            self._display.console.print(one_line(line), markup=False, highlight=False)


@contextmanager
def transfers(what: str) -> Iterator[Transfers]:
    """Show the bytes that come while the block runs."""
    columns = [SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(bar_width=30), DownloadColumn()]
    shown = Progress(
        *columns,
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    with shown:
        yield Transfers(shown, what)
