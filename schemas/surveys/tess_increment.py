"""Increments of TESS light curves: packets of `tess.avsc` that hold only the cadences since the last one.

an increment's bytes → `Increment`; a light curve's columns → the bytes of the whole packet

A writer may add one field, ``revision`` (int, default 0): of two values of a cadence the one of the higher revision is the valid one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.types import F64
from schemas.avro.machine import Scratch, run
from schemas.avro.program import Program, Want, compile_schema
from schemas.avro.wire import MAX_PACKET, PacketError, load_schema, read_body, read_header, sniff
from schemas.surveys import tess
from schemas.surveys.columns import Record
from schemas.surveys.times import SCALES

POINT = np.dtype([("time", "<f8"), ("flux", "<f4"), ("flux_err", "<f4"), ("quality", "<i4"), ("rank", "<i4")])
"""A cadence: BTJD [d], flux and its error [e-/s] (NaN: none), the mission's quality bits, the `rank` of the increment it came in."""
MAX_REVISION = (1 << 31 - tess.CADENCE_BITS) - 1
"""So that revision and cadence together are one positive int32."""
MAX_SCHEMAS = 64

WANT = Want({**tess.WANT.scalars, "revision": "integer"}, tess.WANT.arrays)
_TIC, _SECTOR, _CADENCE, _RA, _DEC, _TMAG, _BASELINE, _REVISION = range(len(WANT.scalars))
_BTJD, _FLUX, _ERR, _QUALITY = range(len(WANT.arrays["light_curve"]))


@dataclass(frozen=True, slots=True)
class Increment:
    """What an increment says."""

    tic: int
    sector: int
    cadence: int
    """Number of the last cadence."""
    rank: int
    """Of two values of a cadence the one of the higher rank is valid: revision, then the last cadence's number, in one int32."""
    ra: float
    dec: float
    tmag: float
    """[mag], NaN: none."""
    baseline: float
    """[e-/s], NaN: none."""
    points: npt.NDArray[Any]
    """(n,) of `POINT`, in the order of the packet; n > 0."""
    dropped: int
    """Cadences without a time, which are left out."""


class IncrementReader:
    """Reads increments; remembers the programs of their schemas."""

    def __init__(self) -> None:
        self._programs: dict[bytes, Program | PacketError] = {}
        self._scratch = Scratch(len(WANT.scalars), len(WANT.arrays["light_curve"]), n_arrays=1)

    def read(self, packet: bytes) -> Increment:
        """Read one.

        Raises
        ------
        PacketError
            With the class and the reason by which it is rejected.
        """
        try:
            return self._read(packet)
        except PacketError as error:
            error.survey = error.survey or tess.SURVEY
            raise

    def _read(self, packet: bytes) -> Increment:
        if len(packet) > MAX_PACKET:
            raise PacketError("too_large", f"the increment has {len(packet):,} bytes; {MAX_PACKET:,} are read at most")
        if sniff(packet) != "container":
            raise PacketError("not_avro", "the increment is not an Avro object container")
        codec, text, at = read_header(packet)
        program = self._program(text)
        data, start, end = read_body(packet, at, codec=codec)
        scratch = self._scratch
        run(program, np.frombuffer(data, np.uint8), start=start, end=end, scratch=scratch)
        return _increment(Record(data, scratch))

    def _program(self, text: bytes) -> Program:
        key = hashlib.sha256(text).digest()
        known = self._programs.get(key)
        if known is None:
            try:
                schema = load_schema(text)
                if not tess.claims(schema):
                    raise PacketError("unknown_survey", "the fields are not those of tess.avsc")
                known = compile_schema(schema, WANT)
            except PacketError as error:
                known = error
            if len(self._programs) >= MAX_SCHEMAS:
                self._programs.clear()
            self._programs[key] = known
        if isinstance(known, PacketError):
            raise PacketError(known.error_class, known.reason, survey=known.survey)
        return known


def rank(revision: int, cadence: int) -> int:
    """Revision, then the last cadence, in one number.

    Raises
    ------
    PacketError
        bad_value where the revision does not fit
    """
    if not 0 <= revision <= MAX_REVISION:
        raise PacketError("bad_value", f"revision is {revision}, not 0 to {MAX_REVISION:,}")
    return revision << tess.CADENCE_BITS | cadence


def _increment(record: Record) -> Increment:
    tic, sector, cadence = record.long(_TIC), record.long(_SECTOR), record.long(_CADENCE)
    if tic is None or sector is None or cadence is None:
        raise PacketError("bad_value", "tic, sector or cadence is missing")
    tess.candid(tic, sector, cadence=cadence)  # raises where one does not fit
    values = record.values
    number, count = values.number, int(values.count[0])
    ra, dec = float(number[_RA]), float(number[_DEC])
    if not (0 <= ra <= 360 and -90 <= dec <= 90):
        raise PacketError("bad_value", "ra or dec is missing or not on the sky")
    table = values.table[:, :count]
    time = btjd(table[_BTJD])
    there = np.isfinite(time)
    if not there.any():
        last = float(table[_BTJD, -1]) if count else float("nan")
        raise PacketError("bad_value", tess.TIMES.fault("light_curve holds no cadence with a time: btjd", last))
    quality = np.nan_to_num(table[_QUALITY, there], nan=0.0)
    if not (np.abs(quality) < 2**31).all():
        raise PacketError("bad_value", "quality has more than 31 bits")
    points = np.empty(int(there.sum()), POINT)
    points["time"], points["quality"] = time[there], quality
    points["flux"], points["flux_err"] = single(table[_FLUX, there]), single(table[_ERR, there])
    points["rank"] = rank(record.long(_REVISION) or 0, cadence)
    tmag, baseline = (float(x) for x in single(number[[_TMAG, _BASELINE]]))
    return Increment(tic, sector, cadence, int(points["rank"][0]), ra, dec, tmag, baseline, points, count - len(points))


def btjd(time: F64) -> F64:
    """Times on any scale of the survey as BTJD [d]; those that are BTJD keep their bits, NaN where it can be no time."""
    out = np.full(len(time), np.nan)
    for name, (low, high, a_day, zero) in zip(tess.TIMES.scales, tess.TIMES.table(), strict=True):
        here = (time >= low) & (time <= high)
        out[here] = time[here] if name == "BTJD" else time[here] / a_day + (zero - SCALES["BTJD"][1])
    return out


def single(values: F64) -> npt.NDArray[np.float32]:
    """As the schema's float; one and the same NaN where there is no finite number."""
    with np.errstate(over="ignore", invalid="ignore"):
        out: npt.NDArray[np.float32] = values.astype(np.float32)
    out[~np.isfinite(out)] = np.nan
    return out


def encode_whole(
    tic: int, sector: int, *, cadence: int, ra: float, dec: float, tmag: float, baseline: float, points: npt.NDArray[Any]
) -> bytes:  # fmt: skip
    """The packet of a light curve, byte for byte as `tess.encode` writes it; NaN is null.

    Parameters
    ----------
    tic, sector, cadence
        Of the packet; the last cadence's number.
    ra, dec : float
        [deg]
    tmag, baseline : float
        [mag], [e-/s]
    points : (n,) of `POINT`
    """
    stated = {"tmag": tmag, "baseline": baseline}
    fields: dict[str, Any] = {"tic": tic, "sector": sector, "cadence": cadence, "ra": ra, "dec": dec}
    fields |= {name: None if value != value else value for name, value in stated.items()}
    columns = {name: points[name] for name in ("flux", "flux_err", "quality")}
    return tess.encode_columns(fields, points["time"], **columns)
