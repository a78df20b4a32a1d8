"""``protonova shadow``: challengers beside the champion and the gates that judge them, as production runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from console.own_process import serve_metrics

if TYPE_CHECKING:
    from settings.model import Settings

BEHIND_THE_WORKERS = 6
"""Place of its metrics' port, behind those of the workers and of the other processes."""


def run(settings: Settings) -> int:
    """Score along and judge until it is asked to end; returns the exit status.

    Raises
    ------
    UserError
        The metrics cannot have their port.
    """
    from streams.agents.gatekeeper import Gatekeeper
    from streams.until_ended import run_until_ended
    from streams.worker import configure_logging

    configure_logging(settings.log_level)
    serve_metrics(settings, settings.workers + BEHIND_THE_WORKERS)
    run_until_ended(lambda: Gatekeeper(settings).run())
    return 0
