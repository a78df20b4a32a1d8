"""What a worker scores with when classes are taught: the bundle's state, and its head with them.

untaught `Pipeline`, class records → the `Pipeline` with them, built and warmed beside the one that scores

Every worker derives the same head from the same records (`registry.taught_classes`), one that starts later too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import structlog

from errors import UserError
from gpu.session import EngineError
from operators.head import Head, Views
from operators.namespace import to_host
from operators.taught import Reference
from pipeline.examples import see_packets
from pipeline.state import ScoringState
from registry.bundle import load as load_bundle
from registry.taught_classes import head_with
from schemas.records import codec
from schemas.records.class_record import ClassRecord
from streams import metrics
from streams.agents.teaching import Follower, read_events, read_packets
from streams.kafka import topics
from streams.scorer import Pipeline, Scorer, prepare

if TYPE_CHECKING:
    from settings.model import Settings

log = structlog.get_logger(__name__)

Packets = Mapping[tuple[str, str], bytes]
"""(class, packet id) → an example."""


class TaughtStates:
    """The states that records make of a bundle's.

    Parameters
    ----------
    settings : Settings
    base : ScoringState
        Of the bundle, nothing taught.
    """

    def __init__(self, settings: Settings, base: ScoringState) -> None:
        self._settings, self.base = settings, base
        self.head: Head = base.head.weights.map(to_host)

    @cached_property
    def reference(self) -> Reference:
        """Known alerts of the bundle; read only where a class has to be solved anew."""
        return load_bundle(self._settings.bundle).reference

    def of_other_encoders(self, records: Mapping[str, ClassRecord]) -> list[tuple[str, str]]:
        """Examples of classes that were taught beside another encoder: their packets are needed."""
        others = (record for record in records.values() if record.encoder_id != self.base.encoder.id)
        return [(record.name, packet_id) for record in others for packet_id in record.packet_ids]

    def build(self, records: Mapping[str, ClassRecord], packets: Packets) -> tuple[ScoringState, dict[str, str]]:
        """The state with these classes, and why others are left out.

        Parameters
        ----------
        records : mapping of str to ClassRecord
        packets : mapping
            Of the examples that `of_other_encoders` names, as far as they can be had.
        """

        def views(record: ClassRecord) -> Views | None:
            found = [packets[record.name, name] for name in record.packet_ids if (record.name, name) in packets]
            seen = see_packets(found, self.base)
            return seen.views if seen.rows else None

        head, left_out = head_with(
            self.head, records, encoder_id=self.base.encoder.id, reference=lambda: self.reference, known=self.base.head.known, views=views
        )
        return (self.base.with_head(head) if head.taught else self.base), left_out


class Lessons:
    """Keeps a worker's state at what is taught.

    Parameters
    ----------
    settings : Settings
        With a broker.
    base : Pipeline
        Of the bundle, nothing taught.
    """

    def __init__(self, settings: Settings, base: Pipeline) -> None:
        self._settings, self._base = settings, base
        self._states = TaughtStates(settings, base.state)
        self._follower = Follower(settings)

    async def catch_up(self) -> Pipeline:
        """The pipeline with all that is taught now; its classes have their topics."""
        records = await self._follower.catch_up()
        if not records:
            return self._base
        pipeline = await self._prepared(records)
        await topics.declare_classes(self._settings, pipeline.state.head.weights.taught)
        return pipeline

    async def follow(self, swap: Callable[[Scorer], Awaitable[Scorer]]) -> None:
        """Swap another state in after each change, until cancelled.

        Parameters
        ----------
        swap : callable
            `streams.wiring.Flow.swap`.
        """

        async def changed(records: Mapping[str, ClassRecord]) -> None:
            try:
                pipeline = await self._prepared(records)
            except EngineError as error:
                log.error("what was taught cannot be scored with; the state before goes on", why=str(error))
                return
            await swap(pipeline)

        await self._follower.follow(changed)

    async def _prepared(self, records: Mapping[str, ClassRecord]) -> Pipeline:
        packets = await read_packets(self._settings, wanted) if (wanted := self._states.of_other_encoders(records)) else {}
        left_out: dict[str, str] = {}

        def build() -> ScoringState:
            state, out = self._states.build(records, packets)
            left_out.update(out)
            return state

        pipeline = await prepare(build)
        for name, why in left_out.items():
            log.warning("a taught class is left out", name=name, why=why)
        metrics.TAUGHT.set(len(pipeline.state.head.weights.taught))
        log.info("classes are taught", classes=", ".join(pipeline.state.head.weights.taught) or "none", scoring_id=pipeline.scoring_id)
        return pipeline


async def state_of(settings: Settings, base: ScoringState, *, as_of_ms: int | None = None, scoring_id: str | None = None) -> ScoringState:
    """The state that scored at a time, or that has an id: the bundle's with what was taught then.

    Parameters
    ----------
    settings : Settings
        With a broker.
    base : ScoringState
        Of the bundle.
    as_of_ms : int, optional
        A time [ms since 1970].
    scoring_id : str, optional
        Else the state with this id.

    Raises
    ------
    UserError
        No state of this bundle had that id; or a class of then cannot be had any more.
    """
    states, records = TaughtStates(settings, base), dict[str, ClassRecord]()
    found, left_out = base, dict[str, str]()
    events = await read_events(settings)
    for event in events:
        if found.scoring_id == scoring_id or (as_of_ms is not None and event.made_ms > as_of_ms):
            break
        if event.record:
            records[event.subject] = codec.expect(event.record, ClassRecord)
        else:
            records.pop(event.subject, None)
        packets = await read_packets(settings, wanted) if (wanted := states.of_other_encoders(records)) else {}
        found, left_out = states.build(records, packets)
    if scoring_id is not None and found.scoring_id != scoring_id:
        raise UserError(
            f"no state with the id {scoring_id} follows from bundle {base.model} and the {len(events)} steps on {topics.LOOP_EVENTS}: name "
            "the bundle that scored with --bundle"
        )
    for name, why in left_out.items():
        raise UserError(f"{name} was taught then and cannot be had any more: {why}")
    return found
