"""What a worker scores with, and how it is replaced while packets flow.

ScoringState → `Pipeline`, a `Scorer`; the worker's one `StateHolder` → the scorer of the batch that begins now

Who needs the state asks the holder once, at a batch's start, and keeps the answer to the batch's end: its scores, decisions, telemetry and
id are one state's. A new state is built and warmed beside the old one (`prepare`); the swap is one assignment, on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from pipeline.score import score
from pipeline.state import ScoringState
from pipeline.warm import warm
from schemas.records.detection import Detection
from schemas.records.rejected import Rejected
from streams import metrics

log = structlog.get_logger(__name__)

BATCH_SIZE = 64
"""Packets of a batch where no engine says otherwise."""


class Scorer(Protocol):
    """The pure function with its state; `Pipeline` is the real one. It never changes."""

    @property
    def classes(self) -> Sequence[str]:
        """Slugs of the classes."""

    @property
    def scoring_id(self) -> str:
        """What the scores depend on besides the packet."""

    @property
    def model(self) -> str:
        """The bundle's name."""

    @property
    def engine(self) -> str:
        """Name and version of what runs the network."""

    def __call__(self, packets: Sequence[bytes]) -> Sequence[Detection | Rejected]:
        """One outcome a packet, in order."""


class Pipeline:
    """The pure function with its state, as the detector wants it."""

    def __init__(self, state: ScoringState) -> None:
        self.state = state

    @property
    def classes(self) -> Sequence[str]:
        """Slugs of the classes."""
        return self.state.classes

    @property
    def scoring_id(self) -> str:
        """What the scores depend on besides the packet."""
        return self.state.scoring_id

    @property
    def model(self) -> str:
        """The bundle's sha256, its beginning."""
        return self.state.model

    @property
    def engine(self) -> str:
        """Which engine runs the network."""
        return self.state.engine

    def __call__(self, packets: Sequence[bytes]) -> Sequence[Detection | Rejected]:
        """Score packets."""
        return score(packets, self.state)


def batch_size_of(scorer: Scorer) -> int:
    """Packets of a batch that the scorer's engine is made for: its largest bucket."""
    return max(scorer.state.session.buckets) if isinstance(scorer, Pipeline) else BATCH_SIZE


class StateHolder:
    """Which scorer the next batch gets. Only the event loop may swap.

    Parameters
    ----------
    scorer : Scorer
    shown : bool
        Whether the process's metrics say that it scores by this one.
    """

    def __init__(self, scorer: Scorer, *, shown: bool = True) -> None:
        self._current = scorer
        if shown:
            _show(scorer)

    @property
    def current(self) -> Scorer:
        """The scorer of a batch that begins now."""
        return self._current

    def swap(self, scorer: Scorer) -> Scorer:
        """Score by another one from the next batch on; returns the one before.

        The topics of its classes must be there (`streams.wiring.Flow.swap` sees to it).
        """
        before, self._current = self._current, scorer
        _show(scorer)
        metrics.SWAPS.inc()
        log.info("state swapped", before=before.scoring_id, scoring_id=scorer.scoring_id, model=scorer.model, engine=scorer.engine)
        return before


async def prepare(build: Callable[[], ScoringState]) -> Pipeline:
    """Build and warm a state in a thread of its own, while the old one goes on scoring.

    Parameters
    ----------
    build : callable
        Makes the state; what it raises is raised here.

    Raises
    ------
    gpu.session.EngineError
        Its engine failed on a packet of our own.
    """

    def built() -> Pipeline:
        state = build()
        warm(state)
        return Pipeline(state)

    return await asyncio.to_thread(built)


def _show(scorer: Scorer) -> None:
    metrics.SCORING.info({"scoring_id": scorer.scoring_id, "model": scorer.model, "engine": scorer.engine})
