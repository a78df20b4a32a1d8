"""The other clusters that are mirrored, as the mirror last described them.

sources.states → source → `SourceState`
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.records import codec
from schemas.records.source_state import SourceState
from streams.kafka import topics
from streams.topic_scan import scan

if TYPE_CHECKING:
    from typing import Any

    from settings.model import Settings

SILENT_S = 15.0
"""A mirror not heard for this long does not run [s]."""


async def source_states(settings: Settings, *, ours: bool = False) -> dict[str, SourceState]:
    """Read the latest state of each source.

    Parameters
    ----------
    settings : Settings
        With a broker.
    ours : bool
        Read the states of our own processes (work on frames, increments) instead.
    """

    def pick(message: Any) -> SourceState | None:
        record = codec.decode(message.value) if message.value else None
        return record if isinstance(record, SourceState) and record.source.startswith("(") == ours else None

    return {state.source: state async for state in scan(settings, (topics.SOURCES,), pick=pick)}
