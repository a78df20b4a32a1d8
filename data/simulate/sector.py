"""A seed in → a TESS sector's stream of packets out, one a target, each with the truth about it.

Target k of a sector is a function of (seed, k) alone, whatever process makes it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from data.simulate.classes import KINDS
from data.simulate.draw import POPULATIONS, PopulationName, generator
from data.simulate.mishaps import with_mishaps
from data.simulate.space_curves import ANOMALIES, STILL, packet, space_curve
from schemas.surveys.tess import candid

SECTOR = 97
"""The number of every simulated sector."""
FIRST_TIC = 9_000_000_000
"""Simulated targets have numbers from here on: the catalogue's end below."""
TRANSIT, ANOMALY = "exoplanet-transit", "transit-anomaly"

SECTOR_MIX: dict[str, float] = {
    "quiet": 0.35, "instrumental": 0.08,
    "transit": 0.2, "varying-transit": 0.03, "comet-transit": 0.03, "single-dip": 0.03,
    "EA": 0.06, "EB": 0.02, "EW": 0.02,
    "flare": 0.06,
    "RRab": 0.012, "RRc": 0.01, "DCEP": 0.01, "T2CEP": 0.004, "dSct": 0.014,
    "ACV": 0.05,
    "Mira": 0.003, "SR": 0.004, "stochastic": 0.003, "dipper": 0.003, "burster": 0.002,
    "SUUMa": 0.001, "SSCyg": 0.001, "NL": 0.002, "WZSge": 0.001,
}  # fmt: skip
"""A sector's targets by kind; planets are some twenty, the anomalies some thousand times too common, so that hundreds of targets are enough
to score each."""
_NEW = {"transit": TRANSIT, **dict.fromkeys(ANOMALIES, ANOMALY), **dict.fromkeys(STILL, "bogus")}


@dataclass(frozen=True, slots=True)
class SectorTruth:
    """What a packet is."""

    kind: Literal["alert", "duplicate", "broken"]
    label: str  # class slug; "" where the kind has none, and of a broken packet
    object_id: str
    candid: int  # 0 for a broken packet
    detail: str  # the fine class, or how the packet is broken
    magnitude: float  # TESS magnitude; NaN for a broken packet
    figures: Mapping[str, float] = field(default_factory=dict)
    """`SpaceCurve.truth`: what was put in."""


def class_of(kind: str) -> str:
    """The class of the stream that a kind of light curve belongs to, "" where it has none."""
    return _NEW.get(kind) or KINDS[kind] or ""


def sector(
    seed: int,
    n: int,
    *,
    population: PopulationName = "demo",
    mix: Mapping[str, float] | None = None,
    duplicates: int | None = None,
    broken: int | None = None,
    cadence: float | None = None,
) -> Iterator[tuple[bytes, SectorTruth]]:
    """A stream of n packets.

    Parameters
    ----------
    seed, population : which sector
    n : packets in all, duplicates and broken ones included
    mix : weights by kind of `space_curves.SPACE_KINDS`; default `SECTOR_MIX`
    duplicates : exact repetitions of an earlier packet; default n // 100
    broken : truncated, foreign or senseless packets; default n // 200
    cadence : [s] of all light curves; None: each its own

    Returns
    -------
    (packet, truth), one after the other

    Raises
    ------
    ValueError : more duplicates and broken packets than the stream can hold, or no such kind
    """
    weights = dict(mix or SECTOR_MIX)
    return with_mishaps(
        (target(seed, index, population=population, mix=weights, cadence=cadence) for index in itertools.count()),
        n,
        duplicates=n // 100 if duplicates is None else duplicates,
        broken=n // 200 if broken is None else broken,
        seed=[POPULATIONS[population].key, seed, 10],
        again=lambda known: replace(known, kind="duplicate"),
        unreadable=lambda how: SectorTruth("broken", "", "", 0, how, float("nan")),
    )


def target(
    seed: int, index: int, *, population: PopulationName = "demo", mix: Mapping[str, float] | None = None, cadence: float | None = None
) -> tuple[bytes, SectorTruth]:
    """Target `index` of a sector: its packet and what it is."""
    weights = mix or SECTOR_MIX
    kinds = list(weights)
    edges = np.cumsum([weights[kind] for kind in kinds])
    rng = generator(population, seed, index, 12)
    kind = kinds[int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))]
    curve = space_curve(kind, rng, population=population, cadence=cadence)
    tic = FIRST_TIC + index
    number = candid(tic, SECTOR, cadence=curve.last_cadence)
    return packet(curve, tic=tic, sector=SECTOR), SectorTruth(
        "alert", class_of(kind), f"TIC {tic}", number, kind, curve.magnitude, curve.truth
    )
