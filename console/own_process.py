"""What a command that is a process of production by itself shares: its metrics on a port, its work until a signal ends it.

settings, a coroutine → metrics are served, the coroutine has ended
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from errors import UserError, one_line

if TYPE_CHECKING:
    from settings.model import Settings


def serve_metrics(settings: Settings, place: int) -> None:
    """Serve the metrics of this process.

    Parameters
    ----------
    settings : Settings
    place : int
        Behind the port of the first worker; where the setting is 0, any port.

    Raises
    ------
    UserError
        They cannot have their port.
    """
    import prometheus_client

    port = settings.metrics_port + place if settings.metrics_port else 0
    try:
        prometheus_client.start_http_server(port, settings.metrics_host)
    except OSError as error:
        raise UserError(
            f"the metrics cannot have {settings.metrics_host}:{port} ({one_line(error, 80)}): set PROTONOVA_METRICS_PORT"
        ) from None


def run_until_ended(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run until SIGTERM or SIGINT; what the work raises is raised here."""

    async def until_ended() -> None:
        task = asyncio.ensure_future(work())
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        await asyncio.wait([task])
        if not task.cancelled() and task.exception() is not None:
            raise task.exception()  # type: ignore[misc]

    asyncio.run(until_ended())
