"""Work of seconds that requests ask for: one at a time in a thread, a few that wait, the next one is refused.

A preview embeds two thousand alerts, a comparison scores as many twice: beside each other they would slow down what is scored here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from service.api.problems import ProblemError

MOST_WAITING = 4
"""Beside the one in hand."""
_Found = TypeVar("_Found")


class HeavyWork:
    """Who is next."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._waiting = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for one's turn.

        Raises
        ------
        ProblemError
            503: too many wait already.
        """
        if self._waiting > MOST_WAITING:
            raise ProblemError(503, "others teach, compare or explain just now", headers={"Retry-After": "10"})
        self._waiting += 1
        try:
            async with self._turn:
                yield
        finally:
            self._waiting -= 1

    async def run(self, work: Callable[[], _Found]) -> _Found:
        """The result of work in a thread; one's turn is kept until the thread has ended, whatever becomes of the request."""
        return await asyncio.shield(asyncio.create_task(asyncio.to_thread(work)))
