"""What one worker did in one window: `worker_summary.avsc` as dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from schemas.avro.wire import PacketError
from schemas.records.parts import check_counts, check_finite, check_texts

LAST_BIN = 400
"""Of the latencies' histogram."""
LONGEST_MS = 7 * 86_400_000
"""Of a window: a worker that reports nothing for longer was stopped [ms]."""


@dataclass(slots=True)
class Outcomes:
    """Counts of one survey."""

    detections: int = 0
    duplicates: int = 0
    rejected: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Packets that came in."""
        return self.detections + self.duplicates + sum(self.rejected.values())


@dataclass(slots=True)
class WorkerSummary:
    """What one worker did in one window; every field stands in `worker_summary.avsc`, in the same order."""

    worker: str
    start_ms: int
    end_ms: int
    scoring_id: str
    model: str
    engine: str
    surveys: dict[str, Outcomes] = field(default_factory=dict)
    classes: dict[str, int] = field(default_factory=dict)
    batches: int = 0
    packets: int = 0
    compute_ms: float = 0.0
    latency: dict[int, int] = field(default_factory=dict)
    published: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Packets that came in."""
        return sum(outcomes.total for outcomes in self.surveys.values())


def to_row(summary: WorkerSummary) -> dict[str, Any]:
    """A summary as plain Python."""
    row = asdict(summary)
    row["latency"] = {str(k): v for k, v in summary.latency.items()}
    return row


def from_row(row: Mapping[str, Any]) -> WorkerSummary:
    """The inverse of `to_row`.

    Raises
    ------
    schemas.avro.wire.PacketError
        A value that no summary of ours has.
    """
    values = dict(row)
    check_texts(values, "worker", "scoring_id", "model", "engine")
    check_counts("batches and packets", (values["batches"], values["packets"]))
    check_counts("classes", values["classes"])
    check_counts("published", values["published"])
    check_counts("latency", values["latency"])
    check_finite(values, "compute_ms")
    for survey, outcomes in values["surveys"].items():
        check_counts(f"outcomes of {survey[:20]}", (outcomes["detections"], outcomes["duplicates"]))
        check_counts(f"rejected of {survey[:20]}", outcomes["rejected"])
    if not 0 <= values["start_ms"] <= values["end_ms"] <= values["start_ms"] + LONGEST_MS:
        raise PacketError("bad_value", f"a window from {values['start_ms']} to {values['end_ms']} ms")
    values["surveys"] = {survey: Outcomes(**outcomes) for survey, outcomes in values["surveys"].items()}
    latency: dict[int, int] = {}
    for key, count in values["latency"].items():
        if not (key.isascii() and key.isdecimal() and len(key) < 4 and int(key) <= LAST_BIN):
            raise PacketError("bad_value", f"latency has no bin {key[:20]!r}")
        latency[int(key)] = count
    values["latency"] = latency
    return WorkerSummary(**values)
