"""Settings → the status service on its port, until it is asked to end."""

from __future__ import annotations

import logging
import socket
import time
from typing import TYPE_CHECKING

from errors import UserError
from registry.bundle import load
from schemas.records.table import subjects
from service.connections import server
from service.status.app import make_app
from service.status.feed import Feed
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


def serve(settings: Settings) -> int:
    """Serve until interrupted; returns the exit status."""
    listener = bound(settings.status_host, settings.status_port)
    figures = Figures(time.time, settings.kafka or "")
    # The feed tries again by itself and shows on the page what is wrong; the client library would fill the terminal.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    classes = load(settings.bundle).classes
    further = settings.status_allowed_hosts.split(",")
    app = make_app(figures, subjects(), settings.status_host, Feed(settings, figures).run, classes=classes, allowed_hosts=further)
    # asyncio's loop: under uvloop the feed's clients do not outlive every end of the broker (`streams.kafka.loop`), and a
    # page needs no speed.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # requests that are not HTTP are not logged
    page = server(app, loop="asyncio", log_level="error")
    print(f"status page: {address(listener)}", flush=True)
    with listener:
        page.run(sockets=[listener])
    return 0
