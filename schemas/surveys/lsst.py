"""Rubin alert packets, schema versions 3 to 11, framed or as containers.

Field meanings: https://sdm-schemas.lsst.io/apdb.html . Fluxes are nJy (AB), times MJD TAI. Names changed over the versions
(filterName, midPointTai, psFlux, decl became band, midpointMjdTai, psfFlux, dec): both are read.

Some sample packets carry 1480360995 as their time, which is no MJD; see `schemas.surveys.times.to_mjd`. A packet without a flux is
kept: it has a time and a place, and its history.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from operators.kernels.compiled import compiled
from operators.types import WAVELENGTH, Survey
from schemas.avro.program import Kind, Want, record_fields, slots
from schemas.avro.wire import PacketError
from schemas.surveys.columns import CONTEXT_INDEX, Columns, Record
from schemas.surveys.cutouts import Cutouts
from schemas.surveys.history import DETECTION, FORCED, LIMIT, OWN, put, settle
from schemas.surveys.times import ecliptic_latitude, galactic_latitude, to_mjd

PIXEL_SCALE = 0.2
"""[arcsec/pixel] (Ivezić et al. 2019, ApJ 873, 111), where the cut-out's header tells no other."""

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

_S, _A, _C = slots(WANT)
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
_MISSING = {NO_TIME: "diaSource has no time", NO_PLACE: "diaSource has no position on the sky"}


def claims(schema: Any) -> bool:
    """By the fields: a diaSource with Rubin's time, flux and band. Roman's and others' have some of these names, never all."""
    source = record_fields(schema, "diaSource").keys()
    return {"diaSourceId", "ra"} <= source and all(any(k in source for k in names) for names in (_TIMES, _BANDS, _FLUXES, _DECS))


def fill(record: Record, columns: Columns, i: int, cutouts: Cutouts) -> None:
    """Write row i."""
    candid = record.long(*_CANDIDS)
    if candid is None:
        raise PacketError("bad_value", "neither diaSource.diaSourceId nor alertId is there")
    values = record.values
    status = fill_row(values.number, values.table, values.count, i, *columns.light_curve, *columns.sky, columns.context)
    if status != OK:
        raise PacketError("bad_value", _MISSING[status])
    columns.put_stamps(i, [record.bytes(slot) for slot in _CUTOUTS], cutouts, PIXEL_SCALE)
    # null and 0 both mean "none"
    key = next((number for number in (record.long(slot) for slot in _OBJECTS) if number), candid)
    band = record.text(_B1, "band") or record.text(_B2, "filterName")
    columns.identify(SURVEY, candid, str(key), 1, band if band in WAVELENGTH["lsst"] else "")


@compiled
def fill_row(number, table, count, i, time, wavelength, flux, flux_err, limit, detected, valid, first, truncated, ra, dec, mjd, context):  # type: ignore[no-untyped-def] # pragma: no cover
    """Everything of row i but identity and stamps; OK or why not."""
    here = to_mjd(either(number[_T1], number[_T2]))
    if not (here > 0 and here < 1e6):
        return NO_TIME
    alpha, delta = number[_RA], either(number[_DEC1], number[_DEC2])
    if not (alpha >= 0 and alpha <= 360 and delta >= -90 and delta <= 90):
        return NO_PLACE
    points = np.empty((6, 1 + count[_PRV] + count[_FORCED] + count[_LIMITS]))
    own, own_err = either(number[_F1], number[_F2]) * 1e-3, either(number[_E1], number[_E2]) * 1e-3
    m = measure(points, 0, here, wavelength_of(number[_B1], number[_B2]), own, own_err, OWN)
    for j in range(count[_PRV]):
        m = point(points, m, table, _P, j, DETECTION)
    for j in range(count[_FORCED]):
        m = point(points, m, table, _Q, j, FORCED)
    for j in range(count[_LIMITS]):
        t, noise = to_mjd(either(table[_L_T1, j], table[_L_T2, j])), table[_L_NOISE, j]
        band = wavelength_of(table[_L_B1, j], table[_L_B2, j])
        if t > 0 and t < 1e6 and band == band and noise > 0 and noise < 1e12:
            m = put(points, m, t, band, np.nan, np.nan, 5e-3 * noise, LIMIT)
    start = to_mjd(number[_FIRST])
    if not (start > 0 and start < 1e6):
        start = np.nan
    settle(points, m, i, start, here, time, wavelength, flux, flux_err, limit, detected, valid, first, truncated)
    if first[i] != first[i] or first[i] > here:
        first[i] = here
    ra[i] = alpha
    dec[i] = delta
    mjd[i] = here
    row = context[i]
    row[:] = np.nan
    row[_K_RB] = number[_RELIABILITY]
    row[_K_SG] = 1.0 - number[_EXTENDED]
    if number[_NEARBY] >= 0:
        row[_K_SDIST] = number[_NEARBY]
    row[_K_RFLUX] = number[_TEMPLATE] * 1e-3
    if number[_SS_OFFSET] >= 0:
        row[_K_SSDIST] = number[_SS_OFFSET]
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
    row[_K_SNR] = abs(number[_SNR]) if number[_SNR] == number[_SNR] else abs(own) / own_err
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
    if time > 0 and time < 1e6 and band == band and abs(flux) < 1e12 and error > 0 and error < 1e12:
        return put(points, m, time, band, flux, error, np.nan, rank)
    return m


@compiled
def point(points, m, table, columns, j, rank):  # type: ignore[no-untyped-def] # pragma: no cover
    """Append item j of an array of (forced) sources; the number of points."""
    time = to_mjd(either(table[columns[0], j], table[columns[1], j]))
    band = wavelength_of(table[columns[2], j], table[columns[3], j])
    flux = either(table[columns[4], j], table[columns[5], j]) * 1e-3
    return measure(points, m, time, band, flux, either(table[columns[6], j], table[columns[7], j]) * 1e-3, rank)
