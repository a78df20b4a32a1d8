"""n and a seed in → the columns of an AlertBatch out, with labels: what the network is trained on.

The same alerts as packets (`packets.py`) decode to the same columns; a test holds the two together.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, cast

import numpy as np

from data.simulate import sky
from data.simulate.classes import CLASSES, SLUGS
from data.simulate.draw import PopulationName, generator
from data.simulate.images import stamps, zero_point
from data.simulate.measured import PIXEL
from data.simulate.observe import MID_EXPOSURE, TAI_UTC, Alert, choose, observe, points
from data.simulate.scene import Scene, scene
from data.simulate.surroundings import NOTHING, band_of, context
from operators.types import CONTEXT, MAX_POINTS, MEASURED, RAW_STAMP, STAMP, SURVEY_SCORES, AlertBatch, Survey
from schemas.surveys.ztf import MEASURED_FIELDS

SURVEY_MIX: dict[Survey, float] = {"ztf": 0.78, "lsst": 0.18, "tess": 0.04}
ADDED = CONTEXT[CONTEXT.index("redshift") :]
"""Values of the context that no packet of today has: of the host, and what other catalogues know."""
_TESS_CLASSES = ("sn-ia", "sn-ii", "sn-ibc", "afterglow", "m-dwarf-flare", "agn", "rr-lyrae", "eclipsing-binary", "cv", "yso", "bogus")
REACH = 1.0
"""[d]: a light curve that begins no later than this after the first detection reaches back to it (schemas/surveys/history.py)."""
_CHUNK = 500
_TRIES = 1024  # objects tried for one alert: most kilonovae are never seen
_CROP = slice(RAW_STAMP // 2 - STAMP // 2, RAW_STAMP // 2 - STAMP // 2 + STAMP)


def make(
    n: int,
    seed: int,
    *,
    population: PopulationName = "train",
    processes: int = 2,
    surveys: Mapping[Survey, float] | None = None,
    classes: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Simulate n labelled alerts.

    Parameters
    ----------
    n, seed : how many, and which; alert k of a seed is the same whatever n and `processes`
    population : whose parameters, dates and cadences
    processes : 1: in this process
    surveys : weights; default `SURVEY_MIX`
    classes : weights by slug; default all equal

    Returns
    -------
    dict with the columns of `AlertBatch` under their names (identity as arrays of strings and integers; `stamps` float16
    (n, 3, P, P), the central crop of the raw ones) and ``label`` (n,) int64 index into `SLUGS`, ``n_detections`` (n,) int64 detected
    points of the light curve, ``redshift`` (n,) float32, NaN for stars, ``added`` (n, len(ADDED)) float32 the truth behind what a
    packet does not have, ``kind`` (n,) the finer class.
    """
    surveys = dict(surveys or SURVEY_MIX)
    classes = dict(classes or dict.fromkeys(CLASSES, 1.0))
    jobs = [(range(k, min(k + _CHUNK, n)), seed, population, surveys, classes) for k in range(0, n, _CHUNK)]
    if processes == 1 or len(jobs) <= 1:
        chunks = [_chunk(*job) for job in jobs]
    else:
        with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
            chunks = list(pool.map(_chunk, *zip(*jobs, strict=True)))
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def to_batch(columns: Mapping[str, Any]) -> AlertBatch:
    """The columns of `make` as an AlertBatch; stamps are set back into a frame of NaN of the raw size."""
    n = len(columns["candid"])
    raw = np.full((n, 3, RAW_STAMP, RAW_STAMP), np.nan, np.float32)
    raw[:, :, _CROP, _CROP] = columns["stamps"]
    arrays = (
        "ra",
        "dec",
        "mjd",
        "first_detection",
        "truncated",
        "time",
        "wavelength",
        "flux",
        "flux_err",
        "limit",
        "detected",
        "valid",
        "pixel_scale",
        "context",
        "measured",
        "survey_scores",
        "own_limit",
        "zero_point",
    )
    return AlertBatch(
        survey=cast("tuple[Survey, ...]", tuple(str(s) for s in columns["survey"])),
        candid=tuple(int(c) for c in columns["candid"]),
        object_id=tuple(str(o) for o in columns["object_id"]),
        programid=tuple(int(p) for p in columns["programid"]),
        band=tuple(str(b) for b in columns["band"]),
        stamps=raw,
        **{name: columns[name] for name in arrays},
    )


def pick(seed: int, index: int, *, population: PopulationName, surveys: Mapping[Survey, float], classes: Mapping[str, float]) -> Alert:
    """Alert `index` of a seed: class, survey, then objects until one is detected.

    Raises
    ------
    RuntimeError : the survey never sees such objects
    """
    rng = generator(population, seed, index, 5)
    slug = str(rng.choice(list(classes), p=np.array(list(classes.values())) / sum(classes.values())))
    survey: Survey = rng.choice(list(surveys), p=np.array(list(surveys.values())) / sum(surveys.values()))
    if survey == "tess" and slug not in _TESS_CLASSES and "ztf" in surveys:
        survey = "ztf"
    for attempt in range(_TRIES):
        o = observe(seed, index * _TRIES + attempt, slug=slug, population=population, survey=survey)
        if o is not None:
            return choose(o)
    raise RuntimeError(f"no {slug} was detected by {survey} in {_TRIES} tries")


def _chunk(
    indices: Sequence[int], seed: int, population: PopulationName, surveys: Mapping[Survey, float], classes: Mapping[str, float]
) -> dict[str, Any]:
    return columns(pick(seed, index, population=population, surveys=surveys, classes=classes) for index in indices)


def columns(alerts: Iterable[Alert]) -> dict[str, Any]:
    """Alerts → the columns of `make`."""
    held = list(alerts)
    out = _empty(len(held))
    for row, alert in enumerate(held):
        fill(out, row, alert=alert, surroundings=scene(alert.observed))
    return out


def _empty(n: int) -> dict[str, Any]:
    t = (n, MAX_POINTS)
    return {
        "survey": np.empty(n, "U4"),
        "candid": np.zeros(n, np.int64),
        "object_id": np.empty(n, "U24"),
        "programid": np.ones(n, np.int64),
        "band": np.empty(n, "U1"),
        **{name: np.zeros(n) for name in ("ra", "dec", "mjd", "first_detection")},
        "truncated": np.zeros(n, bool),
        "time": np.full(t, np.nan),
        **{name: np.full(t, np.nan, np.float32) for name in ("wavelength", "flux", "flux_err", "limit")},
        "detected": np.zeros(t, bool),
        "valid": np.zeros(t, bool),
        "stamps": np.full((n, 3, STAMP, STAMP), np.nan, np.float16),
        "pixel_scale": np.full(n, np.nan, np.float32),
        "context": np.full((n, len(CONTEXT)), np.nan, np.float32),
        "measured": np.full((n, len(MEASURED)), np.nan, np.float32),
        "survey_scores": np.full((n, len(SURVEY_SCORES)), np.nan, np.float32),
        "own_limit": np.full(n, np.nan, np.float32),
        "zero_point": np.full(n, np.nan, np.float32),
        "label": np.zeros(n, np.int64),
        "n_detections": np.zeros(n, np.int64),
        "redshift": np.full(n, np.nan, np.float32),
        "added": np.full((n, len(ADDED)), np.nan, np.float32),
        "kind": np.empty(n, "U16"),
    }


def object_name(alert: Alert) -> str:
    """ZTF's pattern: year of the first simulated visit and seven letters, from population, seed and index."""
    o = alert.observed
    digest = hashlib.blake2b(f"{o.population}/{o.seed}/{o.index}".encode(), digest_size=7).digest()
    letters = "".join(chr(97 + byte % 26) for byte in digest)
    prefix = {"ztf": "ZTF", "lsst": "LSST", "tess": "TIC"}[o.survey]
    return f"{prefix}{18 if o.population == 'train' else 25}{letters}"


def candid_of(alert: Alert) -> int:
    """Night, fraction of the day, then a number of object and visit, as ZTF builds it; the first thirteen digits are the image's `pid`."""
    o = alert.observed
    return image_number(float(o.visits.mjd[alert.now])) * 10**9 + 10**6 + (o.index * 7919 + o.seed * 104729 + alert.now) % (98 * 10**7)


def image_number(mjd: float) -> int:
    """Night since the survey's beginning and six digits of the day."""
    return int(np.floor(mjd) - 57754) * 10**6 + int(mjd % 1 * 1e6)


def label_of(slug: str) -> int:
    """Its place in `SLUGS`; -1: a class that was described (`described.py`) and has none."""
    return SLUGS.index(slug) if slug in SLUGS else -1


def fill(out: dict[str, Any], row: int, *, alert: Alert, surroundings: Scene) -> None:
    """Write one alert into the columns."""
    o, v, now = alert.observed, alert.observed.visits, alert.now
    facts = context(alert, surroundings)
    out["survey"][row], out["candid"][row], out["object_id"][row], out["band"][row] = (
        o.survey,
        candid_of(alert),
        object_name(alert),
        band_of(alert),
    )
    out["ra"][row], out["dec"][row] = o.ra, o.dec
    out["label"][row], out["kind"][row], out["redshift"][row] = label_of(o.label), o.source.kind, o.source.redshift

    out["added"][row] = [added(alert)[name] for name in ADDED]

    p = points(alert)
    k = min(len(p.flux), MAX_POINTS)
    late = slice(len(p.flux) - k, None)  # the latest stay
    to_middle = TAI_UTC + MID_EXPOSURE.get(o.survey, 0.0)
    out["time"][row, :k] = v.mjd[p.held][late] + to_middle
    out["wavelength"][row, :k] = v.wavelength[p.held][late]
    out["flux"][row, :k], out["flux_err"][row, :k], out["limit"][row, :k] = p.flux[late], p.error[late], p.limit[late]
    out["detected"][row, :k], out["valid"][row, :k] = p.detected[late], True
    out["n_detections"][row] = p.detected[late].sum()

    out["mjd"][row] = v.mjd[now] + to_middle
    alerted = v.mjd[p.held][p.alerted]
    survey_first = min(float(facts["mjdstarthist"]), float(alerted[0]))
    out["first_detection"][row] = survey_first + to_middle
    out["truncated"][row] = float(out["time"][row, 0]) > survey_first + to_middle + REACH
    out["context"][row] = _context(alert, facts, survey_first=survey_first)
    if o.survey == "ztf":
        values = (facts[MEASURED_FIELDS[name]] for name in MEASURED)
        out["survey_scores"][row] = [np.nan if (score := facts.get(name)) is None else score for name in SURVEY_SCORES]
        out["measured"][row] = [np.nan if value is None or value == NOTHING else value for value in values]
        out["own_limit"][row], out["zero_point"][row] = sky.flux(float(v.limit[now])), zero_point(alert)
    elif o.survey == "lsst":
        out["survey_scores"][row, SURVEY_SCORES.index("reliability")] = out["context"][row, CONTEXT.index("real_bogus")]
    if o.survey != "tess":
        images, _ = stamps(alert, surroundings, context=facts)
        with np.errstate(over="ignore"):
            out["stamps"][row] = np.clip(images[:, _CROP, _CROP], -60000, 60000)
        out["pixel_scale"][row] = PIXEL if o.survey == "ztf" else 1.0


def added(alert: Alert) -> dict[str, float]:
    """What catalogues could add to an alert, by the names of `CONTEXT`: the host's own values, and whether it is such a source at all."""
    o = alert.observed
    host, star = o.source.host, o.source.star
    moving = o.label in ("asteroid", "bogus")
    return {
        "redshift": float(o.source.redshift),
        "host_distance": np.nan if host is None else float(host.offset),
        "host_flux": np.nan if host is None else float(sky.flux(host.mag_r)),
        "host_colour": np.nan if host is None else float(host.g_r),
        "catalogue_star": float(star is not None and o.label != "agn" and not moving),
        "catalogue_agn": float(o.label == "agn"),
        "catalogue_variable": float(star is not None and o.source.persistent and o.label != "agn" and not moving),
    }


def _context(alert: Alert, facts: Mapping[str, Any], *, survey_first: float) -> Any:
    o, now = alert.observed, alert.now
    signal = float(o.flux[now] / o.error[now])
    values: dict[str, float] = {
        "positive": float(o.flux[now] >= 0),
        "galactic_latitude": abs(float(sky.galactic_latitude(o.ra, o.dec))),
        "ecliptic_latitude": abs(float(sky.ecliptic_latitude(o.ra, o.dec))),
        "flux": float(o.flux[now]),
        "signal_to_noise": abs(signal),
        "history": float(o.visits.mjd[now]) - survey_first,
    }
    if o.survey != "tess":
        score = facts["drb"] if facts["drb"] is not None else facts["rb"]
        values |= {"real_bogus": score, "n_detections": facts["ndethist"]}
    if o.survey == "ztf":
        found, known = facts["distpsnr1"] != NOTHING, facts["ssdistnr"] != NOTHING
        magnitude = next((facts[f"s{b}mag1"] for b in "rgiz" if facts[f"s{b}mag1"] != NOTHING), NOTHING)
        values |= {
            "star_galaxy": facts["sgscore1"] if found else np.nan,
            "source_distance": facts["distpsnr1"] if found else np.nan,
            "source_flux": float(sky.flux(magnitude)) if magnitude != NOTHING else np.nan,
            "reference_distance": facts["distnr"] * PIXEL,
            "reference_flux": float(sky.flux(facts["magnr"])),
            "solar_system_distance": facts["ssdistnr"] if known else np.nan,
            "solar_system_flux": float(sky.flux(facts["ssmagnr"])) if known else np.nan,
            "n_visits": facts["ncovhist"],
            "fwhm": facts["fwhm"] * PIXEL,
            "elongation": facts["elong"],
        }
    elif o.survey == "lsst" and o.label == "asteroid" and o.source.extra["known"]:
        values |= {"solar_system_distance": 0.0}
    return [values.get(name, np.nan) for name in CONTEXT]
