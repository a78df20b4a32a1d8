"""The packets that both stacks get.

`PROTONOVA_SHARED`/data/real/ztf_alerts → bytes of ZTF packets, evenly over the folders; without it: simulated packets, and it says so
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro

from data.simulate.night import night

_REWRITTEN = b"topLevelRecord"
"""Name of the record in packets that an archive wrote anew (Spark, snappy): the survey never sent these bytes."""


@dataclass(frozen=True, slots=True)
class Packets:
    """What is measured on."""

    values: tuple[bytes, ...]
    source: str
    """For the report: what they are and how many there were to choose from."""
    real: bool

    @property
    def mean_bytes(self) -> float:
        return sum(map(len, self.values)) / len(self.values)


def shared_folder() -> Path:
    """Where real data lie."""
    return Path(os.environ.get("PROTONOVA_SHARED", Path(__file__).parents[1] / ".." / "shared")).resolve()


def take(n: int, folder: Path | None = None) -> Packets:
    """Choose n packets, always the same ones.

    Parameters
    ----------
    n : int
        How many; fewer if there are not so many different ones.
    folder : Path, optional
        Where real packets are looked for; the shared folder if None.
    """
    root = folder or shared_folder() / "data" / "real" / "ztf_alerts"
    found = _real(root)
    if found:
        chosen = _spread(found, n)
        return Packets(tuple(chosen), f"{len(chosen)} of {len(found)} real ZTF packets as the survey sent them", real=True)
    return _simulated(n)


def _real(root: Path) -> list[bytes]:
    """Different packets under a folder, by path."""
    seen: dict[bytes, None] = {}
    for path in sorted(root.rglob("*.avro")):
        packet = path.read_bytes()
        if packet.startswith(b"Obj\x01") and _REWRITTEN not in packet[:400]:
            seen[packet] = None
    return list(seen)


def _spread(packets: Sequence[bytes], n: int) -> list[bytes]:
    """n of them at even steps, so that a part is mixed as the whole."""
    n = min(n, len(packets))
    return [packets[i * len(packets) // n] for i in range(n)]


def distinct(packets: Sequence[bytes], n: int, *, start: int = 0) -> list[tuple[int, bytes]]:
    """n packets out of fewer: the same bytes round and round, each with a candid of its own, so that none counts as a duplicate.

    Parameters
    ----------
    packets : sequence of bytes
    n : int
    start : int
        How many were taken before.

    Returns
    -------
    list of (candid, packet)
    """
    known = [(candid, packet) for packet in packets if (candid := _candid(packet)) is not None]
    taken = []
    for i in range(start, start + n):
        candid, packet = known[i % len(known)]
        new = FIRST_CANDID + i
        taken.append((new, packet.replace(_long(candid), _long(new))))
    return taken


FIRST_CANDID = 3_000_000_000_000_000_000
"""Nineteen digits as ZTF's own, hence as many bytes in Avro; no survey has reached it."""


def _candid(packet: bytes) -> int | None:
    """The packet's candid, if replacing it keeps the packet's length."""
    alert: Any = next(fastavro.reader(io.BytesIO(packet)))
    candid: int = alert["candidate"]["candid"]
    return candid if len(_long(candid)) == len(_long(FIRST_CANDID)) and _long(candid) in packet else None


def _long(value: int) -> bytes:
    """As Avro writes a long."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, "long", value)
    return out.getvalue()


def _simulated(n: int) -> Packets:
    """Without real data: our own simulator's night."""
    made = tuple(packet for packet, _ in night(seed=1, n=n, duplicates=0, broken=0))
    return Packets(made, f"{n} simulated ZTF packets: no real ones were found, set PROTONOVA_SHARED", real=False)
