"""Alerts of raw CCD frames: a schema of our own (`frames.avsc`), since no survey stands behind an observatory's frames.

One packet is one source in the difference of a frame and its reference image; `pipeline.frames` makes it. Fluxes are µJy (AB), times MJD
TAI at mid-exposure: canonical units already, so that decoding converts nothing. Packets are in Confluent framing under `FRAMES_ID`, and the
same record gives the same bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from blake3 import blake3

from operators.kernels.compiled import compiled
from operators.types import MEASURED, WAVELENGTH, Survey
from schemas.avro.container import Container
from schemas.avro.program import Kind, Want, code, record_fields, slots
from schemas.avro.schema_store import FRAMES_ID, SHIPPED
from schemas.avro.wire import PacketError
from schemas.surveys.columns import CONTEXT_INDEX, Columns, Record
from schemas.surveys.cutouts import Cutouts
from schemas.surveys.history import DETECTION, FORCED, LIMIT, OWN, ROWS, put, settle
from schemas.surveys.ranges import COUNT, DISTANCE, Range, blank, bounds, spans
from schemas.surveys.times import TIME_RANGES, ecliptic_latitude, galactic_latitude, to_mjd

SCHEMA = SHIPPED[FRAMES_ID]
PUBLIC, PRIVATE, UNKNOWN = 1, 2, 0
"""`programid` of a packet, in ZTF's numbers: only 1 goes to public topics."""
MAX_NAME = 64
"""Characters of an object's name, which becomes the key of messages."""

_NUMBER: Kind = "number"
_NUMBERS = ("ra", "dec", "mjd", "flux", "flux_err", "snr", "fwhm", "elongation", "reference_distance", "reference_flux", "n_detections",
            "n_visits", "first_detection", "pixel_scale", "public", "seeing_ratio", "negative_pixels", "bad_pixels", "sky")  # fmt: skip
_SCALARS: dict[str, Kind] = dict.fromkeys(_NUMBERS, _NUMBER)
_SCALARS |= {"candid": "integer", "object_id": "text", "filter": "text"}
_SCALARS |= {"cutout_science": "bytes", "cutout_template": "bytes", "cutout_difference": "bytes"}
MEASURED_FIELDS = {
    "negative_pixels": "negative_pixels", "bad_pixels": "bad_pixels", "seeing_ratio": "seeing_ratio", "sky": "sky", "matched_signal": "snr",
}  # fmt: skip
"""Name in `MEASURED` → field."""

SURVEY: Survey = "frames"

WANT = Want(
    _SCALARS,
    {"history": {"mjd": "number", "filter": "text", "flux": "number", "flux_err": "number", "limit": "number", "detected": "number"}},
)
TIMES = TIME_RANGES[SURVEY]
_FLUX: Range = (-1e12, 1e12)
_ERROR: Range = (1e-6, 1e12)
"""[µJy]: a millionth of what the deepest stack reaches is an error that was never filled."""
VALID: dict[str, Range] = {
    "flux": _FLUX,
    "flux_err": _ERROR,
    "limit": _ERROR,
    "reference_flux": (0.0, 1e12),
    "snr": (0.0, 1e7),
    "fwhm": (1e-3, 1e3),
    "elongation": (1.0, 1e3),
    "seeing_ratio": (1e-3, 100.0),
    **dict.fromkeys(("negative_pixels", "bad_pixels"), (0.0, 25.0)),
    "sky": (-1e5, 1e7),
    "reference_distance": DISTANCE,
    **dict.fromkeys(("n_detections", "n_visits"), COUNT),
    "pixel_scale": (0.01, 100.0),
}
"""What each field can hold; anything else there is missing."""

_S, _A, _C = slots(WANT)
_OF_SCALARS, _OF_COLUMNS = bounds(WANT, VALID)
_SPANS = spans(WANT)
_SCALES = TIMES.table()
(_RA, _DEC, _MJD, _FLUX_SLOT, _ERR, _SNR, _FWHM, _ELONG, _RDIST, _RFLUX, _NDET, _NVISIT, _FIRST, _SCALE, _PUBLIC) = (
    _S[name] for name in _NUMBERS[:15]
)
_CANDID, _OBJECT, _FILTER = _S["candid"], _S["object_id"], _S["filter"]
_CUTOUTS = tuple(_S[f"cutout_{name}"] for name in ("science", "template", "difference"))
_WINDOWS = slice(_CUTOUTS[0], _CUTOUTS[0] + len(_CUTOUTS))
_HISTORY = _A["history"]
_H_MJD, _H_FILTER, _H_FLUX, _H_ERR, _H_LIMIT, _H_DETECTED = (_C[f"history.{name}"] for name in WANT.arrays["history"])
_CODES = np.array([code(name) for name in WAVELENGTH["frames"]])
_WAVELENGTHS = np.array(list(WAVELENGTH["frames"].values()))
_MEASURED_AT = np.array([MEASURED.index(name) for name in MEASURED_FIELDS])
_MEASURED_SLOTS = np.array([_S[name] for name in MEASURED_FIELDS.values()])
_K = CONTEXT_INDEX
_K_RDIST, _K_RFLUX, _K_POSITIVE, _K_NDET, _K_NVISIT, _K_HISTORY, _K_GAL, _K_ECL, _K_FWHM, _K_ELONG, _K_FLUX, _K_SNR = (
    _K[name]
    for name in ("reference_distance", "reference_flux", "positive", "n_detections", "n_visits", "history", "galactic_latitude",
                 "ecliptic_latitude", "fwhm", "elongation", "flux", "signal_to_noise")
)  # fmt: skip
_FIELDS = {"candid", "object_id", "frame_id", "detector", "ra", "dec", "mjd", "filter", "flux", "history"}
_NAME = re.compile(rf"[A-Za-z0-9+\-._]{{1,{MAX_NAME}}}", re.ASCII)

OK, NO_TIME, NO_PLACE, NO_FLUX = range(4)
_MISSING = {NO_PLACE: "ra or dec is missing or not on the sky", NO_FLUX: "flux is missing or no flux"}


def candid_of(frame_id: str, detector: str, *, object_id: str) -> int:
    """The number of an alert: 63 bits of BLAKE3 over frame, detector and object, so that the same frame gives the same alert."""
    text = "\0".join((frame_id, detector, object_id))
    return int.from_bytes(blake3(text.encode()).digest(8), "big") >> 1


def object_name(name: str) -> bool:
    """Whether a position's name can be an object's."""
    return _NAME.fullmatch(name) is not None


def encode(record: Mapping[str, Any]) -> bytes:
    """A packet from the fields of `frames.avsc`; those that may be null may be left out. The same record gives the same bytes."""
    return _framing() + bytes(_container().body(record))


def claims(schema: Any) -> bool:
    """By the fields."""
    return record_fields(schema).keys() >= _FIELDS


def fill(record: Record, columns: Columns, *, i: int, cutouts: Cutouts) -> None:
    """Write row i."""
    object_id = record.text(_OBJECT, "object_id")
    if not object_name(object_id):
        raise PacketError("bad_value", f"object_id {object_id[:40]!r} is not a name: letters, digits and + - . _, {MAX_NAME} at most")
    candid = record.long(_CANDID)
    if candid is None:
        raise PacketError("bad_value", "candid is missing")
    values = record.values
    number = values.number
    status = fill_row(number, values.table, values.count, i, *columns.light_curve, *columns.own, columns.context)
    if status == NO_TIME:
        raise PacketError("bad_value", TIMES.fault("mjd", float(number[_MJD])))
    if status != OK:
        raise PacketError("bad_value", _MISSING[status])
    columns.measured[i, _MEASURED_AT] = number[_MEASURED_SLOTS]  # cleared of what they cannot be by `fill_row`
    scale = float(number[_SCALE])
    if not columns.put_windows(i, record, slots=_WINDOWS, cutouts=cutouts, pixel_scale=scale):
        columns.put_stamps(i, [record.bytes(slot) for slot in _CUTOUTS], cutouts=cutouts, pixel_scale=scale)
    band, public = record.text(_FILTER, "filter"), number[_PUBLIC]
    columns.identify(
        SURVEY,
        candid,
        object_id=object_id,
        programid=PUBLIC if public == 1.0 else PRIVATE if public == 0.0 else UNKNOWN,
        band=band if band in WAVELENGTH["frames"] else "",
    )


@compiled
def fill_row(  # type: ignore[no-untyped-def] # pragma: no cover
    number, table, count, i, time, wavelength, flux, flux_err, limit, detected, valid, first, truncated, ra, dec, mjd, own_err, n_detected,
    n_dropped, context,
):  # fmt: skip
    """Everything of row i but identity and stamps; OK or why not."""
    blank(number, table, count, _SPANS, _OF_SCALARS, _OF_COLUMNS)
    here = to_mjd(number[_MJD], _SCALES)
    if here != here:
        return NO_TIME
    alpha, delta = number[_RA], number[_DEC]
    if not (alpha >= 0 and alpha <= 360 and delta >= -90 and delta <= 90):
        return NO_PLACE
    own, error = number[_FLUX_SLOT], number[_ERR]
    if own != own:
        return NO_FLUX
    points = np.empty((ROWS, 1 + count[_HISTORY]))
    m = np.int64(0)
    band = wavelength_of(number[_FILTER])
    if band == band and error == error:
        m = put(points, m, here, band, own, error, np.nan, OWN)
    mine = m
    dropped = 0
    for j in range(count[_HISTORY]):
        t, band = to_mjd(table[_H_MJD, j], _SCALES), wavelength_of(table[_H_FILTER, j])
        if t != t:
            dropped += 1
            continue
        if band != band:
            continue
        f, e, deepest = table[_H_FLUX, j], table[_H_ERR, j], table[_H_LIMIT, j]
        if f == f and e == e:
            m = put(points, m, t, band, f, e, np.nan, DETECTION if table[_H_DETECTED, j] == 1.0 else FORCED)
        elif deepest == deepest:
            m = put(points, m, t, band, np.nan, np.nan, deepest, LIMIT)
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
    row[_K_RDIST] = number[_RDIST]
    row[_K_RFLUX] = number[_RFLUX]
    row[_K_POSITIVE] = 1.0 if own > 0 else 0.0
    row[_K_NDET] = number[_NDET]
    row[_K_NVISIT] = number[_NVISIT]
    row[_K_HISTORY] = here - start
    row[_K_GAL] = abs(galactic_latitude(alpha, delta))
    row[_K_ECL] = abs(ecliptic_latitude(alpha, delta))
    row[_K_FWHM] = number[_FWHM]
    row[_K_ELONG] = number[_ELONG]
    row[_K_FLUX] = own
    row[_K_SNR] = number[_SNR] if number[_SNR] == number[_SNR] else abs(own) / error
    return OK


@compiled
def wavelength_of(name):  # type: ignore[no-untyped-def] # pragma: no cover
    """Effective wavelength of a filter [Å] by its code, NaN for an unknown one."""
    for k in range(len(_CODES)):
        if name == _CODES[k]:
            return _WAVELENGTHS[k]
    return np.nan


@lru_cache(maxsize=1)
def _container() -> Container:
    return Container(json.loads(SCHEMA.read_text(encoding="utf-8")))


@lru_cache(maxsize=1)
def _framing() -> bytes:
    return b"\0" + FRAMES_ID.to_bytes(4, "big")
