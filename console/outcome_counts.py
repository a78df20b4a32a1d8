"""What comes out of the stream → counts, scores against the truth and latencies. The demo's own bookkeeping, independent of the workers'.

Detections and rejections are counted message by message on their topics; duplicates, which go nowhere, by the workers' summaries.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from console import report as reports
from schemas.records.codec import BadRecord
from schemas.records.detection import Detection
from schemas.records.score_summary import ScoreSummary
from schemas.records.worker_summary import WorkerSummary
from streams.bad_records import BadRecords
from streams.kafka import topics
from streams.kafka.consumer import make_consumer
from streams.kafka.topics import admin_client, places_of

if TYPE_CHECKING:
    from console.night_file import Made
    from settings.model import Settings


@dataclass(slots=True)
class Arrival:
    """A detection as it came."""

    detection: Detection
    appended_ms: int
    """When the broker appended it [ms since 1970]."""
    ingested_ms: int
    """When the broker had appended its packet [ms since 1970], by the same clock."""

    @property
    def latency_ms(self) -> int:
        """From append to append [ms]."""
        return self.appended_ms - self.ingested_ms


@dataclass(slots=True)
class OutcomeCounts:
    """Counts of what came out."""

    arrivals: list[Arrival] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    last_rejected_ms: int = 0
    duplicates: int = 0
    reported: int = 0
    """Packets that the workers report to have come in."""
    recent: deque[Arrival] = field(default_factory=lambda: deque(maxlen=40))
    bad: BadRecords = field(default_factory=BadRecords)
    """Messages that are not records of ours."""

    @property
    def total(self) -> int:
        """Outcomes in all."""
        return len(self.arrivals) + self.rejected.total() + self.duplicates

    def add(self, message: Any) -> None:
        """Count a message of one of the topics."""
        headers = dict(message.headers)
        if message.topic == topics.REJECTED:
            self.rejected[headers.get("error_class", b"?").decode()] += 1
            self.last_rejected_ms = max(self.last_rejected_ms, message.timestamp)
        elif message.topic == topics.TELEMETRY:
            record: Any = self.bad.read(message, WorkerSummary, ScoreSummary)
            if isinstance(record, WorkerSummary):
                self.duplicates += sum(o.duplicates for o in record.surveys.values())
                self.reported += record.total
        elif (detection := self.bad.read(message, Detection)) is not None:
            ingested = headers.get("ingested_at") or b""
            if not ingested.isdigit() or len(ingested) > 15:
                self.bad.count(message, BadRecord("bad_header", "a detection without the time its packet came in"))
                return
            arrival = Arrival(detection, message.timestamp, int(ingested))
            self.arrivals.append(arrival)
            self.recent.append(arrival)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out of the packets that were made."""

    settings: Settings
    counts: OutcomeCounts
    made: Sequence[Made]


class Counts(Protocol):
    """What a `TopicListener` counts in."""

    @property
    def total(self) -> int:
        """Outcomes."""

    def add(self, message: Any) -> None:
        """Count a message of one of the topics."""


_Counts = TypeVar("_Counts", bound=Counts)


class TopicListener(Generic[_Counts]):
    """Reads topics from their beginning into counts, without a group.

    Parameters
    ----------
    settings : Settings
        With a broker whose topics are declared.
    counts : Counts
    """

    TOPICS: tuple[str, ...]

    def __init__(self, settings: Settings, counts: _Counts) -> None:
        self.counts = counts
        self._settings = settings
        # From the beginning by the setting: `seek_to_beginning` may be overtaken by the reset that an assignment begins with.
        self._consumer = make_consumer(settings, auto_offset_reset="earliest", max_partition_fetch_bytes=2_097_152)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        async with admin_client(self._settings) as admin:
            places = [place for found in (await places_of(admin, self.TOPICS)).values() for place in found]
        await self._consumer.start()
        self._consumer.assign(places)
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._consumer.stop()

    async def _read(self) -> None:
        while True:
            for messages in (await self._consumer.getmany(timeout_ms=200)).values():
                for message in messages:
                    self.counts.add(message)

    async def until(self, total: int, patience: float, *, count: Callable[[_Counts], int] = lambda counts: counts.total) -> bool:
        """Wait until so many outcomes are in; False: nothing more came for `patience` [s]."""
        loop = asyncio.get_running_loop()
        seen, since = -1, loop.time()
        while (now := count(self.counts)) < total:
            if self._task is not None and self._task.done():
                self._task.result()
            if now != seen:
                seen, since = now, loop.time()
            elif loop.time() - since > patience:
                return False
            await asyncio.sleep(0.05)
        return True


class Listener(TopicListener[OutcomeCounts]):
    """Reads all outcome topics into an `OutcomeCounts`."""

    TOPICS: tuple[str, ...] = (topics.DETECTIONS, topics.PRIVATE, topics.REJECTED, topics.TELEMETRY)

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, OutcomeCounts())


@dataclass(frozen=True, slots=True)
class Latency:
    """Latencies of detections [ms]."""

    n: int
    p50: float
    p90: float
    p99: float
    most: float

    @classmethod
    def of(cls, values: list[int]) -> Latency:
        """Of single latencies."""
        ordered = sorted(float(v) for v in values)
        return cls(len(ordered), *(reports.percentile(ordered, q) for q in (0.5, 0.9, 0.99, 1.0)))

    def figures(self) -> dict[str, float]:
        """For the report."""
        return {"n": self.n, "p50_ms": self.p50, "p90_ms": self.p90, "p99_ms": self.p99, "max_ms": self.most}


def rate_of(arrivals: list[Arrival]) -> tuple[float, float]:
    """Detections a second and the time they took [s]: from the first packet's append to the last detection's, by the broker's clock."""
    if not arrivals:
        return math.nan, 0.0
    seconds = (max(a.appended_ms for a in arrivals) - min(a.ingested_ms for a in arrivals)) / 1000
    return (len(arrivals) / seconds if seconds > 0 else math.nan), seconds
