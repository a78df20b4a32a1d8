"""What topics say, for resources that are asked often: read whole, and kept for a few seconds; and changes that are written to them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from aiokafka.errors import KafkaError

from errors import RetryableError, UserError
from service.api.problems import ProblemError

if TYPE_CHECKING:
    from schemas.records.class_record import ClassRecord
    from schemas.records.drift_alarm import DriftAlarm
    from schemas.records.model_announced import ModelAnnounced
    from schemas.records.source_state import SourceState
    from settings.model import Settings
    from streams.drift_charts import Chart
    from streams.known_labels import Labels
    from streams.loop_history import Step

FRESH_S = 3.0
"""How long an answer is kept [s]."""
WITHIN = 10.0
"""How long the broker may take [s]."""
CHANGE_WITHIN = 60.0
"""How long a change may take [s]: others may hold it up."""
_Found = TypeVar("_Found")


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
        self._changes = asyncio.Lock()

    async def taught(self) -> Mapping[str, ClassRecord]:
        """Name → record of each class that is taught.

        Raises
        ------
        ProblemError
            503: the broker does not answer; so do all of these.
        """
        from streams.agents.teaching import read_records

        found: Mapping[str, ClassRecord] = await self.ask("taught", lambda: read_records(self._settings), nothing={})
        return found

    async def announced(self) -> Mapping[str, ModelAnnounced]:
        """Alias → model."""
        from streams.models import announced

        found: Mapping[str, ModelAnnounced] = await self.ask("announced", lambda: announced(self._settings), nothing={})
        return found

    async def steps(self) -> Sequence[Step]:
        """What happened in the loop, in order."""
        from streams.loop_history import read_loop

        found: Sequence[Step] = await self.ask("steps", lambda: read_loop(self._settings), nothing=())
        return found

    async def alarms(self) -> Sequence[DriftAlarm]:
        """Alarms of drift, in order."""
        from schemas.records.drift_alarm import DriftAlarm

        return [step.record for step in await self.steps() if isinstance(step.record, DriftAlarm)]

    async def charts(self) -> Sequence[Chart]:
        """The sums that drift is found by."""
        from streams.drift_charts import read_charts

        found: Sequence[Chart] = await self.ask("charts", lambda: read_charts(self._settings), nothing=())
        return found

    async def sources(self, *, ours: bool = False) -> Mapping[str, SourceState]:
        """Source → what the mirror says of it; or process of ours → what it says of itself."""
        from streams.source_states import source_states

        question = lambda: source_states(self._settings, ours=ours)  # noqa: E731
        found: Mapping[str, SourceState] = await self.ask(f"sources {ours}", question, nothing={})
        return found

    async def labels(self) -> Labels:
        """What alerts are known to be."""
        from streams.known_labels import Labels, read_labels

        found: Labels | None = await self.ask("labels", lambda: read_labels(self._settings))
        return Labels() if found is None else found

    async def ask(self, name: str, question: Callable[[], Awaitable[Any]], *, nothing: Any = None, within: float = WITHIN) -> Any:
        """An answer of the broker, kept for a few seconds.

        Parameters
        ----------
        name : str
            Of the question.
        question : callable
        nothing : object
            The answer where there is no broker.
        within : float
            How long it may take [s].

        Raises
        ------
        ProblemError
            503: the broker does not answer.
        """
        if self._settings.kafka is None:
            return nothing
        async with self._turns.setdefault(name, asyncio.Lock()):
            at, found = self._kept.get(name, (float("-inf"), None))
            if time.monotonic() - at > FRESH_S:
                found = await answered(question, within=within)
                self._kept[name] = time.monotonic(), found
            return found

    async def change(self, work: Callable[[], Awaitable[_Found]], *, present: Callable[[], Awaitable[int]]) -> _Found:
        """Write a change; one at a time, since changes of a kind fence each other off.

        Parameters
        ----------
        work : callable
            Writes it, compared with the revision that its author saw.
        present : callable
            The revision there is, where it is another one.

        Raises
        ------
        ProblemError
            409: it was changed meanwhile; 422: it cannot be; 503: there is no broker, or it does not answer.
        """
        from streams.kafka.fenced import ConflictError

        if self._settings.kafka is None:
            raise ProblemError(503, "without a broker nothing can be changed", headers={"Retry-After": "60"})
        async with self._changes:
            try:
                return await answered(work, within=CHANGE_WITHIN)
            except ConflictError as error:
                raise conflict(str(error), await present()) from None
            except UserError as error:
                raise ProblemError(422, str(error)) from None
            finally:
                self._kept.clear()


def conflict(detail: str, revision: int) -> ProblemError:
    """The problem of a change that was based on another revision than the one there is."""
    return ProblemError(409, f"{detail}; the present revision is {revision}", headers={"ETag": f'"{revision}"'}, revision=revision)


async def answered(question: Callable[[], Awaitable[_Found]], *, within: float = WITHIN) -> _Found:
    """What the broker says.

    Raises
    ------
    ProblemError
        503: it does not answer.
    """
    try:
        async with asyncio.timeout(within):
            return await question()
    except (KafkaError, OSError, TimeoutError, RetryableError):
        raise ProblemError(503, "the broker does not answer", headers={"Retry-After": "5"}) from None
