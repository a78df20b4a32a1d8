"""``protonova api``: the HTTP API, in one process or several on one port."""

from __future__ import annotations

import shutil
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

from console.child import Child
from console.version import version
from errors import say
from settings.private import private_folder

if TYPE_CHECKING:
    from settings.model import Settings

AGAIN = 1.0
"""Before a process that ended is started again [s]."""
WRONG_SETTINGS = 2
COUNTS = "run/api-counts"
"""In the state folder: what the processes count of requests, so that each can say it of all."""


def run(settings: Settings, *, shared: bool) -> int:
    """Serve until it is asked to end; returns the exit status.

    Parameters
    ----------
    settings : Settings
    shared : bool
        Whether this is one of several processes that a parent started on one port.
    """
    if settings.api_processes > 1 and not shared:
        return _several(settings)
    from service.api.listening import serve_api
    from streams.worker import configure_logging, keep_memory

    keep_memory()
    configure_logging(settings.log_level)
    return serve_api(settings, version=version(), shared=shared)


def _several(settings: Settings) -> int:
    """Keep several processes up."""
    from service.api.http_metrics import SHARED
    from service.api.listening import address_of, listener
    from service.auth.guard import is_loopback
    from service.auth.local_key import local_key

    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with listener(settings.api_host, settings.api_port, shared=True) as held:  # bound and not listening: it keeps the port ours
        if settings.api_local_key and is_loopback(settings.api_host) and (new := local_key(settings.state).new) is not None:
            print(f"API key of this machine, shown this once: {new}", flush=True)
        port = held.getsockname()[1]
        environment = {**settings.environment(), "PROTONOVA_API_PORT": str(port), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "console.cli", "api", "--shared"]
        logs = settings.state / "logs"
        counts = settings.state / COUNTS
        shutil.rmtree(counts, ignore_errors=True)
        private_folder(counts)
        environment[SHARED] = str(counts)

        def start(slot: int) -> Child:
            return Child(command, logs / f"api-{slot}.log", environment=environment)

        children = {slot: start(slot) for slot in range(settings.api_processes)}
        print(f"HTTP API: {address_of(held, tls=settings.api_tls_certfile is not None)}", flush=True)
        status = 0
        due = dict.fromkeys(children, 0.0)
        while not ended.wait(0.2):
            for slot, child in children.items():
                if (code := child.poll()) is None:
                    continue
                if code == WRONG_SETTINGS:
                    say(f"process {slot} cannot start; its log is {child.log}")
                    status = code
                    ended.set()
                elif not due[slot]:
                    child.wait()
                    say(f"process {slot} ended with status {code}; it is started again, its log is {child.log}")
                    due[slot] = time.monotonic() + AGAIN
                elif time.monotonic() >= due[slot]:
                    due[slot] = 0.0
                    children[slot] = start(slot)
        for child in children.values():
            child.ask()
        for child in children.values():
            child.stop()
        return status
