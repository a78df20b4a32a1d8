"""A detection that passed a filter: `filter_match.avsc` as a dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from schemas.avro.wire import PacketError
from schemas.records.parts import check_counts, check_texts

MOST_WATCHED = 20
"""Positions that a match names."""


class Watched(NamedTuple):
    """A position that an alert lies near."""

    watchlist: str
    revision: int
    position: str
    separation: float


@dataclass(frozen=True, slots=True)
class FilterMatch:
    """A match; every field stands in `filter_match.avsc`, in the same order."""

    owner: str
    filter: str
    revision: int
    detection_id: str
    object_id: str
    watched: tuple[Watched, ...]
    backfilled: bool
    night: int
    number: int
    last_of_night: bool
    matched_ms: int
    detection: bytes


def from_row(row: Mapping[str, Any]) -> FilterMatch:
    """A match from its plain values.

    Raises
    ------
    schemas.avro.wire.PacketError
        A value that no match of ours has.
    """
    check_texts(row, "owner", "filter", "detection_id", "object_id")
    check_counts("revision, night, number and matched_ms", (row["revision"], row["night"], row["number"], row["matched_ms"]))
    if len(row["watched"]) > MOST_WATCHED:
        raise PacketError("bad_value", f"a match names {MOST_WATCHED} positions at most")
    watched = tuple(Watched(**entry) for entry in row["watched"])
    for entry in watched:
        check_texts(entry._asdict(), "watchlist", "position")
    return FilterMatch(**{**row, "watched": watched})
