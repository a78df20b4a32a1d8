"""Ids out of tables and files → exact ids, or an error that names the column.

A table that once had a missing id holds all of them as floating-point numbers, and above 2⁵³ these are other ids than the survey's: the
digits are gone, and they cannot be brought back. So such an id is refused; a smaller one is exact.
"""

from __future__ import annotations

import math
import re
from typing import Any

EXACT = {16: 2**11, 32: 2**24, 64: 2**53}
"""Bits of a floating-point type → up to where it holds every whole number."""
_FLOATING = re.compile(r"[+-]?(\d+\.\d*|\.\d+|\d+)([eE][+-]?\d+)?")


class InexactIdError(ValueError):
    """An id that is another one than the survey's, or none. One line that names the column."""


def whole(value: Any, column: str, *, bits: int = 64) -> int | None:
    """A whole number of a table, exactly.

    Parameters
    ----------
    value : an integer, a number of a floating-point column, or text of digits; None and NaN: there is none
    column : its name, for the message
    bits : of the column's floating-point type

    Raises
    ------
    InexactIdError
        It is not whole, or a floating-point number too large to be exact.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float):
        if abs(value) >= EXACT[bits]:
            raise InexactIdError(
                f"{column} is a floating-point number ({value:.0f}), which cannot hold that id: keep the column as int64 or text"
            )
        if value != int(value):
            raise InexactIdError(f"{column} is {value!r}, not a whole number")
        return int(value)
    try:
        return int(value)
    except (TypeError, ValueError):
        raise InexactIdError(f"{column} is {str(value)[:40]!r}, not a whole number") from None


def text_id(value: Any, column: str) -> str:
    """An id as text: a name as it is, a number as its digits, as a program may have written it (12.0, 1.2e1).

    Raises
    ------
    InexactIdError
        As `whole`.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        text = value.strip()
        if text.strip("+-").isdecimal() or not _FLOATING.fullmatch(text):
            return text
        number = float(text)
        return text if number % 1 and math.isfinite(number) else str(whole(number, column))  # 1.5 is a name
    if isinstance(value, float):
        found = whole(value, column)
        return "" if found is None else str(found)
    return str(value)
