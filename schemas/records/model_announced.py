"""Which model an alias names: `model_announced.avsc` as a dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.avro.wire import PacketError
from schemas.records.model_bundle import check_model
from schemas.records.parts import check_counts, check_texts

CHAMPION, CHALLENGER, PREVIOUS, BASELINE = "champion", "challenger", "previous", "baseline"
"""The baseline has its challenger's revision: the champion with a head made anew of the same labels, which a costlier model has to beat."""
ALIASES = (CHAMPION, CHALLENGER, PREVIOUS, BASELINE)


@dataclass(frozen=True, slots=True)
class ModelAnnounced:
    """An alias and its model; every field stands in `model_announced.avsc`, in the same order."""

    alias: str
    sha256: str
    model: str
    revision: int
    author: str
    note: str
    claim: str
    announced_ms: int

    @property
    def key(self) -> bytes:
        """Key on the compacted topic; a tombstone under it withdraws the alias."""
        return self.alias.encode()


def from_row(row: Mapping[str, Any]) -> ModelAnnounced:
    """An announcement from its plain values.

    Raises
    ------
    schemas.avro.wire.PacketError
        A value that no announcement of ours has.
    """
    check_texts(row, "author", "note", "claim")
    check_model(row)
    check_counts("revision and announced_ms", (row["revision"], row["announced_ms"]))
    if row["alias"] not in ALIASES:
        raise PacketError("bad_value", f"alias is {row['alias'][:40]!r}: {', '.join(ALIASES)}")
    return ModelAnnounced(**row)
