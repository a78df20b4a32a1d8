"""A statistic that moved: `drift_alarm.avsc` as a dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.records.parts import check_counts, check_finite, check_texts


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


def from_row(row: Mapping[str, Any]) -> DriftAlarm:
    """An alarm from its plain values.

    Raises
    ------
    schemas.avro.wire.PacketError
        A value that no alarm of ours has.
    """
    check_texts(row, "alarm_id", "detector", "statistic", "stratum", "scoring_id")
    check_counts("window and raised_ms", (row["window"], row["raised_ms"]))
    check_finite(row, "before", "after")
    return DriftAlarm(**row)
