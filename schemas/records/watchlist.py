"""A user's list of positions: `watchlist.avsc` as a dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.avro.wire import PacketError
from schemas.records.filter_defined import check_owned, owned_key

_POSITION = 24


@dataclass(frozen=True, slots=True)
class Watchlist:
    """A list; every field stands in `watchlist.avsc`, in the same order."""

    owner: str
    name: str
    revision: int
    positions: bytes
    names: bytes = b""
    note: str = ""
    made_ms: int = 0

    @property
    def key(self) -> bytes:
        """Key on the compacted topic."""
        return owned_key(self.owner, self.name)

    def __len__(self) -> int:
        return len(self.positions) // _POSITION


def from_row(row: Mapping[str, Any]) -> Watchlist:
    """A list from its plain values.

    Raises
    ------
    schemas.avro.wire.PacketError
        A value that no list of ours has.
    """
    check_owned(row)
    if len(row["positions"]) % _POSITION:
        raise PacketError("bad_value", "a watchlist is not of whole positions")
    try:
        lines = row["names"].decode().count("\n") + 1
    except UnicodeDecodeError:
        raise PacketError("bad_value", "names of a watchlist are not UTF-8") from None
    if row["names"] and lines != len(row["positions"]) // _POSITION:
        raise PacketError("bad_value", "a watchlist has another number of names than positions")
    return Watchlist(**row)
