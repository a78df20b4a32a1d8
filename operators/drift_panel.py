"""Windows of alerts against what is usual → alarms, and what changed: instrument or population.

`Window`s of 512 alerts by stratum, in the order of observation → `Panel` → `Alarm`s

    z   = (window's mean - reference's mean) / spread of the reference's own windows, of the same stratum, within ± CLIP
    up  = max(0, up + z - SLACK)        down = max(0, down - z - SLACK)        one pair a statistic, over all strata
    alarm where either is above the statistic's threshold; both start anew

A cumulative sum (Page 1954, doi:10.1093/biomet/41.1-2.100), in the unit of a lunation's own windows: nights differ by moon, seeing and
fields, so the spread of windows is several times what single alerts' would make it. Thresholds come from a block bootstrap of stable nights
(`operators.drift_thresholds`) for a stated run length. A statistic may have another detector (`operators.drift_detectors`). Pure: no clock.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from operators.alert_statistics import ABSENT, BINS, STATISTICS, Window, alert_statistics, windows_of
from operators.drift_reference import Reference, StratumReference, reference_of
from operators.types import F64

__all__ = [
    "STATISTICS",
    "Alarm",
    "Panel",
    "Reference",
    "Window",
    "alert_statistics",
    "diagnose",
    "reference_of",
    "windows_of",
]

WINDOW = 512
"""Alerts of a stratum that make a window."""
SLACK, CLIP = 0.5, 6.0
"""Of a sum, a window; and the largest |z| that counts: a single window raises no alarm."""
NULL_STEP, NULL_SIGMA = 0.25, 6.0
"""A field's share of nulls may lie so far from the reference's, and so many spreads of its windows; beyond both is an alarm at once."""
THRESHOLDS: dict[str, float] = {
    "entropy": 16.0, "energy": 16.0, "novelty": 22.0, "log_snr": 16.0, "points": 14.0, "gap": 14.0, "visits": 14.0, "fwhm": 60.0,
    "zp": 16.0, "zero_point": 16.0, "real_bogus": 60.0, "distance": 30.0, "limit": 60.0, "top_probability": 17.0,
}  # fmt: skip
"""Where a reference brings none: as the sketch of simulated nights had them."""
NULLS = "nulls"
"""Statistic of an alarm of a share of nulls, before the field's name: ``nulls:real_bogus``."""
REMEMBERED = 48
"""Windows whose z are kept, to say what else changed since an alarm began."""

ZERO_POINT, SEEING, DEPTH, CADENCE, SCHEMA, SCORES, POPULATION = (
    "instrument: zero point",
    "instrument: seeing",
    "instrument: depth",
    "instrument: cadence",
    "instrument: schema",
    "instrument: scores",
    "population",
)
ORDER = (SCHEMA, CADENCE, SEEING, ZERO_POINT, DEPTH, SCORES, POPULATION)
"""What an instrument does moves the population's numbers too, and never the other way round: the first that fits is the diagnosis."""
MEANS: dict[str, str] = {
    "points": CADENCE, "gap": CADENCE, "visits": CADENCE, "fwhm": SEEING, "zp": ZERO_POINT, "zero_point": ZERO_POINT, "limit": DEPTH,
    "log_snr": DEPTH, "real_bogus": SCORES, "entropy": POPULATION, "energy": POPULATION, "novelty": POPULATION, "distance": POPULATION,
    "top_probability": POPULATION,
}  # fmt: skip
"""What a statistic's change means by itself."""
EVIDENCE: dict[str, float] = {"points": 2.0, "gap": 2.0, "visits": 2.0, "fwhm": 1.5, "zp": 2.0, "zero_point": 2.0, "limit": 2.0}
"""Mean |z| since an alarm began from which another statistic takes part in its diagnosis."""
FAINTER = -1.5
"""Mean z of the signal-to-noise since then, at most, where broader sources are the seeing's: their width differs from night to night."""
SUPPORTING: tuple[str, ...] = ("distance", "top_probability")
"""Statistics that raise no alarm of their own: they follow entropy, energy and novelty, later, and would only add false alarms."""


class Detector(Protocol):
    """What may stand in the place of a pair of sums."""

    def update(self, z: float) -> bool:
        """Take the next window's z; True: an alarm."""

    def state(self) -> Any:
        """What `restore` takes, of numbers, texts, lists and dicts."""

    def restore(self, state: Any) -> None:
        """Go on where another one was."""


@dataclass(frozen=True, slots=True, eq=False)
class Alarm:
    """A statistic has moved."""

    statistic: str
    """One of `STATISTICS`, or ``nulls:`` and a field of the context."""
    stratum: str
    """In which it moved most."""
    before: float
    after: float
    """Means there: of the reference, and of the windows since it moved; of nulls, shares."""
    since_ms: int
    severity: float
    """Mean |z| of the windows since then: in spreads of usual windows."""
    diagnosis: str
    windows: int = 1
    """Since then, over all strata."""
    histogram_before: F64 = field(default_factory=lambda: np.zeros(BINS))  # (BINS,) shares over the statistic's range
    histogram_after: F64 = field(default_factory=lambda: np.zeros(BINS))


def diagnose(alarms: Sequence[Alarm]) -> str:
    """What alarms of one episode mean together: "" without any, else the first of `ORDER` that one of them means."""
    meant = {alarm.diagnosis for alarm in alarms}
    return next((name for name in ORDER if name in meant), "")


@dataclass(slots=True)
class _Side:
    """One direction of a sum, and what it was summed of."""

    sum: float = 0.0
    since_ms: int = 0
    windows: int = 0
    z: float = 0.0
    strata: dict[str, list[Any]] = field(default_factory=dict)
    """Stratum → excess, count, sum, histogram since the sum left zero."""

    def update(self, z: float, *, stratum: str, at_ms: int, window: tuple[int, float, list[int]]) -> None:
        if self.sum <= 0:
            self.since_ms, self.windows, self.z, self.strata = at_ms, 0, 0.0, {}
        self.sum = max(0.0, self.sum + z - SLACK)
        self.windows, self.z = self.windows + 1, self.z + z
        held = self.strata.setdefault(stratum, [0.0, 0, 0.0, [0] * BINS])
        held[0], held[1], held[2] = held[0] + z, held[1] + window[0], held[2] + window[1]
        held[3] = [a + b for a, b in zip(held[3], window[2], strict=True)]


class _Chart:
    """Both directions of a statistic."""

    def __init__(self, detector: Detector | None) -> None:
        self.detector = detector
        self.up, self.down = _Side(), _Side()

    def reset(self) -> None:
        self.up, self.down = _Side(), _Side()


class Panel:
    """All charts of one model's stream.

    Parameters
    ----------
    reference : Reference
        What is usual, by stratum; windows of strata it does not know raise nothing.
    thresholds : mapping, optional
        By statistic; those of the reference, else `THRESHOLDS`.
    detectors : mapping, optional
        Statistic → what takes its z in place of the sums.
    """

    def __init__(
        self, reference: Reference, *, thresholds: Mapping[str, float] | None = None, detectors: Mapping[str, Detector] | None = None
    ) -> None:
        self.reference = reference
        self.thresholds = {**THRESHOLDS, **reference.thresholds, **(thresholds or {})}
        self.thresholds |= dict.fromkeys(SUPPORTING, math.inf)
        detectors = detectors or {}
        self._charts = {name: _Chart(detectors.get(name)) for name in STATISTICS}
        self._recent: deque[tuple[int, list[float | None]]] = deque(maxlen=REMEMBERED)
        self._absent: set[tuple[str, str]] = set()
        """Stratum and field whose share of nulls is off, so that it alarms once."""

    @property
    def quiet(self) -> bool:
        """Whether no sum has reached half its threshold and no field's nulls are off: only then a reference may follow the stream."""
        sums = ((max(chart.up.sum, chart.down.sum), self.thresholds[name]) for name, chart in self._charts.items())
        return not self._absent and all(value < threshold / 2 for value, threshold in sums)

    def see(self, stratum: str, window: Window, *, at_ms: int) -> list[Alarm]:
        """Take the next window of a stratum.

        Parameters
        ----------
        stratum : str
        window : Window
            Of about `WINDOW` alerts; one of many times that counts as often.
        at_ms : int
            When the last of them was observed [ms since 1970].
        """
        known = self.reference.strata.get(stratum)
        if known is None or not window.n:
            return []
        alarms = self._nulls(stratum, known, window=window, at_ms=at_ms)
        mean = window.mean
        z = np.clip((mean - known.mean) / known.spread, -CLIP, CLIP)
        self._recent.append((at_ms, [float(x) if np.isfinite(x) else None for x in z]))
        moved = [
            name
            for i, name in enumerate(STATISTICS)
            if np.isfinite(z[i]) and self._moved(name, i, z=float(z[i]), stratum=stratum, window=window, at_ms=at_ms)
        ]
        for name in moved:
            alarms.append(self._alarm(name, stratum))
            self._charts[name].reset()
        return alarms

    def _moved(self, name: str, i: int, *, z: float, stratum: str, window: Window, at_ms: int) -> bool:
        chart = self._charts[name]
        sums = int(window.count[i]), float(window.sum[i]), window.histogram[i].tolist()
        found = False
        for turn in range(max(1, round(window.n / WINDOW))):
            part = sums if not turn else (0, 0.0, [0] * BINS)
            chart.up.update(z, stratum=stratum, at_ms=at_ms, window=part)
            chart.down.update(-z, stratum=stratum, at_ms=at_ms, window=part)
            if chart.detector is not None:
                found = chart.detector.update(z) or found
        if chart.detector is not None:
            return found
        return max(chart.up.sum, chart.down.sum) > self.thresholds[name]

    def _alarm(self, name: str, stratum: str) -> Alarm:
        chart, i = self._charts[name], STATISTICS.index(name)
        side = chart.up if chart.up.sum >= chart.down.sum else chart.down
        strata = {known: held for known, held in side.strata.items() if held[1]}
        where = max(strata, key=lambda known: float(strata[known][0]), default=stratum)
        known = self.reference.strata[where]
        held = strata.get(where, [0.0, 0, 0.0, [0] * BINS])
        total = max(1, sum(held[3]))
        return Alarm(
            statistic=name,
            stratum=where,
            before=float(known.mean[i]),
            after=held[2] / held[1] if held[1] else float(known.mean[i]),
            since_ms=side.since_ms,
            severity=abs(side.z) / max(1, side.windows),
            diagnosis=self._meaning(name, side.since_ms),
            windows=side.windows,
            histogram_before=known.histogram[i],
            histogram_after=np.asarray(held[3], np.float64) / total,
        )

    def _meaning(self, name: str, since_ms: int) -> str:
        """What the statistic's change means beside what else has moved since it began."""
        meant = {MEANS[name]} | {MEANS[other] for other in self._moved_with(since_ms)}
        fainter = self._mean_z("log_snr", since_ms)
        if name != "fwhm" and (fainter is None or fainter > FAINTER):
            meant.discard(SEEING)
        if SEEING in meant:
            meant -= {DEPTH, ZERO_POINT}  # broader images are shallower
        return next((meaning for meaning in ORDER if meaning in meant), MEANS[name])

    def _moved_with(self, since_ms: int) -> set[str]:
        """Statistics whose mean z since then is large."""
        means = {name: self._mean_z(name, since_ms) for name in EVIDENCE}
        return {name for name, least in EVIDENCE.items() if (z := means[name]) is not None and abs(z) >= least}

    def _mean_z(self, name: str, since_ms: int) -> float | None:
        """Of the windows since then; None: fewer than three have it."""
        i = STATISTICS.index(name)
        values = [z for at, row in self._recent if at >= since_ms and (z := row[i]) is not None]
        return sum(values) / len(values) if len(values) >= 3 else None

    def _nulls(self, stratum: str, known: StratumReference, *, window: Window, at_ms: int) -> list[Alarm]:
        share = window.null_share
        off = np.abs(share - known.nulls) > np.maximum(NULL_STEP, NULL_SIGMA * known.nulls_spread)
        alarms = []
        for i in np.flatnonzero(off).tolist():
            if (stratum, ABSENT[i]) not in self._absent:
                step = abs(float(share[i] - known.nulls[i]))
                alarms.append(
                    Alarm(f"{NULLS}:{ABSENT[i]}", stratum, float(known.nulls[i]), float(share[i]), at_ms, step / NULL_STEP, SCHEMA)
                )
        self._absent = {(where, what) for where, what in self._absent if where != stratum} | {
            (stratum, ABSENT[i]) for i in np.flatnonzero(off).tolist()
        }
        return alarms

    def state(self) -> dict[str, Any]:
        """Everything but reference and thresholds, of numbers, texts, lists and dicts: JSON holds it."""
        charts = {}
        for name, chart in self._charts.items():
            sides = [[s.sum, s.since_ms, s.windows, s.z, s.strata] for s in (chart.up, chart.down)]
            charts[name] = {"sides": sides, "detector": chart.detector.state() if chart.detector is not None else None}
        return {"charts": charts, "recent": [list(row) for row in self._recent], "absent": sorted(map(list, self._absent))}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where another panel was; statistics that one did not have begin anew.

        Raises
        ------
        ValueError
            The state is not one that `state` gave.
        """
        try:
            for name, held in state["charts"].items():
                chart = self._charts.get(name)
                if chart is None:
                    continue
                chart.up, chart.down = (
                    _Side(
                        float(s[0]),
                        int(s[1]),
                        int(s[2]),
                        float(s[3]),
                        {str(k): [float(v[0]), int(v[1]), float(v[2]), [int(x) for x in v[3]]] for k, v in s[4].items()},
                    )
                    for s in held["sides"]
                )
                if chart.detector is not None and held["detector"] is not None:
                    chart.detector.restore(held["detector"])
            rows = [(int(at), [None if x is None else float(x) for x in row]) for at, row in state["recent"]]
            self._recent = deque((row for row in rows if len(row[1]) == len(STATISTICS)), maxlen=REMEMBERED)
            self._absent = {(str(where), str(what)) for where, what in state["absent"]}
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise ValueError(f"not a state of a panel: {type(error).__name__}: {error}") from None
