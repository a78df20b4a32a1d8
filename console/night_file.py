"""A simulated night or sector → a parquet file of packets and the truth about each.

``python -m console.night_file FILE PACKETS SEED night|sector``: a process of its own, so that the demo's packets are made on one core while
Kafka and the worker start on the other.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

_FIELDS: list[pa.Field[Any]] = [
    pa.field("packet", pa.binary()),
    pa.field("kind", pa.string()),
    pa.field("label", pa.string()),
    pa.field("object_id", pa.string()),
    pa.field("candid", pa.int64(), nullable=False),
    pa.field("n_detections", pa.int32(), nullable=False),
    pa.field("detail", pa.string()),
    pa.field("figures", pa.string()),
]
SCHEMA = pa.schema(_FIELDS)
GROUP = 100
"""Rows written at once, and the steps in which progress is reported."""
What: TypeAlias = Literal["night", "sector"]


@dataclass(frozen=True, slots=True)
class Made:
    """A packet and what it is."""

    packet: bytes
    kind: str
    label: str
    object_id: str
    candid: int
    n_detections: int
    detail: str = ""
    """The finer class, or how the packet is broken."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """What was put in; of a sector's targets."""


def make(path: Path, packets: int, *, seed: int, what: What = "night") -> None:
    """Write a night or a sector; reports on standard output how many packets are made."""
    write(path, _rows(packets, seed, what=what), progress=lambda made: print(made, flush=True))


def write(path: Path, rows: Iterable[dict[str, object]], *, progress: Callable[[int], None] | None = None) -> None:
    """Write packets and the truth about each.

    Parameters
    ----------
    path : Path
    rows : iterable of dict
        By the fields of `Made`.
    progress : callable, optional
        Called with how many are written.
    """
    held: list[dict[str, object]] = []
    made = 0
    with pq.ParquetWriter(path, SCHEMA, compression="none") as out:

        def put() -> None:
            out.write_table(pa.Table.from_pylist(held, schema=SCHEMA))
            held.clear()
            if progress is not None:
                progress(made)

        for row in rows:
            held.append({**row, "figures": orjson.dumps(row["figures"]).decode()})
            made += 1
            if len(held) == GROUP:
                put()
        if held:
            put()


def _rows(packets: int, seed: int, *, what: What) -> Iterator[dict[str, object]]:
    if what == "night":
        from data.simulate.night import night

        for packet, truth in night(seed, packets):
            yield {"packet": packet, **asdict(truth), "figures": {}}
    else:
        from data.simulate.sector import sector

        for packet, target in sector(seed, packets):
            yield {"packet": packet, "n_detections": 0, **asdict(target)}


def read(path: Path) -> Iterator[Made]:
    """The packets of a night, in order."""
    for batch in pq.ParquetFile(path).iter_batches(GROUP, columns=list(Made.__slots__)):
        for row in batch.to_pylist():
            yield Made(**{**row, "figures": orjson.loads(row["figures"])})


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]), seed=int(sys.argv[3]), what="sector" if sys.argv[4:] == ["sector"] else "night")
