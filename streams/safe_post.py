"""A POST to an address that a user gave, which reaches nothing that only this machine or its network can (SSRF).

The name is resolved here, every address of it is looked at, and the connection goes to the address that was looked at: a name that
resolves to another one a moment later (DNS rebinding) changes nothing. No redirect is followed, no proxy asked, and all of it is bounded.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from errors import UserError

if TYPE_CHECKING:
    from settings.model import Settings

WITHIN = 10.0
"""How long a delivery may take, from its name to its answer [s]."""
LONGEST_ADDRESS = 2_000
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class RefusedAddressError(UserError):
    """An address that is not posted to."""


class PostError(Exception):
    """A delivery that failed and may succeed later."""


def allowed_networks(settings: Settings) -> tuple[Network, ...]:
    """Networks that are posted to though they are not public."""
    return tuple(ipaddress.ip_network(text.strip()) for text in settings.filters_webhook_networks.split(",") if text.strip())


def check_address(address: str, networks: Sequence[Network]) -> None:
    """Refuse what can never be posted to, without resolving its name.

    Raises
    ------
    RefusedAddressError
    """
    _parts(address, networks)


def _parts(address: str, networks: Sequence[Network]) -> tuple[Any, str, int]:
    if len(address) > LONGEST_ADDRESS or any(ord(c) <= 32 or ord(c) == 127 for c in address):
        raise RefusedAddressError("a webhook is an address without spaces, 2,000 characters at most")
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        raise RefusedAddressError("a webhook is an address like https://example.org/alerts") from None
    host = parts.hostname
    if parts.scheme not in ("https", "http") or not host or parts.username is not None or parts.password is not None:
        raise RefusedAddressError("a webhook is an address like https://example.org/alerts, without a user in it")
    if parts.scheme == "http" and not networks:
        raise RefusedAddressError("a webhook is https: what is posted names alerts, and its signature is for its reader")
    with suppress(ValueError):  # a name
        _check_ip(ipaddress.ip_address(host), networks)
    return parts, host, port or (443 if parts.scheme == "https" else 80)


def _check_ip(found: Address, networks: Sequence[Network]) -> None:
    mapped = getattr(found, "ipv4_mapped", None) or getattr(found, "sixtofour", None)
    teredo = getattr(found, "teredo", None)
    inner = [found, *([mapped] if mapped else []), *(teredo or ())]
    if any(found in network for network in networks):
        return
    for one in inner:
        if not one.is_global or one.is_multicast or one.is_reserved or one.is_unspecified:
            raise RefusedAddressError("a webhook goes to a public address: not to this machine, its network or a link-local one")
    if isinstance(found, ipaddress.IPv6Address) and found in _NAT64:
        raise RefusedAddressError("a webhook goes to a public address: not to one behind a translation")


_NAT64 = ipaddress.ip_network("64:ff9b::/96")


async def resolved(host: str, port: int, *, networks: Sequence[Network]) -> str:
    """An address of a name, all of which were looked at.

    Raises
    ------
    RefusedAddressError
        One of them is not public.
    PostError
        The name is not known at present.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        raise PostError("the name of the webhook is not known") from None
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    if not addresses:
        raise PostError("the name of the webhook has no address")
    for one in addresses:
        _check_ip(one, networks)
    return str(addresses[0])


async def post(address: str, body: bytes, *, headers: dict[str, str], networks: Sequence[Network] = (), within: float = WITHIN) -> int:
    """Post, and return the status; 2xx is a delivery.

    Raises
    ------
    RefusedAddressError
        It is not posted to.
    PostError
        There was no answer, or none in time.
    """
    parts, host, port = _parts(address, networks)
    try:
        async with asyncio.timeout(within):
            ip = await resolved(host, port, networks=networks)
            at = f"[{ip}]" if ":" in ip else ip
            url = f"{parts.scheme}://{at}:{port}{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
            named = f"[{host}]" if ":" in host else host
            own = {**headers, "Host": named if parts.port is None else f"{named}:{port}"}
            async with httpx.AsyncClient(follow_redirects=False, trust_env=False, timeout=within) as client:
                request = client.build_request("POST", url, content=body, headers=own, extensions={"sni_hostname": host})
                answer = await client.send(request, stream=True)  # its body is nothing to us, and may have no end
                try:
                    return answer.status_code
                finally:
                    await answer.aclose()
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise PostError(f"{type(error).__name__}") from None
    except TimeoutError:
        raise PostError(f"no answer within {within:g} s") from None
