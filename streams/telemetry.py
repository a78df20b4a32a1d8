"""What became of packets → a worker's summary of the last second, and the scores' by stratum. Both add up over workers and windows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from schemas.records.detection import Detection
from schemas.records.rejected import Rejected
from schemas.records.score_summary import BINS, ScoreSummary
from schemas.records.worker_summary import LAST_BIN, Outcomes, WorkerSummary
from schemas.surveys.times import galactic_latitude

if TYPE_CHECKING:
    from streams.scorer import Scorer, StateHolder

GROWTH = 1.05
FIRST_MS = 0.5
"""Latency bins grow by 5 %, from 0.5 ms; the last one ends at 40 hours."""
PLANE = 15.0
"""Galactic latitude below which a detection counts to the plane [deg]."""
QUIET_S = 5.0
"""A worker that has nothing to do reports this often [s]."""


def latency_bin(milliseconds: float) -> int:
    """The bin a latency falls into; bin i ends at ``FIRST_MS * GROWTH**i``."""
    if milliseconds <= FIRST_MS:
        return 0
    return min(LAST_BIN, math.ceil(math.log(milliseconds / FIRST_MS) / math.log(GROWTH)))


class TelemetryCounts:
    """Counts between two summaries, each state's apart: a window over a swap gives two of them.

    Parameters
    ----------
    worker : str
    states : StateHolder
        Whose current state a sign of life names.
    now : float
        Seconds since 1970.
    """

    def __init__(self, worker: str, states: StateHolder, *, now: float) -> None:
        galactic_latitude(0.0, 0.0)  # it is compiled at its first call, which must not be in the middle of the stream
        self._worker, self._states, self._since = worker, states, now
        self._open: dict[str, Window] = {}

    def of(self, scorer: Scorer) -> Window:
        """Open or find the counts of what a state has scored."""
        window = self._open.get(scorer.scoring_id)
        if window is None:
            window = self._open[scorer.scoring_id] = Window(self._worker, scorer, since=self._since)
        return window

    def take(self, now: float) -> tuple[list[WorkerSummary], list[ScoreSummary]]:
        """What happened since the last time, by state; nothing where nothing did, but for a sign of life every few seconds."""
        if not self._open:
            if now - self._since < QUIET_S:
                return [], []
            self.of(self._states.current)
        current = self._states.current.scoring_id  # comes last, for readers that show the latest
        windows = [window for _, window in sorted(self._open.items(), key=lambda item: item[0] == current)]
        self._open, self._since = {}, now
        for window in windows:
            window.summary.end_ms = int(now * 1000)
        return [w.summary for w in windows], [s for w in windows for s in score_summaries(self._worker, w.detections)]


class Window:
    """What one state scored between two summaries."""

    def __init__(self, worker: str, scorer: Scorer, *, since: float) -> None:
        self.summary = WorkerSummary(worker, int(since * 1000), 0, scorer.scoring_id, scorer.model, scorer.engine)
        self.detections: list[Detection] = []

    def batch(self, packets: int, compute_s: float) -> None:
        """Count a micro-batch."""
        self.summary.batches += 1
        self.summary.packets += packets
        self.summary.compute_ms += 1000 * compute_s

    def packet(self, survey: str, result: Detection | Rejected | None, *, latency_ms: float, count: int = 1) -> None:
        """Count a packet whose outcome is delivered; None is a duplicate. A rejection may be that of several packets."""
        outcomes = self.summary.surveys.setdefault(survey, Outcomes())
        where = latency_bin(latency_ms)
        self.summary.latency[where] = self.summary.latency.get(where, 0) + count
        if result is None:
            outcomes.duplicates += 1
        elif isinstance(result, Rejected):
            outcomes.rejected[result.error_class] = outcomes.rejected.get(result.error_class, 0) + count
        else:
            outcomes.detections += 1
            shown, _ = result.shown_class
            self.summary.classes[shown] = self.summary.classes.get(shown, 0) + 1
            if result.decision is not None and result.decision.published:
                self.summary.published[shown] = self.summary.published.get(shown, 0) + 1
            self.detections.append(result)


def score_summaries(worker: str, detections: Iterable[Detection]) -> list[ScoreSummary]:
    """The scores of detections by survey, band and region of the sky."""
    strata: dict[tuple[str, str, str], list[Detection]] = {}
    for d in detections:
        region = "plane" if abs(galactic_latitude(d.ra, d.dec)) < PLANE else "sky"
        strata.setdefault((d.survey, d.band, region), []).append(d)
    return [_score_summary(worker, stratum, detections=members) for stratum, members in strata.items()]


def _score_summary(worker: str, stratum: tuple[str, str, str], *, detections: list[Detection]) -> ScoreSummary:
    """Sums and histograms as `score_summary.avsc` documents them."""
    survey, band, region = stratum
    novelty = [d.novelty for d in detections]
    top = [d.top_probability for d in detections]
    return ScoreSummary(
        worker=worker,
        scoring_id=detections[0].scoring_id,
        survey=survey,
        band=band,
        region=region,
        mjd_first=min(d.mjd for d in detections),
        mjd_last=max(d.mjd for d in detections),
        n=len(detections),
        classes=dict(Counter(d.shown_class[0] for d in detections)),
        empty_sets=sum(not d.conformal_set for d in detections),
        novelty_sum=sum(novelty),
        novelty_squares=sum(x * x for x in novelty),
        novelty=_histogram(x / 0.05 for x in novelty),
        top_probability_sum=sum(top),
        top_probability=_histogram(x / 0.05 for x in top),
        distance_sum=sum(d.prototype_distance for d in detections),
        flux=_histogram((math.log10(abs(d.flux)) + 1) / 0.3 for d in detections if d.flux),
    )


def _histogram(positions: Iterable[float], bins: int = BINS) -> list[int]:
    """Counts by whole position; the first and the last bin are open, what is not a number counts as the first."""
    counts = [0] * bins
    for x in positions:
        counts[min(bins - 1, max(0, int(x))) if x == x else 0] += 1
    return counts
