"""Cards and arrays → the bytes of a FITS file, the same bytes for the same values (FITS standard 4.0).

What is written can be read by anything that reads FITS; numbers are written so that the very same ones are read back. NaN and infinity have
no form in a header: such a card is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from data.connectors.fits_headers import BLOCK, CARD, fill
from data.frames.fits_units import data_sum

LONGEST_TEXT = 68
"""Characters of a card's text."""
_BITPIX = {"u1": 8, "i2": 16, "i4": 32, "f4": -32, "f8": -64}

Cards: TypeAlias = Mapping[str, str | int | float | bool | None]


def plain(text: object, limit: int = LONGEST_TEXT) -> str:
    """Text that can stand in a header: printable ASCII, not too long."""
    return "".join(c if " " <= c <= "~" else "?" for c in str(text))[:limit]


def card(name: str, value: str | int | float | bool | None, *, comment: str = "") -> str:
    """One card of 80 characters; empty where the value has no form."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, bool):
        text = f"{'T' if value else 'F':>20}"
    elif isinstance(value, str):
        text = f"'{plain(value).replace(chr(39), chr(39) * 2):<8}'"
        if len(text) > CARD - 10:  # quotes count twice
            return card(name, plain(value)[: LONGEST_TEXT - value.count("'")], comment=comment)
        text = f"{text:<20}"
    else:
        text = f"{repr(float(value)).upper() if isinstance(value, float) else value:>20}"
    line = f"{name:<8}= {text}"
    return f"{line} / {plain(comment)}"[:CARD].ljust(CARD) if comment and len(line) < CARD - 3 else line.ljust(CARD)


def history(text: str) -> list[str]:
    """Lines of HISTORY, as many as a text needs."""
    text = plain(text, 2_000)
    return [f"HISTORY {text[at : at + CARD - 8]}".ljust(CARD) for at in range(0, max(len(text), 1), CARD - 8)]


def primary(cards: Cards, *, comments: Mapping[str, str] | None = None, steps: Iterable[str] = ()) -> bytes:
    """The first unit, without data."""
    lines = [card("SIMPLE", True), card("BITPIX", 8), card("NAXIS", 0), card("EXTEND", True)]
    lines += [card(name, value, comment=(comments or {}).get(name, "")) for name, value in cards.items()]
    return _block([*lines, *(line for step in steps for line in history(step))])


def image(name: str, values: npt.NDArray[Any], *, cards: Cards, more: Iterable[str] = ()) -> tuple[bytes, memoryview, bytes]:
    """A unit with an image: its header, its data and their fill.

    Parameters
    ----------
    name : EXTNAME
    values : an array of uint8, int16, int32, float32 or float64
    cards : mapping
    more : iterable of str
        Cards as they are, as `sky_positions.wcs_cards` makes them.
    """
    kind = f"{values.dtype.kind}{values.dtype.itemsize}"
    stored: Any = np.ascontiguousarray(values, np.dtype(kind).newbyteorder(">"))
    data = memoryview(stored).cast("B")
    lines = [card("XTENSION", "IMAGE"), card("BITPIX", _BITPIX[kind]), card("NAXIS", values.ndim)]
    lines += [card(f"NAXIS{k}", n) for k, n in enumerate(values.shape[::-1], 1)]
    lines += [card("PCOUNT", 0), card("GCOUNT", 1), card("EXTNAME", name), card("DATASUM", str(data_sum(data)))]
    lines += [card(key, value) for key, value in cards.items()]
    return _block([*lines, *(plain(line, CARD).ljust(CARD) for line in more)]), data, bytes(fill(len(data)))


def _block(lines: Iterable[str]) -> bytes:
    text = "".join(lines) + "END".ljust(CARD)
    return text.encode("ascii").ljust(-(-len(text) // BLOCK) * BLOCK)
