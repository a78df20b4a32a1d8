"""Announced models → pipelines that score along, each built, checked and warmed before it has its role."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

import structlog

from errors import RetryableError, one_line
from gpu.session import EngineError
from pipeline.state import load as load_state
from registry.bundle import BundleError
from schemas.records.model_announced import PREVIOUS, ModelAnnounced
from streams.agents.shadow import Shadow, slowdown_of
from streams.agents.teaching import read_packets, read_records
from streams.lessons import TaughtStates
from streams.models import fetch
from streams.recent import recent_packets
from streams.scorer import Pipeline, prepare

if TYPE_CHECKING:
    from settings.model import Settings

log = structlog.get_logger(__name__)

TIMED = 64
"""Recent packets that a model's time is measured on."""


class ShadowModels:
    """Gives models their roles in a shadow.

    Parameters
    ----------
    settings : Settings
        With a broker.
    shadow : Shadow
    """

    def __init__(self, settings: Settings, shadow: Shadow) -> None:
        self._settings, self._shadow = settings, shadow
        self._broken: set[tuple[str, int]] = set()
        """Bundles that cannot be used, by sha256 and revision: one that is announced anew is tried anew."""
        self._taught = -1

    async def cast(self, wanted: Mapping[str, ModelAnnounced], *, taught: int, champion: ModelAnnounced | None, promoted_ms: int) -> None:
        """Have just these models score along, with what is taught now.

        Parameters
        ----------
        wanted : mapping of str to ModelAnnounced
            By role.
        taught : int
            How often something was taught or forgotten: another number has every model built anew.
        champion : ModelAnnounced, optional
            What a model's time is measured against; None: the bundle of the settings.
        promoted_ms : int
            When the champion was promoted: from then on the previous model scores along [ms since 1970].
        """
        roles = self._shadow.roles
        for role in set(roles) - wanted.keys():
            self._shadow.drop(role)
        anew, self._taught = taught != self._taught, taught
        for role, found in wanted.items():
            key = found.sha256, found.revision
            if key in self._broken or (role in roles and roles[role].sha256 == found.sha256 and not anew):
                continue
            try:
                pipeline = await self.build(found)
                slowdown = await self._slowdown(pipeline, champion)
            except (BundleError, EngineError) as error:
                self._broken.add(key)
                self._shadow.drop(role)
                log.error("a model cannot score along", role=role, model=found.model, why=one_line(error))
            except RetryableError as error:
                log.warning("a model cannot score along yet", role=role, model=found.model, why=one_line(error))
            else:
                self._shadow.play(role, found.sha256, scorer=pipeline, slowdown=slowdown, since_ms=promoted_ms if role == PREVIOUS else 0)

    async def build(self, found: ModelAnnounced | None) -> Pipeline:
        """The pipeline of a model with all that is taught; None: of the bundle of the settings."""
        settings = self._settings
        folder = settings.bundle if found is None else await fetch(settings, found)
        states = TaughtStates(folder, await asyncio.to_thread(load_state, folder, settings.engine))
        records = await read_records(settings)
        needed = states.of_other_encoders(records)
        packets = await read_packets(settings, needed) if needed else {}
        return await prepare(lambda: states.build(records, packets)[0])

    async def _slowdown(self, pipeline: Pipeline, champion: ModelAnnounced | None) -> float | None:
        packets = await recent_packets(self._settings, TIMED)
        if not packets:
            return None
        other = await self.build(champion)
        if other.state.encoder.id == pipeline.state.encoder.id:
            return 1.0  # the head's part of the time is a hundredth
        return await asyncio.to_thread(slowdown_of, pipeline, other, packets=packets)
