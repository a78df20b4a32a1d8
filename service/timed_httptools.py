"""uvicorn's HTTP/1.1 by httptools with a time limit on every step of a request, as `service.connections` has it for h11.

For the HTTP API, where the parser's time counts. The limits are kept by one timer a connection, which is set anew only where a step's end
comes before it: a step costs no timer of its own.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.connections import MOST_HEAD_BYTES, TOO_LATE, Step

MOST_CONNECTIONS = 1_000
"""Open at a time; one more is answered 503."""
LONG = "protonova.long"
"""In the scope of a request whose answer lasts for as long as its client reads it."""
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class TimedHttpTools(HttpToolsProtocol):
    """One connection.

    Attributes
    ----------
    limits : dict
        Longest time of each step [s].
    """

    limits: ClassVar[dict[Step, float]] = {"head": 8.0, "body": 30.0, "answer": 60.0}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._step: Step | None = None
        self._until = self._fires = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._in_head = False
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin: the first request's head is awaited."""
        super().connection_made(transport)
        self._enter("head")

    def data_received(self, data: bytes) -> None:
        """Take bytes; a head that does not end is refused."""
        in_head = self._in_head
        super().data_received(data)
        if in_head and self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES:
                self.transport.write(TOO_LARGE)
                self.transport.close()

    def on_message_begin(self) -> None:
        """A request's first byte was read."""
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is whole: the body follows."""
        self._in_head = False
        self._enter("body")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is whole: the answer follows."""
        super().on_message_complete()
        if self.cycle is not None and not self.cycle.response_complete:
            self._enter("answer")

    def on_response_complete(self) -> None:
        """The answer is written; it is out once the client has read it."""
        super().on_response_complete()
        self._enter("answer" if self.transport.get_write_buffer_size() else "head")

    def connection_lost(self, exc: Exception | None) -> None:
        """The end."""
        self._step = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super().connection_lost(exc)

    def _enter(self, step: Step) -> None:
        self._step = step
        self._until = until = self.loop.time() + self.limits[step]
        if self._timer is not None:
            if self._fires <= until:
                return
            self._timer.cancel()
        self._set(until)

    def _set(self, until: float) -> None:
        self._fires = until
        self._timer = self.loop.call_at(until, self._look)

    def _look(self) -> None:
        """Whether the step took too long."""
        self._timer = None
        if self._step is None or self.transport.is_closing():
            return
        if self.loop.time() < self._until:
            self._set(self._until)
        elif (
            self._step == "answer"
            and self.cycle is not None
            and self.cycle.response_complete
            and not self.transport.get_write_buffer_size()
        ):
            self._enter("head")  # it was read meanwhile
        elif (
            self._step == "answer" and self.cycle is not None and self.cycle.scope.get(LONG) and not self.transport.get_write_buffer_size()
        ):
            self._enter("answer")  # all that was sent is read
        else:
            self._late()

    def _late(self) -> None:
        """Say so where a request has begun and nothing was answered yet, and end the connection."""
        if self._step == "head" and not self.transport.get_write_buffer_size():
            if self._in_head:
                self.transport.write(TOO_LATE)
            self.transport.close()
        else:
            self.transport.abort()  # `close` waits until the other side has read what it does not read


def fast_server(app: Any, **options: Any) -> uvicorn.Server:
    """A server for an application, with every bound there is, on the loop that Kafka's clients need.

    Parameters
    ----------
    app : ASGI application
    **options
        Of `uvicorn.Config`.
    """
    bounds: dict[str, Any] = {
        "http": TimedHttpTools,
        "ws": "none",
        "loop": "streams.kafka.loop:Loop",
        "limit_concurrency": MOST_CONNECTIONS,
        "timeout_keep_alive": 20,
        "timeout_graceful_shutdown": 5,
        "backlog": 512,
        "server_header": False,
        "date_header": True,
        "access_log": False,
        "proxy_headers": False,
    }
    return uvicorn.Server(uvicorn.Config(app, **(bounds | options)))
