"""A VOTable (IVOA recommendation 1.5) → its columns as texts; nothing of it is believed.

XML bytes → {name: [text]}, {name: unit}

Only TABLEDATA is read: archives give it when asked for `votable_plain`. A document type, by which XML grows without a bound, is refused.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from xml.parsers import expat

from errors import UserError, one_line

MOST_CELL = 4096
"""Characters of a cell."""


class _Reader:
    """Follows expat through a document."""

    def __init__(self, path: Path, wanted: Collection[str], *, most: int) -> None:
        self.path, self.most = path, most
        self.wanted = wanted
        self.names: list[str] = []
        self.units: dict[str, str] = {}
        self.cells: dict[str, list[str]] = {}
        self._at, self._text, self._inside, self._tables = 0, [""], False, 0
        self._length = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        tag = name.rpartition(":")[2]
        if tag == "TABLE":
            self._tables += 1
        elif self._tables != 1:
            return
        elif tag == "FIELD":
            column = attributes.get("name") or attributes.get("ID") or ""
            self.names.append(column)
            self.units[column] = attributes.get("unit", "")
            if len(self.names) > 2000:
                raise UserError(f"{self.path} has more than 2,000 columns")
        elif tag in ("BINARY", "BINARY2", "FITS"):
            raise UserError(f"{self.path} holds its rows as {tag}: ask the archive for votable_plain, FITS, CSV or Parquet instead")
        elif tag == "TABLEDATA":
            self.cells = {column: [] for column in self.names if column in self.wanted}
        elif tag == "TR":
            self._at = 0
        elif tag == "TD":
            self._inside, self._text, self._length = True, [], 0

    def data(self, text: str) -> None:
        if self._inside:
            self._length += len(text)
            if self._length > MOST_CELL:
                raise UserError(f"{self.path} holds a cell of more than {MOST_CELL:,} characters")
            self._text.append(text)

    def end(self, name: str) -> None:
        tag = name.rpartition(":")[2]
        if tag == "TD" and self._inside:
            self._inside = False
            if self._at < len(self.names) and (column := self.cells.get(self.names[self._at])) is not None:
                column.append("".join(self._text).strip())
            self._at += 1
        elif tag == "TR" and self._tables == 1:
            if self._at != len(self.names):
                raise UserError(f"{self.path}: a row has {self._at} cells, not {len(self.names)}")
            if self.cells and len(next(iter(self.cells.values()))) > self.most:
                raise UserError(f"{self.path} has more than {self.most:,} rows")


def _parsed(path: Path, wanted: Collection[str], *, most: int) -> _Reader:
    reader, parser = _Reader(path, wanted, most=most), expat.ParserCreate()

    def refuse(*_: object) -> None:
        raise UserError(f"{path} declares a document type: no VOTable does")

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = reader.start, reader.end, reader.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        with path.open("rb") as file:
            while part := file.read(1 << 20):
                parser.Parse(part, False)
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise UserError(f"{path} is not a whole VOTable: {one_line(error, 100)}") from None
    return reader


def votable_names(path: Path) -> dict[str, str]:
    """The columns of the first table and their units.

    Raises
    ------
    UserError
    """
    reader = _parsed(path, (), most=1 << 62)
    if not reader.names:
        raise UserError(f"{path} holds no table")
    return {name: reader.units[name] for name in reader.names}


def votable_columns(path: Path, wanted: Collection[str], *, most: int) -> dict[str, list[str]]:
    """Columns of the first table.

    Parameters
    ----------
    path : Path
    wanted : collection of str
    most : int
        Rows.

    Raises
    ------
    UserError
        It is damaged, too long, or holds its rows in another form.
    """
    return _parsed(path, wanted, most=most).cells
