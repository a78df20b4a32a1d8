"""The topics' aliases → MLflow's, where there is a ledger. The topics decide; the ledger is brought up to them, now or the next time.

A ledger that does not answer, or MLflow that is not installed, is said in a line and stops nothing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError

from errors import ProtonovaError, one_line
from registry import ledger
from settings.announced_models import ledger_uri
from streams.models import announced, fetch

if TYPE_CHECKING:
    from settings.model import Settings

WITHIN = 60.0
"""How long the ledger may take [s]."""


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
