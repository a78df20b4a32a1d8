"""A proxy between a client and a broker that damages what the broker sends: a bit of every frame in which a mark occurs.

A broker checks what it is sent by the same checksum, so a batch with a wrong one cannot be put there from outside; a wire, a disk's cache
or a network card can damage it on its way out. Addresses in the broker's answers are changed to the proxy's, so that the client comes back
through it.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class DamagingProxy:
    """The proxy of one broker.

    Parameters
    ----------
    broker : str
        ``host:port``.
    mark : bytes
        What is to be damaged.
    times : int
        How many frames are damaged.
    damage : callable
        Changes a frame, given where the mark begins; turns a bit of the mark, if None.
    """

    def __init__(self, broker: str, mark: bytes, *, times: int = 1_000_000, damage: Callable[[bytearray, int], None] | None = None) -> None:
        host, _, port = broker.rpartition(":")
        self._broker, self._mark, self.times = (host, int(port)), mark, times
        self._damage = damage or (lambda frame, at: frame.__setitem__(at, frame[at] ^ 0x10))
        self.damaged = 0
        self.address = ""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._broker, limit=2**26)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await asyncio.gather(self._plain(reader, back), self._frames(there, writer))
        for end in (writer, back):
            end.close()

    async def _plain(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def _frames(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readexactly(4)
            frame = bytearray(await reader.readexactly(int.from_bytes(head, "big")))
            self._readdress(frame)
            at = frame.find(self._mark)
            if at >= 0 and self.damaged < self.times:
                self.damaged += 1
                self._damage(frame, at)
            writer.write(head + frame)
            await writer.drain()

    def _readdress(self, frame: bytearray) -> None:
        host, port = self._broker
        for prefix in (struct.pack(">h", len(host)), bytes([len(host) + 1])):  # as text was written first, and is in newer versions
            old = prefix + host.encode() + struct.pack(">i", port)
            new = prefix + host.encode() + struct.pack(">i", int(self.address.rpartition(":")[2]))
            at = frame.find(old)
            while at >= 0:
                frame[at : at + len(old)] = new
                at = frame.find(old, at + len(old))


@asynccontextmanager
async def damaging_proxy(
    broker: str, mark: bytes, *, times: int = 1_000_000, damage: Callable[[bytearray, int], None] | None = None
) -> AsyncIterator[DamagingProxy]:
    """Run one on a free port; see `DamagingProxy`."""
    proxy = DamagingProxy(broker, mark, times=times, damage=damage)
    server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0, limit=2**20)
    proxy.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
