"""Writes to a connection that the other side has closed, on asyncio's loop, uvloop's and ours; real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from streams.kafka.loop import Loop


def run(loop: Callable[[], asyncio.AbstractEventLoop], scenario: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]) -> Any:
    """Run a scenario with a connection to a server that sends back what it gets."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100_000):
            writer.write(data)
        writer.close()

    async def body() -> Any:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            return await scenario(reader, writer)
        finally:
            writer.close()
            server.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(body())


async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Write when the connection is lost and the reader has not been heard yet."""
    writer.transport.abort()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    writer.write(b"too late")
    writer.writelines([b"too", b"late"])
    writer.write_eof()
    return await reader.read()


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, Loop])
def test_a_write_after_the_end_is_dropped(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    assert run(loop, late) == b""


def test_uvloop_itself_raises() -> None:
    with pytest.raises(RuntimeError, match="closed"):  # once it does not, `streams.kafka.loop` has no purpose any more
        run(uvloop.new_event_loop, late)


def test_what_is_written_before_arrives() -> None:
    async def scenario(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert writer.get_extra_info("peername")[0] == "127.0.0.1"
        assert writer.can_write_eof()
        writer.write(b"one ")
        writer.writelines([b"two ", b"three"])
        await writer.drain()
        assert not writer.is_closing()
        writer.write_eof()
        assert await reader.read() == b"one two three"
        writer.close()
        assert writer.is_closing()
        await writer.wait_closed()

    run(Loop, scenario)


def test_another_mistake_is_reported() -> None:
    async def scenario(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write_eof()
        writer.write(b"after the end that was announced")

    with pytest.raises(RuntimeError, match="write_eof"):
        run(Loop, scenario)


def test_no_server_listens() -> None:
    async def refused() -> None:
        await asyncio.open_connection("127.0.0.1", 1)

    scenario: Coroutine[Any, Any, None] = refused()
    with asyncio.Runner(loop_factory=Loop) as runner, pytest.raises(OSError, match=r"refused|Connect"):
        runner.run(scenario)
