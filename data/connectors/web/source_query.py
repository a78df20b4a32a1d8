"""What was typed behind a source's name → a checked query, or one line that says how it is written."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from errors import nearest, one_line, usage


@dataclass(frozen=True, slots=True)
class Query:
    """A query to a source.

    Attributes
    ----------
    source : str
    words : tuple of str
        Without a key: nights, positions, objects.
    options : mapping
        Key → value.
    base : str
        Address of the archive, or of a mirror of it; no slash at its end.
    token : str, optional
        What the archive knows the caller by; never printed.
    """

    source: str
    words: tuple[str, ...]
    options: Mapping[str, str]
    base: str
    token: str | None = field(default=None, repr=False)

    @property
    def text(self) -> str:
        """The query in one form, however it was typed: what lines and the manifest call it."""
        return " ".join([self.source, *self.words, *(f"{k}={v}" for k, v in sorted(self.options.items()))])

    def number(self, key: str, default: float | None = None, *, low: float, high: float) -> float:
        """A number of the options.

        Raises
        ------
        UserError
        """
        text = self.options.get(key)
        if text is None:
            if default is None:
                raise usage(f"{self.source} needs {key}=…: a number from {low:g} to {high:g}")
            return default
        return bounded(text, f"{key}=", low=low, high=high)

    def whole(self, key: str, *, high: int, low: int = 1) -> int | None:
        """A whole number of the options; None: not given."""
        text = self.options.get(key)
        if text is None:
            return None
        if not re.fullmatch(r"\d{1,18}", text) or not low <= int(text) <= high:
            raise usage(f"{key}={one_line(text, 40)} is not a whole number from {low} to {high:,}")
        return int(text)

    def one_of(self, key: str, known: Sequence[str]) -> str:
        """A word of the options; the first one known is the default."""
        text = self.options.get(key, known[0])
        if text not in known:
            raise usage(f"{key}={one_line(text, 40)}: write one of {', '.join(known)}")
        return text


def bounded(text: str, what: str, *, low: float, high: float) -> float:
    """A number within bounds.

    Raises
    ------
    UserError
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not low <= number <= high:
        raise usage(f"{what}{one_line(text, 40)} is not a number from {low:g} to {high:g}")
    return number


def position(text: str) -> tuple[float, float]:
    """Right ascension and declination [deg] of ``RA,DEC``.

    Raises
    ------
    UserError
    """
    ra, comma, dec = text.partition(",")
    if not comma:
        raise usage(f"{one_line(text, 40)!r} is not a position: write RA,DEC in degrees, such as 298.0025,29.87147")
    return bounded(ra, "right ascension ", low=0.0, high=360.0), bounded(dec, "declination ", low=-90.0, high=90.0)


def parse(source: str, arguments: Sequence[str], *, keys: Mapping[str, str], base: str, token: str | None = None) -> Query:
    """Read the words behind a source's name.

    Parameters
    ----------
    source : str
    arguments : sequence of str
        ``key=value`` or words.
    keys : mapping
        Keys that the source knows → what they are.
    base, token
        See `Query`.

    Raises
    ------
    UserError
        A key that the source does not know, or one given twice.
    """
    words: list[str] = []
    options: dict[str, str] = {}
    for argument in arguments:
        key, sign, value = argument.partition("=")
        if not sign:
            words.append(argument)
            continue
        if key not in keys:
            close = nearest(key, keys, cutoff=0.6)
            known = ", ".join(f"{k}=" for k in keys) or "none"
            raise usage(
                f"{one_line(key, 40)}= is not a key of {source}" + (f"; did you mean {close}=?" if close else f": it knows {known}")
            )
        if key in options or not value:
            raise usage(f"{key}= is given {'twice' if key in options else 'without a value'}")
        options[key] = value
    return Query(source, tuple(dict.fromkeys(words)), options, base.rstrip("/"), token)
