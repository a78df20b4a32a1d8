"""The broker's servers, asked once a second → whether the broker answers, and if not, whether it is gone or frozen.

The client library waits for forty seconds before it says that a broker does not answer. Here each server of `PROTONOVA_KAFKA` is asked,
over a connection of its own, what every broker answers before any login (24 bytes); what does not come within two seconds did not come.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from errors import one_line
from streams.kafka.knock import is_answer, kafka_question

if TYPE_CHECKING:
    from settings.model import Settings

EVERY = 1.0
"""Between two questions [s]."""
WITHIN = 2.0
"""How long an answer may take [s]."""
FRESH = 3.5
"""The broker does not answer where its last answer is older [s]: a second, two for the next one, and what a busy machine takes."""
LARGEST = 65_536
"""Of an answer [bytes]."""


class Pulse:
    """When the broker answered last, and what was wrong since.

    Parameters
    ----------
    clock : callable
        Seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.answered: float | None = None
        """When it last did [s since 1970]; None: never."""
        self.failing_since: float | None = None
        self.fault: str = ""
        """Why the last question had no answer; empty: it had one."""
        self.frozen = False
        """Whether it takes connections all the same."""

    def beat(self) -> None:
        """It answered."""
        self.answered, self.failing_since, self.fault, self.frozen = self._clock(), None, "", False

    def miss(self, fault: str, *, frozen: bool) -> None:
        """It did not."""
        if self.failing_since is None:
            self.failing_since = self.answered if self.answered is not None else self._clock()
        self.fault, self.frozen = fault, frozen

    @property
    def alive(self) -> bool:
        """Whether it answers. A slow answer is waited for, a refused connection is not."""
        gone = bool(self.fault) and not self.frozen
        return self.answered is not None and not gone and self._clock() - self.answered < FRESH

    @property
    def silent_s(self) -> float:
        """For how long it has not answered [s]."""
        since = self.failing_since if self.failing_since is not None else self.answered
        return 0.0 if since is None else max(0.0, self._clock() - since)


class Heartbeat:
    """Asks until it is cancelled.

    Parameters
    ----------
    settings : Settings
        With a broker.
    pulse : Pulse
        Where the answers go.
    """

    def __init__(self, settings: Settings, pulse: Pulse) -> None:
        self._context = settings.ssl_context()
        self._servers = [Server(server, self._context) for server in (settings.kafka or "").split(",")]
        self.pulse = pulse
        self.answers = asyncio.Event()
        """Set while it answers."""

    async def run(self) -> None:
        """Ask until cancelled."""
        try:
            while True:
                faults = await asyncio.gather(*(server.ask() for server in self._servers))
                if any(fault is None for fault in faults):
                    self.pulse.beat()
                    self.answers.set()
                else:
                    frozen = [fault for fault in faults if fault is not None and fault.frozen]
                    worst = (frozen or [fault for fault in faults if fault is not None])[0]
                    self.pulse.miss(worst.text, frozen=worst.frozen)
                    self.answers.clear()
                await asyncio.sleep(EVERY)
        finally:
            for server in self._servers:
                server.close()


class Fault:
    """Why a server did not answer."""

    def __init__(self, text: str, *, frozen: bool) -> None:
        self.text, self.frozen = text, frozen


class Server:
    """One server and a connection to it."""

    def __init__(self, address: str, context: ssl.SSLContext | None) -> None:
        host, _, port = address.rpartition(":")
        self._address, self._host, self._port, self._context = address, host.strip("[]"), int(port), context
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self) -> Fault | None:
        """Ask once; None: it answered."""
        connected = self._streams is not None
        try:
            async with asyncio.timeout(WITHIN):
                if connected:
                    with suppress(OSError, EOFError):  # the connection ended: by now another may be had
                        await self._question()
                        return None
                    self.close()
                    connected = False
                self._streams = await asyncio.open_connection(self._host, self._port, ssl=self._context)
                connected = True
                await self._question()
                return None
        except TimeoutError:
            if connected:  # kept: a frozen broker's queue of connections is short, and its answer may still come
                return Fault(f"{self._address} takes connections and does not answer", frozen=True)
            self.close()
            return Fault(f"{self._address} cannot be reached", frozen=False)
        except (OSError, EOFError) as error:
            self.close()
            if isinstance(error, ConnectionRefusedError):
                return Fault(f"nothing listens at {self._address}", frozen=False)
            why = error.strerror if isinstance(error, OSError) and error.strerror else "it ends the connection"
            return Fault(f"{self._address}: {one_line(why, 100)}", frozen=False)

    async def _question(self) -> None:
        assert self._streams is not None
        reader, writer = self._streams
        writer.write(kafka_question())
        await writer.drain()
        head = await reader.readexactly(8)
        length = int.from_bytes(head[:4], "big")
        if not is_answer(head) or not 4 <= length <= LARGEST:
            raise ConnectionError(0, "another protocol than Kafka's is used there")
        await reader.readexactly(length - 4)

    def close(self) -> None:
        """End the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
