"""What became of packets → a worker's summary of the last second, and the scores' by stratum. Both add up over workers and windows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from schemas.records.detection import Detection
from schemas.records.rejected import Rejected
from schemas.records.score_summary import BINS, ScoreSummary
from schemas.records.worker_summary import LAST_BIN, Outcomes, WorkerSummary
from schemas.surveys.times import galactic_latitude

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


class Tally:
    """Counts between two summaries.

    Parameters
    ----------
    worker, scoring_id, model, engine : str
        Of the worker and its state.
    now : float
        Seconds since 1970.
    """

    def __init__(self, worker: str, scoring_id: str, model: str, engine: str, now: float) -> None:
        galactic_latitude(0.0, 0.0)  # it is compiled at its first call, which must not be in the middle of the stream
        self._names = (worker, scoring_id, model, engine)
        self._since = now
        self._summary = self._empty(now)
        self._detections: list[Detection] = []

    def _empty(self, now: float) -> WorkerSummary:
        worker, scoring_id, model, engine = self._names
        return WorkerSummary(worker, int(now * 1000), 0, scoring_id, model, engine)

    def batch(self, packets: int, compute_s: float) -> None:
        """Count a micro-batch."""
        self._summary.batches += 1
        self._summary.packets += packets
        self._summary.compute_ms += 1000 * compute_s

    def packet(self, survey: str, result: Detection | Rejected | None, latency_ms: float) -> None:
        """Count a packet whose outcome is delivered; None is a duplicate."""
        outcomes = self._summary.surveys.setdefault(survey, Outcomes())
        where = latency_bin(latency_ms)
        self._summary.latency[where] = self._summary.latency.get(where, 0) + 1
        if result is None:
            outcomes.duplicates += 1
        elif isinstance(result, Rejected):
            outcomes.rejected[result.error_class] = outcomes.rejected.get(result.error_class, 0) + 1
        else:
            outcomes.detections += 1
            top = result.top_class
            self._summary.classes[top] = self._summary.classes.get(top, 0) + 1
            self._detections.append(result)

    def take(self, now: float) -> tuple[WorkerSummary | None, list[ScoreSummary]]:
        """What happened since the last time; nothing where nothing did, but for a sign of life every few seconds."""
        if not self._summary.packets and now - self._since < QUIET_S:
            return None, []
        summary, detections = self._summary, self._detections
        summary.end_ms = int(now * 1000)
        self._since, self._summary, self._detections = now, self._empty(now), []
        return summary, score_summaries(self._names[0], detections)


def score_summaries(worker: str, detections: Iterable[Detection]) -> list[ScoreSummary]:
    """The scores of detections by survey, band and region of the sky."""
    strata: dict[tuple[str, str, str], list[Detection]] = {}
    for d in detections:
        region = "plane" if abs(galactic_latitude(d.ra, d.dec)) < PLANE else "sky"
        strata.setdefault((d.survey, d.band, region), []).append(d)
    return [_score_summary(worker, stratum, members) for stratum, members in strata.items()]


def _score_summary(worker: str, stratum: tuple[str, str, str], detections: list[Detection]) -> ScoreSummary:
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
        classes=dict(Counter(d.top_class for d in detections)),
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
    """Counts by whole position; the first and the last bin are open, what is no number counts as the first."""
    counts = [0] * bins
    for x in positions:
        counts[min(bins - 1, max(0, int(x))) if x == x else 0] += 1
    return counts
