"""Packets that wait between the consumer and the batcher: a queue bounded in packets and in bytes.

Packets are 60 kB as a rule and 8 MB at most: a bound on their number alone would be 40 MB or 4 GB.
"""

from __future__ import annotations

import asyncio
from typing import Any

from mode.utils.queues import ThrowableQueue

BUFFER = 512
"""Packets that wait for the batcher at most: 34 MB of ZTF's."""
BUFFER_BYTES = 32 * 2**20
"""The same in bytes; one packet more is let in, so that the largest pass [bytes]."""
REFILL = 0.75
"""A full buffer is filled again when it has come down to this share: its filler wakes once for many packets [1]."""


class Buffer(ThrowableQueue[Any]):
    """The queue of a Faust channel, bounded in bytes too.

    Its items have a `value`. What a rebalance clears was never acknowledged and is read again.
    """

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)
        self.held = 0
        self._room = asyncio.Event()
        self._room.set()

    def _put(self, item: Any) -> None:
        super()._put(item)
        self.held += size_of(item)
        if self.full():
            self._room.clear()

    def _get(self) -> Any:
        item = super()._get()
        self.held -= size_of(item)
        if self.qsize() <= REFILL * self.maxsize and self.held <= REFILL * BUFFER_BYTES:
            self._room.set()
        return item

    def full(self) -> bool:
        """Whether it takes nothing more."""
        return super().full() or self.held >= BUFFER_BYTES

    def clear(self) -> None:
        """Drop everything."""
        super().clear()
        self.held = 0
        self._room.set()

    async def room(self) -> None:
        """Wait, where it was full, until it has come down far enough to be filled again."""
        await self._room.wait()


def size_of(item: Any) -> int:
    """Bytes of a packet; 0: it has none."""
    value = getattr(item, "value", None)
    return 0 if value is None else len(value)
