"""Times and places: what a survey's time can be, UTC → TAI, latitudes on the sky. Compiled, because they run once a light-curve point."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from operators.kernels.compiled import compiled
from operators.types import F64, Survey

JD_OF_MJD = 2_400_000.5
DAY = 86_400.0
"""[s]"""

SCALES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "MJD": (1.0, 0.0),
        "JD": (1.0, -JD_OF_MJD),
        "BTJD": (1.0, 2_457_000.0 - JD_OF_MJD),
        "seconds since 1970": (DAY, 40_587.0),
        "milliseconds since 1970": (DAY * 1e3, 40_587.0),
    }
)
"""Ways to write a time: (number of them a day, MJD of their zero)."""


@dataclass(frozen=True, slots=True)
class TimeRange:
    """What the times of a survey's packets can be.

    Within its range no number can be read on two scales (a test holds it), so that a conversion is never a guess.
    """

    low: float
    """[d, MJD] the earliest."""
    high: float
    """[d, MJD] the latest."""
    scales: tuple[str, ...]
    """Of `SCALES`: the survey's own, then those that are read as well."""

    def table(self) -> F64:
        """(scales, 4): least and largest number on the scale, how many a day, MJD of its zero; for `to_mjd`."""
        rows = [(SCALES[name], name) for name in self.scales]
        return np.array([((self.low - zero) * a_day, (self.high - zero) * a_day, a_day, zero) for (a_day, zero), _ in rows])

    def fault(self, field: str, value: float) -> str:
        """Why a number is not a time of the survey, in one line."""
        if value != value:
            return f"{field}, the time, is missing"
        known = {name: SCALES[name] for name in SCALES if name not in self.scales}
        other = [name for name, (a_day, zero) in known.items() if self.low <= value / a_day + zero <= self.high]
        looks = f"; it looks like {other[0]}" if other else ""
        expected = f"{' or '.join(self.scales)} of MJD {self.low:,.0f} to {self.high:,.0f}"
        return f"{field}, the time, is {value:.12g}, no {expected}{looks}"


TIME_RANGES: Mapping[Survey, TimeRange] = MappingProxyType(
    {
        "ztf": TimeRange(57_000.0, 90_000.0, ("JD", "MJD")),  # first light 2017; its references reach back further
        # simulated and precursor samples are older; some of them carry seconds since 1970
        "lsst": TimeRange(50_000.0, 90_000.0, ("MJD", "JD", "seconds since 1970")),
        "tess": TimeRange(54_900.0, 90_000.0, ("BTJD", "JD", "MJD")),  # Kepler 2009, TESS 2018
        "frames": TimeRange(42_000.0, 90_000.0, ("MJD",)),  # the first CCDs at telescopes, 1976
    }
)
"""The plausible times of every survey."""

# MJD (UTC) from which TAI - UTC holds [s], since the steps are whole seconds (IERS Bulletin C; none was announced after 2017)
LEAP_MJD = np.array(
    [41317, 41499, 41683, 42048, 42413, 42778, 43144, 43509, 43874, 44239, 44786, 45151, 45516, 46247, 47161, 47892, 48257, 48804, 49169,
     49534, 50083, 50630, 51179, 53736, 54832, 56109, 57204, 57754],
    np.float64,
)  # fmt: skip
LEAP_SECONDS = np.arange(10.0, 38.0)

_DEGREE = math.pi / 180
_GALACTIC_POLE_RA = 192.85948 * _DEGREE  # ICRS (Hipparcos catalogue, ESA SP-1200, vol. 1, sect. 1.5.3)
_GALACTIC_POLE_DEC = 27.12825 * _DEGREE
_OBLIQUITY = 23.4392911 * _DEGREE  # J2000 (IAU 1976)


@compiled
def to_mjd(time, scales):  # type: ignore[no-untyped-def] # pragma: no cover
    """A survey's time as MJD on its own clock [d], by `TimeRange.table`; NaN where it can be none."""
    for k in range(len(scales)):
        if time >= scales[k, 0] and time <= scales[k, 1]:
            return time / scales[k, 2] + scales[k, 3]
    return np.nan


@compiled
def utc_to_tai(mjd):  # type: ignore[no-untyped-def] # pragma: no cover
    """MJD in UTC → MJD in TAI [d]; before 1972 the first whole-second offset is used."""
    if not mjd < LEAP_MJD[-1]:
        return mjd + 37.0 / 86400.0
    step = len(LEAP_MJD) - 1
    while step > 0 and mjd < LEAP_MJD[step]:
        step -= 1
    return mjd + LEAP_SECONDS[step] / 86400.0


@compiled
def galactic_latitude(ra, dec):  # type: ignore[no-untyped-def] # pragma: no cover
    """Galactic latitude [deg] of ICRS coordinates [deg]."""
    a, d = ra * _DEGREE, dec * _DEGREE
    sine = math.sin(_GALACTIC_POLE_DEC) * math.sin(d) + math.cos(_GALACTIC_POLE_DEC) * math.cos(d) * math.cos(a - _GALACTIC_POLE_RA)
    return math.asin(min(1.0, max(-1.0, sine))) / _DEGREE


@compiled
def ecliptic_latitude(ra, dec):  # type: ignore[no-untyped-def] # pragma: no cover
    """Ecliptic latitude [deg], mean ecliptic of J2000, of ICRS coordinates [deg]."""
    a, d = ra * _DEGREE, dec * _DEGREE
    sine = math.sin(d) * math.cos(_OBLIQUITY) - math.cos(d) * math.sin(_OBLIQUITY) * math.sin(a)
    return math.asin(min(1.0, max(-1.0, sine))) / _DEGREE
