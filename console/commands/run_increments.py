"""``protonova increments``: the joining of light curves alone, as production runs it."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from errors import UserError, one_line

if TYPE_CHECKING:
    from settings.model import Settings

HALTED = 65
"""Exit status: too many increments were rejected; a person decides how to go on. `streams.wiring`'s, by which the supervisor knows it."""


def run(settings: Settings) -> int:
    """Join increments until it is asked to end; returns the exit status.

    Raises
    ------
    UserError
        The metrics cannot have their port.
    """
    import prometheus_client
    import structlog

    from streams.agents import increments
    from streams.agents.reject_limits import RejectLimitError
    from streams.worker import configure_logging

    configure_logging(settings.log_level)
    port = settings.metrics_port + settings.workers if settings.metrics_port else 0
    try:
        prometheus_client.start_http_server(port, settings.metrics_host)
    except OSError as error:
        raise UserError(
            f"the metrics cannot have {settings.metrics_host}:{port} ({one_line(error, 80)}): set PROTONOVA_METRICS_PORT"
        ) from None

    async def until_ended() -> None:
        task = asyncio.ensure_future(increments.run(settings))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        await asyncio.wait([task])
        if not task.cancelled() and task.exception() is not None:
            raise task.exception()  # type: ignore[misc]

    try:
        asyncio.run(until_ended())
    except RejectLimitError as error:
        structlog.get_logger(__name__).error("increments are not joined any more", why=str(error))
        return HALTED
    return 0
