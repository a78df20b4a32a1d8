"""The scores of a window by stratum: `score_summary.avsc` as a dataclass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.records.parts import check_counts, check_finite, check_texts

BINS = 20
"""Of each histogram."""


@dataclass(frozen=True, slots=True)
class ScoreSummary:
    """What drift detection reads instead of every detection; every field stands in `score_summary.avsc`, in the same order."""

    worker: str
    scoring_id: str
    survey: str
    band: str
    region: str
    mjd_first: float
    mjd_last: float
    n: int
    classes: Mapping[str, int]
    empty_sets: int
    novelty_sum: float
    novelty_squares: float
    novelty: Sequence[int]
    top_probability_sum: float
    top_probability: Sequence[int]
    distance_sum: float
    flux: Sequence[int]


def from_row(row: Mapping[str, Any]) -> ScoreSummary:
    """A summary from its plain values.

    Raises
    ------
    schemas.avro.wire.PacketError
        A value that no summary of ours has.
    """
    check_texts(row, "worker", "scoring_id", "survey", "band", "region")
    check_counts("classes", row["classes"])
    check_counts("n and empty_sets", (row["n"], row["empty_sets"]))
    for name in ("novelty", "top_probability", "flux"):
        check_counts(name, row[name], length=BINS)
    check_finite(row, "mjd_first", "mjd_last", "novelty_sum", "novelty_squares", "top_probability_sum", "distance_sum")
    return ScoreSummary(**row)
