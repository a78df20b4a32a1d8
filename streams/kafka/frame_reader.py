"""A connection's reader that keeps what comes as it comes, and joins it once.

asyncio's reader adds each piece to one buffer, cuts the frame out of it and moves the rest to the front: three copies of every byte, more
where the buffer grows. It also stops reading the socket at twice its limit, thirty times within a fetch of 2 MB. aiokafka knows how long a
frame is before it asks for it; so pieces wait in a row until there are enough, and no one is woken before.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any


class FrameReader(asyncio.StreamReader):
    """`feed_data` and `readexactly` without a buffer; aiokafka uses nothing else of a reader, and the rest raises."""

    _pieces: deque[memoryview]
    _held: int
    _wanted: int

    @classmethod
    def adopt(cls, reader: asyncio.StreamReader) -> None:
        """Make a reader that nothing has been read from one of these; another one is left alone."""
        state: Any = reader
        if type(reader) is asyncio.StreamReader and not state._buffer:
            state.__class__ = cls
            state._pieces, state._held, state._wanted = deque(), 0, 1

    def feed_data(self, data: Any) -> None:
        """Keep what the socket gave."""
        if not data:
            return
        state: Any = self
        self._pieces.append(memoryview(bytes(data)))  # bytes stay as they are; only a bytearray is copied
        self._held += len(data)
        if self._held >= self._wanted:
            state._wakeup_waiter()
        if state._transport is not None and not state._paused and self._held > 2 * state._limit + self._wanted:
            try:
                state._transport.pause_reading()
            except NotImplementedError:
                state._transport = None
            else:
                state._paused = True

    async def readexactly(self, n: int) -> bytes:
        """The next n bytes.

        Raises
        ------
        asyncio.IncompleteReadError
            The connection ends before.
        """
        state: Any = self
        if state._exception is not None:
            raise state._exception
        while self._held < n:
            if state._eof:
                left = b"".join(self._pieces)
                self._pieces.clear()
                self._held = 0
                raise asyncio.IncompleteReadError(left, n)
            self._wanted = n
            await state._wait_for_data("readexactly")
        self._wanted = 1
        taken, missing = [], n
        while missing:
            piece = self._pieces.popleft()
            if len(piece) > missing:
                self._pieces.appendleft(piece[missing:])
                piece = piece[:missing]
            taken.append(piece)
            missing -= len(piece)
        self._held -= n
        if state._paused and self._held <= state._limit:
            state._paused = False
            state._transport.resume_reading()
        return b"".join(taken)

    def at_eof(self) -> bool:
        """Whether the end was reached and everything was read."""
        state: Any = self
        return bool(state._eof) and not self._held

    async def read(self, n: int = -1) -> bytes:
        """Nothing but frames is read."""
        raise NotImplementedError("a frame's reader reads exactly so many bytes")

    readline = readuntil = read  # type: ignore[assignment]
