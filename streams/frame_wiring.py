"""Settings → the work on raw frames in one process: calibrator, differencer, masters, and the watch over them.

frames.raw ──► Calibrator ──► frames.calibrated ──► Differencer ──► alerts.frames

Both compute in one thread, so that one frame is in memory at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import structlog

from data.frames.calibrated_retention import remove_older
from errors import RetryableError
from settings.raw_frames import calibrated_folder
from streams.agents.calibrator import Calibrator
from streams.agents.differencer import Differencer
from streams.agents.frame_stage import FrameFlow
from streams.agents.masters_watch import MastersWatch
from streams.agents.mirror import publish_states
from streams.agents.references_watch import ReferencesWatch

if TYPE_CHECKING:
    from settings.model import Settings

log = structlog.get_logger(__name__)

LOOK_EVERY = 5.0
"""How often it is looked whether a frame has hung [s]."""
SWEEP_EVERY = 3600.0
"""How often calibrated frames that are kept no longer are removed [s]."""
DAY = 86_400.0
"""[s]"""


class HungError(RetryableError):
    """A stage works on a frame for ever: the process ends, and the frame comes again."""


class FrameWork:
    """The stages.

    Parameters
    ----------
    settings : Settings
        With a broker.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.executor = ThreadPoolExecutor(1, "frames")
        self.masters = MastersWatch(settings, self._compute)
        references = ReferencesWatch(settings)
        self.differencer = Differencer(settings, references)
        self.flows = (
            FrameFlow(settings, Calibrator(settings, self.masters, references=references), executor=self.executor),
            FrameFlow(settings, self.differencer, executor=self.executor),
        )

    async def run(self) -> None:
        """Work until cancelled.

        Raises
        ------
        RejectLimitError, FrameFaultError, HungError, UserError
            The first that one of the stages ended with.
        """
        jobs = [
            *(flow.run() for flow in self.flows),
            self.masters.run(),
            publish_states(self._settings, self.flows),
            self._watch(),
            self._sweep(),
        ]
        tasks = [asyncio.ensure_future(job) for job in jobs]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            for flow in self.flows:
                if (why := flow.hung(time.monotonic())) is not None:
                    raise HungError(why)

    async def _sweep(self) -> None:
        """Remove calibrated frames as old as their announcements may get; in the stages' thread, so that none is being written."""
        kept, folder = self._settings.frames_kept_days * DAY, calibrated_folder(self._settings)
        while kept:
            try:
                removed = await self._compute(lambda: remove_older(folder, time.time() - kept))
            except OSError as error:
                log.warning("old calibrated frames cannot be removed", folder=str(folder), why=str(error))
            else:
                if removed.files:
                    log.info("old calibrated frames are removed", files=removed.files, megabytes=round(removed.size / 1e6))
            await asyncio.sleep(SWEEP_EVERY)

    def _compute(self, work: Callable[[], Any]) -> Awaitable[Any]:
        return asyncio.get_running_loop().run_in_executor(self.executor, work)
