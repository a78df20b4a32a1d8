"""DATE-OBS, MJD-OBS and their like → MJD TAI of the middle of an exposure, or why there is none."""

from __future__ import annotations

import re
from datetime import date

from data.connectors.fits_headers import Header
from data.frames.frame_error import FrameError
from data.frames.instrument_table import Instrument
from errors import one_line
from schemas.surveys.times import utc_to_tai

EARLIEST, LATEST = 44_000.0, 90_000.0
"""MJD of the first CCDs at telescopes (1979), and of the year 2105."""
DISAGREE = 60.0
"""DATE-OBS and MJD-OBS may differ by rounding [s]."""
_EPOCH = date(1858, 11, 17).toordinal()
_DAY = 86_400.0
_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2}(?:\.\d*)?))?)?Z?")
_OLD_DATE = re.compile(r"(\d{2})/(\d{2})/(\d{2})")
_TIME = re.compile(r"(\d{1,2}):(\d{2}):(\d{2}(?:\.\d*)?)")
_TO_TAI = {"TAI": 0.0, "TT": -32.184, "GPS": 19.0}
"""Scale → what makes it TAI [s]."""


def mid_exposure(header: Header, instrument: Instrument, *, exposure: float) -> float:
    """The middle of an exposure [MJD TAI].

    A time of the middle itself comes first (MJD-AVG, DATE-AVG), else the start (MJD-OBS, DATE-OBS) and half of the exposure. The scale is
    TIMESYS, UTC where it is missing (FITS standard 4.0, sect. 9).

    Raises
    ------
    FrameError
        `no_time`: none, one that cannot be, or two that contradict each other.
    """
    scale = header.text("TIMESYS").upper() or "UTC"
    if scale not in ("UTC", "UT", *_TO_TAI):
        raise FrameError("no_time", f"TIMESYS is {one_line(scale, 20)!r}: UTC, TAI, TT and GPS are read")
    for numbers, dates, later in (("mjd_mid", "date_mid", 0.0), ("mjd_start", "date_start", exposure / 2)):
        mjd, whole_day = _number(header, instrument.names(numbers)), False
        stated, whole_day = _date(header, instrument.names(dates), times=instrument.names("time_start"))
        if mjd is not None and stated is not None:
            apart = abs(mjd - stated) * _DAY
            if not whole_day and apart > DISAGREE:
                raise FrameError("no_time", f"its MJD and its date differ by {apart:,.0f} s")
        found = stated if mjd is None else mjd
        if found is None or (mjd is None and whole_day):
            continue
        if not EARLIEST <= found <= LATEST:
            raise FrameError("no_time", f"MJD {found:,.2f} is outside {EARLIEST:,.0f} to {LATEST:,.0f}")
        tai = found + _TO_TAI[scale] / _DAY if scale in _TO_TAI else float(utc_to_tai(found))
        return tai + later / _DAY
    raise FrameError("no_time", "no MJD-OBS, and no DATE-OBS with a time of day")


def day_of(header: Header, instrument: Instrument) -> float | None:
    """MJD of a date, PUBDAT's say; None: none."""
    return _date(header, instrument.names("public_from"))[0]


def _number(header: Header, names: tuple[str, ...]) -> float | None:
    return next((value for name in names if (value := header.number(name)) is not None), None)


def _date(header: Header, names: tuple[str, ...], *, times: tuple[str, ...] = ()) -> tuple[float | None, bool]:
    """MJD on the header's scale, and whether it is a day without a time."""
    for name in names:
        text = header.text(name)
        if found := _DATE.fullmatch(text):
            year, month, day = (int(part) for part in found.groups()[:3])
            clock = (found[4], found[5], found[6] or "0") if found[4] else None
        elif old := _OLD_DATE.fullmatch(text):  # until 1999
            day, month, year = int(old[1]), int(old[2]), 1900 + int(old[3])
            clock = None
        else:
            continue
        if clock is None:
            clock = next((part.groups() for time in times if (part := _TIME.fullmatch(header.text(time)))), None)  # type: ignore[assignment]
        try:
            start = float(date(year, month, day).toordinal() - _EPOCH)
        except ValueError:
            raise FrameError("no_time", f"{name} is {one_line(text, 40)!r}, a day that is not in the calendar") from None
        if clock is None:
            return start, True
        hours, minutes, seconds = int(clock[0]), int(clock[1]), float(clock[2])
        if hours > 23 or minutes > 59 or seconds >= 61:
            raise FrameError("no_time", f"{name} is {one_line(text, 40)!r}: not a time of day")
        return start + (hours * 3600 + minutes * 60 + seconds) / _DAY, False
    return None, False
