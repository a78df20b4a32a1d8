"""``protonova mirror``: the mirror alone, as production runs it."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from errors import usage

if TYPE_CHECKING:
    from settings.model import Settings


def run(settings: Settings) -> int:
    """Mirror until it is asked to end; returns the exit status.

    Raises
    ------
    UserError
        No source is configured.
    """
    from streams.agents import mirror
    from streams.worker import configure_logging

    if not settings.source:
        raise usage("no source is configured: describe one as [[source]] in protonova.toml (docs/sources.md)")
    configure_logging(settings.log_level)

    async def until_ended() -> None:
        task = asyncio.ensure_future(mirror.run(settings))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        await asyncio.wait([task])
        if not task.cancelled() and task.exception() is not None:
            raise task.exception()  # type: ignore[misc]

    asyncio.run(until_ended())
    return 0
