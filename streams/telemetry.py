"""What became of packets → a worker's summary of the last second, and the scores' by stratum. Both add up over workers and windows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from schemas.records.detection import Detection
from schemas.records.rejected import Rejected
from schemas.records.score_summary import ScoreSummary
from schemas.records.worker_summary import LAST_BIN, Outcomes, WorkerSummary
from schemas.surveys.times import galactic_latitude
from streams.score_sums import ScoreSums

if TYPE_CHECKING:
    from streams.scorer import Scorer, StateHolder

GROWTH = 1.05
FIRST_MS = 0.5
"""Latency bins grow by 5 %, from 0.5 ms; the last one ends at 40 hours."""
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
        self._sums: dict[str, ScoreSums] = {}

    def of(self, scorer: Scorer) -> Window:
        """Open or find the counts of what a state has scored."""
        window = self._open.get(scorer.scoring_id)
        if window is None:
            window = self._open[scorer.scoring_id] = Window(self._worker, scorer, since=self._since)
        return window

    def take(self, now: float, *, all_of_it: bool = False) -> tuple[list[WorkerSummary], list[ScoreSummary]]:
        """What happened since the last time, by state; nothing where nothing did, but for a sign of life every few seconds.

        Parameters
        ----------
        now : float
            Seconds since 1970.
        all_of_it : bool
            Scores too of strata that have few: the worker ends.
        """
        current = self._states.current.scoring_id  # comes last, for readers that show the latest
        scores: list[ScoreSummary] = []
        for scoring_id, window in self._open.items():
            if scoring_id not in self._sums:
                self._sums[scoring_id] = ScoreSums(self._worker, scoring_id=scoring_id, model=window.summary.model)
            self._sums[scoring_id].add(window.detections, now)
        for scoring_id, sums in list(self._sums.items()):
            scores += sums.take(now, all_of_it=all_of_it or scoring_id != current)
            if not len(sums):
                del self._sums[scoring_id]
        if not self._open:
            if now - self._since < QUIET_S:
                return [], scores
            self.of(self._states.current)
        windows = [window for _, window in sorted(self._open.items(), key=lambda item: item[0] == current)]
        self._open, self._since = {}, now
        for window in windows:
            window.summary.end_ms = int(now * 1000)
        return [w.summary for w in windows], scores


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
