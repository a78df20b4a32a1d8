"""uvloop, with connections that are written to as asyncio's are.

A write to a connection that has just been closed from the other side is nothing in asyncio: the reader learns of the end a few steps of
the loop later, and the caller who waits for an answer with it. uvloop raises `RuntimeError` in these steps. aiokafka expects `OSError`
alone (its issue 1038): the task that keeps a client's metadata ends with it, it is not started again, and from then on every call that
waits for metadata waits until its time is up. So a broker that was killed left, now and then, a worker that read on and committed nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import uvloop
from aiokafka.conn import AIOKafkaProtocol

from streams.kafka.frame_reader import FrameReader


class _Connection(asyncio.Transport):
    """A transport of uvloop's; what is written after its end is dropped."""

    def __init__(self, transport: Any) -> None:
        super().__init__()
        self._transport = transport

    def write(self, data: Any) -> None:
        """Send bytes; nothing where the connection has ended."""
        try:
            self._transport.write(data)
        except RuntimeError:
            if not self._transport.is_closing():
                raise

    def writelines(self, list_of_data: Any) -> None:
        """Send pieces; nothing where the connection has ended."""
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        """End the writing; nothing where the connection has ended."""
        try:
            self._transport.write_eof()
        except RuntimeError:
            if not self._transport.is_closing():
                raise

    def can_write_eof(self) -> bool:
        """Whether `write_eof` is possible."""
        possible: bool = self._transport.can_write_eof()
        return possible

    def close(self) -> None:
        """Send what is buffered and close."""
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        closing: bool = self._transport.is_closing()
        return closing

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the transport knows of its socket."""
        return self._transport.get_extra_info(name, default)


class Loop(uvloop.Loop):
    """uvloop's loop. Its outgoing connections drop what is written after their end; aiokafka's join a frame once."""

    async def create_connection(self, protocol_factory: Callable[[], Any], *args: Any, **options: Any) -> Any:
        """Connect as `asyncio.loop.create_connection` does; the transport is wrapped, the protocol knows the bare one."""
        transport, protocol = await super().create_connection(protocol_factory, *args, **options)
        if isinstance(protocol, AIOKafkaProtocol):
            FrameReader.adopt(protocol._stream_reader)
        return _Connection(transport), protocol
