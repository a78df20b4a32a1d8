"""``protonova positions``: places that are measured on every raw frame, whether anything is found there or not.

a name and a place, or a table of them → `photometry.positions`
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from console import report as reports
from console.csv_tables import SHOWN, rows_of
from errors import UserError, one_line
from schemas.avro.wire import PacketError
from schemas.records.photometry_position import FOUND, LISTED, PhotometryPosition, from_row

if TYPE_CHECKING:
    from settings.model import Settings

MOST_ROWS = 100_000
NUMBERS = ("ra", "dec", "y", "x")
WORDS = ("name", "detector", "field")


def one(name: str, place: Mapping[str, Any], *, public: bool = True) -> PhotometryPosition:
    """A position from what was typed.

    Parameters
    ----------
    name : str
    place : mapping
        ra and dec [deg, ICRS], or detector, y, x [pixel] and perhaps field.
    public : bool

    Raises
    ------
    UserError
        It is not a position.
    """
    row = {"detector": "", "field": "", **dict.fromkeys(NUMBERS), **{key: value for key, value in place.items() if value is not None}}
    try:
        return from_row({"name": name, "public": public, "origin": LISTED, "frame_id": "", "first_mjd": None, **row})
    except PacketError as error:
        raise UserError(f"{one_line(name, 40)!r}: {error}") from None


def of_file(path: Path, *, public: bool = True) -> list[PhotometryPosition]:
    """The positions of a table with a header: name, ra, dec; or name, detector, y, x, and perhaps field.

    Raises
    ------
    UserError
        It cannot be read, or a line of it is not a position: then nothing of it is taken.
    """
    known: set[str] = set()

    def columns_of(header: Sequence[str]) -> dict[str, str]:
        return {key: name for name in header if (key := name.strip().lower()) in (*NUMBERS, *WORDS)}

    def row_of(cells: Mapping[str, str]) -> PhotometryPosition:
        position = _of_cells(cells, public=public)
        if position.name in known:
            raise UserError(f"{position.name} stands twice")
        known.add(position.name)
        return position

    return rows_of(path, what="position", columns_of=columns_of, needed=("name",), row_of=row_of, most=MOST_ROWS)


def _of_cells(cells: Mapping[str, str], *, public: bool) -> PhotometryPosition:
    place: dict[str, Any] = {key: float(cells[key]) for key in NUMBERS if cells.get(key)}
    return one(cells["name"], place | {key: cells[key] for key in WORDS[1:] if cells.get(key)}, public=public)


def add(settings: Settings, positions: Sequence[PhotometryPosition]) -> int:
    """Have positions measured from the next frame on; returns the exit status.

    Raises
    ------
    UserError
        A name has another place already; nothing is written.
    """
    from streams.photometry_positions import read_positions, write_positions

    known = asyncio.run(read_positions(settings))
    taken = [p.name for p in positions if p.name in known and _place(known[p.name]) != _place(p)]
    if taken:
        more = f" and {len(taken) - SHOWN:,} more" if len(taken) > SHOWN else ""
        raise UserError(f"measured at another place already: {', '.join(taken[:SHOWN])}{more}; remove them first, or take another name")
    new = [p for p in positions if p.name not in known]
    asyncio.run(write_positions(settings, new))
    same = f", {len(positions) - len(new):,} were measured already" if len(new) < len(positions) else ""
    reports.output().print(f"{_counted(len(new))} measured on every frame from the next one on{same}", soft_wrap=True, highlight=False)
    return 0


def remove(settings: Settings, names: Sequence[str]) -> int:
    """End positions; what was measured there stays.

    Raises
    ------
    UserError
        There is no such position; nothing is ended.
    """
    from streams.photometry_positions import read_positions, write_positions

    known = asyncio.run(read_positions(settings))
    if missing := [name for name in names if name not in known]:
        raise UserError(f"not measured: {one_line(', '.join(missing[:SHOWN]), 200)}; `protonova positions` lists what is")
    asyncio.run(write_positions(settings, (), ended=names))
    reports.output().print(f"{_counted(len(set(names)))} measured no longer", soft_wrap=True, highlight=False)
    return 0


def ls(settings: Settings, *, every: bool, as_json: bool) -> int:
    """Print what is measured: what was listed, and with `every` what was found too."""
    from streams.photometry_positions import read_positions

    known = asyncio.run(read_positions(settings))
    rows = sorted((p for p in known.values() if every or p.origin == LISTED), key=lambda p: p.name)
    if as_json:
        for position in rows:
            print(json.dumps(asdict(position)))
        return 0
    console = reports.output()
    found = sum(p.origin == FOUND for p in known.values())
    if rows:
        table = Table("name", "place", "origin", "public", box=None)
        for position in rows:
            table.add_row(position.name, _text_of(position), position.origin, "yes" if position.public else "no")
        console.print(table)
    if not every:
        console.print(f"{_counted(len(rows))} listed; {found:,} more were found by detection (--all)", highlight=False, soft_wrap=True)
    return 0


def _counted(n: int) -> str:
    return f"{n:,} position{'' if n == 1 else 's'}"


def _place(position: PhotometryPosition) -> tuple[Any, ...]:
    return position.ra, position.dec, position.detector, position.field, position.y, position.x


def _text_of(position: PhotometryPosition) -> str:
    if position.ra is not None and position.dec is not None:
        return f"{position.ra:.6f} {position.dec:+.6f} deg"
    where = f" of {position.field}" if position.field else ""
    return f"{position.detector}{where}, y {position.y:g}, x {position.x:g}"
