"""Scored alerts → sums and histograms by survey, band and region of the sky, kept until there is enough to say.

detections of a second → `ScoreSums.add`; `ScoreSums.take` → [ScoreSummary]

A summary costs the same for one alert as for hundreds, so a stratum is reported once it has `FULL` alerts, or after `OPEN_S`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from operators.alert_statistics import ABSENT, STATISTICS, Window, windows_of
from operators.types import F32
from pipeline.monitored import rows_of, schema_name
from schemas.records.detection import Detection
from schemas.records.score_summary import BINS, Extreme, ScoreSummary, StatisticSums
from schemas.surveys.times import galactic_latitude

PLANE = 15.0
"""Galactic latitude below which a detection counts to the plane [deg]."""
FULL = 256
"""Alerts of a stratum that are reported at once: half a window of the drift process."""
OPEN_S = 5.0
"""How long fewer wait for more [s]."""


Kept = tuple[float, float, float, float, float, bool, str, str, bytes]
"""mjd, novelty, top probability, distance, flux, whether its set is empty, class, packet id, what the scorer left of it: a detection is
kept by its worker no longer than it must."""


@dataclass(slots=True)
class _Open:
    """What of a stratum was not reported yet."""

    since: float
    alerts: list[Kept] = field(default_factory=list)


class ScoreSums:
    """The scores that one state has given, by stratum.

    Parameters
    ----------
    worker : str
    scoring_id, model : str
        Of the state.
    """

    def __init__(self, worker: str, *, scoring_id: str, model: str) -> None:
        self._worker, self._scoring_id, self._model = worker, scoring_id, model
        self._open: dict[tuple[str, str, str], _Open] = {}

    def __len__(self) -> int:
        return sum(len(held.alerts) for held in self._open.values())

    def add(self, detections: Iterable[Detection], now: float) -> None:
        """Take detections that were acknowledged."""
        for d in detections:
            key = (d.survey, d.band, "plane" if abs(galactic_latitude(d.ra, d.dec)) < PLANE else "sky")
            held = self._open.get(key)
            if held is None:
                held = self._open[key] = _Open(now)
            held.alerts.append(
                (d.mjd, d.novelty, d.top_probability, d.prototype_distance, math.nan if d.flux is None else d.flux, not d.conformal_set,
                 d.shown_class[0], d.packet_id, d.monitored)
            )  # fmt: skip

    def take(self, now: float, *, all_of_it: bool = False) -> list[ScoreSummary]:
        """What there is to report; each summary is of `FULL` alerts or a little more, in the order of observation."""
        out = []
        for key, held in list(self._open.items()):
            n = len(held.alerts)
            if n < FULL and now - held.since < OPEN_S and not all_of_it:
                continue
            del self._open[key]
            ordered = sorted(held.alerts, key=lambda alert: alert[0]) if n >= 2 * FULL else held.alerts
            pieces = max(1, n // FULL)
            bounds = [n * i // pieces for i in range(pieces + 1)]
            for begin, end in zip(bounds, bounds[1:], strict=False):
                out.append(self._summary(key, ordered[begin:end], end_ms=int(now * 1000)))
        return out

    def _summary(self, stratum: tuple[str, str, str], alerts: Sequence[Kept], *, end_ms: int) -> ScoreSummary:
        """Sums and histograms as `score_summary.avsc` documents them."""
        *numbers, empty, shown, packet_ids, coded = zip(*alerts, strict=True)
        mjd, novelty, top, distance, flux = np.array(numbers)
        there = flux[np.abs(flux) > 0]
        statistics, nulls, schemas, extremes = _monitored(coded, shown, packet_ids=packet_ids)
        return ScoreSummary(
            worker=self._worker,
            scoring_id=self._scoring_id,
            survey=stratum[0],
            band=stratum[1],
            region=stratum[2],
            mjd_first=float(mjd.min()),
            mjd_last=float(mjd.max()),
            n=len(alerts),
            classes=dict(Counter(shown)),
            empty_sets=sum(empty),
            novelty_sum=float(novelty.sum()),
            novelty_squares=float(novelty @ novelty),
            novelty=_histogram(novelty / 0.05),
            top_probability_sum=float(top.sum()),
            top_probability=_histogram(top / 0.05),
            distance_sum=float(distance.sum()),
            flux=_histogram((np.log10(np.abs(there)) + 1) / 0.3),
            model=self._model,
            end_ms=end_ms,
            statistics=statistics,
            nulls=nulls,
            schemas=schemas,
            extremes=extremes,
        )


def _monitored(
    coded: Sequence[bytes], shown: Sequence[str], *, packet_ids: Sequence[str]
) -> tuple[dict[str, StatisticSums], dict[str, int], dict[str, int], list[Extreme]]:
    """What the scorer left with each detection, added up; nothing where it left nothing, as a stand-in does."""
    if not all(coded):
        return {}, {}, {}, []
    rows = rows_of(coded)
    (window,) = windows_of(rows.values, rows.context, strata=[""] * len(coded), classes=shown).values()
    numbers, counts = np.unique(rows.schema, return_counts=True)
    schemas = {schema_name(int(number)): int(count) for number, count in zip(numbers, counts, strict=True) if number}
    nulls = {name: int(count) for name, count in zip(ABSENT, window.nulls, strict=True) if count}
    return statistics_of(window), nulls, schemas, _extremes(rows.values, packet_ids)


def statistics_of(window: Window) -> dict[str, StatisticSums]:
    """The statistics of a window that an alert of it has."""
    columns = (x.tolist() for x in (window.count, window.sum, window.squares, window.histogram))
    return {
        name: StatisticSums(count, total, squares, window.n - count, histogram)
        for name, count, total, squares, histogram in zip(STATISTICS, *columns, strict=True)
        if count
    }


def _extremes(values: F32, packet_ids: Sequence[str]) -> list[Extreme]:
    """Of each statistic the alert with the lowest and that with the highest value."""
    out = []
    low, high = np.where(np.isnan(values), np.inf, values).argmin(axis=0), np.where(np.isnan(values), -np.inf, values).argmax(axis=0)
    for i, name in enumerate(STATISTICS):
        for row in dict.fromkeys((int(low[i]), int(high[i]))):
            value = float(values[row, i])
            if value == value:
                out.append(Extreme(name, value, packet_ids[row]))
    return out


def _histogram(positions: np.ndarray[tuple[int], np.dtype[np.float64]], bins: int = BINS) -> list[int]:
    """Counts by whole position; the first and the last bin are open, what is not a number counts as the first."""
    whole = np.clip(np.nan_to_num(positions, nan=0.0), 0, bins - 1).astype(np.int64)
    found: list[int] = np.bincount(whole, minlength=bins).tolist()
    return found
