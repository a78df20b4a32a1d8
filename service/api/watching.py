"""The figures of the status page, for as long as they are asked for.

settings, a question → a snapshot; the first question begins to listen, and after a minute without one nothing is listened to
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from service.status.feed import Feed
from service.status.figures import Figures

if TYPE_CHECKING:
    from settings.model import Settings

FIRST_WITHIN = 4.0
"""How long the first answer waits for what workers report every second [s]."""
BROKER_WITHIN = 12.0
"""How long it waits until the broker says where the topics stand [s]."""
IDLE_S = 60.0
"""Without a question it ends [s]."""
POLL_S = 0.1


class Watching:
    """Listens to the broker while it is asked.

    Parameters
    ----------
    settings : Settings
        With a broker.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._figures: Figures | None = None
        self._task: asyncio.Task[None] | None = None
        self._asked = 0.0

    async def snapshot(self) -> dict[str, Any]:
        """All figures, as the status page has them; of a moment, where it was the first question."""
        self._asked = time.monotonic()
        figures = self._figures
        if figures is None or self._task is None or self._task.done():
            figures = self._figures = Figures(time.time, self._settings.kafka or "")
            self._task = asyncio.ensure_future(self._listen(figures))
        while True:
            found = figures.snapshot()
            enough = figures.ready and (found["workers"] or found["uptime_s"] > FIRST_WITHIN)
            if enough or found["uptime_s"] > BROKER_WITHIN:
                return found
            await asyncio.sleep(POLL_S)

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _listen(self, figures: Figures) -> None:
        feed = asyncio.ensure_future(Feed(self._settings, figures).run())
        try:
            while time.monotonic() - self._asked < IDLE_S and not feed.done():  # noqa: ASYNC110 - time alone may end it
                await asyncio.sleep(1.0)
        finally:
            feed.cancel()
            with suppress(asyncio.CancelledError):
                await feed
            self._figures = None
