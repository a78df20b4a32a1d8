"""Periods that are known of stars: those that ship, or a table of the user's.

a CSV → object → [Known]

Columns `object` (``TIC 25155310``, ``KIC …``, ``EPIC …``) and `period` [d]; `name`, `kind` (planet, eclipsing binary …), `epoch` (BJD of a
mid-transit), `duration` [d] and `source` may be missing or empty.
"""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from data.connectors.light_curve_files import BTJD_ZERO
from errors import usage

SHIPPED = Path(__file__).with_suffix(".csv")
_OBJECT = re.compile(r"\s*(TIC|KIC|EPIC)\s*0*(\d{1,12})\s*$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Known:
    """One planet or binary of a star."""

    name: str
    kind: str
    period: float
    """[d]"""
    epoch: float | None = None
    """[d, BTJD] of a mid-transit."""
    duration: float | None = None
    """[d] from first to last contact."""
    source: str = ""


@lru_cache(maxsize=4)
def known_periods(path: Path = SHIPPED) -> dict[str, tuple[Known, ...]]:
    """Read a table.

    Raises
    ------
    UserError
        It cannot be read, or a line of it is wrong; with exit status 2.
    """
    out: dict[str, tuple[Known, ...]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if not {"object", "period"} <= set(reader.fieldnames or ()):
                raise usage(f"{path} needs the columns object and period")
            for line in reader:
                star, known = _known(line, f"{path}, line {reader.line_num}")
                out[star] = (*out.get(star, ()), known)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise usage(f"{path} is not a table that can be read: {error}") from None
    return out


def _known(line: dict[str, str], where: str) -> tuple[str, Known]:
    star = _OBJECT.match(line["object"] or "")
    if not star:
        raise usage(f"{where}: {line['object']!r} is not an object such as TIC 25155310")
    period, epoch, duration = (_number(line, name, where=where) for name in ("period", "epoch", "duration"))
    if period is None:
        raise usage(f"{where}: period is missing")
    # BJD, or BTJD as light curves count
    epoch = epoch - BTJD_ZERO if epoch is not None and epoch > 1e6 else epoch
    name, kind, source = (line.get(key) or "" for key in ("name", "kind", "source"))
    return f"{star[1].upper()} {int(star[2])}", Known(name, kind, period, epoch, duration, source)


def _number(line: dict[str, str], name: str, *, where: str) -> float | None:
    text = line.get(name) or ""
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and (value > 0 or name == "epoch")):
        raise usage(f"{where}: {name} is {text!r}, not a number of days")
    return value
