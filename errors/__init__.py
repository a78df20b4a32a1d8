"""One exception tree, told apart by what the caller can do about it, and how a failure is said in one line.

in → what went wrong
out → an exception whose type says who can mend it, and a line of text

`UserError`       a person can mend it: the message is one line that says what is wrong and what to do
`RetryableError`  it may pass by itself: nothing is rejected or acknowledged, and the work comes again
`InternalError`   a fault of ours

A packet's own fault is none of these: it is a value that ends on the reject topic (`schemas.avro.wire.PacketError`).
"""

from __future__ import annotations

import sys

FAILED = 1
USAGE = 2


class ProtonovaError(Exception):
    """Root of every exception that Protonova raises on purpose."""


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


class RetryableError(ProtonovaError):
    """What may pass by itself: a device that ran out of memory, a server that does not answer."""


class InternalError(ProtonovaError):
    """A fault of ours."""


def usage(message: str) -> UserError:
    """Make the error of a command that was asked wrongly (exit status 2)."""
    return UserError(message, USAGE)


def one_line(text: object, limit: int = 500) -> str:
    """Text without line breaks or control characters: what a packet or a file name says must not drive a terminal."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def say(message: str) -> None:
    """Print one line on standard error."""
    print(f"protonova: {one_line(message)}", file=sys.stderr, flush=True)
