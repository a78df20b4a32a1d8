"""A file as its authors publish it → the columns that a catalogue has, in our units.

CSV (gzipped or not), FITS table, Parquet, VOTable; OpenNGC's SQLite; Hipparcos' hip2.dat → `Rows`
"""

from __future__ import annotations

import gzip
import itertools
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from data.catalogues.catalogue_kinds import NUMBERS, CatalogueKind
from data.catalogues.votable import votable_columns, votable_names
from data.connectors.fits_headers import FitsError
from data.connectors.fits_tables import Column, Unit, units
from errors import UserError, one_line
from operators.types import F64

pa: Any = pyarrow  # columns of texts of either width, which its stubs tell apart
pc: Any = pyarrow.compute
pq: Any = pyarrow.parquet
MOST_ROWS = 50_000_000
"""They are sorted in memory."""
LONGEST_LINE = 1 << 20
LARGEST_FITS, MOST_FITS_COLUMNS = 64 << 30, 8 << 30
"""[bytes]; memory grows by what is there, not by what a header states."""
NULLS = ("", "null", "NULL", "nan", "NaN", "--", "None", "~")
TEXTS = ("name", "kind")
SEXAGESIMAL_HOURS = 15.0
_HIP2: dict[str, tuple[int, int]] = {
    "HIP": (0, 6), "RArad": (15, 28), "DErad": (29, 42), "Plx": (43, 50), "pmRA": (51, 59), "pmDE": (60, 68), "Hpmag": (129, 136),
}  # fmt: skip
"""Bytes of columns in hip2.dat (van Leeuwen 2007, CDS I/311, ReadMe)."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A table's m rows as they stand there, not yet checked."""

    name: Any
    """Array of strings, as the kinds."""
    kind: Any | None
    ra: F64
    dec: F64
    numbers: Mapping[str, F64] = field(default_factory=dict)
    """Of `catalogue_kinds.NUMBERS`, NaN where there is none."""
    magnitudes: Mapping[str, F64] = field(default_factory=dict)


def plain(name: str) -> str:
    """A column's name as it is compared."""
    return name.strip().lower().replace("_", "").replace(" ", "").replace("-", "").replace("*", "star")


def columns_of(header: Sequence[str], kind: CatalogueKind, *, given: Mapping[str, str], path: Path) -> dict[str, str]:
    """Role (bands as ``mag:BAND``) → the table's column.

    Parameters
    ----------
    header : sequence of str
    kind : CatalogueKind
    given : mapping
        Role → column, as a person says.
    path : Path

    Raises
    ------
    UserError
        A column that is needed or named is not there.
    """
    there = {plain(name): name for name in reversed(header)}
    roles = {**kind.columns, **{f"mag:{band}": names for band, names in kind.bands.items()}}
    found = {role: there[plain(n)] for role, names in roles.items() for n in reversed(names) if plain(n) in there}
    for role, column in given.items():
        if role not in (*TEXTS, "ra", "dec", *NUMBERS) and not role.startswith("mag:"):
            raise UserError(f"{one_line(role, 30)!r} is not what a column may be: name, kind, ra, dec, {', '.join(NUMBERS)}, mag:BAND", 2)
        if column not in header:
            raise UserError(f"{path} has no column {one_line(column, 60)!r}: it has {one_line(', '.join(header), 200)}")
        found[role] = column
    missing = [role for role in ("ra", "dec") if role not in found]
    if missing:
        there_are = one_line(", ".join(header), 200)
        raise UserError(f"{path} has no column for {missing[0]}: it has {there_are}; name one with --column {missing[0]}=NAME")
    return found


def read_rows(path: Path, kind: CatalogueKind, *, given: Mapping[str, str]) -> Rows:
    """Read a table.

    Raises
    ------
    UserError
        It is not there, of no known form, damaged, too long, or lacks a column.
    """
    suffixes = [s.lower() for s in path.suffixes]
    suffix = suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else (suffixes[-1] if suffixes else "")
    reader = _READERS.get(suffix)
    if reader is None:
        raise UserError(f"{path}: a catalogue is a file of {', '.join(sorted(_READERS))}, .csv and .tsv gzipped or not")
    try:
        return reader(path, kind, given=given)
    except (OSError, UnicodeDecodeError, EOFError, pyarrow.ArrowException, sqlite3.Error, FitsError) as error:
        raise UserError(f"{path} cannot be read: {one_line(error, 160)}") from None


def _csv(path: Path, kind: CatalogueKind, *, given: Mapping[str, str]) -> Rows:
    opened: Callable[..., Any] = gzip.open if path.suffix.lower() == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig") as file:
        skipped, first = 0, ""
        while (line := file.readline(LONGEST_LINE)) and (not line.strip() or line.startswith("#")):
            skipped += 1
        first = line
        after = list(itertools.islice(iter(lambda: file.readline(LONGEST_LINE), ""), 2))
    delimiter = max("\t;,|", key=first.count)
    if not first.count(delimiter):
        raise UserError(f"{path} has no header of columns in its first line: name them there, with commas between")
    header = [name.strip().strip('"') for name in first.rstrip("\r\n").split(delimiter)]
    if len(set(header)) < len(header):
        raise UserError(f"{path}: a column's name stands twice in its header")
    ruled = len(after) == 2 and set(after[1].strip()) <= set(f"-{delimiter} ") and "-" in after[1]  # VizieR: units and a line below
    found = columns_of(header, kind, given=given, path=path)
    wanted = list(dict.fromkeys(found.values()))
    texts = {found[role] for role in (*TEXTS, "ra", "dec") if role in found}
    parts, total = [], 0
    with pyarrow.csv.open_csv(
        path,
        read_options=pyarrow.csv.ReadOptions(column_names=header, skip_rows=skipped + 1 + (2 if ruled else 0), block_size=8 << 20),
        parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter),
        convert_options=pyarrow.csv.ConvertOptions(
            include_columns=wanted, null_values=list(NULLS), strings_can_be_null=True, quoted_strings_can_be_null=True,
            column_types={name: pa.string() if name in texts else pa.float64() for name in wanted},
        ),
    ) as reader:  # fmt: skip
        for batch in reader:
            total += batch.num_rows
            if total > MOST_ROWS:
                raise UserError(f"{path} has more than {MOST_ROWS:,} rows")
            parts.append(batch)
    table = pa.Table.from_batches(parts) if parts else pa.table({name: [] for name in wanted})
    return _of_arrow(table, found, kind=kind, path=path)


def _parquet(path: Path, kind: CatalogueKind, *, given: Mapping[str, str]) -> Rows:
    with pq.ParquetFile(path) as file:
        if file.metadata.num_rows > MOST_ROWS:
            raise UserError(f"{path} has more than {MOST_ROWS:,} rows")
        found = columns_of(file.schema_arrow.names, kind, given=given, path=path)
        return _of_arrow(file.read(columns=list(dict.fromkeys(found.values()))), found, kind=kind, path=path)


def _votable(path: Path, kind: CatalogueKind, *, given: Mapping[str, str]) -> Rows:
    named = votable_names(path)
    found = columns_of(list(named), kind, given=given, path=path)
    _check_unit(named.get(found["ra"], ""), path=path)
    cells = votable_columns(path, set(found.values()), most=MOST_ROWS)
    table = pa.table({name: pa.array([None if text in NULLS else text for text in column], pa.string()) for name, column in cells.items()})
    return _of_arrow(table, found, kind=kind, path=path)


def _fits(path: Path, kind: CatalogueKind, *, given: Mapping[str, str]) -> Rows:
    opened: Callable[..., Any] = gzip.open if path.suffix.lower() == ".gz" else open
    with opened(path, "rb") as file:
        for unit in units(file, most=LARGEST_FITS):
            if unit.columns or unit.texts:
                return _of_unit(unit, kind, given=given, path=path)
    raise UserError(f"{path} holds no binary table")


def _of_unit(unit: Unit, kind: CatalogueKind, *, given: Mapping[str, str], path: Path) -> Rows:
    named: dict[str, Column] = {**unit.columns, **unit.texts}
    found = columns_of(list(named), kind, given={role: name.upper() for role, name in given.items()}, path=path)
    _check_unit(named[found["ra"]].unit, path=path)
    values = unit.table(list(dict.fromkeys(found.values())), most_rows=MOST_ROWS, most_bytes=MOST_FITS_COLUMNS)
    table = pa.table({name: _fits_column(name, column, path=path) for name, column in values.items()})
    return _of_arrow(table, found, kind=kind, path=path)


def _fits_column(name: str, column: Any, *, path: Path) -> Any:
    if column.ndim != 1:
        raise UserError(f"{path}: the column {one_line(name, 40)} holds {column.shape[1]} numbers a row, not one")
    if column.dtype.kind == "S":
        return pa.array([cell.decode("ascii", "replace").strip() or None for cell in column.tolist()], pa.string())
    return pa.array(column)


def _openngc(path: Path, kind: CatalogueKind, *, given: Mapping[str, str]) -> Rows:
    """The table `objects` of pyongc's file, whose places are in radians."""
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as file:
        cursor = file.execute("SELECT * FROM objects LIMIT ?", (MOST_ROWS,))
        header = [column[0] for column in cursor.description]
        cells = list(zip(*cursor, strict=True))
    found = columns_of(header, kind, given=given, path=path)
    table = pa.table({name: pa.array(cells[header.index(name)]) for name in dict.fromkeys(found.values())})
    table = table.filter(pc.is_valid(table[found["ra"]]))  # objects that are not there have no place
    return _of_arrow(table, found, kind=kind, path=path, factor=180.0 / np.pi)


def _hipparcos(path: Path, kind: CatalogueKind, *, given: Mapping[str, str]) -> Rows:
    cells: dict[str, list[str | None]] = {name: [] for name in _HIP2}
    with path.open(encoding="ascii") as file:
        for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE), "")):
            if len(line) < _HIP2["Hpmag"][1] or number >= MOST_ROWS:
                raise UserError(f"{path}, line {number + 1}: not a line of hip2.dat, which has 276 characters")
            for name, (begin, end) in _HIP2.items():
                cells[name].append(line[begin:end].strip() or None)
    table = pa.table({name: pa.array(column, pa.string()) for name, column in cells.items()})
    found = columns_of(list(_HIP2), kind, given={"ra": "RArad", "dec": "DErad", **given}, path=path)
    return _of_arrow(table, found, kind=kind, path=path, factor=180.0 / np.pi)


_READERS: dict[str, Callable[..., Rows]] = {
    ".csv": _csv, ".tsv": _csv, ".txt": _csv, ".parquet": _parquet, ".vot": _votable, ".xml": _votable, ".votable": _votable,
    ".fits": _fits, ".fit": _fits, ".db": _openngc, ".dat": _hipparcos,
}  # fmt: skip


def _check_unit(unit: str, *, path: Path) -> None:
    if unit.strip().lower() in ("h", "hr", "hour", "hours", "hourangle", '"h:m:s"', "h:m:s"):
        raise UserError(f"{path} says that its right ascensions are in hours: write them in degrees, or say --hours")


def _of_arrow(table: Any, found: Mapping[str, str], *, kind: CatalogueKind, path: Path, factor: float = 1.0) -> Rows:
    m = table.num_rows

    def numbers(role: str) -> F64:
        return _numbers(table[found[role]], path=path, name=found[role]) * kind.scale.get(role, 1.0)

    def texts(role: str) -> Any:
        column = table[found[role]]
        if pa.types.is_floating(column.type):
            raise UserError(f"{path}: {found[role]} is floating-point, which does not hold every id: make it a whole number or a text")
        wide = column.cast(pa.string()).cast(pa.large_string())  # of any length: all names of a catalogue are more than 2 GB
        return pc.utf8_trim_whitespace(pc.fill_null(wide, "")).combine_chunks()

    if m == 0:
        raise UserError(f"{path} has no row")
    roles = [role for role in found if role in NUMBERS]
    return Rows(
        name=texts("name") if "name" in found else pa.array([str(i) for i in range(1, m + 1)], pa.large_string()),
        kind=texts("kind") if "kind" in found else None,
        ra=_angles(table[found["ra"]], hours=True, path=path, name=found["ra"]) * factor,
        dec=_angles(table[found["dec"]], hours=False, path=path, name=found["dec"]) * factor,
        numbers={role: numbers(role) for role in roles},
        magnitudes={role[4:]: numbers(role) for role in found if role.startswith("mag:")},
    )


def _numbers(column: Any, *, path: Path, name: str) -> F64:
    try:
        return np.asarray(pc.cast(column, pa.float64()).to_numpy(), np.float64)
    except pyarrow.ArrowException:
        raise UserError(f"{path}: the column {one_line(name, 40)} holds what is not a number") from None


def _angles(column: Any, *, hours: bool, path: Path, name: str) -> F64:
    """Degrees; or hours (degrees), minutes and seconds with colons or blanks between."""
    text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if text and any(separator in _first(column) for separator in (":", " ")):
        parts = pc.split_pattern_regex(pc.utf8_trim_whitespace(column), "[: ]+").to_pylist()
        try:
            return np.array([_sexagesimal(cell) * (SEXAGESIMAL_HOURS if hours else 1.0) for cell in parts])
        except ValueError:
            raise UserError(f"{path}: the column {one_line(name, 40)} holds what is neither degrees nor hours:minutes:seconds") from None
    return _numbers(column, path=path, name=name)


def _first(column: Any) -> str:
    kept = column.drop_null().slice(0, 1).to_pylist()
    return str(kept[0]).strip() if kept else ""


def _sexagesimal(parts: list[str] | None) -> float:
    if not parts:
        return float("nan")
    if len(parts) > 3:
        raise ValueError(parts)
    size = sum(abs(float(part)) / 60.0**k for k, part in enumerate(parts))
    return -size if parts[0].startswith("-") else size
