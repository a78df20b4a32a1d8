"""An address and a key → how the service is called."""

from __future__ import annotations

import ipaddress
import os
from typing import Any
from urllib.parse import urlsplit

ADDRESS, KEY = "PN_ADDRESS", "PN_KEY"
AGENT = "protonova-client"


def options(address: str | None, key: str | None, *, timeout: float) -> dict[str, Any]:
    """The options of an httpx client.

    Raises
    ------
    ValueError
        There is no address; or a key would travel readable, as by http beyond this machine.
    """
    address = address or os.environ.get(ADDRESS)
    key = key or os.environ.get(KEY)
    if not address:
        raise ValueError(f"no address of the service: give one, or set {ADDRESS}")
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError("the address of the service is http://host:port or https://host, without a name or a key in it")
    if key and parts.scheme == "http" and not _is_here(parts.hostname):
        raise ValueError("over http a key can be read on its way: use https beyond this machine")
    headers = {"User-Agent": AGENT, **({"Authorization": f"Bearer {key}"} if key else {})}
    return {"base_url": address, "headers": headers, "timeout": timeout, "follow_redirects": False}


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
