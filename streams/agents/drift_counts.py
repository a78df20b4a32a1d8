"""Outcomes and schemas of packets → alarms: what is rejected more often than usual, and packets in a schema that was not there before.

WorkerSummary → `PacketCounts.work`, ScoreSummary → `PacketCounts.schemas`; both → [DriftAlarm]

No model is involved, and training mends neither. Another schema is not a fault by itself; it says where to look when the nulls or the
numbers of a survey's alerts move.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from operators.drift_panel import SCHEMA
from operators.types import SURVEYS
from schemas.records.drift_alarm import DriftAlarm
from schemas.records.score_summary import ScoreSummary
from schemas.records.worker_summary import WorkerSummary

LEARN = 500
"""Packets of a survey before anything is said of it."""
FREE = 0.02
"""Share of rejected packets above twice the usual one that is not counted."""
EXCESS = 100.0
"""Rejected packets beyond that which are an alarm, however slowly they come."""
HALF_LIFE = 100_000
"""Packets over which the usual share follows the stream while nothing is beyond it."""
AGAIN_MS = 3_600_000
"""Least time between two alarms of a survey's rejected packets [ms]."""
LEAST_OF_SCHEMA = 256
"""Alerts in a schema that was not there before which are an alarm."""
MOST_SCHEMAS = 64
"""That are remembered of a survey."""


@dataclass(slots=True)
class _Survey:
    packets: int = 0
    usual: float = 0.0
    """Share of rejected packets."""
    excess: float = 0.0
    since_ms: int = 0
    since: int = 0
    """Packets since the excess left zero."""
    rejected: int = 0
    """Of those."""
    alarmed_ms: int = 0
    alerts: int = 0
    schemas: dict[str, int] = field(default_factory=dict)
    """Schema → alerts in it; below 0: known from the beginning, or reported."""


class PacketCounts:
    """What is usual of each survey's packets."""

    def __init__(self) -> None:
        self._surveys: dict[str, _Survey] = {}

    def work(self, summary: WorkerSummary, now_ms: int) -> Iterator[DriftAlarm]:
        """Take a worker's counts."""
        for survey, outcomes in summary.surveys.items():
            if survey in SURVEYS:
                rejected = sum(outcomes.rejected.values())
                yield from self._outcomes(survey, rejected, n=rejected + outcomes.detections, summary=summary, now_ms=now_ms)

    def _outcomes(self, survey: str, rejected: int, *, n: int, summary: WorkerSummary, now_ms: int) -> Iterator[DriftAlarm]:
        known = self._surveys.setdefault(survey, _Survey())
        if not n:
            return
        if known.packets < LEARN:
            known.usual = (known.usual * known.packets + rejected) / (known.packets + n)
            known.packets += n
            return
        known.packets += n
        if known.excess <= 0:
            known.since_ms, known.since, known.rejected = summary.start_ms, 0, 0
        known.since, known.rejected = known.since + n, known.rejected + rejected
        known.excess = max(0.0, known.excess + rejected - n * (FREE + 2 * known.usual))
        if known.excess <= 0:
            known.usual += min(1.0, n / HALF_LIFE) * (rejected / n - known.usual)
        elif known.excess > EXCESS:
            known.excess = 0.0
            if now_ms - known.alarmed_ms >= AGAIN_MS:
                known.alarmed_ms = now_ms
                share = known.rejected / known.since
                yield _alarm(
                    "rejects", "rejected_ratio", survey=survey, before=known.usual, after=share, window=known.since, summary=summary,
                    since_ms=known.since_ms, now_ms=now_ms,
                )  # fmt: skip

    def schemas(self, summary: ScoreSummary, now_ms: int) -> Iterator[DriftAlarm]:
        """Take the schemas of a stratum's alerts."""
        if summary.survey not in SURVEYS:
            return
        known = self._surveys.setdefault(summary.survey, _Survey())
        known.alerts += summary.n
        for name, count in summary.schemas.items():
            met = known.schemas.get(name)
            if known.alerts <= LEARN:
                known.schemas[name] = -1
            elif met is None and len(known.schemas) < MOST_SCHEMAS:
                known.schemas[name] = count
            elif met is not None and met >= 0:
                known.schemas[name] = met + count
            if known.schemas.get(name, -1) >= LEAST_OF_SCHEMA:
                after = count / summary.n
                alerts, known.schemas[name] = known.schemas[name], -1
                yield _alarm(
                    "schemas", f"schema:{name}", survey=summary.survey, before=0.0, after=after, window=alerts, summary=summary,
                    since_ms=summary.end_ms, now_ms=now_ms,
                )  # fmt: skip

    def plain(self) -> dict[str, Any]:
        """What `restore` takes, of numbers, texts and dicts."""
        return {survey: asdict(known) for survey, known in self._surveys.items()}

    def restore(self, plain: Mapping[str, Any]) -> None:
        """Go on where another was.

        Raises
        ------
        ValueError
            It is not what `plain` gave.
        """
        try:
            self._surveys = {str(survey): _Survey(**known) for survey, known in plain.items() if survey in SURVEYS}
        except (TypeError, AttributeError) as error:
            raise ValueError(f"not counts of packets: {error}") from None


def _alarm(
    detector: str, statistic: str, *, survey: str, before: float, after: float, window: int, summary: WorkerSummary | ScoreSummary,
    since_ms: int, now_ms: int,
) -> DriftAlarm:  # fmt: skip
    name = hashlib.sha256(f"{detector}|{statistic}|{survey}|{since_ms}|{window}".encode()).hexdigest()[:16]
    return DriftAlarm(
        name, detector, statistic, survey, before, after, window, summary.scoring_id, now_ms, model=summary.model, diagnosis=SCHEMA,
        severity=0.0, since_ms=since_ms, moved=(statistic,),
    )  # fmt: skip
