"""Real sockets that are slow in every way there is: none of them holds a connection, and who is not slow is served meanwhile."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, ClassVar

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from service.connections import Step, TimedProtocol

LIMIT = 0.8
PATIENCE = 30.0
"""What a busy machine may need on top [s]; without limits a slow client would hold on for ever."""


class Fast(TimedProtocol):
    limits: ClassVar[dict[Step, float]] = {"head": LIMIT, "body": LIMIT, "answer": LIMIT}


async def echo(request: Request) -> Response:
    return PlainTextResponse(f"{len(await request.body())}")


async def large(request: Request) -> Response:
    return Response(b"x" * 60_000_000)


@pytest.fixture(scope="module")
def port(serving: Any) -> Iterator[int]:
    routes = [Route("/", echo, methods=["GET", "POST"]), Route("/large", large)]
    with serving(Starlette(routes=routes), http=Fast) as found:
        yield found


def held(s: socket.socket, drip: bytes, every: float = 0.1) -> tuple[float, bytes]:
    """Send a byte now and then until the other side ends the connection; how long that took, and what it said."""
    began, said = time.monotonic(), b""
    s.settimeout(every)
    while time.monotonic() - began < PATIENCE:
        try:
            s.send(drip)
        except OSError:
            break
        try:
            got = s.recv(65_536)
        except TimeoutError:
            continue
        except OSError:
            break
        if not got:
            break
        said += got
    return time.monotonic() - began, said


@pytest.mark.parametrize(
    ("begin", "drip"),
    [
        (b"", b"G"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"X: y\r\n"),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n", b"b"),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nb\r\n"),
    ],
    ids=["request line", "headers", "body", "chunked body"],
)
def test_a_slow_request_is_ended_and_others_are_served_meanwhile(port: int, begin: bytes, drip: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as s:
        s.sendall(begin)
        assert httpx.get(f"http://127.0.0.1:{port}/", timeout=PATIENCE).text == "0"
        took, said = held(s, drip)
    assert took < PATIENCE
    assert said == b"" or said.startswith(b"HTTP/1.1 408")


def test_a_slow_head_is_answered_408(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as s:
        s.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX")
        assert s.recv(100).startswith(b"HTTP/1.1 408 Request Timeout")
        assert s.recv(100) == b""


@pytest.mark.parametrize("before", [b"", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"], ids=["first", "second"])
def test_a_silent_connection_is_ended(port: int, before: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as s:
        s.sendall(before)
        said = b""
        while got := s.recv(4096):
            said += got
    assert said.startswith(b"HTTP/1.1 200" if before else b"")
    assert b"408" not in said


def test_the_second_request_of_a_connection_has_no_more_time_than_the_first(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as s:
        s.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert s.recv(4096).startswith(b"HTTP/1.1 200")
        took, said = held(s, b"G")
    assert took < PATIENCE
    assert said == b"" or said.startswith(b"HTTP/1.1 408")  # a byte after the end resets it, answer included


def test_who_does_not_read_the_answer_is_ended(port: int) -> None:
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.settimeout(PATIENCE)
        s.connect(("127.0.0.1", port))
        s.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(LIMIT + 1.0)
        read = 0
        with suppress(ConnectionError):  # it was aborted: what was buffered may still come, the end of the answer does not
            while got := s.recv(1_000_000):
                read += len(got)
        assert read < 60_000_000


def test_many_silent_connections_keep_no_client_out_for_long(port: int) -> None:
    silent = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(250)]
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if httpx.get(f"http://127.0.0.1:{port}/", timeout=PATIENCE).status_code == 200:
                    break
            except httpx.TransportError:
                pass
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        for s in silent:
            s.close()


def test_an_ordinary_client_notices_nothing(port: int) -> None:
    with httpx.Client(timeout=PATIENCE) as client:
        for size in (0, 10, 500_000):
            assert client.post(f"http://127.0.0.1:{port}/", content=b"b" * size).text == str(size)
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as s:  # several requests at once
        s.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
        said = b""
        while said.count(b"HTTP/1.1 200") < 3:
            got = s.recv(4096)
            assert got, said
            said += got


def test_the_limits_that_ship_are_those_of_a_person() -> None:
    assert all(1 <= seconds <= 60 for seconds in TimedProtocol.limits.values())
    assert threading.active_count() < 1000
