"""Scored alerts → sums and histograms by survey, band and region of the sky, kept until there is enough to say.

detections of a second → `ScoreSums.add`; `ScoreSums.take` → [ScoreSummary]

A summary costs the same for one alert as for hundreds, so a survey's band is reported once it has `FULL` alerts, or after `OPEN_S`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.alert_statistics import ABSENT, BINS, HIGH, LOW, STATISTICS, Window
from operators.kernels.alert_statistics import fill_sums, find_extremes, whole_positions
from operators.types import CONTEXT, F32
from pipeline.monitored import Rows, rows_of, schema_name
from schemas.records.detection import Detection
from schemas.records.score_summary import BINS as OLD_BINS
from schemas.records.score_summary import Extreme, ScoreSummary, StatisticSums

PLANE = 15.0
"""Galactic latitude below which a detection counts to the plane [deg]."""
FULL = 256
"""Alerts of a stratum that are reported at once: half a window of the drift process."""
OPEN_S = 5.0
"""How long fewer wait for more [s]."""
_LATITUDE, _FLUX = CONTEXT.index("galactic_latitude"), CONTEXT.index("flux")
_NOVELTY, _TOP, _DISTANCE = (STATISTICS.index(name) for name in ("novelty", "top_probability", "distance"))


@dataclass(slots=True)
class _Open:
    """What of a survey's band was not reported yet; a detection is kept by its worker no longer than it must."""

    since: float
    rows: list[bytes] = field(default_factory=list)
    """`pipeline.monitored` of each."""
    classes: list[str] = field(default_factory=list)
    packet_ids: list[str] = field(default_factory=list)


class ScoreSums:
    """The scores that one state has given, by survey and band.

    Parameters
    ----------
    worker : str
    scoring_id, model : str
        Of the state.
    """

    def __init__(self, worker: str, *, scoring_id: str, model: str) -> None:
        self._worker, self._scoring_id, self._model = worker, scoring_id, model
        self._open: dict[tuple[str, str], _Open] = {}

    def __len__(self) -> int:
        return sum(len(held.rows) for held in self._open.values())

    def add(self, detections: Iterable[Detection], now: float) -> None:
        """Take detections that were acknowledged; those with which the scorer left nothing are not summed up."""
        together: dict[tuple[str, str], list[Detection]] = {}
        for d in detections:
            if d.monitored:
                try:
                    together[d.survey, d.band].append(d)
                except KeyError:
                    together[d.survey, d.band] = [d]
        for key, some in together.items():
            held = self._open.get(key)
            if held is None:
                held = self._open[key] = _Open(now)
            held.rows += [d.monitored for d in some]
            held.classes += [d.top_class if d.decision is None else d.decision.class_name for d in some]
            held.packet_ids += [d.packet_id for d in some]

    def take(self, now: float, *, all_of_it: bool = False) -> list[ScoreSummary]:
        """What there is to report; each summary is of `FULL` alerts or a little more, in the order of observation."""
        out: list[ScoreSummary] = []
        for key, held in list(self._open.items()):
            if len(held.rows) < FULL and now - held.since < OPEN_S and not all_of_it:
                continue
            del self._open[key]
            out += self._summaries(key, held, end_ms=int(now * 1000))
        return out

    def _summaries(self, key: tuple[str, str], held: _Open, *, end_ms: int) -> Iterator[ScoreSummary]:
        """Of each region of the sky, in pieces."""
        rows = rows_of(held.rows)
        in_plane = rows.context[:, _LATITUDE] < PLANE
        for region, where in (("plane", np.flatnonzero(in_plane)), ("sky", np.flatnonzero(~in_plane))):
            pieces = max(1, len(where) // FULL)
            if pieces > 1:
                where = where[np.argsort(rows.mjd[where], kind="stable")]
            for part in np.array_split(where, pieces) if len(where) else ():
                picked = part.tolist()
                classes, packet_ids = [held.classes[i] for i in picked], [held.packet_ids[i] for i in picked]
                own = rows.take(part)
                yield self._summary((*key, region), own, classes=classes, packet_ids=packet_ids, end_ms=end_ms)

    def _summary(
        self, stratum: tuple[str, str, str], rows: Rows, *, classes: Sequence[str], packet_ids: Sequence[str], end_ms: int
    ) -> ScoreSummary:
        """Sums and histograms as `score_summary.avsc` documents them."""
        n, window = len(classes), window_of_rows(rows)
        novelty, top = (rows.values[:, i].astype(np.float64) for i in (_NOVELTY, _TOP))
        flux = np.abs(rows.context[:, _FLUX].astype(np.float64))
        return ScoreSummary(
            worker=self._worker,
            scoring_id=self._scoring_id,
            survey=stratum[0],
            band=stratum[1],
            region=stratum[2],
            mjd_first=float(rows.mjd.min()),
            mjd_last=float(rows.mjd.max()),
            n=n,
            classes=dict(Counter(classes)),
            empty_sets=int(rows.empty.sum()),
            novelty_sum=float(window.sum[_NOVELTY]),
            novelty_squares=float(window.squares[_NOVELTY]),
            novelty=_histogram(novelty / 0.05),
            top_probability_sum=float(window.sum[_TOP]),
            top_probability=_histogram(top / 0.05),
            distance_sum=float(window.sum[_DISTANCE]),
            flux=_histogram((np.log10(flux[flux > 0]) + 1) / 0.3),
            model=self._model,
            end_ms=end_ms,
            statistics=statistics_of(window),
            nulls={name: count for name, count in zip(ABSENT, window.nulls.tolist(), strict=True) if count},
            schemas=_schemas(rows.schema),
            extremes=_extremes(rows.values, packet_ids),
        )


def window_of_rows(rows: Rows) -> Window:
    """Sum rows up."""
    n, s = rows.values.shape
    alerts, count, total, squares = np.zeros(1, np.int64), np.zeros((1, s), np.int64), np.zeros((1, s)), np.zeros((1, s))
    histogram, nulls = np.zeros((1, s, BINS), np.int64), np.zeros((1, len(ABSENT)), np.int64)
    where = np.zeros(n, np.int64)
    fill_sums(rows.values, rows.context, where, LOW, HIGH, alerts, count, total, squares, histogram, nulls)
    return Window(n, count[0], total[0], squares[0], histogram[0], nulls[0])


def statistics_of(window: Window) -> dict[str, StatisticSums]:
    """The statistics of a window that an alert of it has."""
    columns: list[list[Any]] = [x.tolist() for x in (window.count, window.sum, window.squares, window.histogram)]
    return {
        name: StatisticSums(count, total, squares, window.n - count, histogram)
        for name, count, total, squares, histogram in zip(STATISTICS, *columns, strict=True)
        if count
    }


def _schemas(numbers: npt.NDArray[np.uint32]) -> dict[str, int]:
    first = int(numbers[0])
    if (numbers == first).all():  # as a rule
        return {schema_name(first): len(numbers)}
    found, counts = np.unique(numbers, return_counts=True)
    return {schema_name(number): count for number, count in zip(found.tolist(), counts.tolist(), strict=True)}


def _extremes(values: F32, packet_ids: Sequence[str]) -> tuple[Extreme, ...]:
    """Of each statistic the alert with the lowest and that with the highest value."""
    low, high = find_extremes(values)
    columns = zip(STATISTICS, low.tolist(), high.tolist(), strict=True)
    return tuple(
        Extreme(name, float(values[row, i]), packet_ids[row])
        for i, (name, a, b) in enumerate(columns)
        if a >= 0
        for row in ((a,) if a == b else (a, b))
    )


def _histogram(positions: npt.NDArray[np.float64]) -> list[int]:
    """Counts by whole position; the first and the last bin are open, what is not a number counts as the first."""
    found: list[int] = whole_positions(positions, OLD_BINS).tolist()
    return found
