"""A statistic that moved: `drift_alarm.avsc` as a dataclass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.avro.wire import PacketError
from schemas.records.parts import check_counts, check_finite, check_items, check_numbers, check_texts

MOST_EXAMPLES = 8
"""Alerts that an alarm names."""
MOST_MOVED = 64
"""Statistics that an alarm names."""
MOST_BINS = 64
"""Of a histogram."""


@dataclass(frozen=True, slots=True)
class DriftAlarm:
    """A statistic that moved; every field stands in `drift_alarm.avsc`, in the same order."""

    alarm_id: str
    detector: str
    statistic: str
    stratum: str
    before: float
    after: float
    window: int
    scoring_id: str
    raised_ms: int
    model: str = ""
    diagnosis: str = ""
    severity: float = 0.0
    since_ms: int = 0
    moved: Sequence[str] = ()
    edges: Sequence[float] = ()
    before_bins: Sequence[float] = ()
    after_bins: Sequence[float] = ()
    examples: Sequence[str] = ()


def from_row(row: Mapping[str, Any]) -> DriftAlarm:
    """An alarm from its plain values.

    Raises
    ------
    schemas.avro.wire.PacketError
        A value that no alarm of ours has.
    """
    check_texts(row, "alarm_id", "detector", "statistic", "stratum", "scoring_id", "model", "diagnosis")
    check_counts("window, raised_ms and since_ms", (row["window"], row["raised_ms"], row["since_ms"]))
    check_finite(row, "before", "after", "severity")
    check_items("moved", row["moved"], most=MOST_MOVED)
    check_items("examples", row["examples"], most=MOST_EXAMPLES)
    for name in ("edges", "before_bins", "after_bins"):
        check_numbers(name, row[name], most=MOST_BINS + 1)
    bins = max(0, len(row["edges"]) - 1)
    if any(len(row[name]) not in (0, bins) for name in ("before_bins", "after_bins")):
        raise PacketError("bad_value", f"the histograms do not have the {bins} bins of their edges")
    if any(share < 0 for name in ("before_bins", "after_bins") for share in row[name]):
        raise PacketError("bad_value", "a histogram has a negative share")
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    return DriftAlarm(**values)
