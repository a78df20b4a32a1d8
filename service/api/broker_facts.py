"""What compacted topics say, for resources that are asked often: read whole, and kept for a few seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from aiokafka.errors import KafkaError

from errors import RetryableError
from service.api.problems import ProblemError

if TYPE_CHECKING:
    from schemas.records.class_record import ClassRecord
    from schemas.records.model_announced import ModelAnnounced
    from settings.model import Settings

FRESH_S = 3.0
"""How long an answer is kept [s]."""
WITHIN = 10.0
"""How long the broker may take [s]."""


class BrokerFacts:
    """Asks the broker, one question of a kind at a time.

    Parameters
    ----------
    settings : Settings
        With a broker; without one nothing is taught or announced.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._kept: dict[str, tuple[float, Any]] = {}
        self._turns: dict[str, asyncio.Lock] = {}

    async def taught(self) -> Mapping[str, ClassRecord]:
        """Name → record of each class that is taught.

        Raises
        ------
        ProblemError
            503: the broker does not answer.
        """
        from streams.agents.teaching import read_records

        found: Mapping[str, ClassRecord] = await self._ask("taught", lambda: read_records(self._settings))
        return found

    async def announced(self) -> Mapping[str, ModelAnnounced]:
        """Alias → model.

        Raises
        ------
        ProblemError
            503: the broker does not answer.
        """
        from streams.models import announced

        found: Mapping[str, ModelAnnounced] = await self._ask("announced", lambda: announced(self._settings))
        return found

    async def _ask(self, name: str, question: Callable[[], Awaitable[Any]]) -> Any:
        if self._settings.kafka is None:
            return {}
        async with self._turns.setdefault(name, asyncio.Lock()):
            at, found = self._kept.get(name, (float("-inf"), None))
            if time.monotonic() - at > FRESH_S:
                try:
                    async with asyncio.timeout(WITHIN):
                        found = await question()
                except (KafkaError, OSError, TimeoutError, RetryableError):
                    raise ProblemError(503, "the broker does not answer", headers={"Retry-After": "5"}) from None
                self._kept[name] = time.monotonic(), found
            return found
