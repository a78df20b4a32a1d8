"""Once a night is over: its detections, and all objects, as catalogues for scans, in a thread beside the historian's writing."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import structlog

from data.history import engines
from data.history.nightly_scans import missing_nights, write_night, write_objects
from data.history.nights import night_of
from data.history.portion import HistoryError

if TYPE_CHECKING:
    from settings.model import Settings

log = structlog.get_logger(__name__)

OVER_MS = 18 * 3_600_000
"""A night is written so long after midnight in UTC [ms]: Rubin's has ended too, and what came late is there."""
LOOK_EVERY_S = 600.0


class NightlyScans:
    """Writes the nights that are missing, one after another.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._task: asyncio.Task[None] | None = None
        self._due = 0.0

    def look(self, now: float) -> None:
        """Begin where something is missing and nothing is being written; `now` in seconds since 1970."""
        if not self._settings.history_scans or now < self._due or (self._task is not None and not self._task.done()):
            return
        self._due = now + LOOK_EVERY_S
        self._task = asyncio.create_task(asyncio.to_thread(self._write, night_of(int(1000 * now) - OVER_MS, "ztf")))
        self._task.add_done_callback(_say)

    async def end(self) -> None:
        """Wait until what is being written is."""
        if self._task is not None:
            with contextlib.suppress(Exception):
                await self._task

    def _write(self, before: int) -> None:
        reader, folder = engines.reader(self._settings), self._settings.scans_path()
        try:
            nights = missing_nights(reader, folder, before=before)
            for night in nights:
                written = write_night(reader, folder, night=night)
                log.info("a night is written for scans", night=night, rows={one.name: one.rows for one in written})
            if nights:
                write_objects(reader, folder)
        finally:
            reader.close()


def _say(task: asyncio.Task[None]) -> None:
    """The history is kept whatever went wrong here; it is tried again at the next look."""
    if not task.cancelled() and (error := task.exception()) is not None:
        if not isinstance(error, HistoryError | OSError):
            log.error("a night is not written for scans", why=repr(error))
        else:
            log.warning("a night is not written for scans, trying again", why=str(error))
