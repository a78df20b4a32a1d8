"""The history's counts of last night and tonight → packets that it has as lost: those, too, that a worker counted as sent and did not send.

The balance of offsets and ledgers (`balance.py`) takes the workers' word for what they sent; the history has the records themselves.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from data.history import engines
from data.history.nights import DAY_MS, night_of
from data.history.portion import HistoryError
from data.history.sql_counts import survey_of

if TYPE_CHECKING:
    from settings.model import Settings

EVERYTHING = frozenset({0, 2, 3})
"""Programids that are not public: they are counted too."""


class HistoryLosses:
    """Asks the history, where there is one.

    Parameters
    ----------
    settings : Settings
    clock : callable
        Seconds since 1970.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._reader = engines.reader(settings)
        self._clock = clock

    def lost(self) -> dict[str, int]:
        """Topic of alerts → packets lost last night and tonight; without those that lost none."""
        if not engines.may_be_there(self._settings):
            return {}
        now_ms = int(1000 * self._clock())
        found: dict[str, int] = {}
        try:
            for survey_night in sorted({night_of(now_ms - back * DAY_MS, survey) for back in (0, 1) for survey in ("ztf", "lsst")}):
                for row in self._reader.counts(survey_night, private=EVERYTHING):
                    own = {night_of(now_ms - back * DAY_MS, survey_of(row.topic)) for back in (0, 1)}
                    if row.lost and survey_night in own:
                        found[row.topic] = found.get(row.topic, 0) + row.lost
        except HistoryError:  # it is being made, or made anew
            return {}
        return found

    def close(self) -> None:
        """Close what is open."""
        self._reader.close()
