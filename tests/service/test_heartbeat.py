"""Whether a broker answers, against sockets that behave as brokers do when they are well, frozen, gone or something else."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.status.heartbeat import FRESH, Fault, Heartbeat, Pulse, Server
from settings.model import Settings
from streams.kafka.knock import NUMBER


@asynccontextmanager
async def broker(answer: bytes | None = struct.pack(">iih", 6, NUMBER, 0)) -> AsyncIterator[tuple[str, asyncio.Server]]:
    """A server that answers every question with these bytes; None: it takes the connection and says nothing."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            while await reader.read(1000):
                if answer is not None:
                    writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", server
    finally:
        server.close()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


async def asked(address: str) -> Fault | None:
    server = Server(address, None)
    try:
        return await server.ask()
    finally:
        server.close()


async def test_one_that_answers() -> None:
    async with broker() as (address, _):
        server = Server(address, None)
        assert [await server.ask() for _ in range(3)] == [None, None, None]
        server.close()


async def test_one_that_takes_connections_and_says_nothing_is_frozen() -> None:
    async with broker(None) as (address, _):
        began = time.monotonic()
        fault = await asked(address)
        assert fault is not None
        assert (fault.frozen, f"{address} takes connections and does not answer") == (True, fault.text)
        assert time.monotonic() - began < FRESH


async def test_nothing_there_is_said_at_once() -> None:
    address = f"127.0.0.1:{free_port()}"
    fault = await asked(address)
    assert fault is not None
    assert (fault.frozen, fault.text) == (False, f"nothing listens at {address}")


async def test_another_protocol_is_not_a_broker() -> None:
    async with broker(b"HTTP/1.1 400 Bad Request\r\n\r\n") as (address, _):
        fault = await asked(address)
        assert fault is not None
        assert not fault.frozen
        assert "another protocol" in fault.text


async def test_a_connection_that_ended_is_made_again_at_once() -> None:
    async with broker() as (address, _):
        server = Server(address, None)
        assert await server.ask() is None
        assert server._streams is not None
        server._streams[1].transport.abort()
        await asyncio.sleep(0.05)
        assert await server.ask() is None
        server.close()


async def test_of_several_servers_one_is_enough() -> None:
    async with broker() as (address, _):
        pulse = Pulse(time.time)
        heartbeat = Heartbeat(Settings(kafka=f"127.0.0.1:{free_port()},{address}"), pulse)
        task = asyncio.ensure_future(heartbeat.run())
        await asyncio.wait_for(heartbeat.answers.wait(), 10)
        assert pulse.alive
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def test_how_long_it_has_been_silent_counts_from_its_last_answer() -> None:
    now = [100.0]
    pulse = Pulse(lambda: now[0])
    assert not pulse.alive
    pulse.beat()
    now[0] += 2
    pulse.miss("frozen", frozen=True)
    now[0] += 8
    pulse.miss("frozen", frozen=True)
    assert (pulse.alive, pulse.silent_s) == (False, 10.0)
    pulse.beat()
    assert (pulse.alive, pulse.silent_s) == (True, 0.0)
