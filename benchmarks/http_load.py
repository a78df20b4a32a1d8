"""A load for an HTTP server: requests that are bytes already, on connections of their own, as fast as they are answered or at a rate.

python -m benchmarks.http_load PORT FILE SECONDS CONNECTIONS [RATE] → one line of JSON; a process of its own, so that its CPU is apart

FILE holds requests, each behind its length as four big-endian bytes. Paced requests begin at the times of a Poisson process; one that finds
no free connection waits for one, and its latency counts from the time it was due: a server that stalls does not look fast (coordinated
omission). The parser knows what our server sends: a status line, a Content-Length, a body.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections import Counter, deque
from pathlib import Path

import orjson
import uvloop


class Connection(asyncio.Protocol):
    """One connection: a request, its answer, the next request."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.buffer = b""
        self.due = 0.0
        self.transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.load.free(self)

    def send(self, request: bytes, due: float) -> None:
        assert self.transport is not None
        self.due = due
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        buffer = self.buffer + data if self.buffer else data
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            self.buffer = buffer
            return
        at = buffer.find(b"content-length: ", 0, end)
        length = int(buffer[at + 16 : buffer.find(b"\r\n", at, end + 2)])
        if len(buffer) < end + 4 + length:
            self.buffer = buffer
            return
        self.buffer = b""
        self.load.answered(self, int(buffer[9:12]))

    def connection_lost(self, error: Exception | None) -> None:
        self.load.lost += not self.load.done


class Load:
    """Requests round and round."""

    def __init__(self, requests: list[bytes], *, rate: float | None, seconds: float) -> None:
        self.requests, self.rate, self.seconds = requests, rate, seconds
        self.latencies: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.lost = self.turn = 0
        self.done = False
        self.idle: deque[Connection] = deque()
        self.late: deque[float] = deque()
        """Times at which paced requests were due that have no connection yet."""

    def _next(self) -> bytes:
        self.turn += 1
        return self.requests[self.turn % len(self.requests)]

    def free(self, connection: Connection) -> None:
        if self.done:
            return
        if self.rate is None:
            connection.send(self._next(), time.perf_counter())
        elif self.late:
            connection.send(self._next(), self.late.popleft())
        else:
            self.idle.append(connection)

    def answered(self, connection: Connection, status: int) -> None:
        self.latencies.append(time.perf_counter() - connection.due)
        self.statuses[status] += 1
        self.free(connection)

    async def run(self, port: int, connections: int) -> dict[str, object]:
        loop = asyncio.get_running_loop()
        made = [await loop.create_connection(lambda: Connection(self), "127.0.0.1", port) for _ in range(connections)]
        await asyncio.sleep(min(1.0, self.seconds / 5))  # warm
        self.latencies.clear()
        self.statuses.clear()
        begun, cpu = time.perf_counter(), time.process_time()
        if self.rate is None:
            await asyncio.sleep(self.seconds)
        else:
            await self._paced(begun)
        took, used = time.perf_counter() - begun, time.process_time() - cpu
        n, latencies = len(self.latencies), sorted(self.latencies)
        self.done = True
        for transport, _ in made:
            transport.close()

        def quantile(q: float) -> float | None:
            return 1e3 * latencies[min(n - 1, int(q * n))] if n else None

        return {
            "requests": n, "per_s": n / took, "p50_ms": quantile(0.5), "p99_ms": quantile(0.99), "max_ms": quantile(1.0),
            "statuses": dict(self.statuses), "lost": self.lost, "generator_us": 1e6 * used / max(n, 1), "seconds": took,
        }  # fmt: skip

    async def _paced(self, begun: float) -> None:
        assert self.rate is not None
        random.seed(7)
        due = begun
        while due < begun + self.seconds:
            due += random.expovariate(self.rate)
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            if self.idle:
                self.idle.popleft().send(self._next(), due)
            else:
                self.late.append(due)


def read_requests(path: Path) -> list[bytes]:
    """The requests of a file."""
    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        found.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return found


def main() -> int:
    """Run as a command."""
    port, path, seconds, connections, *rate = sys.argv[1:]
    load = Load(read_requests(Path(path)), rate=float(rate[0]) if rate else None, seconds=float(seconds))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(load.run(int(port), int(connections)))
    print(orjson.dumps(found, option=orjson.OPT_NON_STR_KEYS).decode(), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
