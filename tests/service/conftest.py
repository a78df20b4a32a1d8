"""An application on a real port, as the status page serves it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from service.connections import server
from service.status.serve import bound

Serving = Callable[..., AbstractContextManager[int]]


@contextmanager
def serve(app: Any, host: str = "127.0.0.1", **options: Any) -> Iterator[int]:
    """Serve; its port."""
    listener = bound(host, 0)
    running = server(app, log_level="critical", **options)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not running.started and time.monotonic() < deadline:
        time.sleep(0.02)
    assert running.started
    try:
        yield listener.getsockname()[1]
    finally:
        running.should_exit = True
        thread.join(20)
        listener.close()


@pytest.fixture(scope="session")
def serving() -> Serving:
    """`serve`, for the tests of this folder."""
    return serve
