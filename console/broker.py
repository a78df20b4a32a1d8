"""Settings and a state folder → the broker a command talks to: the one configured, or the node of a running `protonova run`."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from console.probe import unusable
from errors import UserError

if TYPE_CHECKING:
    from settings.model import Settings


ONE_NODE = {"replication": 1, "kafka_security_protocol": "PLAINTEXT"}
"""What holds for the node that we start ourselves, whatever is set for a cluster."""


def listens(server: str, timeout: float = 2.0) -> bool:
    """Whether something listens at host:port; what it is is `console.probe`'s to say."""
    host, _, port = server.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=timeout):
            return True
    except OSError:
        return False


def running(state: Path) -> str | None:
    """Address of the node that `protonova run` keeps on this state folder; None: it does not run."""
    try:
        node = json.loads((state / "kafka" / "node.json").read_text())
        server = f"127.0.0.1:{int(node['broker'])}"
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return server if listens(server) else None


def problems(settings: Settings) -> dict[str, str | None]:
    """What is wrong with each of the configured bootstrap servers; None: nothing."""
    servers = (settings.kafka or "").split(",")

    async def ask() -> list[str | None]:
        return await asyncio.gather(*(unusable(settings, server) for server in servers))

    return dict(zip(servers, asyncio.run(ask()), strict=True))


def own_node(settings: Settings) -> Settings | None:
    """The same settings with the node of `protonova run`; None: it does not run."""
    found = running(settings.state)
    return None if found is None else settings.model_copy(update={"kafka": found, **ONE_NODE})


def with_broker(settings: Settings) -> Settings:
    """The same settings with a broker that can be used.

    Raises
    ------
    UserError
        There is none; the line names what listens there instead, and what to set.
    """
    if settings.kafka is None:
        found = own_node(settings)
        if found is None:
            raise UserError(f"no broker runs on the state folder {settings.state}: start `protonova run`, or set PROTONOVA_KAFKA=host:port")
        settings = found
    # Asked here, once and shortly: a client library would try for a minute and say little.
    wrong = problems(settings)
    if all(wrong.values()):
        raise UserError("; ".join(f"{server} {why}" for server, why in wrong.items()))
    return settings
