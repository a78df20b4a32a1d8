"""Times and places: UTC Julian dates → MJD TAI, latitudes on the sky. Compiled, because they run once a light-curve point."""

from __future__ import annotations

import math

import numpy as np

from operators.kernels.compiled import compiled

JD_OF_MJD = 2_400_000.5
UNIX_EPOCH = 40_587.0
"""MJD of 1970-01-01."""
NO_MJD = 1_000_000.0
"""Beyond it a number is no MJD (the year 4596); some Rubin samples carry seconds since 1970 there."""

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
def utc_jd_to_mjd_tai(jd):  # type: ignore[no-untyped-def] # pragma: no cover
    """Julian date in UTC → MJD in TAI [d]; before 1972 the first whole-second offset is used."""
    mjd = jd - JD_OF_MJD
    if mjd >= LEAP_MJD[-1]:
        return mjd + 37.0 / 86400.0
    step = np.searchsorted(LEAP_MJD, mjd, side="right") - 1
    return mjd + LEAP_SECONDS[max(step, 0)] / 86400.0


@compiled
def to_mjd(time):  # type: ignore[no-untyped-def] # pragma: no cover
    """Rubin's time as MJD [d]: a number that can be none is read as seconds since 1970, which keeps all differences right."""
    return UNIX_EPOCH + time / 86400.0 if time > NO_MJD else time


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
