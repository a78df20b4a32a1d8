"""Settings → the status service on its port, until it is asked to end."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from errors import UserError
from registry.bundle import load
from schemas.records.table import subjects
from service.connections import server
from service.status.app import make_app
from service.status.feed import AGAIN, Feed
from service.status.figures import Figures

if TYPE_CHECKING:
    from settings.model import Settings


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 takes a free one.

    Raises
    ------
    UserError
        The port is taken, or the address is not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise UserError(
            f"the status page cannot have {host}:{port} ({error.strerror or error}): end its holder, or set PROTONOVA_STATUS_PORT (0: any)"
        ) from error
    return listener


def address(listener: socket.socket) -> str:
    """The page's address."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def serve(settings: Settings, find: Callable[[], Settings | None] = lambda: None) -> int:
    """Serve until interrupted; returns the exit status.

    Parameters
    ----------
    settings : Settings
        Without a broker too: the page shows that there is none.
    find : callable
        Asked again and again for settings with a broker, where none is configured.
    """
    listener = bound(settings.status_host, settings.status_port)
    figures = Figures(time.time, settings.kafka or "")
    # The feed tries again by itself and shows on the page what is wrong; the client library would fill the terminal.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    classes = load(settings.bundle).classes
    further = settings.status_allowed_hosts.split(",")

    async def feed() -> None:
        current: Settings | None = settings
        while current is None or current.kafka is None:
            await asyncio.sleep(AGAIN)
            current = await asyncio.to_thread(find)
        figures.broker = current.kafka
        await Feed(current, figures).run()

    app = make_app(figures, subjects(), host=settings.status_host, feed=feed, classes=classes, allowed_hosts=further)
    # asyncio's loop: under uvloop the feed's clients do not outlive every end of the broker (`streams.kafka.loop`), and a
    # page needs no speed.
    page = server(app, loop="asyncio", log_level="error")
    print(f"status page: {address(listener)}", flush=True)
    with listener:
        page.run(sockets=[listener])
    return 0
