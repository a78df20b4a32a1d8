"""The scores of a window by stratum: `score_summary.avsc` as dataclasses, and its bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from schemas.avro.wire import PacketError
from schemas.avro.writer import varint
from schemas.records.parts import COUNT, DOUBLE, NULL, WORD, check_counts, check_finite, check_items, check_texts, string

BINS = 20
"""Of the histograms of novelty, top probability and flux."""
MOST_NAMES = 128
"""Statistics, fields, schemas or classes that a summary names; a stream with taught classes has some hundred classes at most."""
MOST_BINS = 64
"""Of a statistic's histogram."""
MOST_EXTREMES = 128
"""Two of each statistic."""
_SMALL = dict(enumerate(COUNT)).__getitem__


class StatisticSums(NamedTuple):
    """A number of each alert, added up."""

    n: int
    sum: float
    squares: float
    nulls: int
    histogram: Sequence[int]


class Extreme(NamedTuple):
    """An alert at an end of a statistic."""

    statistic: str
    value: float
    packet_id: str


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
    model: str = ""
    end_ms: int = 0
    statistics: Mapping[str, StatisticSums] = field(default_factory=dict)
    nulls: Mapping[str, int] = field(default_factory=dict)
    schemas: Mapping[str, int] = field(default_factory=dict)
    extremes: Sequence[Extreme] = ()

    @property
    def stratum(self) -> str:
        """survey/band/region."""
        return f"{self.survey}/{self.band}/{self.region}"


def body(s: ScoreSummary) -> bytes:
    """The record written by hand, in the order of `score_summary.avsc`: a general writer takes several times as long."""
    word, pack = WORD, DOUBLE
    return b"".join(
        (
            word[s.worker], word[s.scoring_id], word[s.survey], word[s.band], word[s.region], pack(s.mjd_first), pack(s.mjd_last),
            _count(s.n), _counts(s.classes), _count(s.empty_sets), pack(s.novelty_sum), pack(s.novelty_squares), _bins(s.novelty),
            pack(s.top_probability_sum), _bins(s.top_probability), pack(s.distance_sum), _bins(s.flux), word[s.model], varint(s.end_ms),
            _map([word[name] + _statistic(sums) for name, sums in s.statistics.items()]), _counts(s.nulls), _counts(s.schemas),
            _map([word[x.statistic] + pack(x.value) + string(x.packet_id) for x in s.extremes]),
        )
    )  # fmt: skip


def _count(n: int) -> bytes:
    return COUNT[n] if 0 <= n < len(COUNT) else varint(n)


def _map(entries: Sequence[bytes]) -> bytes:
    """One block of entries (of a map, or of an array), and the end."""
    return b"".join((_count(len(entries)), *entries, NULL)) if entries else NULL


def _counts(counts: Mapping[str, int]) -> bytes:
    return _map([WORD[name] + _count(n) for name, n in counts.items()])


def _bins(bins: Sequence[int]) -> bytes:
    try:  # five hundred a summary: no function of ours is called for each
        return b"".join((_count(len(bins)), *map(_SMALL, bins), NULL)) if bins else NULL
    except KeyError:
        return _map([_count(n) for n in bins])


def _statistic(sums: StatisticSums) -> bytes:
    return b"".join((_count(sums.n), DOUBLE(sums.sum), DOUBLE(sums.squares), _count(sums.nulls), _bins(sums.histogram)))


def from_row(row: Mapping[str, Any]) -> ScoreSummary:
    """A summary from its plain values.

    Raises
    ------
    schemas.avro.wire.PacketError
        A value that no summary of ours has.
    """
    check_texts(row, "worker", "scoring_id", "survey", "band", "region", "model")
    for name in ("classes", "nulls", "schemas"):
        check_counts(name, row[name])
    check_counts("n, empty_sets and end_ms", (row["n"], row["empty_sets"], row["end_ms"]))
    for name in ("novelty", "top_probability", "flux"):
        check_counts(name, row[name], length=BINS)
    check_finite(row, "mjd_first", "mjd_last", "novelty_sum", "novelty_squares", "top_probability_sum", "distance_sum")
    for name in ("statistics", "nulls", "schemas"):
        check_items(name, list(row[name]), most=MOST_NAMES)
    if len(row["extremes"]) > MOST_EXTREMES:
        raise PacketError("bad_value", f"extremes names {len(row['extremes']):,} alerts; there are {MOST_EXTREMES} at most")
    statistics = {name: _read_statistic(name, sums, most=row["n"]) for name, sums in row["statistics"].items()}
    for x in row["extremes"]:
        check_texts(x, "statistic", "packet_id")
        check_finite(x, "value")
    return ScoreSummary(**{**row, "statistics": statistics, "extremes": tuple(Extreme(**x) for x in row["extremes"])})


def _read_statistic(name: str, sums: Mapping[str, Any], *, most: int) -> StatisticSums:
    check_counts(name, (sums["n"], sums["nulls"]))
    check_counts(f"the histogram of {name}", sums["histogram"])
    check_finite(sums, "sum", "squares")
    if len(sums["histogram"]) > MOST_BINS:
        raise PacketError("bad_value", f"the histogram of {name} has {len(sums['histogram']):,} bins; there are {MOST_BINS} at most")
    if sums["n"] + sums["nulls"] != most or sums["squares"] < 0 or sum(sums["histogram"]) != sums["n"]:
        raise PacketError("bad_value", f"{name}: its counts are not those of {most:,} alerts")
    return StatisticSums(**sums)
