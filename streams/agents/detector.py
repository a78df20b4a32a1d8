"""A batch of packets → one outcome each: detection, rejected or duplicate.

A packet seen before is a duplicate and is not scored again; the rest goes through the scorer in a thread of its own, off the event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from errors import RetryableError
from schemas.avro.schema_store import RegistryError
from schemas.records.detection import Detection
from schemas.records.rejected import Rejected
from schemas.surveys.identity import packet_digest
from streams.agents.reject_limits import RejectLimits
from streams.kafka.batches import Unreadable

if TYPE_CHECKING:
    from streams.scorer import Scorer, StateHolder

log = structlog.get_logger(__name__)

Glance = tuple[int, bytes, bytes, bytes]
SLICE = 32
"""Bytes of a packet that are looked at in each of three places."""


class Incoming(NamedTuple):
    """A packet and where it came from."""

    value: bytes
    topic: str
    partition: int
    offset: int
    appended_ms: int
    """The input's append time [ms since 1970]."""
    headers: Sequence[tuple[str, bytes]]
    event: Any = None
    """What is acknowledged when the packet's output is delivered."""


class Outcome(NamedTuple):
    """What became of a packet."""

    result: Detection | Rejected | None
    """None: a duplicate."""
    revision: bool = False
    """The same candid came before, with other bytes."""


class EngineFailure(RetryableError):  # noqa: N818 - `EngineError` is a session's; this one ends a batch
    """The scorer failed on a batch and on one of its halves: never a packet's fault, so nothing of it is acknowledged."""

    hint = "`protonova doctor` shows which model and engine would be used"


class Bounded(OrderedDict[Any, Any]):
    """A bounded memory; what was longest not met is forgotten first.

    Parameters
    ----------
    limit : int
        Entries remembered.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def met(self, key: Any) -> bool:
        """Whether a key is known; it counts as just met then."""
        if key not in self:
            return False
        self.move_to_end(key)
        return True

    def put(self, key: Any, value: Any = None) -> None:
        """Remember."""
        self[key] = value
        self.move_to_end(key)
        if len(self) > self._limit:
            self.popitem(last=False)


def glance(packet: bytes) -> Glance:
    """What two copies of a packet have in common, for next to nothing: no digest is made of a packet that looks like none before."""
    n = len(packet)
    return n, packet[n // 2 : n // 2 + SLICE], packet[3 * n // 4 : 3 * n // 4 + SLICE], packet[-3 * SLICE : -2 * SLICE]


class Duplicates:
    """A bounded memory of packets, by the digest of their record (`schemas.surveys.identity`).

    The digest of a new packet is made where it is decoded. Only one that looks like a packet before it (`glance`) has its digest made
    ahead of the decoding: where it is known, nothing else is done.

    Parameters
    ----------
    limit : int
        Packets remembered.
    """

    def __init__(self, limit: int) -> None:
        self._seen: Bounded = Bounded(limit)
        self._known: Bounded = Bounded(limit)
        self._revisions: Bounded = Bounded(limit)

    def suspect(self, look: Glance) -> bool:
        """Whether a packet that looks so was remembered."""
        return self._seen.met(look)

    def __contains__(self, digest: str) -> bool:
        return self._known.met(digest)

    def add(self, look: Glance, detection: Detection) -> bool:
        """Remember a packet that was scored; returns whether its candid was known with another record (best effort)."""
        digest = digest_of(detection)
        self._seen.put(look)
        self._known.put(digest)
        key = (detection.survey, detection.candid)
        before = self._revisions.get(key)
        self._revisions.put(key, digest)
        return before is not None and before != digest

    def __len__(self) -> int:
        return len(self._known)


def digest_of(detection: Detection) -> str:
    """The last part of its `packet_id`."""
    return detection.packet_id.rpartition(":")[2]


class Scored(NamedTuple):
    """A batch's outcomes, in order."""

    outcomes: list[Outcome]
    scored_ms: int
    """When the last of them was scored [ms since 1970]."""
    compute_s: float
    """How long scoring took [s]."""
    fresh: int
    """Packets that were really scored."""
    scorer: Scorer
    """Of all of them: what is delivered and counted of the batch goes by it."""


@dataclass(slots=True)
class Detector:
    """Sorts out duplicates and scores the rest.

    A packet enters the memory when it became a detection: that detection is then on its way, and should it never arrive
    the worker ends and its memory with it. A rejected packet is not remembered, so a repeat of it is rejected again.
    """

    states: StateHolder
    duplicates: Duplicates
    executor: Executor
    limits: RejectLimits | None = None
    """Halts the flow where too much is rejected."""
    clock: Callable[[], float] = time.time
    patience: int | None = None
    """How often a schema registry that does not answer is asked again before that is an error; None: as long as it takes."""
    waiting: str | None = None
    """What it waits for at the moment, and why; None: it does not wait."""
    _end: asyncio.Event = field(default_factory=asyncio.Event)

    def leave(self) -> None:
        """Wait for nothing any more: the process ends, and what waits comes again."""
        self._end.set()

    async def compute(self, packets: Sequence[Incoming]) -> Scored:
        """Outcomes of a batch.

        Raises
        ------
        EngineFailure
            The scorer failed.
        RegistryError
            The schema registry does not answer, and `patience` or the process is at its end.
        RejectLimitError
            Too much is rejected: the batch is neither delivered nor acknowledged.
        """
        scorer = self.states.current  # of this batch to its end, whatever is swapped meanwhile
        looks = [glance(packet.value) for packet in packets]
        alike = Counter(looks)
        digests: list[str | None] = []
        first: dict[str | int, int] = {}
        """Digest, or place where there is none → the packet that is scored for it."""
        for i, look in enumerate(looks):
            if isinstance(packets[i].value, Unreadable):
                digests.append(None)
                continue
            digest = packet_digest(packets[i].value) if alike[look] > 1 or self.duplicates.suspect(look) else None
            digests.append(digest)
            if digest is None:
                first[i] = i
            elif digest not in self.duplicates:
                first.setdefault(digest, i)
        started = time.perf_counter()
        fresh = [packets[i].value for i in first.values()]
        results = await self._score(scorer, fresh) if fresh else []
        compute_s = time.perf_counter() - started
        scored = dict(zip(first, results, strict=True))
        outcomes = []
        for i, digest in enumerate(digests):
            key: str | int = i if digest is None else digest
            value = packets[i].value
            result = Rejected(value.error_class, value.reason) if isinstance(value, Unreadable) else scored.get(key)
            if isinstance(result, Rejected):
                outcomes.append(Outcome(result))  # each repeat in its own name: it has an origin of its own
            elif result is None or first[key] != i or digest_of(result) in self.duplicates:  # the last: the same record, packed otherwise
                outcomes.append(Outcome(None))
            else:
                outcomes.append(Outcome(result, self.duplicates.add(looks[i], result)))
        if self.limits is not None:
            results_of = (outcome.result for outcome in outcomes)
            self.limits.observe(result.error_class if isinstance(result, Rejected) else None for result in results_of)
        return Scored(outcomes, int(self.clock() * 1000), compute_s, len(fresh), scorer)

    async def _score(self, scorer: Scorer, fresh: list[bytes]) -> Sequence[Detection | Rejected]:
        """Score; where the schema registry does not answer, wait and score again: no packet is at fault, and neither is the engine."""
        loop = asyncio.get_running_loop()
        tries = 0
        try:
            while True:
                try:
                    return await loop.run_in_executor(self.executor, score_in_halves, scorer, fresh)
                except RegistryError as error:
                    tries += 1
                    if self._end.is_set() or (self.patience is not None and tries > self.patience):
                        raise
                    log.warning("waiting for the schema registry", packets=len(fresh), again_s=round(error.after_s, 1), why=str(error))
                    self.waiting = str(error)
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._end.wait(), error.after_s)
        finally:
            self.waiting = None


def score_in_halves(scorer: Scorer, packets: Sequence[bytes]) -> Sequence[Detection | Rejected]:
    """Score a batch; where that fails, once more in two halves.

    Raises
    ------
    EngineFailure
        A half failed too, or the scorer did not answer for every packet.
    """
    try:
        return _checked(scorer, packets)
    except RegistryError:
        raise  # halves would ask it again
    except Exception as error:
        # A device that ran out of memory may manage a smaller batch; a device that is gone will not.
        log.warning("scoring failed, trying again in halves", packets=len(packets), error=repr(error))
        middle = (len(packets) + 1) // 2
        try:
            return [*_checked(scorer, packets[:middle]), *(_checked(scorer, packets[middle:]) if packets[middle:] else ())]
        except RegistryError:
            raise
        except Exception as again:
            raise EngineFailure(f"the engine failed on {len(packets)} packets and on half of them ({again!r})") from again


def _checked(scorer: Scorer, packets: Sequence[bytes]) -> Sequence[Detection | Rejected]:
    results = scorer(packets)
    if len(results) != len(packets):
        raise RuntimeError(f"{len(results)} outcomes for {len(packets)} packets")
    return results
