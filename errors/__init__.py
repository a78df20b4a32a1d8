"""One exception tree, divided by what the caller can do about it, and how a failure is reported in one line.

in → what went wrong
out → an exception of the tree, or one line for a person

in → what went wrong
out → an exception whose type is who can mend it, and a line of text

`UserError`       a person can mend it: the message is one line with what is wrong and what to do
`RetryableError`  it may pass by itself: nothing is rejected or acknowledged, and the work comes again
`InternalError`   a fault of ours

A packet's own fault is none of these: it is a value that ends on the reject topic (`schemas.avro.wire.PacketError`).
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable
from typing import ClassVar

FAILED = 1
USAGE = 2


class ProtonovaError(Exception):
    """Root of every exception that Protonova raises on purpose.

    Attributes
    ----------
    hint : str
        Where to look for more, in words that fit behind any message of the class; empty: the message is enough.
    """

    hint: ClassVar[str] = ""


class UserError(ProtonovaError):
    """What a person can mend.

    Parameters
    ----------
    message : str
        One line: what is wrong and what to do about it.
    code : int
        Exit status of a command that ends by it: 1 the command failed, 2 it was asked wrongly.
    """

    def __init__(self, message: str = "", code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


class SettingsError(UserError):
    """A setting is wrong; the message is one line with which one and what to do."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message, USAGE)


class RetryableError(ProtonovaError):
    """What may pass by itself: a device that ran out of memory, a server that does not answer."""


class InternalError(ProtonovaError):
    """A fault of ours."""


def usage(message: str) -> UserError:
    """Make the error of a command that was asked wrongly (exit status 2)."""
    return UserError(message, USAGE)


def nearest(word: str, known: Iterable[str], *, cutoff: float = 0.0) -> str | None:
    """The known word that is most like another, whatever the case of its letters; None: none is like it.

    Parameters
    ----------
    word : str
    known : iterable of str
    cutoff : float
        Least similarity, 0 (any) to 1 (equal).
    """
    spelled = {name.casefold(): name for name in known}
    found = difflib.get_close_matches(word.casefold(), spelled, 1, cutoff)
    return spelled[found[0]] if found else None


def one_line(text: object, limit: int = 500) -> str:
    """Make text safe to print: no line breaks, control characters, terminal escapes or marks that reorder what follows.

    Every value that came from a packet, a record or a file name passes through it before it reaches a terminal, a log or a message.
    """
    flat = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def say(message: str) -> None:
    """Print one line on standard error."""
    print(f"protonova: {one_line(message)}", file=sys.stderr, flush=True)
