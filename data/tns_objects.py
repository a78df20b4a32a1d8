"""A dump of the Transient Name Server → what its objects are.

CSV (``tns_public_objects.csv``, or what its search page gives) or JSON → `TnsObject`

Documentation: https://www.wis-tns.org/content/tns-getting-started (daily dumps), https://www.wis-tns.org/search (CSV). Only classified
objects are of use here; what a dump says of itself is not believed.
"""

from __future__ import annotations

import csv
import io
import json
import math
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from errors import UserError, one_line

MOST_BYTES = 512 << 20
MOST_ROWS = 2_000_000
_ZTF = ("ZTF1", "ZTF2", "ZTF3")
NAMES: Mapping[str, tuple[str, ...]] = {
    "name": ("name", "objname"),
    "ra": ("ra", "radeg"),
    "dec": ("declination", "dec", "decdeg"),
    "kind": ("type", "objtype", "object_type", "obj. type"),
    "redshift": ("redshift",),
    "internal": ("internal_names", "disc. internal name", "internal_name"),
}
"""What a dump may call its columns, in small letters."""


class TnsObject(NamedTuple):
    """A classified object."""

    name: str
    ra: float
    dec: float
    """ICRS [deg]."""
    kind: str
    """In TNS' words: SN Ia, TDE, …"""
    redshift: float | None
    internal: tuple[str, ...]
    """What the surveys call it."""

    @property
    def ztf(self) -> str | None:
        """ZTF's name of it."""
        return next((name for name in self.internal if name.startswith(_ZTF) and name.isalnum()), None)


def read_tns(path: Path) -> list[TnsObject]:
    """The classified objects of a dump.

    Parameters
    ----------
    path : Path
        CSV, its zip, or JSON (a list of objects, or the API's reply that holds one).

    Raises
    ------
    UserError
        It cannot be read, is too long, or lacks a column.
    """
    try:
        text = _text(path)
        rows = _of_json(text) if text.lstrip()[:1] in ("{", "[") else _of_csv(text, path)
        found = [one for row in rows if (one := _object(row)) is not None]
    except (OSError, UnicodeDecodeError, zipfile.BadZipFile, csv.Error, json.JSONDecodeError, RecursionError, EOFError) as error:
        raise UserError(f"{path} cannot be read as a dump of TNS: {one_line(error, 120)}") from None
    if not found:
        raise UserError(f"{path} holds no classified object with a name, a place and a type")
    return found


def _text(path: Path) -> str:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith((".csv", ".json"))]
            if len(names) != 1:
                raise UserError(f"{path} holds {len(names)} tables, not one")
            with archive.open(names[0]) as file:
                data = file.read(MOST_BYTES + 1)
    else:
        with path.open("rb") as plain:
            data = plain.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise UserError(f"{path} has more than {MOST_BYTES:,} bytes")
    return data.decode("utf-8-sig")


def _of_csv(text: str, path: Path) -> Iterable[Mapping[str, Any]]:
    lines = io.StringIO(text, newline="")
    at = lines.tell()
    first = next(csv.reader(lines), [])
    if len(first) == 1:  # the daily dumps begin with a line of their time
        at = lines.tell()
        first = next(csv.reader(lines), [])
    columns = {what: next((c for c in first if c.strip().lower() in names), None) for what, names in NAMES.items()}
    missing = [what for what in ("name", "ra", "dec", "kind") if columns[what] is None]
    if missing:
        raise UserError(f"{path} has no column for {missing[0]}: it has {one_line(', '.join(first), 160)}")
    lines.seek(at)
    for k, row in enumerate(csv.DictReader(lines)):
        if k >= MOST_ROWS:
            raise UserError(f"{path} has more than {MOST_ROWS:,} rows")
        yield {what: row.get(column) for what, column in columns.items() if column is not None}


def _of_json(text: str) -> Iterable[Mapping[str, Any]]:
    found = json.loads(text)
    for key in ("data", "reply", "objects"):
        if isinstance(found, dict) and key in found:
            found = found[key]
    for row in found if isinstance(found, list) else [found]:
        if isinstance(row, dict):
            yield {what: next((row[key] for key in row if key.lower() in names), None) for what, names in NAMES.items()}


def _object(row: Mapping[str, Any]) -> TnsObject | None:
    """One of its objects; None: not classified, or none."""
    kind = row.get("kind")
    kind = kind.get("name") if isinstance(kind, dict) else kind
    name, internal = row.get("name"), row.get("internal")
    words = internal if isinstance(internal, str) else ",".join(map(str, internal)) if isinstance(internal, list) else ""
    place = _number(row.get("ra"), hours=True), _number(row.get("dec"), hours=False)
    if not name or not isinstance(kind, str) or not kind.strip() or not (0 <= place[0] <= 360 and abs(place[1]) <= 90):
        return None
    redshift = _number(row.get("redshift"), hours=False)
    return TnsObject(
        str(name).strip()[:60], place[0], place[1], kind.strip()[:60], redshift if math.isfinite(redshift) else None,
        tuple(word.strip()[:60] for word in words.split(",")[:50] if word.strip()),
    )  # fmt: skip


def _number(value: Any, *, hours: bool) -> float:
    """Degrees, of a number or of hours (degrees), minutes and seconds; NaN: neither."""
    text = str(value if value is not None else "").strip()
    parts = text.split(":")
    try:
        if len(parts) == 1:
            return float(text) if text else math.nan
        size = sum(abs(float(part)) / 60.0**k for k, part in enumerate(parts[:3]))
    except ValueError:
        return math.nan
    return (15.0 if hours else 1.0) * (-size if text.startswith("-") else size)
