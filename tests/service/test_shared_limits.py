"""Rates that several machines count together, on a real Valkey or Redis, and what is left of them while it is away."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from errors import SettingsError
from service.api.problems import ProblemError
from service.auth.rate_limits import Buckets, RateLimits
from service.auth.shared_limits import LEASE_S, Leases, SharedServer, share, shared_server
from settings.model import Settings

PROGRAM = shutil.which("valkey-server") or shutil.which("redis-server")
needs_server = pytest.mark.skipif(PROGRAM is None, reason="no valkey-server is installed (Debian: apt-get install redis-server)")


class Server:
    """A server on a port of its own, nothing kept on disk."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder = folder
        self.url = f"valkey://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        assert PROGRAM is not None
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(self.folder)]
        self.process = subprocess.Popen([PROGRAM, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    found = Server(tmp_path)
    yield found
    found.end()


async def granted(limits: RateLimits, requests: int, name: str = "key") -> int:
    """How many of so many requests pass."""
    count, refusals = 0, []
    for _ in range(requests):
        try:
            await limits.take(name)
        except ProblemError as problem:
            refusals.append((problem.status, int(problem.headers["Retry-After"]) >= 1))
        else:
            count += 1
    assert set(refusals) <= {(429, True)}
    return count


def machine(url: str, rate: float) -> tuple[RateLimits, SharedServer]:
    server = SharedServer(url)
    limits = RateLimits(rate / 2, rate / 2)
    share(limits, server, rate=rate, address_rate=rate)
    return limits, server


@needs_server
@pytest.mark.parametrize("rate", [2.0, 5_000.0])
async def test_two_machines_grant_together_what_one_would(server: Server, rate: float) -> None:
    machines = [machine(server.url, rate) for _ in range(2)]
    burst = int(2 * rate + 1)
    begun = time.monotonic()
    found = await asyncio.gather(*(granted(limits, burst) for limits, _ in machines))
    took = time.monotonic() - begun
    # Of a small rate each token is asked for; of a large one a lump each may be left with the machines.
    lump = max(1, int(rate / 10))
    assert burst - 2 * lump <= sum(found) <= burst + rate * took
    assert min(found) > 0
    names = await machines[0][1]._client.keys("*")
    assert len(names) == 1
    assert b"key" in names[0]
    await asyncio.gather(*(one.close() for _, one in machines))


@needs_server
async def test_a_lump_serves_many_requests_and_is_given_up_in_time(server: Server) -> None:
    asked = [0]
    own = SharedServer(server.url)

    async def run(key: str, **amounts: Any) -> tuple[float, float]:
        asked[0] += 1
        return await own.run(key, **amounts)

    now = [0.0]
    leases = Leases(
        run, "key", rate=1_000.0, burst=2_001.0, fallback=Buckets(1.0, 1.0), on_change=lambda answers: None, clock=lambda: now[0]
    )
    left = [await leases.take("a") for _ in range(250)]
    assert asked[0] == 3  # of a hundred each
    assert left[0] == pytest.approx(2_000, abs=200)  # what the bucket fills meanwhile is on top
    assert left == sorted(left, reverse=True) or max(left) <= 2_001
    now[0] += LEASE_S
    await leases.take("a")
    assert asked[0] == 4
    assert await asyncio.gather(*(leases.take("b") for _ in range(50))) != []
    assert asked[0] == 5  # who waits for the same lump does not ask again
    await own.close()


@needs_server
async def test_while_the_server_is_away_each_process_has_its_own_share_and_says_so_once(
    server: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("service.auth.shared_limits.AGAIN", 0.3)
    limits, shared = machine(server.url, 10.0)
    assert await granted(limits, 3) == 3
    assert shared.answers is True
    server.end()
    await asyncio.sleep(0.05)
    begun = time.monotonic()
    own = await granted(limits, 40)
    assert 11 <= own <= 11 + 1 + 5 * (time.monotonic() - begun)  # the share: 5 a second, 11 at once
    assert shared.answers is False
    server.start()
    deadline = time.monotonic() + 20
    while not shared.answers:
        assert time.monotonic() < deadline
        await granted(limits, 1, name="other")
        await asyncio.sleep(0.05)
    os.kill(server.process.pid, signal.SIGSTOP)  # it is there, and answers nothing
    try:
        begun = time.monotonic()
        assert await granted(limits, 5, name="third") == 5
        assert time.monotonic() - begun < 5
        assert shared.answers is False
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    said = capsys.readouterr().out
    assert said.count("does not answer") <= 2
    await shared.close()


async def test_an_answer_that_is_none_is_as_no_server() -> None:
    async def run(key: str, **amounts: Any) -> tuple[float, float]:
        raise ValueError("not a number")

    said: list[bool] = []
    leases = Leases(run, "key", rate=1.0, burst=3.0, fallback=Buckets(1.0, 1.0), on_change=said.append)
    assert await leases.take("a") == 0.0
    assert await leases.take("a") < 0
    assert said == [False]


@pytest.mark.parametrize("url", ["http://127.0.0.1", "127.0.0.1:6379", "valkey://:secret@127.0.0.1:port/0"])
def test_an_address_that_is_none_is_said_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError) as error:
        shared_server(Settings(api_limits_url=url))  # type: ignore[arg-type]
    assert "secret" not in str(error.value)
