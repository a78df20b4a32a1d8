"""Answers to pushes that were given, by idempotency key: a repeat gets the first one's."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MOST = 100_000
"""Remembered at a time."""
KEPT = 86_400.0
"""How long [s]."""


@dataclass(slots=True, eq=False)
class Push:
    """A push in hand, or the answer to one."""

    digest: bytes
    """Of its bytes."""
    answer: asyncio.Future[Any]
    begun: float


class Remembered:
    """Pushes by name: the caller's key, or what the bytes are.

    Parameters
    ----------
    most : int
    clock : callable
        Monotonic time [s].
    """

    def __init__(self, most: int = MOST, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._held: OrderedDict[bytes, Push] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def find(self, name: bytes) -> Push | None:
        """The push of a name; None: there was none lately."""
        found = self._held.get(name)
        if found is not None and self._clock() - found.begun > KEPT:
            del self._held[name]
            return None
        return found

    def begin(self, name: bytes, digest: bytes) -> Push:
        """Remember a push that begins."""
        push = Push(digest, asyncio.get_running_loop().create_future(), self._clock())
        self._held[name] = push
        if len(self._held) > self._most:
            self._held.popitem(last=False)
        return push

    def forget(self, name: bytes) -> None:
        """Forget a push that failed: a repeat tries anew."""
        self._held.pop(name, None)
