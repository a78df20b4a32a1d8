"""The sums by which drift is found, as the drift process wrote them down last.

drift.states → `Chart`s: a statistic of a model, both its sums against the threshold, and what each stratum adds
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from operators.drift_panel import STATISTICS
from schemas.avro.wire import PacketError
from schemas.records import codec
from schemas.records.drift_state import DriftState
from streams.agents.drift import monitor_of
from streams.kafka import topics
from streams.kafka.broadcast import read_whole

if TYPE_CHECKING:
    from settings.model import Settings
    from streams.agents.drift_monitor import Watch


class ChartStratum(NamedTuple):
    """What a stratum adds to a sum since it left zero."""

    stratum: str
    excess: float
    """Sum of its windows' deviations [spreads of usual windows]."""
    alerts: int
    mean: float | None
    """Of these alerts."""
    usual: float | None
    """Of the reference."""


class Chart(NamedTuple):
    """A statistic of a model."""

    model: str
    statistic: str
    threshold: float
    """Infinite: it supports a diagnosis and raises no alarm by itself."""
    up: float
    down: float
    """The sums, 0 where nothing has moved."""
    since_ms: int
    """When the larger of them left zero [ms since 1970]; 0: it did not."""
    windows: int
    """Since then."""
    strata: tuple[ChartStratum, ...]
    """The largest first."""


async def read_charts(settings: Settings) -> list[Chart]:
    """The charts of each model whose alerts are monitored, the model met last behind the others.

    Parameters
    ----------
    settings : Settings
        With a broker.
    """
    states: dict[str, dict[str, DriftState]] = {}
    async for message in read_whole(settings, topics.DRIFT_STATES):
        if message.value is None:
            continue
        try:
            state = codec.expect(message.value, DriftState)
        except PacketError:  # the drift process counts it
            continue
        states.setdefault(state.model, {})[state.part] = state
    monitor = monitor_of(settings)
    monitor.restore(states)
    return [chart for watch in monitor.models.values() for chart in charts_of(watch)]


def charts_of(watch: Watch) -> list[Chart]:
    """The charts of one model."""
    held, thresholds = watch.panel.state()["charts"], watch.panel.thresholds
    return [_chart(watch, name, sides=held[name]["sides"], threshold=thresholds[name]) for name in STATISTICS]


def _chart(watch: Watch, name: str, *, sides: list[Any], threshold: float) -> Chart:
    (up, *_), (down, *_) = sides
    larger = sides[0] if up >= down else sides[1]
    moved = larger[0] > 0
    i = STATISTICS.index(name)
    strata = []
    for stratum, (excess, n, total, _) in larger[4].items() if moved else ():
        known = watch.panel.reference.strata.get(stratum)
        usual = None if known is None or not np.isfinite(known.mean[i]) else float(known.mean[i])
        strata.append(ChartStratum(stratum, excess, n, total / n if n else None, usual))
    strata.sort(key=lambda one: -abs(one.excess))
    return Chart(watch.model, name, threshold, up, down, larger[1] if moved else 0, larger[2] if moved else 0, tuple(strata))
