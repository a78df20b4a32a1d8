"""Source + visits → detections, limits and forced photometry → the alerts of one object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from data.simulate import classes, described_source, sky
from data.simulate.cadence import DEEPER, HISTORY_DAYS, Visits, visits
from data.simulate.draw import Draw, PopulationName, generator
from data.simulate.sky import F64
from data.simulate.source import SkyKind, Source, host
from data.simulate.variables import HISTORY
from operators.types import Survey

if TYPE_CHECKING:
    from data.simulate.described import Description

Bools = npt.NDArray[np.bool_]
TAI_UTC = 37.0 / 86400
MID_EXPOSURE: dict[Survey, float] = {"ztf": 15.0 / 86400}
"""[d] from the time that a survey's packet states to the middle of its exposure: ZTF's is the start."""
EPOCHS: dict[PopulationName, tuple[tuple[float, float, float], ...]] = {
    "train": ((0.3, 58300.0, 58650.0), (0.4, 58650.0, 60200.0), (0.3, 60200.0, 60500.0)),
    "demo": ((1.0, 60700.0, 61200.0),),
}
"""Dates of the simulated events: chance, first and last day [MJD]. Those of training are the three ages of ZTF's packets."""
DRB_SINCE, FORCED_SINCE = 58650.0, 60200.0
"""First packets with the network's real/bogus score (version 3.3) and with forced photometry (version 4) [MJD]."""
FORCED = 0.75
"""Share of the packets since then whose forced photometry is there: some brokers take it out."""
BEGAN = 58194.0
"""ZTF's first night [MJD]: no count or history of a packet reaches further back."""
BLENDED: dict[str, float] = {"rr-lyrae": 0.5, "eclipsing-binary": 0.5, "lpv": 0.5}
"""By class, the chance that constant light of neighbours lies within the star's image: the star of the catalogues is the sum, its amplitude
in magnitudes smaller. Alerts of real stars are mostly of small amplitudes, catalogues of variables of large ones."""
LEAST_SHARE = 0.15
"""Of the star in such a blend, uniform in its logarithm up to 1."""
SUPERNOVAE = ("sn-ia", "sn-ii", "sn-iin", "sn-ibc", "slsn")
ANY_HOST = 0.25
"""Chance that a supernova lies in a galaxy drawn regardless of its class: hosts and offsets of the classes overlap more than the samples'
medians that each is drawn around, and what a supernova is must show in its light."""
COVERED = 0.45
"""Exposures a day of one field and channel, in all filters: medians of `ncovhist` are 102 after 257 d and 820 after five years."""


@dataclass(slots=True)
class Observed:
    """One object as the survey measured it; arrays over its visits (v,)."""

    seed: int
    index: int
    population: PopulationName
    survey: Survey
    label: str
    source: Source
    ra: float
    dec: float
    a_v: float  # of the Milky Way
    visits: Visits
    flux: F64  # difference flux of the alert pipeline [µJy]
    error: F64
    forced: F64  # difference flux of forced photometry [µJy]
    forced_error: F64
    detected: Bools  # an alert was issued
    faint: Bools  # 3 σ: counts for ndethist
    candidates: npt.NDArray[np.int64]  # visits whose alert may be shown
    earlier_visits: int  # before the first simulated one
    forced_rows: Bools  # visits that have a forced measurement; all False: none in the packet


@dataclass(slots=True)
class Alert:
    """One alert of an object: visit `now`, and the slice of visits its packet holds."""

    observed: Observed
    now: int
    first: int  # first visit inside the packet


def position(rng: np.random.Generator, kind: SkyKind, *, south: bool = False) -> tuple[float, float]:
    """(ra, dec) [deg] where such sources live and the survey looks."""
    while True:
        if kind in ("disc", "star-forming", "bulge"):
            lon = rng.normal(0, 6) if kind == "bulge" else rng.uniform(0, 360)
            lat = rng.normal(0, 4) if kind == "bulge" else rng.laplace(0, 7 if kind == "disc" else 10)
            ra, dec = sky.from_galactic(float(lon), float(np.clip(lat, -89, 89)))
        elif kind == "ecliptic":
            ra, dec = sky.from_ecliptic(float(rng.uniform(0, 360)), float(np.clip(rng.laplace(0, 7), -80, 80)))
        else:
            ra, dec = float(rng.uniform(0, 360)), float(np.degrees(np.arcsin(rng.uniform(-1, 1))))
        latitude = abs(float(sky.galactic_latitude(ra, dec)))
        if (kind == "extragalactic" and latitude < 12) or (kind == "halo" and latitude < 5):
            continue
        if (-75 < dec < 12) if south else (-29.5 < dec < 89):
            return ra, dec


def _date(rng: np.random.Generator, population: PopulationName) -> float:
    """The day of an event [MJD]."""
    chances, first, last = zip(*EPOCHS[population], strict=True)
    k = int(np.searchsorted(np.cumsum(chances), rng.random() * sum(chances), side="right"))
    return float(rng.uniform(first[k], last[k]))


def _window(rng: np.random.Generator, source: Source, *, survey: Survey) -> tuple[float, float]:
    """Days on the source's clock that must be observed."""
    low, high = source.active
    if survey == "tess":
        return low - 20.0, min(high, low + 25.0) + 2.0
    before = HISTORY if source.persistent else HISTORY_DAYS[survey] * (1.4 if survey == "ztf" else 0.4)
    return low - before, high + 2.0


def observe(
    seed: int, index: int, *, slug: str, population: PopulationName, survey: Survey = "ztf", described: Description | None = None
) -> Observed | None:
    """Draw object `index` of a seed, place it on the sky and in time, and measure it. None: the survey never detected it.

    With `described` it is an object of that description, whatever its slug.
    """
    rng = generator(population, seed, index, 1)
    if described is not None:
        source = described_source.source(described, Draw(rng, population, scope=slug, deeper=DEEPER[survey]))
    else:
        source = classes.draw(slug, rng, population=population, deeper=DEEPER[survey])
    ra, dec = (round(x, 7) for x in position(rng, source.sky, south=survey == "lsst"))
    a_v = 0.0
    if source.sky == "extragalactic":
        b = max(abs(float(sky.galactic_latitude(ra, dec))), 5.0)
        a_v = float(min(0.09 / np.sin(np.radians(b)) * rng.lognormal(0, 0.5), 2.0))
    low, high = _window(rng, source, survey=survey)
    zero = _date(rng, population)
    v = visits(
        rng,
        survey,
        population=population,
        start=zero + low,
        end=zero + high,
        slug=slug if described is None else described.programme,
        centre=zero,
    )
    if len(v) < 2:
        return None
    if source.active[1] - source.active[0] < 20:  # brief: start it between two visits, soon before the second
        near = np.flatnonzero(v.mjd >= min(zero, v.mjd[-1]))
        at = v.mjd[near[int(rng.integers(min(len(near), 12)))]]
        span = source.active[1] - source.active[0]
        zero = float(at - source.active[0] - (span * rng.uniform(0.02, 1.0) ** 2 if span else 0.0))
    t = v.mjd - zero
    true = source.flux(t, v.wavelength) * sky.dimming(v.wavelength, a_v)
    if described is None and slug in SUPERNOVAE and rng.random() < ANY_HOST:
        source.host = host(Draw(rng, population, scope="any-host"), source.redshift)
    if described is None and rng.random() < BLENDED.get(slug, 0.0):
        true = true * float(np.exp(rng.uniform(np.log(LEAST_SHARE), 0.0)))
    static = source.star.reference(v.wavelength) if source.star is not None else np.zeros_like(true)
    n = len(v)
    depth = 10 ** (0.4 * (23.9 - v.limit)) / 5
    photons = 0.02 * (np.abs(true) + static)  # µJy² an electron's worth: gain 6, zero point 26.2, 30 s
    if survey == "lsst":
        photons = photons / 60
    error = np.sqrt(depth**2 + photons + (0.012 * static) ** 2 + (0.01 * true) ** 2)
    noise = rng.standard_normal(n)
    flux = true + error * noise
    error = error * np.exp(0.08 * rng.standard_normal(n))
    forced_error = 0.85 * error
    forced = true + forced_error * (0.9 * noise + 0.436 * rng.standard_normal(n))
    signal = np.abs(flux) / error
    detected = (signal >= 5) & (rng.random(n) > 0.03)
    if source.single:
        here = np.abs(t) < 0.004
        detected = here & (signal >= 3.5)
        flux = np.where(here & (signal < 5), np.sign(flux) * 5.2 * error, flux)  # a peak is found because it is one
    inside = (t >= source.active[0] - 1e-3) & (t <= source.active[1] + 1e-3) if not source.persistent else t >= source.active[0] - 1e-3
    candidates = np.flatnonzero(detected & inside)
    if slug == "bogus":
        candidates = np.flatnonzero(detected & (np.abs(t) < 0.004))
    if not len(candidates):
        return None
    rows = (rng.random(n) < 0.93) & (survey != "ztf" or (rng.random() < FORCED and zero >= FORCED_SINCE))
    return Observed(
        seed=seed,
        index=index,
        population=population,
        survey=survey,
        label=slug,
        source=source,
        ra=ra,
        dec=dec,
        a_v=a_v,
        visits=v,
        flux=flux,
        error=error,
        forced=forced,
        forced_error=forced_error,
        detected=detected,
        faint=(signal >= 3.5) & v.same_field if not source.single else detected,
        candidates=candidates,
        earlier_visits=int(max(float(v.mjd[0]) - BEGAN, 0.0) * COVERED * rng.lognormal(0, 0.6)),
        forced_rows=rows,
    )


@dataclass(slots=True)
class Points:
    """The light curve one alert carries: (k,) arrays over its visits, this alert's own last."""

    held: slice  # of the object's visits
    flux: F64  # [µJy], NaN at a limit
    error: F64
    limit: F64  # 5 σ [µJy], NaN at a measurement
    alerted: Bools  # the alert pipeline detected it
    forced: Bools  # a forced measurement takes its place
    detected: Bools  # either, at 5 σ


def points(alert: Alert) -> Points:
    """Per visit one of: the detection, else the forced measurement, else the limit. Rubin and TESS send no limits."""
    o, held = alert.observed, slice(alert.first, alert.now + 1)
    alerted = o.detected[held]
    forced = o.forced_rows[held] & ~alerted if o.survey == "ztf" else ~alerted
    flux = np.where(alerted, o.flux[held], np.where(forced, o.forced[held], np.nan))
    error = np.where(alerted, o.error[held], np.where(forced, o.forced_error[held], np.nan))
    limit = np.where(alerted | forced, np.nan, 10 ** (0.4 * (23.9 - o.visits.limit[held])))
    significant = forced & (np.abs(o.forced[held]) >= 5 * o.forced_error[held])
    return Points(held, flux, error, limit, alerted, forced, alerted | significant)


def _reach(o: Observed, now: int) -> int:
    return int(np.searchsorted(o.visits.mjd, o.visits.mjd[now] - HISTORY_DAYS[o.survey]))


def choose(o: Observed, strata: Sequence[float] = (0.2, 0.3, 0.5)) -> Alert:
    """One alert of an object: first by how many detections its packet holds (1, 2–4, ≥ 5), then any of them."""
    rng = generator(o.population, o.seed, o.index, 77)
    firsts = np.searchsorted(o.visits.mjd, o.visits.mjd[o.candidates] - HISTORY_DAYS[o.survey])
    counts = np.concatenate([[0], np.cumsum(o.detected)])
    held = counts[o.candidates + 1] - counts[firsts]
    stratum = np.where(held >= 5, 2, np.where(held >= 2, 1, 0))
    weights = np.array([w if np.any(stratum == k) else 0.0 for k, w in enumerate(strata)])
    chosen = rng.choice(np.flatnonzero(stratum == rng.choice(3, p=weights / weights.sum())))
    now = int(o.candidates[chosen])
    return Alert(o, now, _reach(o, now))


def later(alert: Alert) -> Alert | None:
    """Another alert of the same object, some time after this one, if it had any."""
    o = alert.observed
    after = o.candidates[o.candidates > alert.now]
    if not len(after):
        return None
    now = int(after[int(generator(o.population, o.seed, o.index, 78).integers(min(len(after), 6)))])
    return Alert(o, now, _reach(o, now))
