"""``protonova increments``: the joining of light curves alone, as production runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from console.own_process import serve_metrics

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
    import structlog

    from streams.agents import increments
    from streams.agents.reject_limits import RejectLimitError
    from streams.until_ended import run_until_ended
    from streams.worker import configure_logging

    configure_logging(settings.log_level)
    serve_metrics(settings, settings.workers)
    try:
        run_until_ended(lambda: increments.run(settings))
    except RejectLimitError as error:
        structlog.get_logger(__name__).error("increments are not joined any more", why=str(error))
        return HALTED
    return 0
