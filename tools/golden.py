"""Two files of `protonova replay`, row by row: which columns changed, how often, and by how much.

    python -m tools.golden OLD.parquet NEW.parquet [--ignore COLUMN,…] [--rename OLD=NEW,…]

For a change that must alter no score: replay the same packets before and after, and compare. Values are compared exactly. Identifiers
(`IDENTIFIERS`) are left out, because they name the code and its state; a column that only one of the files has is listed, and is not a
difference. Exit status 0: all that both files hold is equal; 1: something changed; 2: a file cannot be read.
"""

from __future__ import annotations

import math
import sys
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from errors import UserError

IDENTIFIERS = frozenset({"origin", "detection_id", "packet_id", "scoring_id", "model", "engine", "encoder_id", "head_id", "reference_id"})
EXAMPLES = 3
Row = Mapping[str, Any]


@dataclass(slots=True)
class Column:
    """How one column differs between the files."""

    name: str
    rows: int = 0
    changed: int = 0
    largest: float | None = None
    """Largest absolute difference of numbers; None where none could be subtracted."""
    examples: list[str] = field(default_factory=list)

    def add(self, label: str, old: object, *, new: object) -> None:
        """Compare the values of one row."""
        self.rows += 1
        if same(old, new):
            return
        self.changed += 1
        for difference in differences(old, new):
            self.largest = difference if self.largest is None else max(self.largest, difference)
        if len(self.examples) < EXAMPLES:
            self.examples.append(f"{label}: {_short(old)} → {_short(new)}")


@dataclass(slots=True)
class Comparison:
    """What two files have in common and what not."""

    matched: int
    only_old: list[str]
    only_new: list[str]
    columns: list[Column]
    columns_old: list[str]
    """Columns that only the old file has."""
    columns_new: list[str]
    ignored: list[str]

    @property
    def equal(self) -> bool:
        """Whether every row has its partner and every compared value is the same."""
        return not (self.only_old or self.only_new or any(c.changed for c in self.columns))


def compare(old: pa.Table, new: pa.Table, *, ignore: Iterable[str] = (), rename: Mapping[str, str] | None = None) -> Comparison:
    """Compare two tables of `protonova replay`.

    Parameters
    ----------
    old, new : pyarrow.Table
    ignore : iterable of str
        Columns that are not compared, beside `IDENTIFIERS`.
    rename : mapping, optional
        Column of the old table → its name in the new one.

    Returns
    -------
    Comparison

    Raises
    ------
    UserError
        A table has no rows, lacks `kind`, or a column named by `ignore` or `rename` is in neither of them.
    """
    renamed = dict(rename or {})
    unknown = sorted(({*ignore} - {*old.column_names, *new.column_names}) | ({*renamed} - {*old.column_names}))
    if unknown:
        raise UserError(f"no such column: {', '.join(unknown)}", 2)
    old = old.rename_columns([renamed.get(name, name) for name in old.column_names])
    for table, which in ((old, "old"), (new, "new")):
        if "kind" not in table.column_names:
            raise UserError(f"the {which} file was not written by `protonova replay`: it has no column `kind`", 2)
        if not table.num_rows:
            raise UserError(f"the {which} file has no rows", 2)
    skipped = IDENTIFIERS | {*ignore}
    both = [name for name in old.column_names if name in new.column_names]
    rows_old, rows_new = old.to_pylist(), new.to_pylist()
    pairs, alone_old, alone_new = match(rows_old, rows_new)
    columns = [Column(name) for name in both if name not in skipped]
    for i, j in pairs:
        label = _label(rows_old[i])
        for column in columns:
            column.add(label, rows_old[i][column.name], new=rows_new[j][column.name])
    return Comparison(
        len(pairs),
        [_label(rows_old[i]) for i in alone_old],
        [_label(rows_new[j]) for j in alone_new],
        columns,
        [n for n in old.column_names if n not in both],
        [n for n in new.column_names if n not in both],
        [n for n in both if n in skipped],
    )


def match(old: Sequence[Row], new: Sequence[Row]) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """Find the partner of every row.

    First by survey, candid and how many rows with the same two came before; what is left over (a packet that was rejected, or is now)
    by its origin, again in order.

    Returns
    -------
    pairs of positions, positions without a partner in the old file, and in the new one
    """
    pairs, left_old, left_new = _paired(
        list(_numbered(old, range(len(old)), key=_alert)), list(_numbered(new, range(len(new)), key=_alert))
    )
    more, left_old, left_new = _paired(list(_numbered(old, left_old, key=_origin)), list(_numbered(new, left_new, key=_origin)))
    return sorted(pairs + more), left_old, left_new


def _numbered(rows: Sequence[Row], positions: Iterable[int], *, key: Any) -> Iterator[tuple[object, int]]:
    seen: Counter[object] = Counter()
    for i in positions:
        name = key(rows[i])
        seen[name] += 1
        yield (None if name is None else (name, seen[name])), i


def _alert(row: Row) -> tuple[object, str] | None:
    return None if row.get("candid") is None else (row.get("survey"), str(row["candid"]))


def _origin(row: Row) -> object:
    return row.get("origin")


def _paired(old: list[tuple[object, int]], new: list[tuple[object, int]]) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    there = {key: j for key, j in new if key is not None}
    pairs = [(i, there.pop(key)) for key, i in old if key is not None and key in there]
    taken_old, taken_new = {i for i, _ in pairs}, {j for _, j in pairs}
    return pairs, [i for _, i in old if i not in taken_old], [j for _, j in new if j not in taken_new]


def same(old: object, new: object) -> bool:
    """Whether two values are equal: numbers to the last bit, NaN equals NaN, an integer its text, structures in the fields both have."""
    if isinstance(old, dict) and isinstance(new, dict):
        return all(same(old[name], new[name]) for name in old.keys() & new.keys())
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(same, old, new))
    if isinstance(old, float) and isinstance(new, float) and math.isnan(old):
        return math.isnan(new)
    if isinstance(old, str) != isinstance(new, str) and old is not None and new is not None:
        return str(old) == str(new)
    return old == new


def differences(old: object, new: object) -> Iterator[float]:
    """Absolute differences of the numbers in two values; members of lists are matched by their `name` where they have one."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in old.keys() & new.keys():
            yield from differences(old[name], new[name])
    elif isinstance(old, list) and isinstance(new, list):
        named = {x["name"]: x for x in new if isinstance(x, dict) and "name" in x}
        for k, x in enumerate(old):
            partner = named.get(x.get("name")) if isinstance(x, dict) and named else new[k] if k < len(new) else None
            yield from differences(x, partner)
    elif isinstance(old, int | float) and isinstance(new, int | float) and not (isinstance(old, bool) or isinstance(new, bool)):
        difference = abs(float(old) - float(new))
        if not math.isnan(difference):
            yield difference


def show(found: Comparison) -> str:
    """The comparison as a table."""
    width = max([len(c.name) for c in found.columns] + [6])
    lines = [f"{'column':<{width}}  {'equal':>8}  {'changed':>8}  {'largest difference':>18}"]
    for c in found.columns:
        largest = "" if c.largest is None else f"{c.largest:.3g}"
        lines.append(f"{c.name:<{width}}  {c.rows - c.changed:>8,}  {c.changed:>8,}  {largest:>18}".rstrip())
        lines.extend(f"    {example}" for example in c.examples)
    for title, names in (
        ("columns only in the old file", found.columns_old),
        ("columns only in the new file", found.columns_new),
        ("not compared", found.ignored),
    ):
        if names:
            lines.append(f"{title}: {', '.join(names)}")
    for title, rows in (("rows only in the old file", found.only_old), ("rows only in the new file", found.only_new)):
        if rows:
            lines.append(f"{title}: {len(rows):,}, such as {'; '.join(rows[:EXAMPLES])}")
    changed = sum(c.changed > 0 for c in found.columns)
    lines.append(
        f"{found.matched:,} rows compared in {len(found.columns)} columns: {'equal' if found.equal else f'{changed} columns changed'}"
    )
    return "\n".join(lines)


def _label(row: Row) -> str:
    origin = str(row.get("origin", ""))
    return f"{row.get('survey')} {row['candid']}" if row.get("candid") is not None else f"{row.get('kind')} {origin[-60:]}"


def _short(value: object) -> str:
    text = f"{value!r}"
    return text if len(text) <= 100 else f"{text[:97]}…"


def _read(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} cannot be read as parquet: {str(error).splitlines()[0]}", 2) from error


def main(arguments: list[str] | None = None) -> int:
    """Run the program; see the module's docstring."""
    parser = ArgumentParser(prog="python -m tools.golden", description="Compare two files of `protonova replay`, row by row.")
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--ignore", default="", metavar="COLUMN,…", help="columns that may differ")
    parser.add_argument("--rename", default="", metavar="OLD=NEW,…", help="columns that have another name in the new file")
    options = parser.parse_args(arguments)
    rename = dict(pair.split("=", 1) for pair in options.rename.split(",") if "=" in pair)
    try:
        found = compare(_read(options.old), _read(options.new), ignore=[n for n in options.ignore.split(",") if n], rename=rename)
    except UserError as error:
        print(f"golden: {error}", file=sys.stderr)
        return 2
    print(show(found))
    return 0 if found.equal else 1


if __name__ == "__main__":
    sys.exit(main())
