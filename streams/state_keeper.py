"""Keeps a worker's state at the champion and at what is taught.

the `Pipeline` it was started with, announcements, class records → another `Pipeline`, built, checked and warmed beside the one that
scores, then swapped in between two batches

A bundle that cannot be had, is damaged, or does not give its golden batch here is reported, and the state before goes on. The model before
is kept in memory: a rollback has nothing to load.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

import structlog
from aiokafka.errors import KafkaError

from errors import RetryableError, one_line
from gpu.session import EngineError
from pipeline.state import ScoringState
from registry.bundle import BundleError
from schemas.records.class_record import ClassRecord
from schemas.records.drift_alarm import DriftAlarm
from schemas.records.model_announced import CHAMPION, PREVIOUS, ModelAnnounced
from streams import metrics
from streams.agents.teaching import ClassFollower, read_packets
from streams.kafka import topics
from streams.lessons import TaughtStates, load_beside
from streams.models import ModelFollower, fetch
from streams.scorer import Pipeline, Scorer, prepare

if TYPE_CHECKING:
    from settings.model import Settings

log = structlog.get_logger(__name__)

BAD_BUNDLE = "bad_bundle"
"""Statistic of the alarm about a bundle that is not used."""

PASSING = (KafkaError, RetryableError, OSError, TimeoutError)
"""What may pass by itself: it is tried again after a pause."""

Swap = Callable[[Scorer], Awaitable[Scorer]]
Report = Callable[[DriftAlarm], None]


class StateKeeper:
    """Makes a worker's states.

    Parameters
    ----------
    settings : Settings
        With a broker.
    base : Pipeline
        Of the bundle of the settings, nothing taught.
    """

    def __init__(self, settings: Settings, base: Pipeline) -> None:
        self._settings = settings
        self._states = TaughtStates(settings.bundle, base.state)
        """Of the model in force."""
        self._models = {base.model: self._states}
        """Model → its states; the last ones that were in force."""
        self._refused: set[tuple[str, int]] = set()
        """Bundles that are not used, by sha256 and revision: one that is announced anew is tried anew."""
        self._taught, self._announced = ClassFollower(settings), ModelFollower(settings)
        self._making = asyncio.Lock()
        self._alarms: list[DriftAlarm] = []
        self._scoring_id, self._lessons = base.scoring_id, base.state.head.lessons
        self._made_of: tuple[TaughtStates, dict[str, int]] = self._states, {}
        """Model and revisions of the classes that are in force."""
        self._due = False

    async def catch_up(self) -> Pipeline:
        """The pipeline of the champion with all that is taught now; its classes have their topics.

        Raises
        ------
        aiokafka.errors.KafkaError, OSError
            The broker is not there.
        """
        await asyncio.gather(self._taught.catch_up(), *([self._announced.catch_up()] if self._settings.follow_champion else ()))
        try:
            states = await self._model(starting=True)
        except RetryableError as error:  # a disk that is full, a store that does not answer: tried again once it scores
            log.error("the champion cannot be fetched; scoring begins with the bundle of the settings", why=one_line(error))
            states, self._due = self._states, True
        records = self._taught.records
        if states is self._states and not records and not states.head.taught:
            return Pipeline(states.base)
        pipeline = await self._prepared(states, records)
        new = [name for name in pipeline.classes if name not in self._states.base.head.known]
        await topics.declare_classes(self._settings, new)
        self._in_force(states, records, pipeline=pipeline)
        return pipeline

    async def follow(self, swap: Swap, report: Report) -> None:
        """Swap another state in after each change, until cancelled.

        Parameters
        ----------
        swap : callable
            `streams.wiring.Flow.swap`.
        report : callable
            Takes an alarm about a bundle that is not used.
        """

        async def changed(_: object) -> None:
            async with self._making:
                await self._change(swap, report)

        async with asyncio.TaskGroup() as group:
            group.create_task(self._taught.follow(changed))
            if self._settings.follow_champion:
                group.create_task(self._announced.follow(changed, due=self._due or bool(self._alarms)))

    async def _change(self, swap: Swap, report: Report) -> None:
        records = dict(self._taught.records)
        try:
            states = await self._model()
            if self._made_of == (states, _revisions(records)):
                return  # a challenger was announced, or a class named as it is
            pipeline = await self._prepared(states, records)
            if pipeline.scoring_id != self._scoring_id or states is not self._states or pipeline.state.head.lessons != self._lessons:
                await swap(pipeline)
            self._in_force(states, records, pipeline=pipeline)
        except EngineError as error:
            log.error("what was announced or taught cannot be scored with; the state before goes on", why=one_line(error))
        except PASSING:
            raise
        except Exception as error:  # whatever a record makes of the code that reads it, scoring goes on
            log.error("what was announced or taught cannot be scored with; the state before goes on", why=one_line(repr(error)))
        finally:
            for alarm in self._alarms:
                report(alarm)
            self._alarms.clear()

    def _in_force(self, states: TaughtStates, records: Mapping[str, ClassRecord], *, pipeline: Pipeline) -> None:
        self._states, self._scoring_id, self._lessons, self._due = states, pipeline.scoring_id, pipeline.state.head.lessons, False
        self._made_of = states, _revisions(records)

    async def _model(self, *, starting: bool = False) -> TaughtStates:
        """The states of the champion; where its bundle is refused: those in force, and at a start those of the model before."""
        champion = self._announced.announced.get(CHAMPION)
        if champion is None:
            return self._states
        wanted = [champion]
        if starting and (previous := self._announced.announced.get(PREVIOUS)) is not None:
            wanted.append(previous)
        for one in wanted:
            if (found := await self._states_of(one)) is not None:
                return found
        return self._states

    async def _states_of(self, wanted: ModelAnnounced) -> TaughtStates | None:
        if (known := self._models.get(wanted.model)) is not None:
            return known
        if (wanted.sha256, wanted.revision) in self._refused:
            return None
        try:
            folder = await fetch(self._settings, wanted)
            loaded = await asyncio.to_thread(load_beside, self._settings, folder, like=self._states.base)
        except (BundleError, EngineError) as error:
            self._refuse(wanted, one_line(error))
            return None
        except PASSING:
            raise
        except Exception as error:  # whatever a bundle makes of the code that reads it, scoring goes on
            self._refuse(wanted, one_line(repr(error)))
            return None
        log.info("model loaded", model=loaded.model, alias=wanted.alias, revision=wanted.revision, author=one_line(wanted.author, 80))
        states = TaughtStates(folder, loaded)
        self._models = {self._states.base.model: self._states, loaded.model: states}  # the one in force, and the one that follows it
        return states

    def _refuse(self, wanted: ModelAnnounced, why: str) -> None:
        self._refused.add((wanted.sha256, wanted.revision))
        metrics.REFUSED_BUNDLES.inc()
        log.error("a bundle is not used; the state before goes on", model=wanted.model, revision=wanted.revision, why=why)
        alarm_id = hashlib.sha256(f"{BAD_BUNDLE}|{wanted.sha256}|{wanted.revision}".encode()).hexdigest()[:16]
        self._alarms.append(
            DriftAlarm(
                alarm_id=alarm_id, detector="models", statistic=BAD_BUNDLE, stratum=wanted.model, before=0.0, after=0.0, window=0,
                scoring_id=self._scoring_id, raised_ms=int(time.time() * 1000),
            )
        )  # fmt: skip

    async def _prepared(self, states: TaughtStates, records: Mapping[str, ClassRecord]) -> Pipeline:
        packets = await read_packets(self._settings, wanted) if (wanted := states.of_other_encoders(records)) else {}
        left_out: dict[str, str] = {}

        def build() -> ScoringState:
            state, out = states.build(records, packets)
            left_out.update(out)
            return state

        pipeline = await prepare(build)
        for name, why in left_out.items():
            log.warning("a taught class is left out", name=name, why=why)
        metrics.TAUGHT.set(len(pipeline.state.head.weights.taught))
        log.info("classes are taught", classes=", ".join(pipeline.state.head.weights.taught) or "none", scoring_id=pipeline.scoring_id)
        return pipeline


def _revisions(records: Mapping[str, ClassRecord]) -> dict[str, int]:
    return {name: record.revision for name, record in records.items()}
