"""What is scored with when classes are taught: a bundle's state, and its head with them; now, or at a time long past.

a bundle's `ScoringState`, class records → the `ScoringState` with them; `loop.events` → the one of then

Every worker derives the same head from the same records (`registry.taught_classes`), one that starts later too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from errors import UserError
from operators.head import Head, Views, identity
from operators.namespace import to_host
from operators.taught import Reference
from pipeline.examples import see_packets
from pipeline.state import ScoringState
from pipeline.state import load as load_state
from registry.bundle import Bundle, BundleError
from registry.bundle import load as load_bundle
from registry.taught_classes import head_with, lessons_of
from schemas.records import codec
from schemas.records.class_record import ClassRecord
from schemas.records.loop_event import FORGOTTEN, PROMOTED, ROLLED_BACK, TAUGHT, LoopEvent
from schemas.records.model_announced import ModelAnnounced
from streams.agents.teaching import read_events, read_packets
from streams.kafka import topics
from streams.models import fetch

if TYPE_CHECKING:
    from settings.model import Settings

Packets = Mapping[tuple[str, str], bytes]
"""(class, packet id) → an example."""


class TaughtStates:
    """The states that records make of a bundle's.

    Parameters
    ----------
    folder : Path, optional
        Of the bundle; the one that ships.
    base : ScoringState
        Of the bundle, nothing taught.
    """

    def __init__(self, folder: Path | None, base: ScoringState) -> None:
        self._folder, self.base = folder, base
        self.head: Head = base.head.weights.map(to_host)

    @cached_property
    def _bundle(self) -> Bundle:
        return load_bundle(self._folder)

    @property
    def reference(self) -> Reference:
        """Known alerts of the bundle; read only where a class has to be solved anew."""
        return self._bundle.reference

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
            self.head, records, encoder_id=self.base.encoder.id, reference=lambda: self.reference, known=self.base.head.known, views=views,
            own=(self._bundle.manifest.taught or {}) if self.head.taught else {},
        )  # fmt: skip
        lessons = lessons_of(head.taught, records, own=self.base.head.lessons)
        same = lessons == self.base.head.lessons and identity(head) == identity(self.head)
        return (self.base if same else self.base.with_head(head, lessons)), left_out


async def state_of(settings: Settings, base: ScoringState, *, as_of_ms: int | None = None, scoring_id: str | None = None) -> ScoringState:
    """The state that scored at a time, or that has an id: of the champion of then, with what was taught then.

    Parameters
    ----------
    settings : Settings
        With a broker.
    base : ScoringState
        Of the bundle that was scored with before any model was promoted.
    as_of_ms : int, optional
        A time [ms since 1970].
    scoring_id : str, optional
        Else the state with this id.

    Raises
    ------
    UserError
        No state had that id; or a class or a bundle of then cannot be had any more.
    """
    walk = _Walk(settings, base)
    events = await read_events(settings)
    if scoring_id == base.scoring_id:
        return base
    for event in events:
        if as_of_ms is not None and event.made_ms > as_of_ms:
            break
        changed = await walk.take(event)
        if scoring_id is not None and changed and (found := (await walk.state())[0]).scoring_id == scoring_id:
            return found
    if scoring_id is not None:
        gone = f" ({'; '.join(walk.gone)})" if walk.gone else ""
        catalogues = ", ".join(f"{name}-{digest[:16]}" for name, digest in base.reference.catalogues) or "none"
        raise UserError(
            f"no state with the id {scoring_id} follows from bundle {base.model} and the {len(events)} steps on {topics.LOOP_EVENTS}"
            f"{gone}: name the bundle that scored with --bundle, and its catalogues with PROTONOVA_CATALOGUES (now {catalogues})"
        )
    if walk.gone and walk.missing:
        raise UserError(f"the champion of then cannot be had any more: {walk.gone[-1]}")
    found, left_out = await walk.state()
    for name, why in left_out.items():
        raise UserError(f"{name} was taught then and cannot be had any more: {why}")
    return found


class _Walk:
    """The steps of the loop, one after the other, and the state that they lead to."""

    def __init__(self, settings: Settings, base: ScoringState) -> None:
        self._settings, self._base = settings, base
        self._states = TaughtStates(settings.bundle, base)
        self._records: dict[str, ClassRecord] = {}
        self.gone: list[str] = []
        """Bundles that cannot be had, and why."""
        self.missing = False
        """The bundle in force at this step is one of them."""

    async def take(self, event: LoopEvent) -> bool:
        """Take a step; returns whether the state may be another one."""
        if event.event == TAUGHT:
            self._records[event.subject] = codec.expect(event.record, ClassRecord)
        elif event.event == FORGOTTEN:
            self._records.pop(event.subject, None)
        elif event.event in (PROMOTED, ROLLED_BACK):
            await self._change_model(codec.expect(event.record, ModelAnnounced))
        else:
            return False
        return not self.missing

    async def _change_model(self, champion: ModelAnnounced) -> None:
        self.missing = False
        if champion.model == self._base.model:
            self._states = TaughtStates(self._settings.bundle, self._base)
        elif champion.model != self._states.base.model:
            try:
                folder = await fetch(self._settings, champion)
            except BundleError as error:
                self.gone.append(str(error))
                self.missing = True
                return
            self._states = TaughtStates(folder, await asyncio.to_thread(load_beside, self._settings, folder, like=self._base))

    async def state(self) -> tuple[ScoringState, dict[str, str]]:
        """The state after the steps so far, and why classes are left out of it."""
        packets = await read_packets(self._settings, wanted) if (wanted := self._states.of_other_encoders(self._records)) else {}
        return self._states.build(self._records, packets)


def load_beside(settings: Settings, folder: Path, *, like: ScoringState) -> ScoringState:
    """Load and check a bundle, golden batch included, for the engine of a state that there is already.

    Raises
    ------
    registry.bundle.BundleError
        It is damaged, or of another format.
    gpu.session.EngineError
        The engine does not give its golden batch.
    """
    return load_state(folder, settings.engine, claims=settings.state, precision=settings.precision, like=like)
