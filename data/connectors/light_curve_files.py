"""FITS files of light curves and target pixels of TESS, Kepler and K2 → packets of `schemas/surveys/tess.py`.

an open FITS file → one packet, or why there is none

Which columns are what is a table (`FLUXES`), a row a product. Times are read by what the header says of them, else by their range; where
neither decides the file is refused. A target-pixel file gives the sum over its optimal aperture.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from data.connectors.fits_headers import Header
from data.connectors.fits_tables import Unit, units
from operators.kernels.detrend import SIGMA_OF_MAD
from operators.types import F64
from schemas.avro.wire import PacketError
from schemas.surveys import tess

Columns: TypeAlias = dict[str, npt.NDArray[Any]]
Bools: TypeAlias = npt.NDArray[np.bool_]
Kind: TypeAlias = Literal["FITS file", "unusable light curve", "too large"]


class NotALightCurve(ValueError):  # noqa: N818 - what it says of a file, not a fault of ours
    """A sound FITS file of which no packet is made: what it is, and why."""

    def __init__(self, kind: Kind, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Flux:
    """Where a product has what."""

    product: str
    flux: str
    error: str
    unit: Literal["e-/s", "relative", "ppm"] = "e-/s"
    """relative: over the quiet star's; ppm: from it. Both need the star's magnitude."""
    time: str = "TIME"
    quality: tuple[str, ...] = ("QUALITY", "SAP_QUALITY")
    cadence: str = "CADENCENO"
    beside: str = ""
    """A column that distinguishes the product from another with the same names."""


FLUXES: tuple[Flux, ...] = (
    Flux("SPOC, TESS-SPOC, Kepler, K2", "PDCSAP_FLUX", "PDCSAP_FLUX_ERR"),
    Flux("QLP", "KSPSAP_FLUX", "KSPSAP_FLUX_ERR", "relative"),
    Flux("QLP from sector 56 on", "DET_FLUX", "DET_FLUX_ERR", "relative"),
    Flux("TASOC", "FLUX_CORR", "FLUX_CORR_ERR", "ppm", beside="FLUX_RAW"),
    Flux("TASOC, not corrected", "FLUX_RAW", "FLUX_RAW_ERR"),
    Flux("K2SFF", "FCOR", "", "relative", time="T", quality=("MOVING",)),
    Flux("EVEREST", "FLUX", "FRAW_ERR", cadence="CADN", beside="FRAW"),
    Flux("eleanor", "CORR_FLUX", "FLUX_ERR", cadence="FFIINDEX"),
    Flux("SPOC and Kepler, not corrected", "SAP_FLUX", "SAP_FLUX_ERR"),
    Flux("target pixels", "FLUX", "FLUX_ERR"),
)
"""In order of preference: the first whose columns a table has is taken."""

_BITS = 0x7FFF_FFFF
"""Of a packet's quality."""
_MAGNITUDES = (-5.0, 30.0)
_MOST_PERIODS = 1_000
_MOST_TARGET = 1e15
_OPTIMAL = 2
"""Bit of an aperture's pixels that are summed."""
_NAMES: Mapping[str, tuple[str, ...]] = {
    "target": ("TICID", "TIC_ID", "KEPLERID"),
    "ra": ("RA_OBJ", "RA"),
    "dec": ("DEC_OBJ", "DEC"),
}
_OBJECT = re.compile(r"\s*(TIC|KIC|EPIC)\s*(\d+)\s*$")
_MINUS = re.compile(r"B?JD\s*-\s*(\d{7}(?:\.\d+)?)")
_POINT_BYTES = 23
MOST_POINTS = (tess.MOST_BYTES - 4096) // _POINT_BYTES
"""A packet's bytes over a point's."""


@dataclass(frozen=True, slots=True)
class Mission:
    """What of a file's headers is the mission's own."""

    name: str
    period: str
    """Card of the sector, quarter or campaign."""
    offset: int
    """Added to it in the packet."""
    magnitude: str
    low: float
    high: float
    """[d, MJD] its observations."""
    zero: float
    """JD of its own times' zero."""


TESS = Mission("TESS", "SECTOR", 0, "TESSMAG", 58_300.0, 90_000.0, 2_457_000.0)
KEPLER = Mission("Kepler", "QUARTER", tess.KEPLER_SECTOR, "KEPMAG", 54_900.0, 56_500.0, 2_454_833.0)
K2 = Mission("K2", "CAMPAIGN", tess.K2_SECTOR, "KEPMAG", 56_600.0, 58_500.0, 2_454_833.0)
MJD_ZERO = 2_400_000.5
BTJD_ZERO = 2_457_000.0


def packet_of(file: IO[bytes]) -> bytes:
    """The packet of a light curve or target-pixel file.

    Raises
    ------
    FitsError
        The file is damaged.
    NotALightCurve
        It is sound, and no packet can be made of it.
    """
    primary: Header | None = None
    table: tuple[Flux, Header, Columns] | None = None
    shapes: list[str] = []
    for unit in units(file):
        if primary is None:
            primary = unit.header
        elif table is None:
            wanted = product_of(unit)
            if wanted is None:
                shapes.append(unit.header.text("EXTNAME") or unit.header.text("XTENSION"))
                continue
            names = [wanted.time, wanted.flux, wanted.error, wanted.cadence, *wanted.quality]
            table = wanted, unit.header, unit.table(names)
            if table[2][wanted.flux].ndim == 1:
                break
        elif unit.header.text("EXTNAME").startswith("APERTURE"):
            return _packet(primary, table[0], header=table[1], columns=table[2], aperture=_summed(unit.image()))
    if primary is None or table is None:
        raise NotALightCurve("FITS file", f"no table of a light curve in it{': ' + ', '.join(shapes[:4]) if shapes else ', an image'}")
    if table[2][table[0].flux].ndim > 1:
        raise NotALightCurve("unusable light curve", "target pixels without an aperture")
    return _packet(primary, table[0], header=table[1], columns=table[2], aperture=None)


def product_of(unit: Unit) -> Flux | None:
    """The first row of `FLUXES` whose columns a table has; None: there is none."""
    have = unit.columns
    for row in FLUXES:
        if row.time in have and row.flux in have and (not row.beside or row.beside in have):
            return row
    return None


def _packet(primary: Header, row: Flux, *, header: Header, columns: Columns, aperture: Bools | None) -> bytes:
    """Check what was read and write it."""
    both = (primary, header)
    mission = _mission(both)
    target = _target(both)
    period = _number(both, mission.period)
    if period is None:
        raise _unusable(f"the headers have no {mission.period}")
    if not 0 <= period < _MOST_PERIODS or period != int(period):
        raise _unusable(f"{mission.period} is {period:.9g}: not a whole number from 0 to {_MOST_PERIODS - 1}")
    ra, dec = (next((v for name in _NAMES[axis] if (v := _number(both, name)) is not None), None) for axis in ("ra", "dec"))
    if ra is None or dec is None:
        raise _unusable("the headers have no place on the sky (RA_OBJ, DEC_OBJ)")
    magnitude = _number(both, mission.magnitude)
    if magnitude is not None and not _MAGNITUDES[0] < magnitude < _MAGNITUDES[1]:
        magnitude = None

    time = np.asarray(columns[row.time], np.float64)
    if time.ndim != 1:
        raise _unusable(f"{row.time} has {time.shape[1]} numbers a row")
    n = len(time)
    flux = np.asarray(columns[row.flux], np.float64)
    if row.product == "target pixels" and flux.ndim == 1 and not _unit_of(header, row.flux).startswith(("e-/s", "electron")):
        raise _unusable(f"{row.flux} of an unknown product, whose unit is not e-/s")
    error = np.asarray(columns[row.error], np.float64) if row.error in columns else np.full(n, np.nan)
    if aperture is not None:
        flux, error = _aperture_sums(flux, error, aperture=aperture)
    if flux.ndim != 1 or error.ndim != 1:
        raise _unusable(f"{row.flux} or {row.error} has several numbers a row")
    bits = next((columns[name] for name in row.quality if name in columns and columns[name].ndim == 1), np.zeros(n, np.int64))
    if bits.dtype.kind == "f":
        bits = np.clip(np.nan_to_num(np.abs(bits), nan=1.0), 0, _BITS).astype(np.int64)
    quality = bits & _BITS

    flux, error = _in_electrons(row, flux, error=error, magnitude=magnitude, mission=mission)
    timed = np.isfinite(time) & (time != 0)  # a cadence that was not taken has no time, in some products 0
    if not timed.any():
        raise _unusable(f"no cadence has a time ({row.time})")
    if not np.isfinite(flux[timed]).any():
        raise _unusable(f"no measurement: {row.flux} is missing throughout")
    btjd = _btjd(time, timed, both=both, mission=mission, unit=_unit_of(header, row.time))
    order = np.flatnonzero(timed)[np.argsort(btjd[timed], kind="stable")]
    order = order[np.concatenate([[True], np.diff(btjd[order]) > 0])]  # of a time that stands twice the first
    if len(order) > MOST_POINTS:
        raise NotALightCurve("too large", f"{len(order):,} points: a packet holds at most {MOST_POINTS:,}")
    if not np.isfinite(error[order]).any():
        error = np.full(n, _scatter(flux[order]))
    sector, cadence = int(period) + mission.offset, _cadence(columns.get(row.cadence), order)
    fields = {
        "tic": target,
        "sector": sector,
        "cadence": cadence,
        "ra": ra,
        "dec": dec,
        "tmag": magnitude,
        "baseline": None,
    }
    try:
        tess.candid(target, sector, cadence=cadence)
        return tess.encode_columns(fields, btjd[order], flux=flux[order], flux_err=error[order], quality=quality[order])
    except (PacketError, OverflowError, ValueError) as fault:
        raise _unusable(str(fault)) from fault


def _summed(image: npt.NDArray[Any]) -> Bools:
    """Which pixels an aperture sums."""
    if image.dtype.kind not in "iu":
        raise _unusable("an aperture that is not of whole numbers")
    return np.asarray((image.ravel() & _OPTIMAL) != 0, np.bool_)


def _unusable(reason: str) -> NotALightCurve:
    return NotALightCurve("unusable light curve", reason)


def _number(headers: tuple[Header, ...], name: str) -> float | None:
    return next((value for header in headers if (value := header.number(name)) is not None), None)


def _mission(headers: tuple[Header, ...]) -> Mission:
    """By the telescope's name; K2 is Kepler's with campaigns."""
    words = " ".join(header.text(name) for header in headers for name in ("TELESCOP", "MISSION")).upper()
    if "TESS" in words:
        return TESS
    if "K2" in words or ("KEPLER" in words and _number(headers, "CAMPAIGN") is not None):
        return K2
    if "KEPLER" in words:
        return KEPLER
    raise _unusable(f"neither TESS nor Kepler nor K2 took it: TELESCOP is {headers[0].text('TELESCOP')[:30]!r}")


def _target(headers: tuple[Header, ...]) -> int:
    """The catalogue number."""
    for name in _NAMES["target"]:
        value = _number(headers, name)
        if value is not None and 0 < value < _MOST_TARGET and value == int(value):
            return int(value)
    for header in headers:
        if found := _OBJECT.match(header.text("OBJECT")):
            return int(found[2])
    raise _unusable("the headers have no number of the target (TICID, KEPLERID)")


def target_name(headers: tuple[Header, ...]) -> str:
    """The target as catalogues name it: TIC, KIC or EPIC with its number.

    Raises
    ------
    NotALightCurve
        The headers name neither a mission nor a number.
    """
    catalogue = {"TESS": "TIC", "Kepler": "KIC", "K2": "EPIC"}[_mission(headers).name]
    return f"{catalogue} {_target(headers)}"


def _in_electrons(row: Flux, flux: F64, *, error: F64, magnitude: float | None, mission: Mission) -> tuple[F64, F64]:
    """Fluxes and errors in e-/s."""
    if row.unit == "e-/s":
        return flux, error
    if magnitude is None:
        raise _unusable(f"{row.flux} is relative to the quiet star, and the headers have no {mission.magnitude}")
    level = tess.rate(magnitude, kepler=mission is not TESS)
    with np.errstate(all="ignore"):
        return (level * flux, level * error) if row.unit == "relative" else (level * (1 + 1e-6 * flux), level * 1e-6 * error)


def _unit_of(header: Header, column: str) -> str:
    """The unit that a table's header gives a column."""
    for k in range(1, 1000):
        if f"TTYPE{k}" not in header:
            return ""
        if header.text(f"TTYPE{k}").upper() == column:
            return header.text(f"TUNIT{k}")
    return ""


def _btjd(time: F64, timed: Bools, *, both: tuple[Header, Header], mission: Mission, unit: str) -> F64:
    """Barycentric times as BJD - 2457000 [d].

    Raises
    ------
    NotALightCurve
        They are of another clock, the header contradicts them, or nothing says which scale they are on.
    """
    system = next((header.text("TIMESYS") for header in both[::-1] if header.text("TIMESYS")), "TDB").upper()
    if system not in ("TDB", "TT"):
        raise _unusable(f"TIMESYS is {system[:20]}; barycentric times in TDB are read")
    low, high = float(np.min(time[timed])), float(np.max(time[timed]))
    whole = _number(both, "BJDREFI")
    minus = _MINUS.search(unit)
    if whole is not None:
        zero, said = whole + (_number(both, "BJDREFF") or 0.0), f"with BJDREFI {whole:.10g}"
    elif minus is not None:
        zero, said = float(minus[1]), f"in {unit[:30]}"
    else:
        zero = next((z for z in (0.0, MJD_ZERO, mission.zero) if _within(mission, low, high=high, zero=z)), np.nan)
        said = "and nothing says from when they count"
    if np.isnan(zero) or not _within(mission, low, high=high, zero=zero):
        names = {0.0: "BJD", MJD_ZERO: "MJD", BTJD_ZERO: "BTJD", KEPLER.zero: "BKJD"}
        looks = [name for z, name in names.items() if z != zero and _within(mission, low, high=high, zero=z)]
        hint = f"; they look like {looks[0]}" if looks else ""
        raise _unusable(f"times from {low:.8g} to {high:.8g} {said} are not of {mission.name}'s observations{hint}")
    return time + (zero - BTJD_ZERO)


def _within(mission: Mission, low: float, *, high: float, zero: float) -> bool:
    return mission.low <= low + zero - MJD_ZERO and high + zero - MJD_ZERO <= mission.high


def _aperture_sums(flux: F64, error: F64, *, aperture: Bools) -> tuple[F64, F64]:
    """Sum over the aperture; NaN where one of its pixels is missing."""
    if flux.ndim != 2 or flux.shape[1] != len(aperture) or not aperture.any():
        raise _unusable(f"an aperture of {len(aperture)} pixels, {int(aperture.sum())} of them to be summed, does not fit the table")
    errors = error[:, aperture] if error.shape == flux.shape else np.full((len(flux), 1), np.nan)
    with np.errstate(all="ignore"):
        return flux[:, aperture].sum(axis=1), np.sqrt((errors**2).sum(axis=1))


def _scatter(flux: F64) -> float:
    """1 σ of one point by the differences of neighbours, where a product has no errors."""
    good = flux[np.isfinite(flux)]
    with np.errstate(all="ignore"):
        scatter = SIGMA_OF_MAD * float(np.median(np.abs(np.diff(good)))) / np.sqrt(2) if len(good) > 1 else 0.0
    return scatter if 0 < scatter < np.inf else float("nan")


def _cadence(numbers: npt.NDArray[Any] | None, order: npt.NDArray[np.intp]) -> int:
    """Number of the last cadence from the first row on; of rows where the product does not number them."""
    if numbers is not None and numbers.ndim == 1:
        found = np.asarray(numbers, np.float64)
        first = found[np.isfinite(found)]
        if len(first) and np.isfinite(found[order[-1]]):
            last = int(found[order[-1]] - first[0])
            if 0 <= last < 1 << tess.CADENCE_BITS:
                return last
    return int(order[-1])
