"""Packets one by one → micro-batches, two in flight, finished in order. Pure asyncio: no Kafka, no science.

A batch closes when it is full or so long after its *first* packet. It is computed while the sends of the batch before are awaited; its
packets are acknowledged only when it and every batch before it are delivered, so that a commit never runs ahead of a packet.
While both flights are taken the open batch goes on filling: the busier the worker, the fuller the batches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Packet = TypeVar("Packet")
Result = TypeVar("Result")

BATCH_BYTES = 8 * 2**20
"""A batch with so many bytes is closed: 64 of ZTF's packets have half of it, and of the largest packets one has it [bytes]."""


class Batcher(Generic[Packet, Result]):
    """Turns single packets into batches.

    Parameters
    ----------
    size : int
        Packets of a batch at most.
    wait_s : float
        How long after its first packet a batch closes [s].
    compute : callable
        ``await compute(packets) -> result``; never two at once, in the order of the batches.
    send : callable
        ``await send(packets, result) -> acknowledgements``; starts the sends in the order of the batches and returns what to await.
    acknowledge : callable
        ``acknowledge(packets, result)``, when this batch and all before it are delivered.
    on_failure : callable
        Called once with the first error of any of these; nothing behind it is computed, sent or acknowledged.
    flights : int
        Batches that may be computed or awaiting delivery at once.
    weigh : callable
        Bytes of a packet.
    limit_bytes : int
        A batch that holds so much is full, however few its packets [bytes].
    """

    def __init__(
        self,
        size: int,
        wait_s: float,
        *,
        compute: Callable[[list[Packet]], Awaitable[Result]],
        send: Callable[[list[Packet], Result], Awaitable[Sequence[Awaitable[object]]]],
        acknowledge: Callable[[list[Packet], Result], None],
        on_failure: Callable[[BaseException], None],
        flights: int = 2,
        weigh: Callable[[Packet], int] = lambda packet: 0,
        limit_bytes: int = BATCH_BYTES,
    ) -> None:
        self._size, self._wait_s, self._free = size, wait_s, flights
        self._weigh, self._limit_bytes, self._bytes = weigh, limit_bytes, 0
        self._compute, self._send, self._acknowledge, self._on_failure = compute, send, acknowledge, on_failure
        self._open: list[Packet] = []
        self._due = False
        self._timer: asyncio.TimerHandle | None = None
        self._room = asyncio.Event()
        self._room.set()
        self._computing, self._sending = asyncio.Lock(), asyncio.Lock()
        self._flying: set[asyncio.Task[None]] = set()
        self._before: asyncio.Future[None] | None = None
        self._failed = self._draining = False

    async def put(self, packet: Packet) -> None:
        """Hand in a packet; waits while a full batch waits for a flight, and for ever once it drains: it takes nothing more."""
        while self._draining or (self._full() and not self._failed):
            self._room.clear()
            await self._room.wait()
        self._open.append(packet)
        self._bytes += self._weigh(packet)
        if self._full():
            self._close()
        elif len(self._open) == 1:
            self._timer = asyncio.get_running_loop().call_later(self._wait_s, self._close)

    async def drain(self) -> None:
        """Take nothing more, close the open batch and wait until everything handed in is finished."""
        self._draining = True
        await self.settle()

    async def settle(self) -> None:
        """Close the open batch and wait until everything handed in is finished."""
        while (self._open or self._flying) and not self._failed:
            self._close()
            if self._flying:
                await asyncio.wait(self._flying, return_when=asyncio.FIRST_COMPLETED)

    def failed(self) -> bool:
        """Whether something failed: nothing happens any more."""
        return self._failed

    @property
    def pending(self) -> int:
        """Packets in the open batch."""
        return len(self._open)

    def _full(self) -> bool:
        return len(self._open) >= self._size or self._bytes >= self._limit_bytes

    def _close(self) -> None:
        """The open batch is full or its time is up: let it fly, or as soon as a flight is free."""
        if not self._open or self._failed:
            return
        if not self._free:
            self._due = True
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        packets, self._open, self._bytes, self._due = self._open, [], 0, False
        self._free -= 1
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._fly(packets, self._before, done=done))
        self._before = done
        self._flying.add(task)
        task.add_done_callback(self._flying.discard)
        self._room.set()

    async def _fly(self, packets: list[Packet], before: asyncio.Future[None] | None, *, done: asyncio.Future[None]) -> None:
        try:
            async with self._computing:  # locks are fair: batches pass in their order
                if self.failed():
                    return
                result = await self._compute(packets)
            async with self._sending:
                if self.failed():
                    return
                acknowledgements = await self._send(packets, result)
            for acknowledgement in acknowledgements:
                await acknowledgement
            if before is not None:
                await before
            self._acknowledge(packets, result)
            done.set_result(None)
        except Exception as error:
            if not self._failed:
                self._failed = True
                self._room.set()
                self._on_failure(error)
            return
        finally:
            if not done.done():
                done.cancel()  # and with it every batch behind
        self._free += 1
        if self._due or self._full():
            self._close()
