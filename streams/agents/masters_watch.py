"""`calibration.masters` and a folder of masters → masters for a frame; rejected frames that wait for one are re-driven when it comes.

The topic is read to its end before a frame is worked on, and then on and on. What a rejected frame needs stands in a header of its reject,
so the frames that wait are known again after a restart without their bytes being opened. A re-drive goes through
`streams.agents.redrive`, whose notes make it happen once, with any number of callers.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, ProducerFenced

from data.frames.frame_error import FrameError
from data.frames.masters_folder import MastersFolder
from errors import RetryableError
from schemas.records import codec
from schemas.records.master_frame import MasterFrame
from settings.raw_frames import masters_folder
from streams.agents.redrive import redrive, redriven, rejected
from streams.kafka import exactly_once, topics
from streams.kafka.consumer import make_consumer
from streams.kafka.exactly_once import jittered

if TYPE_CHECKING:
    from operators.images.planes import Masters, RawFrame
    from settings.model import Settings

log = structlog.get_logger(__name__)

NEEDS_HEADER = "masters_of"
"""Header of a frame rejected as no_master: JSON of what its masters must be of."""
NO_MASTER = "no_master"
MOST_WAITING = 100_000
"""Rejected frames that are remembered; older ones are left to `protonova rejects redrive`."""
POLL_MS = 1000
EARLIER_MS = 60_000
"""A broker's clock may be behind ours by so much [ms]."""


def needs_of(frame: RawFrame) -> dict[str, Any]:
    """What the masters of a frame must be of: the arguments of `MastersFolder.select`."""
    y0, y1, x0, x1 = frame.readout.trim
    return {
        "detector": frame.detector, "filter": frame.filter, "binning": frame.binning, "mjd": frame.mjd, "temperature": frame.temperature,
        "exposure": frame.exposure, "gain": frame.readout.gain, "shape": (y1 - y0, x1 - x0), "overscan": frame.readout.overscan is not None,
    }  # fmt: skip


def text_of(needs: Mapping[str, Any]) -> bytes:
    """For a header; not a number becomes null."""
    return json.dumps({name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in needs.items()}).encode()


def parsed_needs(text: bytes) -> dict[str, Any] | None:
    """The other way round; None: it is none of ours."""
    try:
        row = json.loads(text)
        return {
            "detector": str(row["detector"]), "filter": str(row["filter"]), "binning": _pair(row["binning"]), "mjd": float(row["mjd"]),
            "temperature": _number(row["temperature"]), "exposure": float(row["exposure"]), "gain": _number(row["gain"]),
            "shape": _pair(row["shape"]), "overscan": bool(row["overscan"]),
        }  # fmt: skip
    except (ValueError, KeyError, TypeError):
        return None


def _pair(value: Any) -> tuple[int, int]:
    first, second = value
    return int(first), int(second)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


class Waiting(NamedTuple):
    """A rejected frame that waits for a master."""

    needs: dict[str, Any]
    generation: int
    """Of the masters that lack it."""
    rejected_ms: int
    """[ms since 1970]"""


class MastersWatch:
    """The masters that are known, and the frames that wait for others.

    Parameters
    ----------
    settings : Settings
        With a broker.
    compute : callable
        Runs a function in the stages' thread, where all that touches the masters is done.
    """

    def __init__(self, settings: Settings, compute: Callable[[Callable[[], Any]], Awaitable[Any]]) -> None:
        self._settings, self._compute = settings, compute
        self._path = masters_folder(settings)
        self._folder = MastersFolder(self._path, prefixes=settings.frames_prefixes)
        self._seen = stamp_of(self._path)
        self._waiting: OrderedDict[str, Waiting] = OrderedDict()
        """By the id on the reject topic."""
        self._look = asyncio.Event()
        self.generation = 1
        """Goes up when masters come or go."""
        self.known = asyncio.Event()
        """Set when the announced masters have been read once."""

    def select(self, needs: Mapping[str, Any]) -> tuple[Masters, tuple[str, ...]]:
        """The masters of a frame and their flags; in the stages' thread. See `MastersFolder.select`."""
        return self._folder.select(**needs)

    def rescan(self) -> bool:
        """Read the folder anew where it changed; whether it did. In the stages' thread."""
        stamp = stamp_of(self._path)
        if stamp == self._seen:
            return False
        self._seen = stamp
        self._folder.scan()
        self.generation += 1
        return True

    def wake(self) -> None:
        """Have the frames that wait looked at."""
        self._look.set()

    def wait_for(self, reject: str, needs: dict[str, Any], *, generation: int) -> None:
        """Remember a rejected frame by its id on the reject topic."""
        self._waiting[reject] = Waiting(needs, generation, int(time.time() * 1000))
        while len(self._waiting) > MOST_WAITING:
            self._waiting.popitem(last=False)
        if generation < self.generation:  # masters came while it was worked on
            self._look.set()

    @property
    def waiting(self) -> int:
        """How many rejected frames wait for a master."""
        return len(self._waiting)

    async def run(self) -> None:
        """Follow the topic and re-drive until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._patiently(self._follow, "the masters' topic is not read"))
            group.create_task(self._patiently(self._redrive, "frames are not re-driven"))

    async def _patiently(self, task: Callable[[], Awaitable[None]], what: str) -> None:
        pause = exactly_once.FIRST_PAUSE
        while True:
            try:
                await task()
            except ProducerFenced:
                log.warning(f"{what}: another re-drive runs now, trying again")
            except (KafkaError, RetryableError, OSError, TimeoutError) as error:
                log.warning(f"{what}, trying again", why=f"{type(error).__name__}: {error}")
            await asyncio.sleep(jittered(pause))
            pause = min(exactly_once.LONGEST_PAUSE, 2 * pause)

    async def _follow(self) -> None:
        place = TopicPartition(topics.MASTERS, 0)
        consumer = make_consumer(self._settings, auto_offset_reset="earliest")
        await consumer.start()
        try:
            consumer.assign([place])
            start, end = (await consumer.beginning_offsets([place]))[place], (await consumer.end_offsets([place]))[place]
            consumer.seek(place, start)
            while True:
                found = (await consumer.getmany(place, timeout_ms=POLL_MS)).get(place, [])
                if found:
                    await self._compute(lambda found=found: self._take(found))  # type: ignore[misc]
                if not self.known.is_set():
                    if await consumer.position(place) < end:
                        continue
                    self.known.set()
                    self._look.set()
                elif found:
                    self._look.set()
        finally:
            await consumer.stop()

    def _take(self, messages: list[Any]) -> None:
        """Know what was announced and withdrawn; in the stages' thread."""
        for message in messages:
            if message.value is None:
                if message.key is not None:
                    self._folder.withdraw(message.key)
                continue
            record = codec.decode(message.value)
            if isinstance(record, MasterFrame):
                self._folder.take(record)
                if message.key is not None and message.key != record.key:
                    log.warning("a master's key is not its own; a tombstone will not withdraw it", key=repr(message.key[:100]))
            else:
                log.warning("a record on the masters' topic is not a master", offset=message.offset)
        self.generation += 1

    async def _redrive(self) -> None:
        await self.known.wait()
        before = await redriven(self._settings)
        async for packet in rejected(self._settings, reasons=[NO_MASTER]):
            needs = parsed_needs(dict(packet.headers).get(NEEDS_HEADER, b""))
            if needs is not None and packet.id not in before:
                self._waiting.setdefault(packet.id, Waiting(needs, 0, packet.rejected_ms))
        if self._waiting:
            log.info("rejected frames wait for a master", frames=len(self._waiting))
        while True:
            self._look.clear()
            await self._look_at_waiting()
            await self._look.wait()

    async def _look_at_waiting(self) -> None:
        """Re-drive the frames whose masters have come."""
        generation = self.generation
        ready: list[str] = []
        for reject, frame in [(reject, frame) for reject, frame in self._waiting.items() if frame.generation < generation]:
            if await self._compute(lambda frame=frame: self._served(frame.needs)):  # type: ignore[misc]
                ready.append(reject)
            elif reject in self._waiting:
                self._waiting[reject] = frame._replace(generation=generation)
        if ready:
            since = min(self._waiting[reject].rejected_ms for reject in ready) - EARLIER_MS
            done = await redrive(self._settings, since_ms=since, reasons=[NO_MASTER], only=ready)
            for reject in ready:
                self._waiting.pop(reject, None)
            log.info("frames whose masters came are re-driven", frames=done.sent, too_often=done.exhausted)

    def _served(self, needs: Mapping[str, Any]) -> bool:
        try:
            self.select(needs)
        except FrameError:
            return False
        return True


def stamp_of(path: Path) -> tuple[int, int]:
    """Changes when a file of a folder is added, replaced or removed."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_ino
