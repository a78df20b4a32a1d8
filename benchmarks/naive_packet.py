"""A ZTF record of fastavro → light curve and context in canonical units, one alert at a time.

The rules are those of `schemas/surveys/ztf.py` and `schemas/surveys/history.py` (which points count, what is missing, which
unit), written the plain way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.simulate.arrays import ADDED
from operators.types import F32, F64, MAX_POINTS, WAVELENGTH

BANDS = {1: "g", 2: "r", 3: "i"}
COLOURS = {fid: WAVELENGTH["ztf"][band] for fid, band in BANDS.items()}
TAI = 37.0 / 86400
"""TAI - UTC [d], since 2017: ZTF is younger."""
SAME_TIME = 1e-4
PIXEL_SCALE = 1.01
"""[arcsec/pixel]"""
LIMIT, FORCED, DETECTION, OWN = range(4)
TO_ERROR = 0.4 * math.log(10)
POLE_RA, POLE_DEC, OBLIQUITY = (math.radians(x) for x in (192.85948, 27.12825, 23.4392911))
NAN = math.nan


@dataclass(frozen=True, slots=True)
class Curve:
    """One alert's history, in time order, without duplicates."""

    mjd: float
    """Of the alert [d, TAI]."""
    band: str
    first_detection: float
    """[d, TAI]"""
    time: F64
    wavelength: F32
    flux: F32
    flux_err: F32
    limit: F32
    detected: np.ndarray[Any, np.dtype[np.bool_]]


def to_mjd(jd: float, exposure: float | None = None) -> float:
    """Start of an exposure [s], UTC JD → its middle, TAI MJD [d]."""
    return jd - 2_400_000.5 + TAI + (exposure or 30.0) / 2 / 86400


def to_flux(magnitude: float) -> float:
    """AB magnitude → flux [µJy]."""
    return math.pow(10, 0.4 * (23.9 - magnitude))


def is_magnitude(value: float | None) -> bool:
    return value is not None and 0 < value < 50


def sign(record: dict[str, Any]) -> int:
    return -1 if record["isdiffpos"] in ("f", "0", "F") else 1


def measurement(record: dict[str, Any]) -> tuple[float, float]:
    """Signed flux of a detection and its error [µJy]."""
    flux = sign(record) * to_flux(record["magpsf"])
    return flux, abs(flux) * record["sigmapsf"] * TO_ERROR


def curve_of(alert: dict[str, Any]) -> Curve:
    """The alert's own measurement, its history and its forced photometry as one curve."""
    own = alert["candidate"]
    here = to_mjd(own["jd"], own.get("exptime"))
    points: list[tuple[float, ...]] = []  # (time, wavelength, rank, flux, error, limit)
    for record in (own, *(alert["prv_candidates"] or ())):
        if record["fid"] not in COLOURS:
            continue
        place = (to_mjd(record["jd"], record.get("exptime")), COLOURS[record["fid"]])
        if is_magnitude(record["magpsf"]):
            points.append((*place, OWN if record is own else DETECTION, *measurement(record), NAN))
        elif is_magnitude(record["diffmaglim"]):
            points.append((*place, LIMIT, NAN, NAN, to_flux(record["diffmaglim"])))
    for record in alert.get("fp_hists") or ():
        if record["fid"] not in COLOURS:
            continue
        place = (to_mjd(record["jd"], record.get("exptime")), COLOURS[record["fid"]])
        flux, error = record["forcediffimflux"], record["forcediffimfluxunc"]
        good = record["procstatus"] in ("0", None) and flux is not None and error is not None and flux > -9999 and error > 0
        if good and is_magnitude(record["magzpsci"]):
            unit = to_flux(record["magzpsci"])
            points.append((*place, FORCED, flux * unit, error * unit, NAN))
        elif is_magnitude(record["diffmaglim"]):
            points.append((*place, LIMIT, NAN, NAN, to_flux(record["diffmaglim"])))
    first = to_mjd(own["jdstarthist"]) if own.get("jdstarthist") else NAN
    first = min((t for t in (first, *(p[0] for p in points if p[2] >= DETECTION)) if t == t), default=here)
    kept = without_duplicates(points)[-MAX_POINTS:]
    columns = np.array(kept, dtype=np.float64).T
    flux, error = columns[3], columns[4]
    return Curve(
        mjd=here,
        band=BANDS.get(own["fid"], ""),
        first_detection=min(first, here),
        time=columns[0],
        wavelength=columns[1].astype(np.float32),
        flux=flux.astype(np.float32),
        flux_err=error.astype(np.float32),
        limit=columns[5].astype(np.float32),
        detected=(columns[2] >= DETECTION) | (np.abs(flux) >= 5 * error),
    )


def without_duplicates(points: list[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """In time order; of two points of a band at one time the one of the higher rank."""
    kept: list[tuple[float, ...]] = []
    for point in sorted(points, key=lambda p: p[0]):
        for back in range(len(kept) - 1, -1, -1):
            if point[0] - kept[back][0] >= SAME_TIME:
                kept.append(point)
                break
            if kept[back][1] == point[1]:
                if point[2] > kept[back][2]:
                    del kept[back]
                    kept.append(point)
                break
        else:
            kept.append(point)
    return kept


def context_of(alert: dict[str, Any], curve: Curve) -> dict[str, float]:
    """The alert's surroundings by the names of `operators.context.SURROUNDINGS`, and the real/bogus score; NaN: not known."""
    own = alert["candidate"]
    flux, error = measurement(own)
    source = next((own[name] for name in ("srmag1", "sgmag1", "simag1", "szmag1") if is_magnitude(own[name])), None)
    drb = own.get("drb")
    has_drb = drb is not None and (drb > 0 or (drb == 0 and bool(own.get("drbversion"))))
    near = own["ssdistnr"] is not None and own["ssdistnr"] >= 0
    ra, dec = math.radians(own["ra"]), math.radians(own["dec"])
    galactic = math.sin(POLE_DEC) * math.sin(dec) + math.cos(POLE_DEC) * math.cos(dec) * math.cos(ra - POLE_RA)
    ecliptic = math.sin(dec) * math.cos(OBLIQUITY) - math.cos(dec) * math.sin(OBLIQUITY) * math.sin(ra)
    return {
        "real_bogus": drb if has_drb else _or_nan(own["rb"]),
        "star_galaxy": _known(own["sgscore1"]),
        "source_distance": _known(own["distpsnr1"]),
        "source_flux": NAN if source is None else to_flux(source),
        "reference_distance": _known(own["distnr"]) * PIXEL_SCALE,
        "solar_system_distance": _known(own["ssdistnr"]),
        "solar_system_flux": to_flux(own["ssmagnr"]) if near and is_magnitude(own["ssmagnr"]) else NAN,
        "positive": 1.0 if flux > 0 else 0.0,
        "n_detections": _known(own["ndethist"]),
        "n_visits": _known(own["ncovhist"]),
        "history": curve.mjd - to_mjd(own["jdstarthist"]) if own.get("jdstarthist") else NAN,
        "galactic_latitude": abs(math.degrees(math.asin(min(1.0, max(-1.0, galactic))))),
        "ecliptic_latitude": abs(math.degrees(math.asin(min(1.0, max(-1.0, ecliptic))))),
        "flux": flux,
        "signal_to_noise": abs(flux) / error,
        **dict.fromkeys(ADDED, NAN),
        "drb": drb if has_drb else NAN,
        "rb": _or_nan(own["rb"]),
        "reliability": NAN,
        "reference_chi": _known(own.get("chinr")),
        "reference_error": _known(own.get("sigmagnr")),
        "reference_sharpness": _or_nan(own.get("sharpnr")),
    }


def _known(value: float | None) -> float:
    """Never negative: -999 and its like mean that there is none."""
    return float(value) if value is not None and value >= 0 else NAN


def _or_nan(value: float | None) -> float:
    return NAN if value is None else float(value)
