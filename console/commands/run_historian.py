"""``protonova historian``: the history, and the candidates, kept by a process of its own, as production runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from console.own_process import serve_metrics

if TYPE_CHECKING:
    from settings.model import Settings

BEHIND_THE_WORKERS = 4
"""Its metrics' port lies so far behind the workers'."""


def run(settings: Settings, rebuild: bool = False) -> int:
    """Keep the history until it is asked to end; returns the exit status.

    Parameters
    ----------
    settings : Settings
    rebuild : bool
        Drop what is there and read the topics from their start.

    Raises
    ------
    UserError
        The metrics cannot have their port.
    """
    import asyncio

    from streams.agents import candidates, historian
    from streams.until_ended import run_until_ended
    from streams.worker import configure_logging

    configure_logging(settings.log_level)
    serve_metrics(settings, settings.workers + BEHIND_THE_WORKERS)

    async def work() -> None:
        kept = [historian.run(settings, rebuild=rebuild), *([candidates.run(settings)] if settings.candidates else [])]
        await asyncio.gather(*kept)

    run_until_ended(work)
    return 0
