"""Which night something belongs to: a time → the night's date, a date → when it begins and ends.

A night's date is the day in UTC; of Rubin, as its `dayObs`, the day that began twelve hours before.
"""

from __future__ import annotations

import datetime as dt
from functools import lru_cache

BEGINS_H = {"lsst": 12}
"""Survey → hour of the day in UTC at which a night begins; 0 for every other one."""
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
_EPOCH = dt.date(1970, 1, 1).toordinal()


def night_of(at_ms: int, survey: str) -> int:
    """The night of a time [ms since 1970] as the number YYYYMMDD."""
    return _date((at_ms - BEGINS_H.get(survey, 0) * HOUR_MS) // DAY_MS)


@lru_cache(maxsize=1024)
def _date(days: int) -> int:
    """A day since 1970 as the number YYYYMMDD."""
    day = dt.date.fromordinal(_EPOCH + days)
    return day.year * 10_000 + day.month * 100 + day.day


def begin_of(night: int, survey: str) -> int:
    """When a night begins [ms since 1970]; it ends a day later.

    Raises
    ------
    ValueError
        The number is not a date.
    """
    date = dt.date(night // 10_000, night // 100 % 100, night % 100)
    return (date.toordinal() - _EPOCH) * DAY_MS + BEGINS_H.get(survey, 0) * HOUR_MS


def parse_night(text: str) -> int:
    """A night from ``2026-11-29`` or ``20261129``.

    Raises
    ------
    ValueError
        It is not a date.
    """
    day = dt.date.fromisoformat(text)
    return day.year * 10_000 + day.month * 100 + day.day
