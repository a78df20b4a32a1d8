"""Settings and a state folder → the broker a command talks to: the one configured, or the node of a running `protonova run`."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from errors import UserError

if TYPE_CHECKING:
    from settings.model import Settings


ONE_NODE = {"replication": 1, "kafka_security_protocol": "PLAINTEXT"}
"""What holds for the node that we start ourselves, whatever is set for a cluster."""


def reachable(server: str, timeout: float = 2.0) -> str | None:
    """Why nothing listens at host:port; None: something does."""
    host, _, port = server.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=timeout):
            return None
    except OSError as error:
        return error.strerror or str(error) or type(error).__name__


def running(state: Path) -> str | None:
    """Address of the node that `protonova run` keeps on this state folder; None: it does not run."""
    try:
        node = json.loads((state / "kafka" / "node.json").read_text())
        server = f"127.0.0.1:{int(node['broker'])}"
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return server if reachable(server) is None else None


def with_broker(settings: Settings) -> Settings:
    """The same settings with a broker that listens.

    Raises
    ------
    UserError
        There is none.
    """
    if settings.kafka is None:
        found = running(settings.state)
        if found is None:
            raise UserError(f"no broker runs on the state folder {settings.state}: start `protonova run`, or set PROTONOVA_KAFKA=host:port")
        return settings.model_copy(update={"kafka": found, **ONE_NODE})
    # Asked here, once and shortly: a client library would try for a minute and say little.
    reasons = [f"{server}: {why}" for server in settings.kafka.split(",") if (why := reachable(server, 5.0))]
    if len(reasons) == len(settings.kafka.split(",")):
        raise UserError(f"no Kafka broker answers at {'; '.join(reasons)}: start it, or correct PROTONOVA_KAFKA=host:port")
    return settings
