"""A user's filter: `filter_defined.avsc` as a dataclass."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.avro.wire import PacketError
from schemas.records.parts import LONGEST_TEXT, check_counts, check_texts

LONGEST_NAME = 40
"""Of a filter or a watchlist [characters]."""
LONGEST_OWNER = 200
MOST_WATCHLISTS = 16
"""Of a filter."""
MOST_BUDGET = 1_000_000
MOST_BACKFILL = 400.0
"""[d]"""
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*", re.ASCII)
_RANGE, _CONE = 16, 24


@dataclass(frozen=True, slots=True)
class FilterDefined:
    """A filter; every field stands in `filter_defined.avsc`, in the same order."""

    owner: str
    name: str
    revision: int
    expression: str
    area: str = ""
    ranges: bytes = b""
    cones: bytes = b""
    watchlists: tuple[str, ...] = ()
    private_rights: bool = False
    budget: int = 1000
    webhook: str = ""
    backfill_days: float = 0.0
    active: bool = True
    note: str = ""
    made_ms: int = 0

    @property
    def key(self) -> bytes:
        """Key on the compacted topic."""
        return owned_key(self.owner, self.name)


def owned_key(owner: str, name: str) -> bytes:
    """Key of what a user has by name."""
    return f"{owner}/{name}".encode()


def name_problem(name: str) -> str | None:
    """What is wrong with the name of a filter or watchlist; None: nothing."""
    if len(name) <= LONGEST_NAME and _NAME.fullmatch(name):
        return None
    return f"a name has small letters, digits and single hyphens, {LONGEST_NAME} characters at most"


def check_owned(row: Mapping[str, Any]) -> None:
    """Refuse an owner, a name or a revision that nothing of ours has."""
    check_texts(row, "owner", "note")
    check_counts("revision and made_ms", (row["revision"], row["made_ms"]))
    if (problem := name_problem(row["name"])) is not None:
        raise PacketError("bad_value", problem)
    if not 0 < len(row["owner"]) <= LONGEST_OWNER:
        raise PacketError("bad_value", f"an owner has 1 to {LONGEST_OWNER} characters")


def from_row(row: Mapping[str, Any]) -> FilterDefined:
    """A filter from its plain values.

    Raises
    ------
    schemas.avro.wire.PacketError
        A value that no filter of ours has.
    """
    check_owned(row)
    check_texts(row, "expression", "area", "webhook")
    if len(row["watchlists"]) > MOST_WATCHLISTS or any(len(name) > LONGEST_TEXT for name in row["watchlists"]):
        raise PacketError("bad_value", f"a filter has {MOST_WATCHLISTS} watchlists at most")
    if len(row["ranges"]) % _RANGE or len(row["cones"]) % _CONE:
        raise PacketError("bad_value", "an area is not of whole ranges or circles")
    if not 0 < row["budget"] <= MOST_BUDGET or not 0 <= row["backfill_days"] <= MOST_BACKFILL:
        raise PacketError("bad_value", "a budget or a time of backfill that no filter has")
    return FilterDefined(**{**row, "watchlists": tuple(row["watchlists"])})
