"""Rubin alert packets, schema versions 3 to 11, framed or as containers.

Field meanings: https://sdm-schemas.lsst.io/apdb.html . Fluxes are nJy (AB), times MJD TAI. Names changed over the versions
(filterName, midPointTai, psFlux, decl became band, midpointMjdTai, psfFlux, dec): both are read.

Some sample packets carry 1480360995 as their time, seconds since 1970; see `schemas.surveys.times.TIME_RANGES`. A packet without a flux
is kept: it has a time and a place, and its history. snr is of the detection in the difference image, psfFluxErr of psfFlux: the one does
not make the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from operators.kernels.compiled import compiled
from operators.types import WAVELENGTH, Survey
from schemas.avro.program import Kind, Want, record_fields, slots
from schemas.avro.wire import PacketError
from schemas.surveys.columns import CONTEXT_INDEX, SCORE_INDEX, Columns, Record
from schemas.surveys.cutouts import Cutouts
from schemas.surveys.history import DETECTION, FORCED, LIMIT, OWN, ROWS, put, settle
from schemas.surveys.ranges import COUNT, DISTANCE, MAGNITUDE, SHARE, Range, blank, bounds, spans
from schemas.surveys.times import TIME_RANGES, ecliptic_latitude, galactic_latitude, to_mjd

PIXEL_SCALE = 0.2
"""[arcsec/pixel] (Ivezić et al. 2019, ApJ 873, 111), where the cut-out's header states no other."""

_TIMES = ("midpointMjdTai", "midPointTai")
_BANDS = ("band", "filterName")
_FLUXES = ("psfFlux", "psFlux")
_ERRORS = ("psfFluxErr", "psFluxErr")
_DECS = ("dec", "decl")
_POINT: dict[str, Kind] = {
    **dict.fromkeys((*_TIMES, *_FLUXES, *_ERRORS), "number"),
    **dict.fromkeys(_BANDS, "text"),
}
_OF_SOURCE = (*_TIMES, "ra", *_DECS, *_FLUXES, *_ERRORS, "snr", "reliability", "extendedness", "templateFlux", "ixx", "iyy", "ixy")
_SCALARS: dict[str, Kind] = {f"diaSource.{name}": "number" for name in _OF_SOURCE}
_SCALARS |= {f"diaSource.{name}": "text" for name in _BANDS}
_SCALARS |= {f"diaSource.{name}": "integer" for name in ("diaSourceId", "diaObjectId", "ssObjectId")}
_SCALARS |= {"alertId": "integer", "diaSourceId": "integer", "diaObject.diaObjectId": "integer", "ssObject.ssObjectId": "integer"}
_SCALARS |= {"diaObject.firstDiaSourceMjdTai": "number", "diaObject.nDiaSources": "number", "diaObject.nearbyObj1Dist": "number"}
_SCALARS |= {"ssSource.ephOffset": "number", "ssSource.ephVmag": "number"}
_SCALARS |= {"cutoutScience": "bytes", "cutoutTemplate": "bytes", "cutoutDifference": "bytes"}

SURVEY: Survey = "lsst"

WANT = Want(
    _SCALARS,
    {
        "prvDiaSources": _POINT,
        "prvDiaForcedSources": _POINT,
        "prvDiaNondetectionLimits": {
            "midpointMjdTai": "number", "midPointTai": "number", "band": "text", "filterName": "text", "diaNoise": "number",
        },
    },
)  # fmt: skip

TIMES = TIME_RANGES[SURVEY]
_FLUX: Range = (-1e12, 1e12)
_ERROR: Range = (1e-3, 1e12)
"""[nJy]: a thousandth of what the deepest stack reaches is an error that was never filled."""
_MOMENT: Range = (-1e6, 1e6)
VALID: dict[str, Range] = {
    **dict.fromkeys((*_FLUXES, "templateFlux"), _FLUX),
    **dict.fromkeys((*_ERRORS, "diaNoise"), _ERROR),
    "snr": (0.0, 1e7),
    "reliability": SHARE,
    "extendedness": SHARE,
    **dict.fromkeys(("ixx", "iyy", "ixy"), _MOMENT),
    "nDiaSources": COUNT,
    "nearbyObj1Dist": DISTANCE,
    "ephOffset": DISTANCE,
    "ephVmag": MAGNITUDE,
}
"""What each field can hold; anything else there is missing."""

_S, _A, _C = slots(WANT)
_OF_SCALARS, _OF_COLUMNS = bounds(WANT, VALID)
_SPANS = spans(WANT)
_SCALES = TIMES.table()
_SOURCE = {name: _S[f"diaSource.{name}"] for name in (*_OF_SOURCE, *_BANDS)}
_T1, _T2, _B1, _B2 = (_SOURCE[k] for k in (*_TIMES, *_BANDS))
_F1, _F2, _E1, _E2 = (_SOURCE[k] for k in (*_FLUXES, *_ERRORS))
_RA, _DEC1, _DEC2, _SNR, _RELIABILITY, _EXTENDED, _TEMPLATE = (
    _SOURCE[k] for k in ("ra", "dec", "decl", "snr", "reliability", "extendedness", "templateFlux")
)
_IXX, _IYY, _IXY = (_SOURCE[k] for k in ("ixx", "iyy", "ixy"))
_FIRST, _NDIA, _NEARBY = (_S[f"diaObject.{k}"] for k in ("firstDiaSourceMjdTai", "nDiaSources", "nearbyObj1Dist"))
_SS_OFFSET, _SS_MAG = _S["ssSource.ephOffset"], _S["ssSource.ephVmag"]
_CUTOUTS = tuple(_S[k] for k in ("cutoutScience", "cutoutTemplate", "cutoutDifference"))
_CANDIDS = tuple(_S[k] for k in ("diaSource.diaSourceId", "diaSourceId", "alertId"))
_OBJECTS = tuple(_S[k] for k in ("diaSource.diaObjectId", "diaObject.diaObjectId", "diaSource.ssObjectId", "ssObject.ssObjectId"))
_PRV, _FORCED, _LIMITS = (_A[k] for k in ("prvDiaSources", "prvDiaForcedSources", "prvDiaNondetectionLimits"))
_POINT_FIELDS = ("midpointMjdTai", "midPointTai", "band", "filterName", "psfFlux", "psFlux", "psfFluxErr", "psFluxErr")
_P = np.array([_C[f"prvDiaSources.{k}"] for k in _POINT_FIELDS])
_Q = np.array([_C[f"prvDiaForcedSources.{k}"] for k in _POINT_FIELDS])
_L_T1, _L_T2, _L_B1, _L_B2, _L_NOISE = (_C[f"prvDiaNondetectionLimits.{k}"] for k in (*_TIMES, *_BANDS, "diaNoise"))

_WAVELENGTHS = np.full(256, np.nan)
for _band, _angstrom in WAVELENGTH["lsst"].items():
    _WAVELENGTHS[ord(_band)] = _angstrom
_RELIABILITY_SCORE = SCORE_INDEX["reliability"]
_K = CONTEXT_INDEX
_K_RB, _K_SG, _K_SDIST, _K_RFLUX, _K_SSDIST, _K_SSFLUX, _K_POSITIVE, _K_NDET, _K_HISTORY = (
    _K[k]
    for k in ("real_bogus", "star_galaxy", "source_distance", "reference_flux", "solar_system_distance", "solar_system_flux", "positive",
              "n_detections", "history")
)  # fmt: skip
_K_GAL, _K_ECL, _K_FWHM, _K_ELONG, _K_FLUX, _K_SNR = (
    _K[k] for k in ("galactic_latitude", "ecliptic_latitude", "fwhm", "elongation", "flux", "signal_to_noise")
)
_FWHM = 2.0 * np.sqrt(2.0 * np.log(2.0))

OK, NO_TIME, NO_PLACE = range(3)
_MISSING = {NO_PLACE: "diaSource has no position on the sky"}


def claims(schema: Any) -> bool:
    """By the fields: a diaSource with Rubin's time, flux and band. Roman's and others' have some of these names, never all."""
    source = record_fields(schema, "diaSource").keys()
    return {"diaSourceId", "ra"} <= source and all(any(k in source for k in names) for names in (_TIMES, _BANDS, _FLUXES, _DECS))


def fill(record: Record, columns: Columns, *, i: int, cutouts: Cutouts) -> None:
    """Write row i."""
    candid = record.long(*_CANDIDS)
    if candid is None:
        raise PacketError("bad_value", "neither diaSource.diaSourceId nor alertId is there")
    values = record.values
    status = fill_row(values.number, values.table, values.count, i, *columns.light_curve, *columns.own, columns.context)
    if status == NO_TIME:
        time = next((float(values.number[slot]) for slot in (_T1, _T2) if values.number[slot] == values.number[slot]), float("nan"))
        raise PacketError("bad_value", TIMES.fault("diaSource.midpointMjdTai", time))
    if status != OK:
        raise PacketError("bad_value", _MISSING[status])
    columns.put_stamps(i, [record.bytes(slot) for slot in _CUTOUTS], cutouts=cutouts, pixel_scale=PIXEL_SCALE)
    columns.survey_scores[i, _RELIABILITY_SCORE] = columns.context[i, _K_RB]
    # null and 0 both mean "none"
    key = next((number for number in (record.long(slot) for slot in _OBJECTS) if number), candid)
    band = record.text(_B1, "band") or record.text(_B2, "filterName")
    columns.identify(SURVEY, candid, object_id=str(key), programid=1, band=band if band in WAVELENGTH["lsst"] else "")


@compiled
def fill_row(  # type: ignore[no-untyped-def] # pragma: no cover
    number, table, count, i, time, wavelength, flux, flux_err, limit, detected, valid, first, truncated, ra, dec, mjd, own_err, n_detected,
    n_dropped, context,
):  # fmt: skip
    """Everything of row i but identity and stamps; OK or why not."""
    blank(number, table, count, _SPANS, _OF_SCALARS, _OF_COLUMNS)
    here = to_mjd(either(number[_T1], number[_T2]), _SCALES)
    if here != here:
        return NO_TIME
    alpha, delta = number[_RA], either(number[_DEC1], number[_DEC2])
    if not (alpha >= 0 and alpha <= 360 and delta >= -90 and delta <= 90):
        return NO_PLACE
    points = np.empty((ROWS, 1 + count[_PRV] + count[_FORCED] + count[_LIMITS]))
    dropped = 0
    own, error = either(number[_F1], number[_F2]) * 1e-3, either(number[_E1], number[_E2]) * 1e-3
    m = measure(points, np.int64(0), here, wavelength_of(number[_B1], number[_B2]), own, error, OWN)
    mine = m
    for j in range(count[_PRV]):
        t = to_mjd(either(table[_P[0], j], table[_P[1], j]), _SCALES)
        dropped += t != t
        m = point(points, m, t, table, _P, j, DETECTION)
    for j in range(count[_FORCED]):
        t = to_mjd(either(table[_Q[0], j], table[_Q[1], j]), _SCALES)
        dropped += t != t
        m = point(points, m, t, table, _Q, j, FORCED)
    for j in range(count[_LIMITS]):
        t, noise = to_mjd(either(table[_L_T1, j], table[_L_T2, j]), _SCALES), table[_L_NOISE, j]
        dropped += t != t
        band = wavelength_of(table[_L_B1, j], table[_L_B2, j])
        if t == t and band == band and noise == noise:
            m = put(points, m, t, band, np.nan, np.nan, 5e-3 * noise, LIMIT)
    start = to_mjd(number[_FIRST], _SCALES)
    shown = settle(points, m, i, start, here, time, wavelength, flux, flux_err, limit, detected, valid, first, truncated)
    if first[i] != first[i] or first[i] > here:
        first[i] = here
    ra[i] = alpha
    dec[i] = delta
    mjd[i] = here
    own_err[i] = error
    n_detected[i] = shown + (1 - mine)
    n_dropped[i] = dropped
    row = context[i]
    row[:] = np.nan
    row[_K_RB] = number[_RELIABILITY]
    row[_K_SG] = 1.0 - number[_EXTENDED]
    row[_K_SDIST] = number[_NEARBY]
    row[_K_RFLUX] = number[_TEMPLATE] * 1e-3
    row[_K_SSDIST] = number[_SS_OFFSET]
    if number[_SS_OFFSET] >= 0:
        row[_K_SSFLUX] = 10.0 ** (0.4 * (23.9 - number[_SS_MAG]))
    if own == own:
        row[_K_POSITIVE] = 1.0 if own > 0 else 0.0
    row[_K_NDET] = number[_NDIA]
    row[_K_HISTORY] = here - start
    row[_K_GAL] = abs(galactic_latitude(alpha, delta))
    row[_K_ECL] = abs(ecliptic_latitude(alpha, delta))
    trace = number[_IXX] + number[_IYY]  # second moments [arcsec²]
    spread = np.sqrt((number[_IXX] - number[_IYY]) ** 2 + 4.0 * number[_IXY] ** 2)
    if trace > spread:
        row[_K_FWHM] = _FWHM * np.sqrt(0.5 * trace)
        row[_K_ELONG] = np.sqrt((trace + spread) / (trace - spread))
    row[_K_FLUX] = own
    row[_K_SNR] = number[_SNR] if number[_SNR] == number[_SNR] else abs(own) / error
    return OK


@compiled
def either(new, old):  # type: ignore[no-untyped-def] # pragma: no cover
    """The field under its new name, else under its old one."""
    return new if new == new else old


@compiled
def wavelength_of(new, old):  # type: ignore[no-untyped-def] # pragma: no cover
    """Effective wavelength of a band's name [Å], NaN for an unknown one; a name of one letter is its code."""
    letter = either(new, old)
    return _WAVELENGTHS[int(letter)] if letter >= 0 and letter < 256 else np.nan


@compiled
def measure(points, m, time, band, flux, error, rank):  # type: ignore[no-untyped-def] # pragma: no cover
    """Append a measurement if it is one; the number of points."""
    if time == time and band == band and flux == flux and error == error:
        return put(points, m, time, band, flux, error, np.nan, rank)
    return m


@compiled
def point(points, m, time, table, columns, j, rank):  # type: ignore[no-untyped-def] # pragma: no cover
    """Append item j of an array of (forced) sources; the number of points."""
    band = wavelength_of(table[columns[2], j], table[columns[3], j])
    flux = either(table[columns[4], j], table[columns[5], j]) * 1e-3
    return measure(points, m, time, band, flux, either(table[columns[6], j], table[columns[7], j]) * 1e-3, rank)
