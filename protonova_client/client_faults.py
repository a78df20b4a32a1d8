"""What a call may raise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MOST_SHOWN = 3


class ClientError(Exception):
    """What this package raises."""


class ApiError(ClientError):
    """The service answered with a problem (RFC 9457).

    Parameters
    ----------
    status : int
        HTTP status.
    detail : str
        What is wrong, in one line.
    errors : sequence of mapping
        Each with `loc` and `msg`.
    """

    def __init__(self, status: int, detail: str, *, errors: Sequence[Any] = ()) -> None:
        self.status, self.detail, self.errors = status, detail, list(errors)
        faults = [f"{'.'.join(map(str, e.get('loc', ())))}: {e.get('msg', '')}" for e in self.errors[:MOST_SHOWN] if isinstance(e, dict)]
        super().__init__(f"{status}: {detail}" + (f" ({'; '.join(faults)})" if faults else ""))


class NotThereError(ApiError):
    """There is nothing of that name, or you may not see it."""


class UnreachableError(ClientError):
    """The service did not answer, however often it was asked."""


class BrokenTransferError(ClientError):
    """A part of a night has not the digest that the service states."""
