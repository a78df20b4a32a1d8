"""Alerts of the live stream → what models that are not in use would have called them. Run beside the workers.

    alerts.* (a share of the blocks of offsets) ──► score, one `Pipeline` a role ──► detections.shadow

What is left out is not read: a partition's offsets are blocks of `BLOCK`, and a hash of topic, partition and block says which are scored.
To choose packets by their own digest would mean reading all of them, which costs more than the scoring of a tenth. The choice is the same
after a restart, and in every process.

Nothing is remembered between processes: one that was killed goes on with the newest alerts, and what was scored twice is collapsed by its
`packet_id`. Alerts that are not public are not scored here: `detections.shadow` is read by everyone.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import structlog

from gpu.session import EngineError
from schemas.records import codec
from schemas.records.detection import Detection
from streams.kafka import topics
from streams.kafka.batches import Unreadable
from streams.kafka.consumer import make_consumer
from streams.kafka.producer import PUBLIC
from streams.scorer import Scorer

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer, TopicPartition

    from settings.model import Settings

log = structlog.get_logger(__name__)

BLOCK = 32
"""Packets that are read and scored together."""
BACK = 6000
"""Alerts before now that a model which is new here begins with: a challenger that comes by day is judged on the night before."""
FETCH_BYTES = 1_000_000
"""Of a partition at once: what is read beyond a block is thrown away [bytes]."""
BURST_S = 2.0
"""Processor time that may be spent ahead of the stated share [s]."""
QUIET_S = 0.3
"""Pause where there is nothing to score [s]."""
BEHIND = 200
"""Blocks of a partition that may wait; with more the oldest are left out."""


def chosen(topic: str, partition: int, *, block: int, share: float) -> bool:
    """Whether a block of offsets is scored."""
    return zlib.crc32(f"{topic}/{partition}/{block}".encode()) < share * 2**32


class Scored(NamedTuple):
    """What models made of a packet."""

    detection: Detection
    ingested_ms: int


@dataclass(slots=True)
class Role:
    """A model that scores along."""

    scorer: Scorer
    sha256: str
    slowdown: float | None = None
    """Its time an alert, of the champion's; None: not measured."""
    offered: int = 0
    rejected: int = 0


@dataclass(slots=True)
class Cursor:
    """Where a partition is."""

    offset: int
    end: int


@dataclass
class Shadow:
    """Scores a share of the alerts with every model that has a role.

    Parameters
    ----------
    settings : Settings
        With a broker.
    producer : aiokafka.AIOKafkaProducer
        Started.
    clock, cpu : callable
        Seconds from anywhere; this process's processor time [s].
    """

    settings: Settings
    producer: AIOKafkaProducer
    hear: Callable[[str, Detection, int], None] = lambda role, detection, ingested_ms: None
    """Called with what was sent, so that the process it is in need not read it again: role, detection, when its packet came [ms]."""
    clock: Callable[[], float] = time.monotonic
    cpu: Callable[[], float] = time.process_time
    roles: dict[str, Role] = field(default_factory=dict)
    scored: int = 0
    skipped: int = 0
    """Blocks left out, because the share of a core was spent."""
    _since: int | None = None
    """Where the next pass begins; None: it goes on."""
    _cursors: dict[Any, Cursor] = field(default_factory=dict)
    _executor: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "shadow"))

    def play(self, role: str, sha256: str, *, scorer: Scorer, slowdown: float | None, since_ms: int = 0) -> None:
        """Give a model a role.

        Parameters
        ----------
        role, sha256 : str
        scorer : Scorer
        slowdown : float, optional
            Its time an alert, of the champion's.
        since_ms : int
            Begin with the alerts that came from then on, of the last `BACK` ones [ms since 1970].
        """
        self.roles[role] = Role(scorer, sha256, slowdown)
        self._since = since_ms if self._since is None else min(since_ms, self._since)
        log.info("a model scores along", role=role, model=scorer.model, scoring_id=scorer.scoring_id)

    def drop(self, role: str) -> None:
        """Take a role away."""
        if self.roles.pop(role, None) is not None:
            log.info("a model does not score along any more", role=role)

    async def run(self) -> None:
        """Score until cancelled.

        Raises
        ------
        aiokafka.errors.KafkaError
        """
        consumer = make_consumer(
            self.settings, auto_offset_reset="latest", max_partition_fetch_bytes=FETCH_BYTES, fetch_max_wait_ms=100, unreadable=True
        )
        await consumer.start()
        try:
            await self._assign(consumer)
            started, spent = self.clock(), self.cpu()
            while True:
                if not self.roles:
                    await asyncio.sleep(QUIET_S)
                    self._cursors.clear()
                    started, spent = self.clock(), self.cpu()
                    continue
                if self._since is not None or not self._cursors:
                    await self._begin(consumer)
                found = await self._next(consumer)
                if not found:
                    await asyncio.sleep(QUIET_S)
                else:
                    await self.score(found)
                ahead = (self.cpu() - spent) / self.settings.shadow_core - (self.clock() - started)
                if ahead > BURST_S:
                    await asyncio.sleep(min(ahead - BURST_S, 5.0))
                elif ahead < -BURST_S:  # what was not used is not saved up
                    started, spent = self.clock(), self.cpu()
        finally:
            await consumer.stop()

    async def _assign(self, consumer: Any) -> None:
        async with topics.admin_client(self.settings) as admin:
            consumer.assign([place for of in (await topics.places_of(admin, topics.ALERTS)).values() for place in of])

    async def _begin(self, consumer: Any) -> None:
        """Set every partition at its beginning for the models that have a role now."""
        places = sorted(consumer.assignment())
        begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        starts = dict(ends)
        if self._since is not None:
            share = BACK // max(sum(begins[p] < ends[p] for p in places), 1)
            since = await consumer.offsets_for_times(dict.fromkeys(places, self._since))
            starts = {p: ends[p] if since.get(p) is None else max(since[p].offset, ends[p] - share) for p in places}
        for place in places:
            self._cursors[place] = Cursor(max(begins[place], starts[place]), ends[place])
            consumer.pause(place)
        self._since = None

    async def _next(self, consumer: Any) -> list[Any]:
        """The messages of the next chosen blocks, one a partition; none: nothing new has come."""
        for place, end in (await consumer.end_offsets(list(self._cursors))).items():
            self._cursors[place].end = end
        wanted: dict[TopicPartition, int] = {}
        for place, cursor in self._cursors.items():
            if (cursor.end - cursor.offset) * self.settings.shadow_share > BEHIND * BLOCK:
                self.skipped += 1
                cursor.offset = cursor.end - BLOCK * int(BEHIND / self.settings.shadow_share) // 2
            if (upto := self._advance(place, cursor)) is not None:
                consumer.seek(place, cursor.offset)
                consumer.resume(place)
                wanted[place] = upto
        messages: list[Any] = []
        deadline = self.clock() + 5.0
        while wanted and self.clock() < deadline:
            for place, got in (await consumer.getmany(*wanted, timeout_ms=500, max_records=BLOCK)).items():
                messages += [m for m in got if m.offset < wanted[place]]
                if got:
                    self._cursors[place].offset = min(got[-1].offset + 1, wanted[place])
            for place in [p for p, upto in wanted.items() if self._cursors[p].offset >= upto]:
                consumer.pause(place)
                del wanted[place]
        for place, upto in wanted.items():  # compacted away or transaction marks: nothing is there to read
            consumer.pause(place)
            self._cursors[place].offset = upto
        return messages

    def _advance(self, place: Any, cursor: Cursor) -> int | None:
        """Move to the next offset of a chosen block; the offset behind what is there of the block, or None: none is there yet."""
        while cursor.offset < cursor.end:
            block = cursor.offset // BLOCK
            if chosen(place.topic, place.partition, block=block, share=self.settings.shadow_share):
                return min((block + 1) * BLOCK, cursor.end)
            cursor.offset = min((block + 1) * BLOCK, cursor.end)
        return None

    async def score(self, messages: Sequence[Any]) -> None:
        """Score messages with every model, and send what they say.

        Raises
        ------
        aiokafka.errors.KafkaError
        """
        packets = [(m.value, m.timestamp) for m in messages if m.value and not isinstance(m.value, Unreadable)]
        loop = asyncio.get_running_loop()
        waits = []
        for name, role in list(self.roles.items()):
            for start in range(0, len(packets), BLOCK):
                part = packets[start : start + BLOCK]
                try:
                    outcomes = await loop.run_in_executor(self._executor, role.scorer, [value for value, _ in part])
                except EngineError as error:
                    log.error("a model that is not in use cannot score", role=name, model=role.scorer.model, why=str(error))
                    waits.append(await self._fault(name, role, count=len(part)))
                    continue
                for outcome, (_, ingested_ms) in zip(outcomes, part, strict=True):
                    if not isinstance(outcome, Detection) or outcome.programid != PUBLIC:
                        continue
                    role.offered += 1
                    if usable(outcome):
                        waits.append(await self._send(name, role, scored=Scored(outcome, ingested_ms)))
                    else:
                        waits.append(await self._fault(name, role, count=1))
        for wait in waits:
            await wait
        self.scored += len(packets)

    async def _send(self, name: str, role: Role, *, scored: Scored) -> Any:
        headers = headers_of(name, scored.detection, ingested_ms=scored.ingested_ms)
        if role.slowdown is not None:
            headers.append(("slowdown", f"{role.slowdown:.3f}".encode()))
        sent = await self.producer.send(
            topics.SHADOW, codec.encode(scored.detection), key=scored.detection.object_id.encode(), headers=headers
        )
        self.hear(name, scored.detection, scored.ingested_ms)
        return sent

    async def _fault(self, name: str, role: Role, *, count: int) -> Any:
        """Say of how many alerts nothing can be said."""
        role.rejected += count
        headers = [("role", name.encode()), ("model", role.scorer.model.encode()), ("faults", b"%d" % count)]
        return await self.producer.send(topics.SHADOW, b"", key=role.scorer.model.encode(), headers=headers)


def usable(detection: Detection) -> bool:
    """Whether a detection's probabilities are such."""
    p = np.array([c.probability for c in detection.classes])
    return bool(len(p)) and bool(np.isfinite(p).all()) and abs(float(p.sum()) - 1) < 1e-3


def headers_of(role: str, detection: Detection, *, ingested_ms: int) -> list[tuple[str, bytes]]:
    """Headers of a record on `detections.shadow`."""
    return [
        ("role", role.encode()),
        ("packet_id", detection.packet_id.encode()),
        ("model", detection.model.encode()),
        ("ingested_at", b"%d" % ingested_ms),
        ("survey", detection.survey.encode()),
        ("candid", b"%d" % detection.candid),
        ("programid", b"%d" % detection.programid),
    ]


def slowdown_of(
    scorer: Scorer, champion: Scorer, *, packets: Sequence[bytes], tries: int = 3, clock: Callable[[], float] = time.thread_time
) -> float:
    """A model's time an alert, of another's: each scores the same packets, in turn, and the best of some tries counts."""
    best: dict[int, float] = {0: np.inf, 1: np.inf}
    for _ in range(tries):
        for i, one in enumerate((scorer, champion)):
            begun = clock()
            one(packets)
            best[i] = min(best[i], clock() - begun)
    return best[0] / max(best[1], 1e-9)
