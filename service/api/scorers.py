"""The states that score for the API: the one in force, and kept ones by their ids."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

from errors import UserError
from pipeline.state import ScoringState
from service.api.micro_batches import MicroBatcher
from service.api.problems import ProblemError
from streams.scorer import Pipeline, StateHolder, prepare

if TYPE_CHECKING:
    from settings.model import Settings

ON_PROCESSOR = ("cpu f32",)
"""End of the names of engines that compute where they are called; any other may wait for a device."""
MOST_KEPT = 2
"""States beside the one in force."""


class Scorers:
    """Micro-batchers by state.

    Parameters
    ----------
    settings : Settings
    base : Pipeline
        Of the bundle, nothing taught.
    holder : StateHolder
        The state in force.
    """

    def __init__(self, settings: Settings, base: Pipeline, *, holder: StateHolder) -> None:
        self._settings, self._base, self.holder = settings, base, holder
        self.current = self._batcher(holder)
        self._kept: OrderedDict[str, MicroBatcher] = OrderedDict()
        self._making = asyncio.Lock()

    def start(self) -> None:
        """Begin to score."""
        self.current.start()

    async def stop(self) -> None:
        """End."""
        for batcher in (self.current, *self._kept.values()):
            await batcher.stop()

    async def of(self, scoring_id: str | None) -> MicroBatcher:
        """The batcher of a state.

        Parameters
        ----------
        scoring_id : str or None
            None: the state in force.

        Raises
        ------
        ProblemError
            404: no state with that id is kept.
        """
        if scoring_id is None or scoring_id == self.holder.current.scoring_id:
            return self.current
        async with self._making:  # one at a time: each takes a model's memory
            found = self._kept.get(scoring_id)
            if found is None:
                found = self._kept[scoring_id] = self._batcher(StateHolder(await self._state(scoring_id), shown=False))
                found.start()
                if len(self._kept) > MOST_KEPT:
                    _, oldest = self._kept.popitem(last=False)
                    await oldest.stop()
            self._kept.move_to_end(scoring_id)
            return found

    async def _state(self, scoring_id: str) -> Pipeline:
        from streams.lessons import state_of

        if self._base.scoring_id == scoring_id:
            return self._base
        if self._settings.kafka is None:
            raise ProblemError(404, "no state with that id is kept: without a broker there is the bundle's alone")
        try:
            state = await state_of(self._settings, self._base.state, scoring_id=scoring_id)
        except UserError as error:
            raise ProblemError(404, str(error)) from None

        def built() -> ScoringState:
            return state

        return await prepare(built)

    def _batcher(self, holder: StateHolder) -> MicroBatcher:
        return MicroBatcher(
            lambda: holder.current,
            window_s=self._settings.api_window_ms / 1e3,
            most_waiting=self._settings.api_waiting_packets,
            threaded=self._settings.schema_registry is not None or not self._base.engine.endswith(ON_PROCESSOR),
        )
