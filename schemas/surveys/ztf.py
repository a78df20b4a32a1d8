"""ZTF alert packets, versions 3.0 to 4.02 and later ones that keep the fields.

Field meanings: https://zwickytransientfacility.github.io/ztf-avro-alert/schema.html ; forced photometry: Masci et al. 2023
(arXiv:2305.16279). Magnitudes and zero points are AB: µJy = 10^((23.9 - m) / 2.5). A packet's jd is the start of the exposure, in UTC
(ztf-avro-alert issue 11): all times here are mid-exposure, MJD TAI = jd - 2,400,000.5 + (TAI - UTC) + exptime / 2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from operators.kernels.compiled import compiled
from operators.types import MEASURED, WAVELENGTH, Survey
from schemas.avro.program import Kind, Want, code, record_fields, slots
from schemas.avro.wire import PacketError
from schemas.surveys.columns import CONTEXT_INDEX, SCORE_INDEX, Columns, Record
from schemas.surveys.cutouts import Cutouts
from schemas.surveys.history import (
    DETECTION,
    ERROR,
    FLUX,
    FORCED,
    LIMIT,
    LIMITS,
    OWN,
    RANK,
    REACH,
    ROWS,
    TIME,
    put,
    select,
    write,
)
from schemas.surveys.ranges import COUNT, DISTANCE, MAGNITUDE, SHARE, Range, blank, bounds, spans
from schemas.surveys.times import DAY, TIME_RANGES, ecliptic_latitude, galactic_latitude, to_mjd, utc_to_tai

PIXEL_SCALE = 1.01
"""[arcsec/pixel] (Bellm et al. 2019, PASP 131, 018002)."""
COLUMNS_OF_QUADRANT, ROWS_OF_QUADRANT = 3072, 3080
BANDS = {1: "g", 2: "r", 3: "i"}
MAX_NAME = 64
"""Characters of an object's name, which becomes the key of messages."""

_NUMBERS = ("jd", "fid", "programid", "magpsf", "sigmapsf", "ra", "dec", "diffmaglim", "drb", "rb", "sgscore1", "distpsnr1", "sgmag1",
            "srmag1", "simag1", "szmag1", "distnr", "magnr", "ssdistnr", "ssmagnr", "ndethist", "ncovhist", "jdstarthist", "fwhm", "elong",
            "xpos", "ypos", "exptime", "magzpsci")  # fmt: skip
MEASURED_FIELDS = {
    "reference_chi": "chinr", "reference_sharpness": "sharpnr", "reference_error": "sigmagnr",
    "gaia_distance": "neargaia", "gaia_magnitude": "maggaia", "bright_distance": "neargaiabright", "second_distance": "distpsnr2",
    "second_star_galaxy": "sgscore2", "star_likeness": "classtar", "negative_pixels": "nneg", "bad_pixels": "nbad", "sum_ratio": "sumrat",
    "aperture_difference": "magdiff", "fit_chi": "chipsf", "seeing_ratio": "seeratio", "axis": "aimagerat", "sky": "sky",
    "matched_signal": "scorr", "spikes": "dsnrms", "spikes_in_science": "ssnrms",
    "source_g": "sgmag1", "source_r": "srmag1", "source_i": "simag1", "source_z": "szmag1",
}  # fmt: skip
"""Name in `MEASURED` → field of the candidate."""
_NUMBER: Kind = "number"
_SCALARS: dict[str, Kind] = {f"candidate.{name}": _NUMBER for name in dict.fromkeys((*_NUMBERS, *MEASURED_FIELDS.values()))}
_SCALARS |= {"candidate.isdiffpos": "text", "candidate.drbversion": "text", "candidate.candid": "integer", "candid": "integer"}
_SCALARS |= {
    "objectId": "text",
    "cutoutScience.stampData": "bytes",
    "cutoutTemplate.stampData": "bytes",
    "cutoutDifference.stampData": "bytes",
}

SURVEY: Survey = "ztf"

WANT = Want(
    _SCALARS,
    {
        "prv_candidates": {"jd": "number", "fid": "number", "magpsf": "number", "sigmapsf": "number", "diffmaglim": "number",
                           "isdiffpos": "text", "exptime": "number"},
        "fp_hists": {"jd": "number", "fid": "number", "forcediffimflux": "number", "forcediffimfluxunc": "number", "magzpsci": "number",
                     "diffmaglim": "number", "procstatus": "text", "exptime": "number"},
    },
)  # fmt: skip

TIMES = TIME_RANGES[SURVEY]
EXPOSURE = 30.0
"""[s] of an exposure whose packet does not state it (before version 3.3; of a row of prv_candidates)."""
VALID: dict[str, Range] = {
    "rb": SHARE,
    "drb": SHARE,
    "sgscore1": SHARE,
    "magpsf": MAGNITUDE,
    "sigmapsf": (1e-4, 100.0),  # better than any calibration is an error that was never filled
    "diffmaglim": MAGNITUDE,
    "distpsnr1": DISTANCE,
    **dict.fromkeys(("sgmag1", "srmag1", "simag1", "szmag1"), MAGNITUDE),
    "distnr": DISTANCE,
    "magnr": MAGNITUDE,
    "ssdistnr": DISTANCE,
    "ssmagnr": MAGNITUDE,
    "ndethist": COUNT,
    "ncovhist": COUNT,
    "fwhm": (1e-3, 1e3),  # pixels
    "elong": (1.0, 1e3),
    "xpos": (-1e4, 1e4),
    "ypos": (-1e4, 1e4),
    "chinr": (0.0, 1e5),
    "sharpnr": (-100.0, 100.0),
    "sigmagnr": (0.0, 10.0),
    **dict.fromkeys(("neargaia", "neargaiabright", "distpsnr2"), DISTANCE),
    "maggaia": MAGNITUDE,
    **dict.fromkeys(("sgscore2", "classtar"), SHARE),
    **dict.fromkeys(("nneg", "nbad"), (0.0, 25.0)),
    "sumrat": (-1.0, 1.0),
    "magdiff": (-20.0, 20.0),
    "chipsf": (0.0, 1e7),
    "seeratio": (1e-3, 100.0),
    "aimagerat": (1e-4, 100.0),
    "sky": (-1e5, 1e5),
    **dict.fromkeys(("scorr", "dsnrms", "ssnrms"), (0.0, 1e7)),
    "exptime": (1.0, 3600.0),  # s; some archives write 0
    "forcediffimflux": (-1e9, 1e9),
    "forcediffimfluxunc": (1e-3, 1e9),  # DN
    "magzpsci": MAGNITUDE,
}
"""What each field can hold; anything else there is missing."""

_S, _A, _C = slots(WANT)
_OF_SCALARS, _OF_COLUMNS = bounds(WANT, VALID)
_SPANS = spans(WANT)
_SCALES = TIMES.table()
_JD, _FID, _MAG, _SIGMA, _RA, _DEC = (_S[f"candidate.{k}"] for k in ("jd", "fid", "magpsf", "sigmapsf", "ra", "dec"))
_SIGN, _DRB, _DRBVERSION, _RB = (_S[f"candidate.{k}"] for k in ("isdiffpos", "drb", "drbversion", "rb"))
_SGSCORE, _DISTPS, _SGMAG, _SRMAG, _SIMAG, _SZMAG = (
    _S[f"candidate.{k}"] for k in ("sgscore1", "distpsnr1", "sgmag1", "srmag1", "simag1", "szmag1")
)
_DISTNR, _MAGNR, _SSDIST, _SSMAG = (_S[f"candidate.{k}"] for k in ("distnr", "magnr", "ssdistnr", "ssmagnr"))
_NDET, _NCOV, _START, _FWHM, _ELONG = (_S[f"candidate.{k}"] for k in ("ndethist", "ncovhist", "jdstarthist", "fwhm", "elong"))
_PROGRAMID, _XPOS, _YPOS, _EXPTIME = (_S[f"candidate.{k}"] for k in ("programid", "xpos", "ypos", "exptime"))
_OWN_LIMIT, _ZERO_POINT = _S["candidate.diffmaglim"], _S["candidate.magzpsci"]
_CANDID, _INNER_CANDID, _OBJECT = _S["candid"], _S["candidate.candid"], _S["objectId"]
_CUTOUTS = tuple(_S[f"cutout{k}.stampData"] for k in ("Science", "Template", "Difference"))
_WINDOWS = slice(_CUTOUTS[0], _CUTOUTS[0] + len(_CUTOUTS))
_PRV, _FP = _A["prv_candidates"], _A["fp_hists"]
_P_JD, _P_FID, _P_MAG, _P_SIGMA, _P_LIM, _P_SIGN, _P_EXPTIME = (_C[f"prv_candidates.{k}"] for k in WANT.arrays["prv_candidates"])
_F_JD, _F_FID, _F_FLUX, _F_ERR, _F_ZP, _F_LIM, _F_STATUS, _F_EXPTIME = (_C[f"fp_hists.{k}"] for k in WANT.arrays["fp_hists"])

_SLOTS_MEASURED = np.array([_S[f"candidate.{MEASURED_FIELDS[name]}"] for name in MEASURED])
_FALSE, _LETTER_F, _CAPITAL_F = code("0"), code("f"), code("F")
_GOOD = code("0")
_WAVELENGTHS = np.array([np.nan, WAVELENGTH["ztf"]["g"], WAVELENGTH["ztf"]["r"], WAVELENGTH["ztf"]["i"]])
_DRB_SCORE, _RB_SCORE = SCORE_INDEX["drb"], SCORE_INDEX["rb"]
_K = CONTEXT_INDEX
_K_RB, _K_SG, _K_SDIST, _K_SFLUX, _K_RDIST, _K_RFLUX = (
    _K[k] for k in ("real_bogus", "star_galaxy", "source_distance", "source_flux", "reference_distance", "reference_flux")
)
_K_SSDIST, _K_SSFLUX, _K_POSITIVE, _K_NDET, _K_NVISIT, _K_HISTORY = (
    _K[k] for k in ("solar_system_distance", "solar_system_flux", "positive", "n_detections", "n_visits", "history")
)
_K_GAL, _K_ECL, _K_FWHM, _K_ELONG, _K_FLUX, _K_SNR = (
    _K[k] for k in ("galactic_latitude", "ecliptic_latitude", "fwhm", "elongation", "flux", "signal_to_noise")
)

OK, NO_TIME, NO_PLACE, NO_FLUX = range(4)
_MISSING = {NO_PLACE: "candidate.ra or dec is missing or not on the sky", NO_FLUX: "candidate.magpsf is missing or no magnitude"}
_REQUIRED = {"jd", "fid", "programid", "isdiffpos", "magpsf", "sigmapsf", "ra", "dec"}


def claims(schema: Any) -> bool:
    """By the fields: ZTF's object name and a candidate with ZTF's photometry. The object's own name is looked at in `fill`."""
    return "objectId" in record_fields(schema) and record_fields(schema, "candidate").keys() >= _REQUIRED


def fill(record: Record, columns: Columns, *, i: int, cutouts: Cutouts) -> None:
    """Write row i."""
    object_id = record.text(_OBJECT, "objectId")
    if not object_id.startswith("ZTF"):
        raise PacketError("unknown_survey", f"the packet has ZTF's fields, but its objectId {object_id[:40]!r} is not ZTF's")
    if len(object_id) > MAX_NAME or not object_id.isalnum():
        raise PacketError("bad_value", f"objectId {object_id[:40]!r} is not a name: letters and digits, {MAX_NAME} at most")
    candid = record.long(_CANDID, _INNER_CANDID)
    if candid is None:
        raise PacketError("bad_value", "neither candid nor candidate.candid is there")
    values = record.values
    number = values.number
    status = fill_row(number, values.table, values.count, i, *columns.light_curve, *columns.own, columns.context)
    if status == NO_TIME:
        raise PacketError("bad_value", TIMES.fault("candidate.jd", float(number[_JD])))
    if status != OK:
        raise PacketError("bad_value", _MISSING[status])
    columns.measured[i] = number[_SLOTS_MEASURED]  # cleared of what they cannot be by `fill_row`
    if not columns.put_windows(i, record, slots=_WINDOWS, cutouts=cutouts, pixel_scale=PIXEL_SCALE):
        images = [record.bytes(slot) for slot in _CUTOUTS]
        # a stamp cut by the quadrant's edge is smaller: which edge, the pixel position says
        columns.put_stamps(
            i, images, cutouts=cutouts, pixel_scale=PIXEL_SCALE,
            right=bool(number[_XPOS] < COLUMNS_OF_QUADRANT / 2) if number[_XPOS] == number[_XPOS] else None,
            top=bool(number[_YPOS] < ROWS_OF_QUADRANT / 2) if number[_YPOS] == number[_YPOS] else None,
        )  # fmt: skip
    scores = columns.survey_scores[i]
    scores[_DRB_SCORE], scores[_RB_SCORE] = number[_DRB], number[_RB]
    if scores[_DRB_SCORE] == 0 and not number[_DRBVERSION] > 0:  # see `fill_row`: no score
        scores[_DRB_SCORE] = np.nan
    columns.own_limit[i], columns.zero_point[i] = to_flux(number[_OWN_LIMIT]), number[_ZERO_POINT]
    programid = number[_PROGRAMID]
    columns.identify(
        SURVEY,
        candid,
        object_id=object_id,
        programid=int(programid) if 0 <= programid < 100 else 0,  # unknown is not public
        band=BANDS.get(number[_FID], ""),
    )


@compiled
def fill_row(  # type: ignore[no-untyped-def] # pragma: no cover
    number, table, count, i, time, wavelength, flux, flux_err, limit, detected, valid, first, truncated, ra, dec, mjd, own_err, n_detected,
    n_dropped, context,
):  # fmt: skip
    """Everything of row i but identity and stamps; OK or why not."""
    blank(number, table, count, _SPANS, _OF_SCALARS, _OF_COLUMNS)
    here = to_mjd(number[_JD], _SCALES)
    if here != here:
        return NO_TIME
    if not (number[_RA] >= 0 and number[_RA] <= 360 and number[_DEC] >= -90 and number[_DEC] <= 90):
        return NO_PLACE
    if number[_MAG] != number[_MAG]:
        return NO_FLUX
    here = utc_to_tai(here)
    own = sign_of(number[_SIGN]) * to_flux(number[_MAG])
    error = error_of(own, number[_SIGMA])
    # Starts of exposures until duplicates are gone: not every row states how long its exposure was. Raw numbers until points are picked.
    points = np.empty((ROWS, 1 + count[_PRV] + count[_FP]))
    exposure = np.empty(points.shape[1])
    m = np.int64(0)
    dropped = 0
    band = wavelength_of(number[_FID])
    if band == band and error == error:
        exposure[m] = number[_EXPTIME]
        m = put(points, m, here, band, own, error, np.nan, OWN)
    mine = m
    for j in range(count[_PRV]):
        t, band = to_mjd(table[_P_JD, j], _SCALES), wavelength_of(table[_P_FID, j])
        if t != t:
            dropped += 1
            continue
        if band != band:
            continue
        exposure[m] = table[_P_EXPTIME, j]
        if table[_P_MAG, j] == table[_P_MAG, j]:
            if table[_P_SIGMA, j] == table[_P_SIGMA, j]:
                # in place of the flux its magnitude, of the limit its sign
                m = put(points, m, utc_to_tai(t), band, table[_P_MAG, j], table[_P_SIGMA, j], sign_of(table[_P_SIGN, j]), DETECTION)
        elif table[_P_LIM, j] == table[_P_LIM, j]:
            m = put(points, m, utc_to_tai(t), band, np.nan, np.nan, table[_P_LIM, j], LIMIT)
    for j in range(count[_FP]):
        t, band, zero = to_mjd(table[_F_JD, j], _SCALES), wavelength_of(table[_F_FID, j]), table[_F_ZP, j]
        if t != t:
            dropped += 1
            continue
        if band != band:
            continue
        exposure[m] = table[_F_EXPTIME, j]
        status = table[_F_STATUS, j]
        good = status == _GOOD or status != status
        f, e = table[_F_FLUX, j], table[_F_ERR, j]
        if good and f == f and e == e and zero == zero:
            m = put(points, m, utc_to_tai(t), band, f, e, zero, FORCED)  # counts, and their zero point
        elif table[_F_LIM, j] == table[_F_LIM, j]:
            m = put(points, m, utc_to_tai(t), band, np.nan, np.nan, table[_F_LIM, j], LIMIT)
    start = utc_to_tai(to_mjd(number[_START], _SCALES))
    kept, k, shown, earliest = select(points, m, start, here)
    begin = max(0, k - time.shape[1])
    # not every point of the history, but only those in the window become fluxes at mid-exposure
    for j in range(begin, k):
        p = kept[j]
        rank = points[RANK, p]
        if rank == DETECTION:
            f = points[LIMITS, p] * to_flux(points[FLUX, p])
            points[ERROR, p] = error_of(f, points[ERROR, p])
            points[FLUX, p] = f
        elif rank == FORCED:
            unit = to_flux(points[LIMITS, p])
            points[FLUX, p] *= unit
            points[ERROR, p] *= unit
        elif rank == LIMIT:
            points[LIMITS, p] = to_flux(points[LIMITS, p])
        points[TIME, p] += half_of(exposure[p])
    write(points, kept, begin, k, i, time, wavelength, flux, flux_err, limit, detected, valid)
    middle = here + half_of(number[_EXPTIME])
    earliest += half_of(np.nan)
    truncated[i] = k > begin and time[i, 0] > earliest + REACH
    first[i] = middle if earliest != earliest or earliest > middle else earliest
    ra[i] = number[_RA]
    dec[i] = number[_DEC]
    mjd[i] = middle
    own_err[i] = error
    n_detected[i] = shown + (1 - mine)
    n_dropped[i] = dropped
    row = context[i]
    row[:] = np.nan
    if not (number[_DRB] > 0 or (number[_DRB] == 0 and number[_DRBVERSION] > 0)):  # before version 3.3 some archives wrote 0 and ""
        number[_DRB] = np.nan
    row[_K_RB] = number[_DRB] if number[_DRB] == number[_DRB] else number[_RB]
    row[_K_SG] = number[_SGSCORE]
    row[_K_SDIST] = number[_DISTPS]
    for slot in (_SRMAG, _SGMAG, _SIMAG, _SZMAG):
        if number[slot] == number[slot]:
            row[_K_SFLUX] = to_flux(number[slot])
            break
    row[_K_RDIST] = number[_DISTNR] * PIXEL_SCALE  # pixels: against ranr, decnr in 184 packets 1.0127 " each
    row[_K_RFLUX] = to_flux(number[_MAGNR])
    row[_K_SSDIST] = number[_SSDIST]
    if number[_SSDIST] >= 0:
        row[_K_SSFLUX] = to_flux(number[_SSMAG])
    row[_K_POSITIVE] = 1.0 if own > 0 else 0.0
    row[_K_NDET] = number[_NDET]
    row[_K_NVISIT] = number[_NCOV]
    row[_K_HISTORY] = here - start
    row[_K_GAL] = abs(galactic_latitude(number[_RA], number[_DEC]))
    row[_K_ECL] = abs(ecliptic_latitude(number[_RA], number[_DEC]))
    row[_K_FWHM] = number[_FWHM] * PIXEL_SCALE
    row[_K_ELONG] = number[_ELONG]
    row[_K_FLUX] = own
    row[_K_SNR] = abs(own) / error
    return OK


@compiled
def error_of(flux, sigma):  # type: ignore[no-untyped-def] # pragma: no cover
    """Error of a flux from that of its magnitude."""
    return abs(flux) * sigma * 0.4 * np.log(10.0)


@compiled
def half_of(exposure):  # type: ignore[no-untyped-def] # pragma: no cover
    """Half an exposure [s] in days."""
    return 0.5 * (exposure if exposure == exposure else EXPOSURE) / DAY


@compiled
def to_flux(magnitude):  # type: ignore[no-untyped-def] # pragma: no cover
    """AB magnitude → µJy."""
    return 10.0 ** (0.4 * (23.9 - magnitude))


@compiled
def sign_of(isdiffpos):  # type: ignore[no-untyped-def] # pragma: no cover
    """-1 where the source faded against the reference ("f", "0"), else 1."""
    letter = isdiffpos % 256.0
    return -1.0 if letter in (_LETTER_F, _FALSE, _CAPITAL_F) else 1.0


@compiled
def wavelength_of(fid):  # type: ignore[no-untyped-def] # pragma: no cover
    """Effective wavelength of a filter number [Å], NaN for an unknown one."""
    return _WAVELENGTHS[int(fid)] if fid >= 1 and fid <= 3 else np.nan
