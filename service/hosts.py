"""A request's Host and size → whether it is answered at all. In front of everything that is served.

A page of another site can have its own name point to our address (DNS rebinding) and then read what we serve, as its own; the name
it uses stands in the Host header. So only names that are ours are answered. An address is not a name: it cannot be pointed elsewhere.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK = ("localhost", "127.0.0.1", "::1")
Refusal = Callable[[int, str], Response]
"""Status and reason → the answer."""
MOST_HEADERS, MOST_HEADER_BYTES, MOST_PATH_BYTES = 100, 16_384, 8_192


def host_of(header: bytes) -> str | None:
    """The name or address in a Host header, in lower case and without its port; None: it is not one."""
    try:
        text = header.decode("ascii").strip().lower()
    except UnicodeDecodeError:
        return None
    if text.startswith("["):
        name, bracket, port = text[1:].partition("]")
        port = port.removeprefix(":") if port.startswith(":") else ("" if not port else "x")
        if not bracket:
            return None
    else:
        name, _, port = text.partition(":")
    name = name.removesuffix(".")
    if not name or (port and not port.isdigit()):
        return None
    return name


def own_names(bound_to: str) -> frozenset[str]:
    """The names by which this machine may be asked, if a server is bound to an address."""
    names = {*LOOPBACK, bound_to.lower()}
    if bound_to not in LOOPBACK:
        host = socket.gethostname().lower()
        names |= {host, host.partition(".")[0], f"{host.partition('.')[0]}.local", socket.getfqdn().lower()}
    return frozenset(names)


class AllowedHosts:
    """Refuses requests whose Host is not ours, and those whose head is beyond measure.

    Parameters
    ----------
    app : ASGI application
    bound_to : str
        Address the server is bound to. On loopback only loopback's names and addresses are ours; elsewhere also any address and this
        machine's names.
    further : iterable of str
        More names, such as a proxy's.
    setting : str
        Which names them.
    refused : callable, optional
        Makes the answer of what is refused; a line of text otherwise.
    """

    def __init__(
        self,
        app: ASGIApp,
        bound_to: str,
        *,
        further: Iterable[str] = (),
        setting: str = "PROTONOVA_STATUS_ALLOWED_HOSTS",
        refused: Refusal | None = None,
    ) -> None:
        self.app, self._setting, self._refused = app, setting, refused or _line
        self._names = own_names(bound_to) | {name.strip().lower().removesuffix(".") for name in further if name.strip()}
        self._loopback = bound_to in LOOPBACK

    def allows(self, host: str | None) -> bool:
        """Whether a Host is ours."""
        if host is None:
            return False
        if host in self._names:
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return address.is_loopback if self._loopback else True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = scope["headers"]
        hosts = [value for name, value in headers if name == b"host"]
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MOST_PATH_BYTES:
            refusal = self._refused(414, "the address is too long")
        elif len(headers) > MOST_HEADERS or sum(len(n) + len(v) for n, v in headers) > MOST_HEADER_BYTES:
            refusal = self._refused(431, "the headers are too large")
        elif len(hosts) != 1 or not self.allows(host_of(hosts[0])):
            refusal = self._refused(400, f"not a name of this service: {self._setting} lists further ones")
        else:
            await self.app(scope, receive, send)
            return
        await refusal(scope, receive, send)


def _line(status: int, reason: str) -> Response:
    return PlainTextResponse(f"{status} {reason}\n", status)
