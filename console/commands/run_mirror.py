"""``protonova mirror``: the mirror alone, as production runs it."""

from __future__ import annotations

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
    from streams.until_ended import run_until_ended
    from streams.worker import configure_logging

    if not settings.source:
        raise usage("no source is configured: describe one as [[source]] in protonova.toml (docs/sources.md)")
    configure_logging(settings.log_level)

    run_until_ended(lambda: mirror.run(settings))
    return 0
