"""TESS light curves as packets: a schema of our own (`tess.avsc`), since the mission sends no alerts.

One packet is one target's light curve up to a cadence. Units: a star of TESS magnitude 10 gives 15,000 e-/s (zero point 20.44 mag,
TESS Instrument Handbook, sect. 6.1); magnitude 0 is 2632 Jy (Sullivan et al. 2015, ApJ 809, 77); so 1 e-/s is 17.6 µJy. The flux of an
alert is the difference to the quiet star.

The light curve is read at a cadence of two minutes or slower: faster ones (20 s, from sector 27 on) are averaged to two minutes, backward
from the last cadence, as the mission makes its two-minute data. So a star has one score, whichever of its light curves is sent.

Kepler's and K2's light curves are packets of the same schema: their quarters and campaigns are sectors of their own (`KEPLER_SECTOR`,
`K2_SECTOR`), with Kepler's passband and zero point; the network was trained on TESS's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.kernels.compiled import compiled
from operators.kernels.order import median, stable_order
from operators.types import F64, WAVELENGTH, Survey
from operators.whole_curves import LEAST_SPAN, Curve
from schemas.avro.container import Container
from schemas.avro.program import Want, record_fields, slots
from schemas.avro.wire import MAX_PACKET, PacketError
from schemas.avro.writer import varint
from schemas.surveys.columns import CONTEXT_INDEX, Columns, Record
from schemas.surveys.cutouts import Cutouts
from schemas.surveys.history import DETECTION, FORCED, ROWS, SAME_TIME, SIGNIFICANT, TIME, put, settle
from schemas.surveys.ranges import Range, blank, bounds, spans
from schemas.surveys.times import DAY, TIME_RANGES, ecliptic_latitude, galactic_latitude, to_mjd

SCHEMA = Path(__file__).with_name("tess.avsc")
ZERO_POINT = 20.44
"""TESS magnitude of 1 e-/s."""
JANSKY_OF_MAG_0 = 2632.0
MICROJANSKY = JANSKY_OF_MAG_0 * 1e6 * 10 ** (-0.4 * ZERO_POINT)
"""µJy of 1 e-/s: 17.55."""
KEPLER_SECTOR, K2_SECTOR = 640, 700
"""Sectors from here on are Kepler's quarters and K2's campaigns (640 + quarter, 700 + campaign); the target's number is of KIC or EPIC."""
KEPLER_ZERO_POINT = 25.10
"""Kepler magnitude of 1 e-/s: a star of 12 gives 174,000 e-/s (Kepler Instrument Handbook, sect. 2.1)."""
KEPLER_JANSKY_OF_MAG_0 = 3631.0
"""The Kepler magnitude is close to AB."""
KEPLER_MICROJANSKY = KEPLER_JANSKY_OF_MAG_0 * 1e6 * 10 ** (-0.4 * KEPLER_ZERO_POINT)
KEPLER_WAVELENGTH = 6230.0
"""[Å] effective (SVO Filter Profile Service: Kepler/Kepler.K)."""
MOST_BYTES = MAX_PACKET
TAI_OF_TDB = -32.184 / DAY
"""[d]: TDB stays within 2 ms of TT, which is TAI + 32.184 s. Times stay barycentric."""
CADENCE = 120.0 / DAY
"""[d] to which faster light curves are averaged."""
TIC_BITS, SECTOR_BITS, CADENCE_BITS = 34, 10, 19

SURVEY: Survey = "tess"

WANT = Want(
    {"tic": "integer", "sector": "integer", "cadence": "integer", "ra": "number", "dec": "number", "tmag": "number", "baseline": "number"},
    {"light_curve": {"btjd": "number", "flux": "number", "flux_err": "number", "quality": "number"}},
)
TIMES = TIME_RANGES[SURVEY]
_RATE: Range = (-1e12, 1e12)
VALID: dict[str, Range] = {"tmag": (-10.0, 40.0), "baseline": _RATE, "flux": _RATE, "flux_err": (1e-6, 1e12)}
"""What each field can hold [mag, e-/s]; anything else there is missing."""

_S, _A, _C = slots(WANT)
_OF_SCALARS, _OF_COLUMNS = bounds(WANT, VALID)
_SPANS = spans(WANT)
_SCALES = TIMES.table()
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
_MISSING = {NO_PLACE: "ra or dec is missing or not on the sky"}


def candid(tic: int, sector: int, *, cadence: int) -> int:
    """(TIC, sector, last cadence) in one positive int64: 34, 10 and 19 bits from the top.

    Raises
    ------
    PacketError
        bad_value where one does not fit
    """
    if not (0 <= tic < 1 << TIC_BITS and 0 <= sector < 1 << SECTOR_BITS and 0 <= cadence < 1 << CADENCE_BITS):
        raise PacketError("bad_value", f"TIC {tic}, sector {sector}, cadence {cadence} do not fit into 34, 10 and 19 bits")
    return tic << SECTOR_BITS + CADENCE_BITS | sector << CADENCE_BITS | cadence


def rate(magnitude: float, *, kepler: bool) -> float:
    """Flux [e-/s] of a star of a TESS or Kepler magnitude."""
    zero = KEPLER_ZERO_POINT if kepler else ZERO_POINT
    return float(10 ** (0.4 * (zero - magnitude)))


def catalogue(sector: int) -> str:
    """Whose number the target's is."""
    return "TIC" if sector < KEPLER_SECTOR else "KIC" if sector < K2_SECTOR else "EPIC"


def encode(record: Mapping[str, Any]) -> bytes:
    """A packet from the fields of `tess.avsc`; those that may be null may be left out. The same record gives the same bytes."""
    return _container().encode(record)


def encode_columns(fields: Mapping[str, Any], time: F64, *, flux: F64, flux_err: F64, quality: npt.NDArray[np.integer[Any]]) -> bytes:
    """The bytes that `encode` gives of the same light curve in rows; what is not finite is null.

    Parameters
    ----------
    fields : the packet's fields but for the light curve
    time : (n,) [d] BTJD
    flux, flux_err : (n,) [e-/s]
    quality : (n,) bits, of 64 with a sign at most

    Raises
    ------
    OverflowError
        A flux or its error is beyond a float of 32 bits.
    """
    n = len(time)
    body = bytearray(_container().body({**fields, "light_curve": ()}))
    if n:
        signed = np.asarray(quality, dtype=np.int64)
        zigzag = ((signed << 1) ^ (signed >> 63)).astype(np.uint64)
        most = max(int(zigzag.max()).bit_length(), 1)
        shifted = zigzag[:, None] >> np.arange(0, most, 7, dtype=np.uint64)
        more = np.concatenate([shifted[:, 1:] > 0, np.zeros((n, 1), dtype=bool)], axis=1)
        parts = [np.asarray(time, dtype="<f8")[:, None].view(np.uint8)]
        used = [np.ones((n, 8), dtype=bool)]
        for column in (flux, flux_err):
            there = np.isfinite(column)
            with np.errstate(over="ignore"):
                narrow = np.asarray(column, dtype="<f4")
            if not np.isfinite(narrow[there]).all():
                raise OverflowError("float too large to pack with f format")
            parts += [(2 * there)[:, None].astype(np.uint8), narrow[:, None].view(np.uint8)]
            used += [np.ones((n, 1), dtype=bool), np.repeat(there[:, None], 4, axis=1)]
        parts.append((shifted & np.uint64(0x7F)).astype(np.uint8) | (more << 7).astype(np.uint8))
        used.append(np.concatenate([np.ones((n, 1), dtype=bool), more[:, :-1]], axis=1))
        rows = np.concatenate(parts, axis=1)[np.concatenate(used, axis=1)]
        body[-1:] = varint(n) + rows.tobytes() + b"\x00"  # the empty array was its end alone
    return _container().wrap(body)


def claims(schema: Any) -> bool:
    """By the fields."""
    return record_fields(schema).keys() >= _FIELDS


def fill(record: Record, columns: Columns, *, i: int, cutouts: Cutouts) -> None:
    """Write row i."""
    tic, sector, cadence = record.long(_TIC), record.long(_SECTOR), record.long(_CADENCE)
    if tic is None or sector is None or cadence is None:
        raise PacketError("bad_value", "tic, sector or cadence is missing")
    number = candid(tic, sector, cadence=cadence)
    values = record.values
    values.number[_SECTOR] = sector  # which telescope, hence its units; whole numbers do not stand there by themselves
    status = fill_row(values.number, values.table, values.count, i, *columns.light_curve, *columns.own, columns.context)
    if status == NO_TIME:
        n = int(values.count[_CURVE])
        last = float(values.table[_BTJD, n - 1]) if n else float("nan")
        raise PacketError("bad_value", TIMES.fault("light_curve holds no cadence with a time: btjd", last))
    if status != OK:
        raise PacketError("bad_value", _MISSING[status])
    m = int(values.count[_CURVE])  # good cadences, as `fill_row` left them
    if m:
        time, flux, err = (values.table[column, :m].copy() for column in (_BTJD, _FLUX, _ERR))
        # Rounded, so that no cadence lies on the edge of a bin by a last bit of its mean time.
        columns.curves[i] = Curve(np.round(time, 5), flux, err, np.zeros(m, np.int64))
    columns.put_stamps(i, (None, None, None), cutouts=cutouts, pixel_scale=np.nan)
    columns.identify(SURVEY, number, object_id=f"{catalogue(sector)} {tic}", programid=1, band="T" if sector < KEPLER_SECTOR else "")


@compiled
def fill_row(  # type: ignore[no-untyped-def] # pragma: no cover
    number, table, count, i, time, wavelength, flux, flux_err, limit, detected, valid, first, truncated, ra, dec, mjd, own_err, n_detected,
    n_dropped, context,
):  # fmt: skip
    """Everything of row i but identity and stamps; OK or why not.

    Afterwards the table holds the good cadences: MJD TAI, flux and error [e-/s].
    """
    microjansky, jansky, centre = MICROJANSKY, JANSKY_OF_MAG_0, _WAVELENGTH
    if number[_SECTOR] >= KEPLER_SECTOR:
        microjansky, jansky, centre = KEPLER_MICROJANSKY, KEPLER_JANSKY_OF_MAG_0, KEPLER_WAVELENGTH
    blank(number, table, count, _SPANS, _OF_SCALARS, _OF_COLUMNS)
    if not (number[_RA] >= 0 and number[_RA] <= 360 and number[_DEC] >= -90 and number[_DEC] <= 90):
        return NO_PLACE
    n = count[_CURVE]
    here = np.nan
    curve = np.empty((3, n))  # good cadences: MJD TDB, flux and error [e-/s]
    level = np.empty(n)
    m = np.int64(0)
    k = 0
    dropped = 0
    for j in range(n):
        t, f, e = to_mjd(table[_BTJD, j], _SCALES), table[_FLUX, j], table[_ERR, j]
        if t != t:
            dropped += 1
            continue
        if not here >= t:
            here = t
        if table[_QUALITY, j] == 0 and f == f:
            level[k] = f
            k += 1
            if e == e:
                curve[0, m] = t
                curve[1, m] = f
                curve[2, m] = e
                m += 1
    if here != here:
        return NO_TIME
    here += TAI_OF_TDB
    baseline = number[_BASELINE]
    if baseline != baseline and k > 0:
        baseline = median(level[:k])
    m = averaged(curve, m)
    points = np.empty((ROWS, m))
    own, error, latest = np.nan, np.nan, -np.inf
    held = np.int64(0)
    for j in range(m):
        t, f, e = curve[0, j], (curve[1, j] - baseline) * microjansky, curve[2, j] * microjansky
        if f == f:
            held = put(points, held, t + TAI_OF_TDB, centre, f, e, np.nan, DETECTION if abs(f) >= SIGNIFICANT * e else FORCED)
            if t > latest:
                latest, own, error = t, f, e
    shown = settle(points, held, i, np.nan, here, time, wavelength, flux, flux_err, limit, detected, valid, first, truncated)
    longest = time.shape[1]
    if held > longest and span_of(points[TIME], held) >= LEAST_SPAN:
        # The last hours of a month say little: every so many points back from the newest one.
        order = stable_order(points[TIME], held)
        step = (held + longest - 1) // longest
        kept = (held + step - 1) // step
        thin = np.empty((ROWS, kept))
        for k in range(kept):
            for row in range(ROWS):  # an assignment between arrays takes the compiler 3 s
                thin[row, kept - 1 - k] = points[row, order[held - 1 - k * step]]
        settle(thin, kept, i, first[i], here, time, wavelength, flux, flux_err, limit, detected, valid, first, truncated)
    count[_CURVE] = m
    for j in range(m):
        table[_BTJD, j], table[_FLUX, j], table[_ERR, j] = curve[0, j] + TAI_OF_TDB, curve[1, j], curve[2, j]
    if first[i] != first[i]:
        first[i] = here
    ra[i] = number[_RA]
    dec[i] = number[_DEC]
    mjd[i] = here
    own_err[i] = error
    n_detected[i] = shown
    n_dropped[i] = dropped
    row = context[i]
    row[:] = np.nan
    row[_K_SDIST] = 0.0
    row[_K_SFLUX] = jansky * 1e6 * 10.0 ** (-0.4 * number[_TMAG])
    if own == own:
        row[_K_POSITIVE] = 1.0 if own > 0 else 0.0
    row[_K_GAL] = abs(galactic_latitude(number[_RA], number[_DEC]))
    row[_K_ECL] = abs(ecliptic_latitude(number[_RA], number[_DEC]))
    row[_K_FLUX] = own
    row[_K_SNR] = abs(own) / error
    return OK


@compiled
def span_of(times, m):  # type: ignore[no-untyped-def] # pragma: no cover
    """From the first to the last of m times [d]."""
    low, high = times[0], times[0]
    for j in range(m):
        low, high = min(low, times[j]), max(high, times[j])
    return high - low


@compiled
def averaged(curve, m):  # type: ignore[no-untyped-def] # pragma: no cover
    """Average the first m columns of (time [d], flux, error) in place where they follow each other faster than half a `CADENCE`.

    Bins are counted back from the last cadence, so that the newest one is whole. Means, because a longer cadence is the sum of its
    parts; errors add in quadrature. The number of columns that are left.
    """
    if m < 2:
        return m
    order = stable_order(curve[0], m)
    step = np.empty(m - 1)
    steps = 0
    for j in range(m - 1):
        step[steps] = curve[0, order[j + 1]] - curve[0, order[j]]
        steps += step[steps] >= SAME_TIME  # a cadence that stands twice is none
    usual = median(step[:steps]) if steps > 0 else CADENCE
    if not usual < 0.5 * CADENCE:
        return m
    last = curve[0, order[m - 1]]
    binned = np.empty((3, m))
    filled = 0
    current = np.int64(-1)
    inside = 0
    for j in range(m - 1, -1, -1):
        p = order[j]
        # half a step more, so that no cadence lies on an edge
        number = np.int64((last - curve[0, p] + 0.5 * usual) / CADENCE)
        if number != current:
            current = number
            inside = 0
            filled += 1
            for row in range(3):
                binned[row, filled - 1] = 0.0
        inside += 1
        binned[0, filled - 1] += (curve[0, p] - binned[0, filled - 1]) / inside
        binned[1, filled - 1] += (curve[1, p] - binned[1, filled - 1]) / inside
        # the mean's error, of one cadence more
        before = binned[2, filled - 1] * (inside - 1)
        binned[2, filled - 1] = np.sqrt(before * before + curve[2, p] * curve[2, p]) / inside
    for j in range(filled):
        for row in range(3):
            curve[row, j] = binned[row, filled - 1 - j]
    return filled


@lru_cache(maxsize=1)
def _container() -> Container:
    return Container(json.loads(SCHEMA.read_text(encoding="utf-8")))
