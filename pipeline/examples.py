"""Packets → views that a class can be taught from, or why one cannot be an example.

packets (bytes), ScoringState → `Examples`; by the stream's own decoder and encoder (law 1)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from operators.head import Views
from operators.namespace import to_host
from operators.types import F32
from pipeline.embed import embed
from pipeline.state import ScoringState
from schemas.surveys.identity import packet_id

AT_ONCE = 64
PUBLIC = 1
"""The programid of public alerts."""


class Usable(NamedTuple):
    """A packet that can be an example."""

    position: int
    """In the list of packets."""
    packet_id: str
    object_id: str
    survey: str
    private: bool


class Examples(NamedTuple):
    """What packets gave."""

    rows: tuple[Usable, ...]
    """m of them can be examples."""
    views: Views
    """Of these, float32 on the host."""
    refused: tuple[tuple[int, str], ...]
    """Position and reason of every other packet."""


def see_packets(packets: Sequence[bytes], state: ScoringState) -> Examples:
    """Embed packets as the stream does.

    Raises
    ------
    gpu.session.EngineError
        The engine failed; the packets are not at fault.
    """
    rows: list[Usable] = []
    refused: list[tuple[int, str]] = []
    parts: tuple[list[F32], ...] = ([], [], [])
    for start in range(0, len(packets), AT_ONCE):
        decoded = state.decoder.decode(packets[start : start + AT_ONCE])
        refused += [(start + position, f"{fault.error_class}: {fault.reason}") for position, fault in decoded.rejected]
        if not decoded.index:
            continue
        batch = decoded.batch
        seen = [np.asarray(to_host(column), dtype=np.float32) for column in embed(batch, state.session).views]
        usable = np.isfinite(to_host(batch.flux)).any(axis=1) & np.logical_and.reduce([np.isfinite(column).all(axis=1) for column in seen])
        for i, position in enumerate(decoded.index):
            if not usable[i]:
                refused.append((start + position, "no measured point: there is nothing to learn from it"))
                continue
            private = batch.programid[i] != PUBLIC
            name = packet_id(batch.survey[i], batch.candid[i], record_digest=batch.digest[i])
            rows.append(Usable(start + position, name, batch.object_id[i], batch.survey[i], private))
        for part, column in zip(parts, seen, strict=True):
            part.append(column[usable])
    views = Views(*(np.concatenate(part) if part else np.zeros((0, 0), dtype=np.float32) for part in parts))
    return Examples(tuple(rows), views, tuple(sorted(refused)))
