"""A history → catalogues for scans: a night's detections, and all objects; what is public and what is not in folders apart.

    FOLDER/public/detections-2026-11-29/…      FOLDER/private/detections-2026-11-29/…
    FOLDER/public/objects/…                    FOLDER/private/objects/…

The layout is `sky_partitions`. A catalogue is made anew from the history at will; a night without rows has none. An object that has public
and other alerts is in both folders, each time as the sum of those alerts alone.
"""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from data.history.sky_partitions import Written, write_catalogue
from data.history.sql_reader import SqlReader
from data.history.store import PUBLIC

AT_ONCE = 20_000
"""Rows that are read at once."""
SHARES = {"public": frozenset({PUBLIC}), "private": frozenset({0, 2, 3})}
"""Folder → programids in it."""

_F64, _TEXT, _I64 = pa.float64(), pa.string(), pa.int64()


def _schema(*columns: tuple[str, Any]) -> pa.Schema:
    return pa.schema([pa.field(name, kind) for name, kind in columns])


DETECTIONS = _schema(
    ("object_id", _TEXT), ("survey", _TEXT), ("candid", _I64), ("packet_id", _TEXT), ("programid", pa.int8()), ("ra", _F64),
    ("dec", _F64), ("mjd", _F64), ("band", _TEXT), ("flux", _F64), ("flux_err", _F64), ("class", _TEXT), ("prior_probability", _F64),
    ("published", pa.bool_()), ("novelty", _F64), ("arrived", pa.timestamp("ms", "UTC")),
)  # fmt: skip
"""Units as in `detection.avsc`: ra, dec [deg], mjd TAI [d], flux, flux_err [µJy]."""
OBJECTS = _schema(
    ("object_id", _TEXT), ("survey", _TEXT), ("programid", pa.int8()), ("ra", _F64), ("dec", _F64), ("n", _I64), ("first_mjd", _F64),
    ("last_mjd", _F64), ("class", _TEXT), ("prior_probability", _F64), ("novelty", _F64),
)  # fmt: skip
"""A row an object, survey and programid; the place is that of the first detection [deg]."""


def date_of(night: int) -> str:
    """A night as a date."""
    return f"{night // 10_000:04d}-{night // 100 % 100:02d}-{night % 100:02d}"


def write_night(reader: SqlReader[Any], folder: Path, *, night: int) -> list[Written]:
    """Write a night's detections; a catalogue of before that has no rows any more is removed."""

    def rows(programs: frozenset[int]) -> Iterator[list[tuple[Any, ...]]]:
        after = 0
        while found := reader.night_points(night, programs=programs, after=after, limit=AT_ONCE):
            after = found[-1][0]
            yield [_detection(row) for row in found]

    return _write(folder, f"detections-{date_of(night)}", schema=DETECTIONS, kind="source", rows=rows)


def write_objects(reader: SqlReader[Any], folder: Path) -> list[Written]:
    """Write all objects as they are now."""

    def rows(programs: frozenset[int]) -> Iterator[list[tuple[Any, ...]]]:
        after: tuple[str, str, int] = ("", "", -1)
        while found := reader.object_rows(programs=programs, after=after, limit=AT_ONCE):
            after = found[-1][:3]
            yield found

    return _write(folder, "objects", schema=OBJECTS, kind="object", rows=rows)


def missing_nights(reader: SqlReader[Any], folder: Path, *, before: int) -> list[int]:
    """Nights with alerts, before one [YYYYMMDD], of which there is no catalogue."""
    there = {path.name for share in SHARES for path in (folder / share).glob("detections-*")}
    return [night for night in reader.known_alert_nights() if night < before and f"detections-{date_of(night)}" not in there]


def _write(
    folder: Path, name: str, *, schema: pa.Schema, kind: str, rows: Callable[[frozenset[int]], Iterator[list[tuple[Any, ...]]]]
) -> list[Written]:
    made = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%MUTC")
    found = []
    for share, programs in SHARES.items():
        written = write_catalogue(folder / share, name, schema=schema, batches=rows(programs), kind=kind, made=made)
        if written.rows:
            written.name = f"{share}/{name}"
            found.append(written)
        else:
            shutil.rmtree(folder / share / name)
    return found


def _detection(row: tuple[Any, ...]) -> tuple[Any, ...]:
    _, name, survey, candid, digest, programid, *values, published, novelty, arrived = row
    return (name, survey, candid, f"{survey}:{candid}:{digest.hex()}", programid, *values, bool(published), novelty, arrived or None)
