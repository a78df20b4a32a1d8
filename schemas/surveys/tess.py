"""TESS light curves as packets: a schema of our own (`tess.avsc`), since the mission sends no alerts.

One packet is one target's light curve up to a cadence. Units: a star of TESS magnitude 10 gives 15,000 e-/s (zero point 20.44 mag,
TESS Instrument Handbook, sect. 6.1); magnitude 0 is 2632 Jy (Sullivan et al. 2015, ApJ 809, 77); so 1 e-/s is 17.6 µJy. The flux of an
alert is the difference to the quiet star.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from operators.kernels.compiled import compiled
from operators.types import WAVELENGTH, Survey
from schemas.avro.container import Container
from schemas.avro.program import Want, record_fields, slots
from schemas.avro.wire import PacketError
from schemas.surveys.columns import CONTEXT_INDEX, Columns, Record
from schemas.surveys.cutouts import Cutouts
from schemas.surveys.history import DETECTION, FORCED, SIGNIFICANT, put, settle
from schemas.surveys.times import ecliptic_latitude, galactic_latitude

SCHEMA = Path(__file__).with_name("tess.avsc")
ZERO_POINT = 20.44
"""TESS magnitude of 1 e-/s."""
JANSKY_OF_MAG_0 = 2632.0
MICROJANSKY = JANSKY_OF_MAG_0 * 1e6 * 10 ** (-0.4 * ZERO_POINT)
"""µJy of 1 e-/s: 17.55."""
MJD_TAI_OF_BTJD = 2_457_000.0 - 2_400_000.5 - 32.184 / 86400
"""[d]: TDB stays within 2 ms of TT, which is TAI + 32.184 s. Times stay barycentric."""
TIC_BITS, SECTOR_BITS, CADENCE_BITS = 34, 10, 19

SURVEY: Survey = "tess"

WANT = Want(
    {"tic": "integer", "sector": "integer", "cadence": "integer", "ra": "number", "dec": "number", "tmag": "number", "baseline": "number"},
    {"light_curve": {"btjd": "number", "flux": "number", "flux_err": "number", "quality": "number"}},
)
_S, _A, _C = slots(WANT)
_TIC, _SECTOR, _CADENCE, _RA, _DEC, _TMAG, _BASELINE = (_S[k] for k in WANT.scalars)
_CURVE = _A["light_curve"]
_BTJD, _FLUX, _ERR, _QUALITY = (_C[f"light_curve.{k}"] for k in WANT.arrays["light_curve"])
_WAVELENGTH = WAVELENGTH["tess"]["T"]
_K = CONTEXT_INDEX
_K_SDIST, _K_SFLUX, _K_POSITIVE, _K_GAL, _K_ECL, _K_FLUX, _K_SNR = (
    _K[k]
    for k in ("source_distance", "source_flux", "positive", "galactic_latitude", "ecliptic_latitude", "flux", "signal_to_noise")
)  # fmt: skip
_FIELDS = {"tic", "sector", "cadence", "ra", "dec", "light_curve"}
OK, NO_TIME, NO_PLACE = range(3)
_MISSING = {NO_TIME: "light_curve holds no cadence with a time", NO_PLACE: "ra or dec is missing or not on the sky"}


def candid(tic: int, sector: int, cadence: int) -> int:
    """(TIC, sector, last cadence) in one positive int64: 34, 10 and 19 bits from the top.

    Raises
    ------
    PacketError
        bad_value where one does not fit
    """
    if not (0 <= tic < 1 << TIC_BITS and 0 <= sector < 1 << SECTOR_BITS and 0 <= cadence < 1 << CADENCE_BITS):
        raise PacketError("bad_value", f"TIC {tic}, sector {sector}, cadence {cadence} do not fit into 34, 10 and 19 bits")
    return tic << SECTOR_BITS + CADENCE_BITS | sector << CADENCE_BITS | cadence


def encode(record: Mapping[str, Any]) -> bytes:
    """A packet from the fields of `tess.avsc`; those that may be null may be left out. The same record gives the same bytes."""
    return _container().encode(record)


def claims(schema: Any) -> bool:
    """By the fields."""
    return record_fields(schema).keys() >= _FIELDS


def fill(record: Record, columns: Columns, i: int, cutouts: Cutouts) -> None:
    """Write row i."""
    tic, sector, cadence = record.long(_TIC), record.long(_SECTOR), record.long(_CADENCE)
    if tic is None or sector is None or cadence is None:
        raise PacketError("bad_value", "tic, sector or cadence is missing")
    number = candid(tic, sector, cadence)
    values = record.values
    status = fill_row(values.number, values.table, values.count, i, *columns.light_curve, *columns.sky, columns.context)
    if status != OK:
        raise PacketError("bad_value", _MISSING[status])
    columns.put_stamps(i, (None, None, None), cutouts, np.nan)
    columns.identify(SURVEY, number, f"TIC {tic}", 1, "T")


@compiled
def fill_row(number, table, count, i, time, wavelength, flux, flux_err, limit, detected, valid, first, truncated, ra, dec, mjd, context):  # type: ignore[no-untyped-def] # pragma: no cover
    """Everything of row i but identity and stamps; OK or why not."""
    if not (number[_RA] >= 0 and number[_RA] <= 360 and number[_DEC] >= -90 and number[_DEC] <= 90):
        return NO_PLACE
    n = count[_CURVE]
    here = np.nan
    good = np.empty(n)
    k = 0
    for j in range(n):
        t = table[_BTJD, j]
        if abs(t) < 50_000.0:
            if not here >= t + MJD_TAI_OF_BTJD:
                here = t + MJD_TAI_OF_BTJD
            if table[_QUALITY, j] == 0 and abs(table[_FLUX, j]) < 1e12:
                good[k] = table[_FLUX, j]
                k += 1
    if here != here:
        return NO_TIME
    baseline = number[_BASELINE]
    if baseline != baseline and k > 0:
        baseline = np.median(good[:k])
    points = np.empty((6, n))
    m = 0
    own, own_err, latest = np.nan, np.nan, -np.inf
    for j in range(n):
        t, f, e = table[_BTJD, j], (table[_FLUX, j] - baseline) * MICROJANSKY, table[_ERR, j] * MICROJANSKY
        if abs(t) < 50_000.0 and table[_QUALITY, j] == 0 and abs(f) < 1e13 and e > 0 and e < 1e13:
            m = put(points, m, t + MJD_TAI_OF_BTJD, _WAVELENGTH, f, e, np.nan, DETECTION if abs(f) >= SIGNIFICANT * e else FORCED)
            if t > latest:
                latest, own, own_err = t, f, e
    settle(points, m, i, np.nan, here, time, wavelength, flux, flux_err, limit, detected, valid, first, truncated)
    if first[i] != first[i]:
        first[i] = here
    ra[i] = number[_RA]
    dec[i] = number[_DEC]
    mjd[i] = here
    row = context[i]
    row[:] = np.nan
    row[_K_SDIST] = 0.0
    if number[_TMAG] > -10 and number[_TMAG] < 40:
        row[_K_SFLUX] = JANSKY_OF_MAG_0 * 1e6 * 10.0 ** (-0.4 * number[_TMAG])
    if own == own:
        row[_K_POSITIVE] = 1.0 if own > 0 else 0.0
    row[_K_GAL] = abs(galactic_latitude(number[_RA], number[_DEC]))
    row[_K_ECL] = abs(ecliptic_latitude(number[_RA], number[_DEC]))
    row[_K_FLUX] = own
    row[_K_SNR] = abs(own) / own_err
    return OK


@lru_cache(maxsize=1)
def _container() -> Container:
    return Container(json.loads(SCHEMA.read_text(encoding="utf-8")))
