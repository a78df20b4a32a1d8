"""A FITS file's headers, one after another → cards by keyword, and how many bytes of data follow; nothing is believed before it is checked.

bytes → `Header`, `data_size` [bytes]

The one parser of headers: light curves as streams (`fits_tables.py`), files just fetched (`web/fits_checks.py`) and maps of dust
(`dust_map.py`) have its bounds and its words (FITS standard 4.0, sect. 3 and 4, https://fits.gsfc.nasa.gov/fits_standard.html).
"""

from __future__ import annotations

import math
import re
from math import prod
from typing import Protocol, TypeAlias

BLOCK = 2880
CARD = 80
MOST_CARDS = 4_000
"""Of one header; the longest of Kepler's and TESS's have 400."""
MOST_UNITS = 64
"""Headers of one file."""
MOST_OF_AXIS = 1 << 40
PIXELS = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
"""BITPIX → type of a number."""
_VALUE = re.compile(r"\s*(?:'((?:[^']|'')*)'|([^/]*))")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_REAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([EeDd][+-]?[0-9]+)?")

Value: TypeAlias = str | int | float | bool


class FitsError(ValueError):
    """A file that is not what it says it is; in one line."""


class TooLargeError(FitsError):
    """A file that may be sound and takes more memory or time than a light curve does."""


class Readable(Protocol):
    """What headers are read from: a file, a stream, a mapped file."""

    def read(self, n: int, /) -> bytes:
        """At most n bytes; none at the end."""


class Header(dict[str, Value]):
    """Cards by keyword; of repeated ones the first counts."""

    def text(self, name: str) -> str:
        """A card as stripped text; "" where it is missing."""
        return str(self.get(name, "")).strip()

    def number(self, name: str) -> float | None:
        """A finite number, or None."""
        value = self.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return None
        return float(value)

    def whole(self, name: str, *, low: int, high: int) -> int:
        """An integer within bounds.

        Raises
        ------
        FitsError
            It is missing, not an integer, or out of bounds.
        """
        value = self.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise FitsError(f"{name} is {'missing' if value is None else repr(value)[:40]}, not an integer from {low:,} to {high:,}")
        return value

    def axes(self) -> list[int]:
        """The lengths NAXIS1, NAXIS2 and so on.

        Raises
        ------
        FitsError
        """
        return [self.whole(f"NAXIS{k}", low=0, high=MOST_OF_AXIS) for k in range(1, self.whole("NAXIS", low=0, high=9) + 1)]


def too_short(missing: int) -> FitsError:
    """What is said of a file that ends before its data do [bytes]."""
    return FitsError(f"it ends early: {missing:,} bytes of data are missing at least")


def fill(size: int) -> int:
    """Bytes from the end of the data to the end of their block."""
    return -size % BLOCK


def read_header(file: Readable, *, first: bool) -> Header | None:
    """The next header of a file; None at its end.

    Parameters
    ----------
    file : Readable
        Stands where the header begins, afterwards where its data do.
    first : bool
        Whether it is the file's first.

    Raises
    ------
    FitsError
        No header is there, or one that ends early or has more than `MOST_CARDS` cards.
    """
    header = Header()
    cards = 0
    while True:
        block = file.read(BLOCK)
        while 0 < len(block) < BLOCK and (part := file.read(BLOCK - len(block))):
            block += part
        if not block and not first and cards == 0:
            return None
        if cards == 0 and first and not block.startswith(b"SIMPLE  ="):
            raise FitsError("it does not begin with SIMPLE: not FITS")
        if len(block) < BLOCK:
            raise FitsError("it ends early, in a header")
        if cards == 0 and not first and not block.startswith(b"XTENSION="):
            if not block.strip(b"\x00 "):
                return None  # fill at the end
            raise FitsError("a header does not begin with XTENSION: the one before states another length of its data")
        for at in range(0, BLOCK, CARD):
            card = block[at : at + CARD]
            if card.startswith(b"END") and not card[3:].strip():
                return header
            cards += 1
            if card[8:10] == b"= ":
                header.setdefault(card[:8].decode("latin-1").strip(), card_value(card[10:].decode("latin-1")))
        if cards > MOST_CARDS:
            raise FitsError(f"a header of more than {MOST_CARDS:,} cards")


def card_value(text: str) -> Value:
    """What stands in a card behind ``= ``: text in quotes, T or F, a number; else the word as it is."""
    found = _VALUE.match(text)
    if found is None:
        return ""
    if found[1] is not None:
        return found[1].replace("''", "'").rstrip()
    word = found[2].strip()
    if word in ("T", "F"):
        return word == "T"
    if _INTEGER.fullmatch(word):  # int() would take 1_0 as well
        return int(word)
    return float(word.replace("D", "E").replace("d", "e")) if _REAL.fullmatch(word) else word


def data_size(header: Header) -> int:
    """Bytes of data that follow a header, without the fill.

    Raises
    ------
    FitsError
        BITPIX, an axis or a count is missing or cannot be.
    """
    bits = header.whole("BITPIX", low=-64, high=64)
    if bits not in PIXELS:
        raise FitsError(f"BITPIX is {bits}")
    axes = header.axes()
    heap = header.whole("PCOUNT", low=0, high=MOST_OF_AXIS) if "PCOUNT" in header else 0
    groups = header.whole("GCOUNT", low=1, high=1 << 20) if "GCOUNT" in header else 1
    return abs(bits) // 8 * groups * (heap + prod(axes)) if axes else 0
