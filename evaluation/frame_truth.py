"""What was found in raw frames beside what was injected into them.

[TrueFlux] of all frames, [Found] → `FrameScores`: completeness by signal-to-noise and magnitude, purity, pulls of the fluxes

What is found matches an injected object of the same exposure and filter within `RADIUS`. Completeness counts objects that can be measured
(`TrueFlux.measurable`); purity counts everything that was found, in whatever place. Two sets are judged alike: raw candidates, and
detections, which are the candidates that are not decided to be `bogus`: what a subscriber sees.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from data.simulate.frames.observing_run import TrueFlux
from operators.types import F64

RADIUS = 2.0
"""Of a match [arcsec]."""
SAME_TIME = 2.0 / 86_400
"""Of an exposure [d]."""
THERE = 2.5
"""An object's expected signal-to-noise from which what is found at its place is true: below there is nothing to be found."""
BOGUS = "bogus"
STRENGTHS: Mapping[str, float] = {"3–5": 5, "5–7": 7, "7–9": 9, "9–12": 12, "12–20": 20, "20–50": 50, "≥ 50": math.inf}
"""Upper ends of the bins of expected signal-to-noise."""
WEAKEST = 3.0
"""Weaker objects are in no bin."""
AT_TEN = "9–12"
"""The bin that signal-to-noise 10 lies in."""
MAGNITUDES: Mapping[str, float] = {"< 17": 17, "17–18": 18, "18–19": 19, "19–20": 20, "20–21": 21, "≥ 21": math.inf}
STRONG = 5.0
"""Least signal-to-noise of the fluxes whose pulls are taken."""


@dataclass(frozen=True, slots=True)
class Found:
    """One candidate of one frame, and what became of it."""

    mjd: float
    """Of the exposure [d, TAI]."""
    filter: str
    ra: float
    dec: float
    flux: float
    """Of the difference [µJy], signed."""
    flux_err: float
    decided: str
    """Class of the decision; "": it was not scored."""
    published: bool = False
    """Whether it is on its class's topic."""
    object_id: str = ""

    @property
    def real(self) -> bool:
        """Whether it is published as something on the sky."""
        return self.decided != BOGUS


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many."""

    n: int
    of: int

    @property
    def value(self) -> float:
        """NaN of none."""
        return self.n / self.of if self.of else math.nan

    def figures(self) -> dict[str, Any]:
        """For a report."""
        return {"n": self.n, "of": self.of, "share": self.value}


@dataclass(frozen=True, slots=True)
class Pulls:
    """(measured - true) / error."""

    n: int
    median: float
    spread: float
    """Half of the distance between the 16th and 84th percentile: 1 where the errors are right."""
    flux_ratio: float
    """Median of measured / true."""


@dataclass(frozen=True, slots=True)
class Row:
    """One bin: completeness and purity of candidates and of detections."""

    candidates: Share
    detections: Share
    purity_of_candidates: Share
    purity_of_detections: Share

    def figures(self) -> dict[str, Any]:
        """For a report."""
        return {name: getattr(self, name).figures() for name in self.__slots__}


@dataclass(frozen=True)
class FrameScores:
    """What was found beside the truth, matched once."""

    truth: Sequence[TrueFlux]
    found: Sequence[Found]
    matched: npt.NDArray[np.int64]
    """(found,) index of the injected object in `truth`; -1: none."""

    @classmethod
    def of(cls, truth: Sequence[TrueFlux], found: Sequence[Found]) -> FrameScores:
        """Match each candidate to the nearest object; of several at one object each is true, the object is found once."""
        by_filter: dict[str, npt.NDArray[np.int64]] = {}
        for band in {t.filter for t in truth}:
            by_filter[band] = np.array([k for k, t in enumerate(truth) if t.filter == band and abs(t.snr) >= THERE], np.int64)
        ra, dec, mjd = (np.array([getattr(t, name) for t in truth], np.float64) for name in ("ra", "dec", "mjd"))
        matched = np.full(len(found), -1, np.int64)
        for k, f in enumerate(found):
            rows = by_filter.get(f.filter, np.zeros(0, np.int64))
            rows = rows[np.abs(mjd[rows] - f.mjd) < SAME_TIME]
            if not len(rows):
                continue
            away = distance(ra[rows], dec[rows], ra=f.ra, dec=f.dec)
            nearest = int(np.argmin(away))
            if away[nearest] < RADIUS:
                matched[k] = rows[nearest]
        return cls(truth, found, matched)

    def seen(self, real_only: bool = True) -> set[int]:
        """Indices in `truth` of the objects that were found; `real_only`: as detections, not as raw candidates."""
        return {int(m) for m, f in zip(self.matched, self.found, strict=True) if m >= 0 and (f.real or not real_only)}

    def completeness(self, among: Callable[[TrueFlux], bool] = lambda _: True, *, real_only: bool = True) -> Share:
        """Share of the measurable objects of `among` that were found; `real_only`: as detections, not as raw candidates."""
        seen = self.seen(real_only)
        wanted = [k for k, t in enumerate(self.truth) if t.measurable and among(t)]
        return Share(sum(k in seen for k in wanted), len(wanted))

    def purity(self, among: Callable[[Found], bool] = lambda _: True, *, real_only: bool = True) -> Share:
        """Share of true ones in what was found."""
        rows = [m >= 0 for m, f in zip(self.matched, self.found, strict=True) if (f.real or not real_only) and among(f)]
        return Share(sum(rows), len(rows))

    def by_strength(self) -> dict[str, Row]:
        """By expected signal-to-noise; purity by the measured one."""

        def of_true(t: TrueFlux) -> float:
            return abs(t.snr) if abs(t.snr) >= WEAKEST else math.nan

        return self._binned(STRENGTHS, of_true, of_found=lambda f: abs(f.flux) / f.flux_err)

    def by_magnitude(self, least: float = 10.0) -> dict[str, Row]:
        """By the magnitude of the difference, objects of at least so much expected signal-to-noise."""

        def of_true(t: TrueFlux) -> float:
            return magnitude(t.flux) if abs(t.snr) >= least else math.nan

        return self._binned(MAGNITUDES, of_true, of_found=lambda f: magnitude(f.flux))

    def _binned(
        self, edges: Mapping[str, float], of_true: Callable[[TrueFlux], float], *, of_found: Callable[[Found], float]
    ) -> dict[str, Row]:
        out = {}
        for name in edges:

            def true(t: TrueFlux, name: str = name) -> bool:
                return bin_of(of_true(t), edges) == name

            def found(f: Found, name: str = name) -> bool:
                return bin_of(of_found(f), edges) == name

            row = Row(
                self.completeness(true, real_only=False),
                self.completeness(true),
                self.purity(found, real_only=False),
                self.purity(found),
            )
            if row.candidates.of or row.purity_of_candidates.of:
                out[name] = row
        return out

    def by_place(self, least: float = 10.0) -> dict[str, Share]:
        """Completeness of detections by where an object lies."""
        places: dict[str, Callable[[TrueFlux], bool]] = {
            "crowded field": lambda t: t.field.startswith("crowded"),
            "sparse field": lambda t: not t.field.startswith("crowded"),
            "on a galaxy": lambda t: t.hosted and t.surface > 0.3,
            "off its galaxy": lambda t: t.hosted and t.surface <= 0.3,
            "brightened": lambda t: t.flux > 0,
            "faded": lambda t: t.flux < 0,
        }
        out = {}
        for name, where in places.items():

            def among(t: TrueFlux, where: Callable[[TrueFlux], bool] = where) -> bool:
                return where(t) and abs(t.snr) >= least

            out[name] = self.completeness(among)
        return out

    def pulls(self, low: float = STRONG, high: float = math.inf) -> Pulls:
        """Of matched candidates whose object has an expected signal-to-noise between two limits."""
        pairs = [
            (f, self.truth[m])
            for m, f in zip(self.matched, self.found, strict=True)
            if m >= 0 and low <= abs(self.truth[m].snr) < high and self.truth[m].measurable and f.flux_err > 0
        ]
        if not pairs:
            return Pulls(0, math.nan, math.nan, math.nan)
        pull = np.array([(f.flux - t.flux) / f.flux_err for f, t in pairs])
        low_, middle, high_ = np.percentile(pull, (16, 50, 84))
        return Pulls(len(pairs), float(middle), float(high_ - low_) / 2, float(np.median([f.flux / t.flux for f, t in pairs])))

    def classes(self) -> Counter[tuple[str, str]]:
        """(true class, class of the decision) of matched candidates."""
        return Counter((self.truth[m].label, f.decided) for m, f in zip(self.matched, self.found, strict=True) if m >= 0 and f.decided)

    def false(self, real_only: bool = True) -> list[Found]:
        """What was found where nothing is."""
        return [f for m, f in zip(self.matched, self.found, strict=True) if m < 0 and (f.real or not real_only)]

    def figures(self) -> dict[str, Any]:
        """For a report."""
        ten = self.by_strength().get(AT_TEN)
        pulls = {name: self.pulls(low, high) for name, low, high in (("all", STRONG, math.inf), ("5–20", 5, 20), ("≥ 20", 20, math.inf))}
        return {
            "completeness_at_snr_10": {
                "candidates": ten.candidates.figures() if ten else None,
                "detections": ten.detections.figures() if ten else None,
            },
            "completeness_above_snr_10": self.completeness(lambda t: abs(t.snr) >= 10).figures(),
            "purity_of_detections": self.purity().figures(),
            "purity_of_candidates": self.purity(real_only=False).figures(),
            "by_snr": {name: row.figures() for name, row in self.by_strength().items()},
            "by_magnitude": {name: row.figures() for name, row in self.by_magnitude().items()},
            "by_place": {name: share.figures() for name, share in self.by_place().items()},
            "pulls": {name: {"n": p.n, "median": p.median, "spread": p.spread, "flux_ratio": p.flux_ratio} for name, p in pulls.items()},
        }


def distance(ra0: F64, dec0: F64, *, ra: float, dec: float) -> F64:
    """Of near positions [arcsec]."""
    dx = (np.asarray(ra0) - ra + 180) % 360 - 180
    return np.asarray(3600 * np.hypot(dx * np.cos(np.radians(dec)), np.asarray(dec0) - dec))


def magnitude(flux: float) -> float:
    """AB magnitude of a difference, whatever its sign; NaN of none."""
    return 23.9 - 2.5 * math.log10(abs(flux)) if flux else math.nan


def bin_of(value: float, edges: Mapping[str, float]) -> str | None:
    """The bin that a value lies in; None: it is not a number."""
    return None if math.isnan(value) else next(name for name, edge in edges.items() if value < edge or edge == math.inf)
