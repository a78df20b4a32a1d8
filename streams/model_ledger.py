"""The topics' aliases → MLflow's, where there is a ledger. The topics decide; the ledger is brought up to them, now or the next time.

A ledger that does not answer, or MLflow that is not installed, is said in a line and stops nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import structlog
from aiokafka.errors import KafkaError

from errors import ProtonovaError, one_line
from registry import ledger
from schemas.records.model_announced import CHAMPION, ModelAnnounced
from settings.announced_models import ledger_uri
from streams.models import announced, fetch

if TYPE_CHECKING:
    from settings.model import Settings

log = structlog.get_logger(__name__)

WITHIN = 60.0
"""How long the ledger may take [s]."""
AGAIN = 300.0
"""After this a ledger that did not answer is tried again [s]."""


async def bring_up(settings: Settings) -> str | None:
    """Have the ledger know every model that an alias names, and which one it is.

    Returns
    -------
    str or None
        Why it does not, as one line; None: it does, or there is none.
    """
    uri = ledger_uri(settings)
    if uri is None or (settings.ledger is None and not ledger.installed()):
        return None
    try:
        async with asyncio.timeout(WITHIN):
            known = await announced(settings)
            folders = {alias: await fetch(settings, one) for alias, one in known.items()}
            await asyncio.to_thread(ledger.set_aliases, uri, folders)
    except TimeoutError:
        return f"the ledger {uri} took more than {WITHIN:.0f} s; it is brought up the next time"
    except (ProtonovaError, KafkaError, OSError) as error:
        return f"{one_line(error, 300)}; it is brought up the next time"
    return None


class LedgerKeeper:
    """Brings the ledger up after promotions and rollbacks of one author, beside what that author does: a ledger may take a minute.

    Commands bring it up themselves. What a process that was killed left undone the next one does: the announcement says what is due.

    Parameters
    ----------
    settings : Settings
        With a broker.
    author : str
        Whose champions are noted.
    """

    def __init__(self, settings: Settings, author: str) -> None:
        self._settings, self._author = settings, author
        self._due = asyncio.Event()
        self._revision = 0
        """Of the champion that was met last."""

    def see(self, known: Mapping[str, ModelAnnounced]) -> None:
        """Take the aliases as they are now."""
        champion = known.get(CHAMPION)
        if champion is not None and champion.author == self._author and champion.revision != self._revision:
            self._revision = champion.revision
            self._due.set()

    async def run(self) -> None:
        """Work until cancelled; a ledger that does not answer is tried again."""
        while True:
            await self._due.wait()
            self._due.clear()
            if (why := await bring_up(self._settings)) is not None:
                log.warning("the ledger does not know the champion yet", why=why, tries_again_in_s=AGAIN)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._due.wait(), AGAIN)
                self._due.set()
