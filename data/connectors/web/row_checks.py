"""Rows of a table or an object's answer → how many are usable, and why the others are not: schema, ranges, units.

A table without a column that it needs is refused as a whole; a row with a value that cannot be is counted, and stays in the file, which is
kept byte for byte as it came.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from data.connectors.web.download import Remote, Verdict
from data.connectors.web.mast_archive import TIC_COLUMNS
from errors import one_line

SHOWN = 6
"""Columns named in a message."""


@dataclass(frozen=True, slots=True)
class Column:
    """What a column can hold: a number from `low` to `high` [`unit`], or one of `words`."""

    name: str
    unit: str = ""
    low: float = -math.inf
    high: float = math.inf
    words: frozenset[str] = frozenset()

    def fault(self, value: Any) -> str | None:
        """Why a value cannot be, or None."""
        if self.words:
            return None if str(value) in self.words else f"{self.name} is none of {', '.join(sorted(self.words))}"
        try:
            number = float(value)
        except (TypeError, ValueError):
            return f"{self.name} is not a number"
        if not self.low <= number <= self.high:  # NaN too
            return f"{self.name} is outside {self.low:g} to {self.high:g} {self.unit}".rstrip()
        return None


_MJD = (58_000.0, 88_069.0)
"""ZTF's first light to the year 2100 [d]."""
MAG, MAG_ERR = Column("mag", "mag", 5.0, 30.0), Column("magerr", "mag", 1e-6, 5.0)
POSITION = (Column("ra", "deg", 0.0, 360.0), Column("dec", "deg", -90.0, 90.0))
IRSA_COLUMNS = (
    Column("oid", low=1),
    Column("mjd", "d", *_MJD),
    MAG,
    MAG_ERR,
    Column("catflags", low=0),
    Column("filtercode", words=frozenset(("zg", "zr", "zi"))),
    *POSITION,
)
"""Of IRSA's ZTF light curves (https://irsa.ipac.caltech.edu/docs/program_interface/ztf_lightcurve_api.html)."""
_BAND = Column("fid", words=frozenset(("1", "2", "3")))
_POINT = (_BAND, Column("magpsf", "mag", 5.0, 30.0), Column("sigmapsf", "mag", 1e-6, 5.0), *POSITION)
ALERCE_COLUMNS = (Column("mjd", "d", *_MJD), *_POINT)
"""Of ALeRCE's ``detections`` (https://api.alerce.online/ztf/v1/)."""
_JD = Column("jd", "d", _MJD[0] + 2_400_000.5, _MJD[1] + 2_400_000.5)
FINK_COLUMNS = tuple(Column(f"i:{c.name}", c.unit, c.low, c.high, c.words) for c in (_JD, *_POINT))
"""Of Fink's ``/api/v1/objects``: ZTF's own fields begin with ``i:`` (https://doc.ztf.fink-broker.org)."""
LASAIR_COLUMNS = (_BAND, Column("magpsf", "mag", 5.0, 30.0), Column("sigmapsf", "mag", 1e-6, 5.0))
"""Of Lasair's ``candidates`` (https://lasair.readthedocs.io/en/main/core_functions/rest-api.html); its time is mjd or jd."""


def rows_verdict(rows: Iterable[Mapping[str, Any]], columns: Iterable[Column], *, about: Mapping[str, str | float], what: str) -> Verdict:
    """Judge rows.

    Parameters
    ----------
    rows : iterable of mappings
    columns : iterable of Column
        Each needed.
    about : mapping
        With ``ra``, ``dec`` and ``radius`` [deg]: rows farther away are rejected.
    what : str
        What it is, for a message.
    """
    columns = tuple(columns)
    rejects: Counter[str] = Counter()
    count = 0
    for row in rows:
        count += 1
        missing = [c.name for c in columns if c.name not in row]
        if missing:
            return _changed(what, missing, have=[str(k) for k in row])
        fault = next((f for c in columns if (f := c.fault(row[c.name])) is not None), None)
        if fault is None and "radius" in about:
            away = separation(float(about["ra"]), float(about["dec"]), ra=float(row["ra"]), dec=float(row["dec"]))
            fault = "farther away than was asked for" if away > float(about["radius"]) * 1.01 + 1e-5 else None
        if fault is not None:
            rejects[fault] += 1
    if count and rejects.total() == count:
        worst, n = rejects.most_common(1)[0]
        return Verdict(False, f"none of {count:,} rows of {what} is usable: {worst} ({n:,} of them)", count, rejects)
    return Verdict(True, rows=count, rejects=rejects)


def _changed(what: str, missing: Sequence[str], *, have: Sequence[str]) -> Verdict:
    names = one_line(", ".join(have[:SHOWN]), 120) or "nothing"
    return Verdict(False, f"{what} has no column {', '.join(missing[:SHOWN])} (it begins with {names}): the archive's form changed")


def separation(ra0: float, dec0: float, *, ra: float, dec: float) -> float:
    """Angle between two positions [deg], by the haversine formula."""
    a0, d0, a, d = (math.radians(x) for x in (ra0, dec0, ra, dec))
    h = math.sin((d - d0) / 2) ** 2 + math.cos(d0) * math.cos(d) * math.sin((a - a0) / 2) ** 2
    return math.degrees(2 * math.asin(min(1.0, math.sqrt(h))))


def csv_verdict(path: Path, remote: Remote) -> Verdict:
    """Judge a CSV table of IRSA's ZTF light curves; one without rows is an answer too: nothing was observed there."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            names = [name.strip() for name in reader.fieldnames or ()]
            missing = [c.name for c in IRSA_COLUMNS if c.name not in names]
            if missing:
                return _changed("the table", missing, have=names)
            reader.fieldnames = names
            return rows_verdict(_full_rows(reader), IRSA_COLUMNS, about=remote.about, what="the table")
    except (csv.Error, UnicodeDecodeError) as error:
        return Verdict(False, f"it is not a CSV table ({one_line(error, 100)})")


def _full_rows(reader: csv.DictReader[str]) -> Iterable[Mapping[str, Any]]:
    """Rows with as many values as columns; another is one whose values cannot be."""
    for row in reader:
        ragged = None in row or None in row.values()
        yield dict.fromkeys(reader.fieldnames or (), "ragged") if ragged else row


def object_verdict(path: Path, remote: Remote) -> Verdict:
    """Judge a broker's JSON about one object (`remote.kind` says whose)."""
    try:
        answer = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        return Verdict(False, f"it is not JSON ({one_line(error, 100)})")
    said = next((answer[k] for k in ("error", "errors", "detail") if isinstance(answer, dict) and answer.get(k)), None)
    if said is not None:
        return Verdict(False, f"the broker says: {one_line(said, 120)}")
    wanted = str(remote.about.get("object", ""))
    columns: tuple[Column, ...]
    if remote.kind == "alerce-object":
        rows, columns, named = _list(answer, "detections"), ALERCE_COLUMNS, "oid"
    elif remote.kind == "fink-object":
        rows, columns, named = answer, FINK_COLUMNS, "i:objectId"
    else:
        # A limit has no magnitude; what is one is counted neither way.
        found = _list(answer, "candidates")
        rows = None if found is None else [row for row in found if not isinstance(row, dict) or row.get("magpsf") is not None]
        first = next((row for row in rows or () if isinstance(row, dict)), {})
        columns, named = (Column("mjd", "d", *_MJD) if "mjd" in first else _JD, *LASAIR_COLUMNS), "objectId"
        if isinstance(answer, dict) and wanted and str(answer.get("objectId", wanted)) != wanted:
            return Verdict(False, f"it is about {one_line(answer['objectId'], 40)} and not about {wanted}")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        have = ", ".join(list(answer)[:SHOWN]) if isinstance(answer, dict) else type(answer).__name__
        return Verdict(False, f"it holds no list of measurements ({one_line(have, 120)}): the broker's form changed")
    others = {str(row[named]) for row in rows if row.get(named) is not None} - {wanted}
    if wanted and others:
        return Verdict(False, f"it is about {one_line(sorted(others)[0], 40)} and not about {wanted}")
    if not rows:
        return Verdict(False, "it holds no measurement: the broker does not know the object")
    return rows_verdict(rows, columns, about={}, what="the object")


def tic_verdict(path: Path, remote: Remote) -> Verdict:
    """Judge MAST's answer with rows of the TESS Input Catalog."""
    try:
        answer = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        return Verdict(False, f"it is not JSON ({one_line(error, 100)})")
    if not isinstance(answer, dict) or answer.get("status") != "COMPLETE":
        said = (answer.get("msg") or answer.get("status")) if isinstance(answer, dict) else type(answer).__name__
        return Verdict(False, f"MAST says: {one_line(said, 120)}")
    rows = answer.get("data")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return Verdict(False, "it has no rows: the archive's form changed")
    missing = [name for name in TIC_COLUMNS if rows and name not in rows[0]]
    if missing:
        return _changed("the catalogue", missing, have=[str(k) for k in rows[0]])
    wanted = str(remote.about.get("targets", "")).split(",")
    others = sum(str(row.get("ID")) not in wanted for row in rows)
    return Verdict(True, rows=len(rows), rejects={"not a star that was asked for": others} if others else {})


def _list(answer: Any, name: str) -> Any:
    return answer.get(name) if isinstance(answer, dict) else None
