"""Sockets of the HTTP API: who is slow keeps no connection, and too many connections are 503 until some end by themselves."""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import ClassVar

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from service.api.listening import make_room
from service.connections import MOST_HEAD_BYTES, Step
from service.status.serve import bound
from service.timed_httptools import MOST_CONNECTIONS, TimedHttpTools, fast_server
from tests.service.test_connections import PATIENCE, held

LIMIT = 1.0
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Fast(TimedHttpTools):
    limits: ClassVar[dict[Step, float]] = {"head": LIMIT, "body": LIMIT, "answer": LIMIT}


async def echo(request: Request) -> Response:
    return PlainTextResponse(f"{len(await request.body())}")


async def large(request: Request) -> Response:
    return Response(b"x" * 60_000_000)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    make_room(2 * MOST_CONNECTIONS)  # both ends are in this process
    listener = bound("127.0.0.1", 0)
    app = Starlette(routes=[Route("/", echo, methods=["GET", "POST"]), Route("/large", large)])
    running = fast_server(app, log_level="critical", http=Fast, lifespan="off")
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + PATIENCE
    while not running.started:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield listener.getsockname()[1]
    running.should_exit = True
    thread.join(20)
    listener.close()


def serves(port: int) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"http://127.0.0.1:{port}/", timeout=PATIENCE).text == "0"
    return False


@pytest.mark.parametrize(
    ("begin", "drip"),
    [
        (b"GET /", b"x"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"X: y\r\n"),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n", b"b"),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nb\r\n"),
    ],
    ids=["request line", "headers", "body", "chunked body"],
)
def test_what_trickles_is_ended_and_others_are_served_meanwhile(port: int, begin: bytes, drip: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as s:
        began = time.monotonic()
        s.sendall(begin)
        assert serves(port)
        took, said = held(s, drip, every=0.05)
    assert took < PATIENCE
    assert time.monotonic() - began > LIMIT / 2  # by the limit, not at once
    assert said == b"" or said.startswith(b"HTTP/1.1 408")


def test_a_head_that_stops_is_answered_408_and_a_silent_connection_with_nothing(port: int) -> None:
    for sent, answer in ((b"GET / HTTP/1.1\r\nX", b"HTTP/1.1 408 Request Timeout"), (b"", b"")):
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as s:
            s.sendall(sent)
            said = b""
            while got := s.recv(4096):
                said += got
            assert said.startswith(answer)
            assert bool(said) == bool(answer)


def test_a_head_that_is_too_large_is_answered_431_before_its_end(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as s:
        s.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
        time.sleep(0.05)
        s.sendall(b"y" * (MOST_HEAD_BYTES + 2))
        with suppress(ConnectionResetError):  # more lay in the socket than was read
            assert s.recv(12) in (b"HTTP/1.1 431", b"")


def test_an_answer_that_is_not_read_is_given_up(port: int) -> None:
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.settimeout(PATIENCE)
        s.connect(("127.0.0.1", port))
        s.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(LIMIT + 0.6)
        read = 0
        with suppress(ConnectionError):
            while got := s.recv(1_000_000):
                read += len(got)
        assert read < 60_000_000
    assert serves(port)


def test_an_answer_that_is_read_slowly_but_in_time_is_whole(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as s:
        s.sendall(GET)
        time.sleep(LIMIT / 3)
        assert s.recv(4096).startswith(b"HTTP/1.1 200")
        time.sleep(LIMIT / 3)
        s.sendall(GET)  # the time for a head begins anew behind each answer
        assert s.recv(4096).startswith(b"HTTP/1.1 200")


def test_a_thousand_idle_connections_are_503_for_one_more_and_make_room_by_themselves(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Fast.limits, "head", 5.0)  # for as long as it takes to open them on a busy machine
    with ExitStack() as stack:
        idle = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 10)) for _ in range(MOST_CONNECTIONS)]
        found = httpx.get(f"http://127.0.0.1:{port}/", timeout=PATIENCE)
        assert found.status_code == 503
        deadline = time.monotonic() + PATIENCE
        while not serves(port):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert idle[0].recv(1) == b""  # ended by the server


def test_a_process_may_have_as_many_files_as_connections() -> None:
    make_room(MOST_CONNECTIONS)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft == resource.RLIM_INFINITY or soft > MOST_CONNECTIONS or soft == hard
