"""uvicorn's HTTP/1.1 with a time limit on every step of a request, so that no client holds a connection by being slow (slowloris).

uvicorn bounds only how long an idle connection is kept. Here a request's head, its body and the reading of its answer each have their time;
the limits are on the whole step, not on a pause in it: a byte a second does not buy more.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, Literal

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

Step = Literal["head", "body", "answer"]
MOST_CONNECTIONS = 200
"""Open at a time; one more is answered 503."""
MOST_HEAD_BYTES = 16_384
"""A head that is not whole after so much is refused."""
TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class TimedProtocol(H11Protocol):
    """One connection.

    Attributes
    ----------
    limits : dict
        Longest time of each step [s].
    """

    limits: ClassVar[dict[Step, float]] = {"head": 8.0, "body": 10.0, "answer": 30.0}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._step: Step | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin: the first request's head is awaited."""
        super().connection_made(transport)
        self._enter("head")

    def data_received(self, data: bytes) -> None:
        """Take bytes; see which step the request is in now."""
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """The answer is out: the next head is awaited."""
        super().on_response_complete()
        self._look(anew=True)

    def resume_writing(self) -> None:
        """Most of what was written has been read."""
        super().resume_writing()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end."""
        self._enter(None)
        super().connection_lost(exc)

    def _look(self, anew: bool = False) -> None:
        state = self.conn.their_state
        # The application is done long before a slow reader is: what is still to be written belongs to the answer.
        answered = (self.cycle is None or self.cycle.response_complete) and not self.transport.get_write_buffer_size()
        step: Step = "body" if state is h11.SEND_BODY else "head" if answered and state is h11.IDLE else "answer"
        if step != self._step or anew:
            self._enter(step)

    def _enter(self, step: Step | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._step = step
        self._timer = None if step is None else self.loop.call_later(self.limits[step], self._late)

    def _late(self) -> None:
        """The step took too long: say so where a request has begun and nothing was answered yet, and end the connection."""
        if self._step == "head" and not self.transport.is_closing() and not self.transport.get_write_buffer_size():
            if self.conn.trailing_data[0]:
                self.transport.write(TOO_LATE)
            self.transport.close()
        else:
            self.transport.abort()  # `close` waits until the other side has read what it does not read


def server(app: Any, **options: Any) -> uvicorn.Server:
    """A server for an application, with every bound there is.

    Parameters
    ----------
    app : ASGI application
    **options
        Of `uvicorn.Config`.
    """
    bounds: dict[str, Any] = {
        "http": TimedProtocol,
        "ws": "none",
        "limit_concurrency": MOST_CONNECTIONS,
        "h11_max_incomplete_event_size": MOST_HEAD_BYTES,
        "timeout_keep_alive": 5,
        "timeout_graceful_shutdown": 2,
        "server_header": False,
        "access_log": False,
    }
    return uvicorn.Server(uvicorn.Config(app, **(bounds | options)))
