"""Settings → the API on its port, until it is asked to end."""

from __future__ import annotations

import logging
import resource
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog
from starlette.applications import Starlette

from errors import UserError
from service.api.application import make_api
from service.api.dispatch import Desk
from service.api.endpoints import Services
from service.api.routes import ENDPOINTS
from service.api.running import running
from service.auth.audit import AuditLog
from service.auth.bearer_tokens import verifier_of
from service.auth.guard import Guard, is_loopback
from service.auth.key_ring import KeyRing
from service.auth.local_key import local_key
from service.auth.rate_limits import RateLimits
from service.auth.shared_limits import share as share_limits
from service.auth.shared_limits import shared_server
from service.timed_httptools import MOST_CONNECTIONS, fast_server
from streams.worker import published

if TYPE_CHECKING:
    from settings.model import Settings

log = structlog.get_logger(__name__)

AUDIT = "logs/audit.log"
"""In the state folder."""
OTHER_FILES = 256
"""Files a process has beside its clients' connections: the broker's, the history's, libraries."""


def listener(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket bound there; port 0 takes a free one.

    Parameters
    ----------
    host : str
    port : int
    shared : bool
        Whether other processes of ours may listen there too: the kernel gives each its connections.

    Raises
    ------
    UserError
        The port is taken, or the address is not ours.
    """
    found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        found.bind((host, port))
    except OSError as error:
        found.close()
        raise UserError(
            f"the HTTP API cannot have {host}:{port} ({error.strerror or error}): end its holder, or set PROTONOVA_API_PORT (0: any)"
        ) from error
    return found


def make_room(connections: int) -> None:
    """Raise the number of files this process may have open, where the system's default is below what so many connections take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * connections + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(hard, wanted), hard))


def address_of(found: socket.socket, *, tls: bool) -> str:
    """The address by which the API is called."""
    host, port = found.getsockname()[:2]
    return f"http{'s' if tls else ''}://{f'[{host}]' if ':' in host else host}:{port}"


def serve_api(settings: Settings, *, version: str, shared: bool = False) -> int:
    """Serve until interrupted; returns the exit status.

    Parameters
    ----------
    settings : Settings
        Without a broker too: then it scores, and nothing else.
    version : str
        Of the program.
    shared : bool
        Whether it is one of several processes on the port.

    Raises
    ------
    UserError
        The port is taken, a file of the settings cannot be read.
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what it says a thousand times a minute, a line of ours says once
    tls = settings.api_tls_certfile is not None
    loopback = is_loopback(settings.api_host) or settings.api_host == "localhost"
    make_room(MOST_CONNECTIONS)
    bound = listener(settings.api_host, settings.api_port, shared=shared)
    with bound:
        ring = KeyRing()
        if settings.api_local_key and loopback:
            found = local_key(settings.state)
            ring.keep_local(found.key_id, found.digest)
            if found.new is not None:
                print(f"API key of this machine, shown this once: {found.new}", flush=True)
        if not loopback and not tls:
            log.warning("keys travel readable: set PROTONOVA_API_TLS_CERTFILE, or put a proxy with TLS before it", host=settings.api_host)
        share = settings.api_processes if shared else 1
        limits = RateLimits(settings.api_rate / share, settings.api_address_rate / share)
        server = shared_server(settings)
        if server is not None:
            share_limits(limits, server, rate=settings.api_rate, address_rate=settings.api_address_rate)
        services = Services(settings, keys=ring)
        desk = Desk(services, Guard(ring, limits, tokens=verifier_of(settings)), audit=AuditLog(settings.state / AUDIT))
        pipeline = published(settings)

        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            async with running(settings, services, ring=ring, pipeline=pipeline):
                yield
            if server is not None:
                await server.close()

        further = settings.api_allowed_hosts.split(",")
        app = make_api(ENDPOINTS, desk, version=version, host=settings.api_host, allowed_hosts=further, lifespan=lifespan)
        files = {} if not tls else {"ssl_certfile": settings.api_tls_certfile, "ssl_keyfile": settings.api_tls_keyfile}
        print(f"HTTP API: {address_of(bound, tls=tls)}", flush=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)  # uvicorn raises what ended it once more when all is done: that is then nothing
        fast_server(app, log_level="error", **files).run(sockets=[bound])
    return 0
