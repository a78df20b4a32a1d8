"""One stage of the work on raw frames: a topic → each record's outputs, exactly once, worked out off the event loop.

What calibrator and differencer share. A frame's own fault is a value (`FrameError`) and ends on the reject topic. A store or a disk that
does not answer is waited for: nothing is rejected or committed meanwhile. Anything else that goes wrong is a fault of ours: the process
exits and everything uncommitted comes again.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import structlog

from data.frames.frame_error import FrameError
from errors import InternalError, RetryableError, UserError, one_line
from schemas.avro.wire import PacketError
from schemas.records.rejected import Rejected
from schemas.records.source_state import SourceState
from streams import metrics
from streams.agents.detector import Incoming
from streams.agents.reject_limits import RejectLimitError, RejectLimits
from streams.kafka import exactly_once
from streams.kafka.batches import Unreadable
from streams.kafka.exactly_once import FencedReader, fenced_reader, jittered, repeat
from streams.kafka.producer import Headers, Record, passed_on, rejected_record, trace

if TYPE_CHECKING:
    from settings.model import Settings

log = structlog.get_logger(__name__)

SURVEY = "frames"
LOOK_EVERY = 5.0
"""How often topic, lag and masters are looked at [s]."""
FETCH_WAIT_MS = 300
AT_ONCE = 4
"""Records taken from the client at once; each has a transaction of its own."""
FETCH_BYTES = 16 * 2**20
"""Fetched ahead at most [bytes]."""
STALLS = 5
"""A frame that takes so many times `stall_s` has hung."""

_T = TypeVar("_T")


class FrameFaultError(InternalError):
    """The work on a frame failed for a reason that is none of the frame's: the process ends, and the frame comes again."""


@dataclass(slots=True)
class Worked:
    """What became of a record."""

    outcome: str
    """For the counts: calibrated, differenced, rejected."""
    records: list[Record] = field(default_factory=list)
    rejected: Rejected | None = None
    extra: Headers = field(default_factory=list)
    """More headers of the rejected record."""
    note: Any = None
    """What the stage wants to know again when it is committed."""


class Stage(Protocol):
    """What differs between the stages."""

    name: str
    """Of the stage, for transactions, metrics and the log."""
    topic: str

    async def open(self, flow: FrameFlow, reader: FencedReader) -> None:
        """Make the state anew from the topics, when the topic was taken over."""

    async def work(self, flow: FrameFlow, packet: Incoming) -> Worked:
        """Work one record out. FrameError and PacketError are the record's own."""

    def committed(self, packet: Incoming, worked: Worked, *, placed: Sequence[Any]) -> None:
        """Take what was committed into the state; `placed`: where its records lie."""

    async def look(self, flow: FrameFlow) -> None:
        """Called every few seconds, between two records."""

    async def close(self) -> None:
        """Called when the topic is let go."""


def headers_of(packet: Incoming) -> Headers:
    """Headers of an output: the trace goes on, marks of tests and replays too."""
    sent = dict(packet.headers)
    return [("traceparent", trace(sent)), *passed_on(sent)]


class FrameFlow:
    """Runs one stage.

    Parameters
    ----------
    settings : Settings
        With a broker.
    stage : Stage
    executor : Executor
        Of one thread, shared by the stages: one frame is in memory at a time.
    """

    def __init__(self, settings: Settings, stage: Stage, *, executor: Executor) -> None:
        self.settings = settings
        self.counts: Counter[str] = Counter()
        """Records by outcome, committed by this process."""
        self._stage, self._executor = stage, executor
        self._limits = RejectLimits(settings.reject_consecutive, settings.reject_ratio, window=settings.reject_window)
        self._state, self._why = "connecting", ""
        self._lag = self._lost = 0
        self.busy_since: float | None = None
        """When the work on the record in hand began, on the monotonic clock; None: none is, or it waits for a store."""

    def state(self) -> SourceState:
        """What is published of the stage."""
        done = sum(count for outcome, count in self.counts.items() if outcome != "rejected")
        return SourceState(
            source=f"({self._stage.name})", state=self._state, error=self._why, topics=(self._stage.topic,), copied=done,
            rejected=self.counts["rejected"], lost=self._lost, lag=self._lag, updated_ms=int(time.time() * 1000),
        )  # fmt: skip

    async def run(self) -> None:
        """Work until cancelled; a broker that fails is tried again after a pause that grows.

        Raises
        ------
        RejectLimitError
            Too many records are rejected; nothing of the last one is committed.
        FrameFaultError
            A fault of ours.
        """
        await repeat(
            self._session, self.counts.total, what=f"the {self._stage.name} does not run",
            final=(RejectLimitError, FrameFaultError, UserError), report=self._failed,
        )  # fmt: skip

    def _failed(self, why: str) -> None:
        self._state, self._why = "failed", one_line(why, 300)

    async def _session(self) -> None:
        stage = self._stage
        async with AsyncExitStack() as stack:
            reader = await stack.enter_async_context(
                fenced_reader(self.settings, stage.topic, source=f"({stage.name})", name=stage.name, fetch_max_bytes=FETCH_BYTES)
            )
            stack.push_async_callback(stage.close)
            await stage.open(self, reader)
            for p, count in reader.lost().items():
                log.error("records left the topic before they were worked on", topic=stage.topic, partition=p, records=count)
                self._lost += count
                metrics.FRAMES_LOST.labels(stage.name).inc(count)
            reader.seek({p: max(offset, reader.starts[p]) for p, offset in reader.committed.items()})
            log.info(f"the {stage.name} runs", partitions=len(reader.starts))
            self._state, self._why = "running", ""
            due = 0.0
            while True:
                if time.monotonic() >= due:
                    due = time.monotonic() + LOOK_EVERY
                    if not await reader.same_topic():
                        return
                    self._lag = await reader.lag()
                    metrics.FRAMES_LAG.labels(stage.name).set(self._lag)
                    await stage.look(self)
                for message in await reader.next(AT_ONCE, wait_ms=FETCH_WAIT_MS):
                    await self._one(reader, message)

    async def _one(self, reader: FencedReader, message: Any) -> None:
        """Work a record out and commit what became of it."""
        value = message.value or b""
        headers = [(name, content) for name, content in message.headers or () if content is not None]
        first, count = (value.first, value.records) if isinstance(value, Unreadable) else (message.offset, 1)
        packet = Incoming(value, message.topic, message.partition, first, int(message.timestamp), headers)
        began = time.monotonic()
        try:
            if isinstance(value, Unreadable):
                raise PacketError(value.error_class, value.reason)
            worked = await self._stage.work(self, packet)
        except FrameError as error:
            worked = Worked("rejected", rejected=Rejected(error.reason, str(error), SURVEY))
        except PacketError as error:
            worked = Worked("rejected", rejected=Rejected(error.error_class, error.reason, SURVEY))
        finally:
            self.busy_since = None
        metrics.FRAME_SECONDS.labels(self._stage.name).observe(time.monotonic() - began)
        error_class = worked.rejected.error_class if worked.rejected is not None else None
        self._limits.observe([error_class] * count)
        records = list(worked.records)
        if worked.rejected is not None:
            record = rejected_record(packet, worked.rejected, scored_ms=int(time.time() * 1000))
            records.append(record._replace(headers=[*record.headers, *worked.extra]))
        placed = await reader.commit(records, {message.partition: message.offset + 1})
        self._stage.committed(packet, worked, placed=placed)
        self.counts[worked.outcome] += count
        metrics.FRAMES.labels(self._stage.name, worked.outcome).inc(count)
        if error_class is not None:
            metrics.FRAMES_REJECTED.labels(self._stage.name, error_class).inc(count)
            log.info("a frame is rejected", stage=self._stage.name, error_class=error_class, reason=worked.rejected.reason)  # type: ignore[union-attr]

    async def compute(self, work: Callable[[], _T]) -> _T:
        """Do something in the stages' thread, so that the event loop answers; a store that fails on the way is waited for.

        Raises
        ------
        FrameFaultError
            It failed for a reason that is none of the frame's.
        """
        loop = asyncio.get_running_loop()
        return await self.patiently(lambda: loop.run_in_executor(self._executor, work))

    async def fetch(self, read: Callable[[], _T]) -> _T:
        """Read from a store, in a thread of its own: the other stage goes on meanwhile; waited for likewise."""
        return await self.patiently(lambda: asyncio.to_thread(read))

    async def patiently(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        """Try until no store and no disk is at fault."""
        pause = exactly_once.FIRST_PAUSE
        try:
            while True:
                self.busy_since = time.monotonic()
                try:
                    return await attempt()
                except (FrameError, PacketError, UserError, FrameFaultError):
                    raise
                except (RetryableError, OSError) as error:
                    why = one_line(error, 300) or type(error).__name__
                    log.warning("a store does not answer, waiting for it", stage=self._stage.name, why=why)
                    self.busy_since, self._why = None, f"waiting: {why}"
                    metrics.FRAMES_WAITING.labels(self._stage.name).set(1)
                except Exception as error:
                    raise FrameFaultError(
                        f"the {self._stage.name} failed on a frame: {type(error).__name__}: {one_line(error, 200)}"
                    ) from error
                await asyncio.sleep(jittered(pause))
                pause = min(exactly_once.LONGEST_PAUSE, 2 * pause)
        finally:
            self._why = ""
            metrics.FRAMES_WAITING.labels(self._stage.name).set(0)

    def hung(self, now: float) -> str | None:
        """Why the record in hand counts as hung; None: it does not."""
        if self.busy_since is None or now - self.busy_since < STALLS * self.settings.stall_s:
            return None
        return f"the {self._stage.name} has worked on one frame for {now - self.busy_since:.0f} s"
