"""A simulated night → a parquet file of packets and the truth about each; ``python -m console.night_file FILE PACKETS SEED``.

A process of its own, so that the demo's night is made on one core while Kafka and the worker start on the other.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_FIELDS: list[pa.Field[Any]] = [
    pa.field("packet", pa.binary()),
    pa.field("kind", pa.string()),
    pa.field("label", pa.string()),
    pa.field("object_id", pa.string()),
    pa.field("candid", pa.int64(), nullable=False),
    pa.field("n_detections", pa.int32()),
    pa.field("detail", pa.string()),
]
SCHEMA = pa.schema(_FIELDS)
GROUP = 100
"""Rows written at once, and the steps in which progress is reported."""


@dataclass(frozen=True, slots=True)
class Made:
    """A packet and what it is."""

    packet: bytes
    kind: str
    label: str
    object_id: str
    candid: int
    n_detections: int


def make(path: Path, packets: int, *, seed: int) -> None:
    """Write a night; reports on standard output how many packets are made."""
    from data.simulate.night import night

    rows: list[dict[str, object]] = []
    with pq.ParquetWriter(path, SCHEMA, compression="none") as out:
        for made, (packet, truth) in enumerate(night(seed, packets), 1):
            rows.append({"packet": packet, **asdict(truth)})
            if len(rows) == GROUP or made == packets:
                out.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
                rows.clear()
                print(made, flush=True)


def read(path: Path) -> Iterator[Made]:
    """The packets of a night, in order."""
    for batch in pq.ParquetFile(path).iter_batches(GROUP, columns=list(Made.__slots__)):
        for row in batch.to_pylist():
            yield Made(**row)


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]), seed=int(sys.argv[3]))
