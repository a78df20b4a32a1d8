"""When a survey looks at a place, in which band, and how deep.

ZTF: public survey of g and r every 2–3 nights, some fields in i or often a night (Bellm et al. 2019, Masci et al. 2019). 5 σ limits by
moon, seeing and weather as `diffmaglim` of public packets has them: median 20.2, best 20.9, one in ten above 19, one in fifty above 18.
Rubin: six bands, pairs half an hour apart every 3–4 nights, single-visit depths of Ivezić et al. 2019. TESS: 27 d without nights, a gap in
the middle, 30 min bins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from data.simulate.draw import PopulationName
from data.simulate.sky import F64
from operators.types import WAVELENGTH, Survey

Programme: TypeAlias = Literal["survey", "often", "continuous"]
BANDS: dict[Survey, tuple[str, ...]] = {s: tuple(WAVELENGTH[s]) for s in ("ztf", "lsst", "tess")}
DEPTH: dict[Survey, tuple[float, ...]] = {"ztf": (20.85, 20.75, 20.15), "lsst": (23.6, 24.6, 24.3, 23.6, 23.0, 22.1), "tess": (18.2,)}
DEEPER: dict[Survey, float] = {"ztf": 0.0, "lsst": 3.2, "tess": -2.2}
"""How much fainter than ZTF's a survey's sources are [mag]."""
BAD_NIGHT, LOST = 0.35, 0.8
"""Chance that clouds or a bright sky take away from a night's depth, and how much they take on average [mag]."""
HISTORY_DAYS: dict[Survey, float] = {"ztf": 30.0, "lsst": 365.0, "tess": 27.0}
"""How far back a packet reaches."""


@dataclass(slots=True)
class Visits:
    """Exposures of one position, sorted in time; all (v,)."""

    mjd: F64  # [d, UTC], as multiples of 1e-7 d of the Julian date
    band: npt.NDArray[np.int64]  # index into BANDS[survey]
    wavelength: F64  # [Å]
    limit: F64  # 5 σ [mag]
    fwhm: F64  # seeing [arcsec]
    same_field: npt.NDArray[np.bool_]  # ZTF counts its history by field and channel

    def __len__(self) -> int:
        return len(self.mjd)


def _nights(rng: np.random.Generator, start: float, *, end: float) -> F64:
    """Clear nights in season: weather comes in spells, the sun takes four to five months a year."""
    nights = np.arange(np.floor(start), np.ceil(end) + 1)
    spell = np.repeat(rng.random(len(nights) // 3 + 1) < 0.72, 3)[: len(nights)]
    clear = spell & (rng.random(len(nights)) < 0.93)
    return nights[clear]


def _lost(rng: np.random.Generator, mjd: F64) -> F64:
    """Depth that each exposure loses to its night's weather [mag]."""
    nights, night = np.unique(np.floor(mjd), return_inverse=True)
    lost = np.where(rng.random(len(nights)) < BAD_NIGHT, rng.exponential(LOST, len(nights)), 0.0)
    return np.asarray(np.minimum(lost[night] * rng.uniform(0.6, 1.2, len(mjd)), 4.0))


PROGRAMMES: dict[str, dict[Programme, float]] = {
    "": {"survey": 0.82, "often": 0.16, "continuous": 0.02},
    "kilonova": {"survey": 0.6, "often": 0.4, "continuous": 0.0},  # follow-up of gravitational waves
    "afterglow": {"survey": 0.6, "often": 0.4, "continuous": 0.0},
    "m-dwarf-flare": {"survey": 0.65, "often": 0.05, "continuous": 0.3},
}
"""By class how ZTF looks at a field: every few nights; several times a night; or, on two nights, without a break for an hour or two
(Kupfer et al. 2021)."""


def visits(
    rng: np.random.Generator,
    survey: Survey,
    *,
    population: PopulationName,
    start: float,
    end: float,
    slug: str = "",
    centre: float | None = None,
) -> Visits:
    """All exposures between two dates [MJD] of a field as it is looked at for a class; continuous nights begin at `centre`."""
    if survey == "tess":
        step = (30.0 if population == "train" else 20.0) / 1440
        mjd = np.arange(start, end, step)
        mjd = mjd[np.abs(mjd - (start + 13.5)) > 0.6]
        band = np.zeros(len(mjd), np.int64)
    elif survey == "lsst":
        nights = _nights(rng, start, end=end)
        nights = nights[rng.random(len(nights)) < rng.uniform(0.25, 0.45)]
        first = rng.choice(6, len(nights), p=[0.07, 0.1, 0.24, 0.24, 0.19, 0.16])
        second = np.clip(first + rng.choice([-1, 1], len(nights)), 0, 5)
        at = nights + rng.uniform(0.05, 0.35, len(nights))
        mjd = np.concatenate([at, at + rng.uniform(0.015, 0.03, len(nights))])
        band = np.concatenate([first, second]).astype(np.int64)
    else:
        nights = _nights(rng, start, end=end)
        interval = rng.uniform(1.6, 3.6) if population == "train" else rng.uniform(1.8, 3.0)
        if rng.random() < 0.7:  # a field has its turn every so many nights, and waits for a clear one
            turn = np.floor((nights + rng.uniform(0, interval)) / interval)
            night_of = nights[np.diff(turn, prepend=-1.0) > 0]
        else:
            night_of = nights[rng.random(len(nights)) < 1 / interval]
        chances = PROGRAMMES.get(slug, PROGRAMMES[""])
        programme = rng.choice(list(chances), p=list(chances.values()))
        parts, bands = [], []
        for index, chance in ((0, rng.uniform(0.5, 1.0)), (1, rng.uniform(0.55, 1.0)), (2, 0.25 if rng.random() < 0.15 else 0.0)):
            for _ in range(4 if programme == "often" and index < 2 else 1):
                seen = night_of[rng.random(len(night_of)) < chance]
                parts.append(seen + rng.uniform(0.12, 0.5, len(seen)))
                bands.append(np.full(len(seen), index, np.int64))
        mjd, band = np.concatenate(parts), np.concatenate(bands)
        if programme == "continuous" and centre is not None:
            for night in (np.floor(centre), np.floor(centre) + 1):
                run = night + rng.uniform(0.15, 0.4) + np.arange(int(rng.integers(40, 120))) * 0.00052
                mjd, band = np.concatenate([mjd, run]), np.concatenate([band, np.full(len(run), int(rng.random() < 0.7), np.int64)])
    order = np.argsort(mjd, kind="stable")
    mjd, band = np.round(mjd[order], 7), band[order]
    keep = np.concatenate([[True], np.diff(mjd) > 4e-4]) if len(mjd) else np.zeros(0, bool)
    mjd, band = mjd[keep], band[keep]
    n = len(mjd)
    moon = 0.5 * (1 - np.cos(2 * np.pi * (mjd - 51549.6) / 29.530588))
    dark = np.array(DEPTH[survey])[band]
    if survey == "tess":
        limit = dark + rng.normal(0, 0.02, n) + rng.normal(0, 0.4)
        fwhm = np.full(n, 40.0)
    else:
        blue = np.where(np.array([WAVELENGTH[survey][b] for b in BANDS[survey]])[band] < 5500, 0.9, 0.55)
        sharp = 2.0 if survey == "ztf" else 0.8
        fwhm = sharp * np.exp(0.24 * rng.standard_normal(n)) + np.maximum(0, -0.6 * rng.standard_normal(n) - 0.8)
        limit = (
            dark
            - blue * moon**2 * rng.uniform(0.3, 1.0, n)
            - np.abs(rng.normal(0, 0.25, n))
            + rng.normal(0, 0.15)
            + 0.05 * rng.standard_normal(n)
        )
        if survey == "ztf":
            limit -= 2.5 * np.log10(fwhm / sharp) + _lost(rng, mjd)
    wavelength = np.array([WAVELENGTH[survey][b] for b in BANDS[survey]])[band]
    return Visits(mjd, band, wavelength, limit, np.clip(fwhm, 0.5, 45), rng.random(n) < 0.85)
