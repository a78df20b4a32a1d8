"""A light curve in columns, without a survey's packet → a packet of that survey: what the HTTP API makes of JSON.

So there is one way to a score: the packet that is made here is decoded, embedded and judged as any other. It holds what the columns hold
and nothing else; what a survey's own packet states beside them (cut-outs, neighbours) is missing. The writer schemas are the smallest
that the survey's reader knows as its own; all rows of a history have one length, so that a history of any length is one copy of memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from operators.types import F64, WAVELENGTH
from schemas.avro.container import Container
from schemas.avro.wire import PacketError
from schemas.avro.writer import varint
from schemas.surveys import tess, ztf
from schemas.surveys.times import DAY, JD_OF_MJD, LEAP_MJD, LEAP_SECONDS

CurveSurvey = Literal["ztf", "lsst", "tess"]
NANOJANSKY = 1e3
"""nJy of 1 µJy."""
ZERO_POINT = 23.9
"""AB magnitude of 1 µJy."""
BTJD_ZERO = 2_457_000.0 - JD_OF_MJD
_LARGEST_INT = 1 << 63
_LEAP_TAI = LEAP_MJD + LEAP_SECONDS / DAY


@dataclass(frozen=True, slots=True)
class PlainCurve:
    """A light curve; its last point in time is the alert.

    Lists are of one length, n ≥ 1, in any order.
    """

    survey: CurveSurvey
    ra: float
    """[deg] ICRS."""
    dec: float
    """[deg]"""
    mjd: Sequence[float]
    """[d, TAI] mid-exposure."""
    band: Sequence[str]
    """Of `WAVELENGTH[survey]`."""
    flux: Sequence[float]
    """[µJy] difference flux; of TESS the star's whole flux."""
    flux_err: Sequence[float]
    """[µJy]"""
    object_id: str | None = None
    candid: int | None = None
    real_bogus: float | None = None
    magnitude: float | None = None
    """TESS magnitude of the quiet star."""
    sector: int = 0


def packet_of(curve: PlainCurve) -> bytes:
    """The packet of a light curve; the same curve gives the same bytes.

    Raises
    ------
    PacketError
        A value that the survey's packet cannot hold.
    """
    order = np.argsort(np.asarray(curve.mjd, dtype=np.float64), kind="stable")
    columns = (np.asarray(column, dtype=np.float64)[order] for column in (curve.mjd, curve.flux, curve.flux_err))
    bands = [curve.band[k] for k in order.tolist()]
    known = WAVELENGTH[curve.survey]
    for band in bands:
        if band not in known:
            raise PacketError("bad_value", f"{band[:20]!r} is not a band of {curve.survey}: {', '.join(known)}")
    mjd, flux, err = columns
    if curve.candid is not None and not 0 <= curve.candid < _LARGEST_INT:
        raise PacketError("bad_value", "candid has 63 bits")
    return _MAKERS[curve.survey](curve, mjd, bands=bands, flux=flux, err=err)


def _lsst(curve: PlainCurve, mjd: F64, *, bands: Sequence[str], flux: F64, err: F64) -> bytes:
    """Rubin's: the points before the alert are forced photometry."""
    candid = _number(curve)
    object_id = _integer(curve.object_id) or 0
    source = {
        "diaSourceId": candid,
        "diaObjectId": object_id,
        "midpointMjdTai": float(mjd[-1]),
        "ra": curve.ra,
        "dec": curve.dec,
        "psfFlux": float(flux[-1]) * NANOJANSKY,
        "psfFluxErr": float(err[-1]) * NANOJANSKY,
        "band": bands[-1],
        "reliability": curve.real_bogus,
    }
    rows = np.zeros(len(mjd) - 1, dtype=[("time", "<f8"), ("band", "u1", 2), ("flux", "<f8"), ("err", "<f8")])
    rows["time"], rows["flux"], rows["err"] = mjd[:-1], flux[:-1] * NANOJANSKY, err[:-1] * NANOJANSKY
    rows["band"][:, 0], rows["band"][:, 1] = 2, [ord(band) for band in bands[:-1]]  # a text of one letter behind its length
    return _with_history(_rubin(), {"diaSource": source}, rows=rows, history="prvDiaForcedSources")


def _ztf(curve: PlainCurve, mjd: F64, *, bands: Sequence[str], flux: F64, err: F64) -> bytes:
    """ZTF's: magnitudes of the alert, counts at the zero point of 1 µJy before it; times are the starts of exposures of 30 s in UTC."""
    if flux[-1] == 0:
        raise PacketError("bad_value", "the last flux is 0, which is not a magnitude")
    candid = _number(curve)
    jd = _utc(mjd - 0.5 * ztf.EXPOSURE / DAY) + JD_OF_MJD
    numbers = {name: number for number, name in ztf.BANDS.items()}
    fid = np.array([numbers[band] for band in bands])
    size = abs(float(flux[-1]))
    candidate = {
        "jd": float(jd[-1]),
        "fid": int(fid[-1]),
        "programid": 1,
        "candid": candid,
        "isdiffpos": "t" if flux[-1] > 0 else "f",
        "magpsf": float(ZERO_POINT - 2.5 * np.log10(size)),
        "sigmapsf": float(2.5 / np.log(10) * err[-1] / size),
        "ra": curve.ra,
        "dec": curve.dec,
        "drb": curve.real_bogus,
        "drbversion": "given",
    }
    name = curve.object_id or f"ZTF{candid}"
    rows = np.zeros(len(mjd) - 1, dtype=[("jd", "<f8"), ("fid", "u1"), ("flux", "<f8"), ("err", "<f8"), ("zero", "<f8")])
    rows["jd"], rows["fid"], rows["flux"], rows["err"], rows["zero"] = jd[:-1], 2 * fid[:-1], flux[:-1], err[:-1], ZERO_POINT
    return _with_history(_ztf_container(), {"objectId": name, "candid": candid, "candidate": candidate}, rows=rows, history="fp_hists")


def _tess(curve: PlainCurve, mjd: F64, *, bands: Sequence[str], flux: F64, err: F64) -> bytes:
    """TESS's: the star's whole flux in electrons a second, times barycentric."""
    target = _integer((curve.object_id or "").removeprefix("TIC").strip()) if curve.object_id else _number(curve) % (1 << tess.TIC_BITS)
    if target is None:
        raise PacketError("bad_value", "object_id of a TESS target is its TIC number")
    cadence = round((float(mjd[-1]) - float(mjd[0])) / tess.CADENCE) % (1 << tess.CADENCE_BITS)
    fields = {
        "tic": target, "sector": curve.sector, "cadence": cadence, "ra": curve.ra, "dec": curve.dec, "tmag": curve.magnitude,
        "baseline": None,
    }  # fmt: skip
    time = mjd - tess.TAI_OF_TDB - BTJD_ZERO
    try:
        return tess.encode_columns(
            fields, time, flux=flux / tess.MICROJANSKY, flux_err=err / tess.MICROJANSKY, quality=np.zeros(len(time), dtype=np.int64)
        )
    except OverflowError:
        raise PacketError("bad_value", "a flux is beyond a float of 32 bits") from None


_MAKERS: Mapping[str, Callable[..., bytes]] = {"lsst": _lsst, "ztf": _ztf, "tess": _tess}


def _number(curve: PlainCurve) -> int:
    """The curve's candid: the given one, else one of its content."""
    if curve.candid is not None:
        return curve.candid
    content = b"".join(
        np.asarray(column, dtype="<f8").tobytes() for column in (curve.mjd, curve.flux, curve.flux_err, [curve.ra, curve.dec])
    )
    return int.from_bytes(blake3(content + "".join(curve.band).encode()).digest(8), "big") >> 1


def _integer(text: str | None) -> int | None:
    """A survey's number of an object; None: it is not one."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else None


def _utc(tai: F64) -> F64:
    """MJD in TAI → MJD in UTC [d]; before 1972 the first whole-second offset is used."""
    step = np.maximum(np.searchsorted(_LEAP_TAI, tai, side="right") - 1, 0)
    utc: F64 = tai - LEAP_SECONDS[step] / DAY
    return utc


def _with_history(container: Container, record: Mapping[str, Any], *, rows: npt.NDArray[Any], history: str) -> bytes:
    """A container of a record whose last field is its history, the rows as they lie in memory."""
    body = container.body({**record, history: ()})
    if len(rows):
        body[-1:] = varint(len(rows)) + rows.tobytes() + b"\x00"  # the empty array was its end alone
    return container.wrap(body)


def _fields(**kinds: Any) -> list[dict[str, Any]]:
    return [{"name": name, "type": kind} for name, kind in kinds.items()]


_MAY_MISS = ["null", "double"]


@lru_cache(maxsize=1)
def _rubin() -> Container:
    source = _fields(
        diaSourceId="long", diaObjectId="long", midpointMjdTai="double", ra="double", dec="double", psfFlux="double", psfFluxErr="double",
        band="string", reliability=_MAY_MISS,
    )  # fmt: skip
    forced = _fields(midpointMjdTai="double", band="string", psfFlux="double", psfFluxErr="double")
    return Container(
        {
            "type": "record",
            "name": "LsstCurve",
            "namespace": "protonova.curves",
            "fields": [
                {"name": "diaSource", "type": {"type": "record", "name": "DiaSource", "fields": source}},
                {"name": "prvDiaForcedSources", "type": {"type": "array", "items": {"type": "record", "name": "Forced", "fields": forced}}},
            ],
        }
    )


@lru_cache(maxsize=1)
def _ztf_container() -> Container:
    candidate = _fields(
        jd="double", fid="int", programid="int", candid="long", isdiffpos="string", magpsf="double", sigmapsf="double", ra="double",
        dec="double", drb=_MAY_MISS, drbversion="string",
    )  # fmt: skip
    forced = _fields(jd="double", fid="int", forcediffimflux="double", forcediffimfluxunc="double", magzpsci="double")
    return Container(
        {
            "type": "record",
            "name": "ZtfCurve",
            "namespace": "protonova.curves",
            "fields": [
                *_fields(objectId="string", candid="long"),
                {"name": "candidate", "type": {"type": "record", "name": "Candidate", "fields": candidate}},
                {"name": "fp_hists", "type": {"type": "array", "items": {"type": "record", "name": "Forced", "fields": forced}}},
            ],
        }
    )
