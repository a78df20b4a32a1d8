"""``protonova filters``: users' filters asked by a process of its own, as production runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from console.own_process import serve_metrics

if TYPE_CHECKING:
    from settings.model import Settings

BEHIND_THE_WORKERS = 7
"""Its metrics' port lies so far behind the workers'."""


def run(settings: Settings) -> int:
    """Ask filters until it is asked to end; returns the exit status.

    Parameters
    ----------
    settings : Settings

    Raises
    ------
    UserError
        The metrics cannot have their port.
    """
    from streams.agents import filter_runner
    from streams.until_ended import run_until_ended
    from streams.worker import configure_logging

    configure_logging(settings.log_level)
    serve_metrics(settings, settings.workers + BEHIND_THE_WORKERS)
    run_until_ended(lambda: filter_runner.run(settings))
    return 0
