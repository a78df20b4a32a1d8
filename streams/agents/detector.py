"""A batch of packets → one outcome each: detection, rejected or duplicate.

Bytes seen before are doubles and are not scored again; the rest goes through the scorer in a thread of its own, off the event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import structlog
from deflate import adler32, crc32

from errors import RetryableError
from schemas.records.codec import Detection, Rejected
from streams.agents.reject_limits import RejectLimits
from streams.kafka.batches import Unreadable

log = structlog.get_logger(__name__)

Digest = tuple[int, int, int]


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
    """None: a double."""
    revision: bool = False
    """The same candid came before, with other bytes."""


class Scorer(Protocol):
    """The pure function with its state; `streams.wiring.Pipeline` is the real one."""

    @property
    def classes(self) -> Sequence[str]:
        """Slugs of the classes."""

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Class → least probability under the stream prior at which a detection goes to the class's topic."""

    @property
    def scoring_id(self) -> str:
        """What the scores depend on besides the packet."""

    @property
    def model(self) -> str:
        """The bundle's name."""

    @property
    def engine(self) -> str:
        """Name and version of what runs the network."""

    def __call__(self, packets: Sequence[bytes]) -> Sequence[Detection | Rejected]:
        """One outcome a packet, in order."""


class EngineFailure(RetryableError):
    """The scorer failed on a batch and on one of its halves: never a packet's fault, so nothing of it is acknowledged."""

    hint = "`protonova doctor` shows which model and engine would be used"


class Doubles:
    """A bounded memory of packets' bytes.

    A packet is known by its length, CRC-32 and Adler-32: 15 µs for 76 KB, and no two different packets of a survey's lifetime are
    expected to agree in all three. It guards against repetition, not against forgery: what reads the topic trusts who writes it.

    Parameters
    ----------
    limit : int
        Packets remembered; the ones longest not met are forgotten first.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: OrderedDict[Digest, None] = OrderedDict()

    @staticmethod
    def digest(packet: bytes) -> Digest:
        """By which a packet is known."""
        return len(packet), crc32(packet), adler32(packet)

    def __contains__(self, digest: Digest) -> bool:
        if digest not in self._known:
            return False
        self._known.move_to_end(digest)
        return True

    def add(self, digest: Digest) -> None:
        """Remember a packet."""
        self._known[digest] = None
        if len(self._known) > self._limit:
            self._known.popitem(last=False)

    def __len__(self) -> int:
        return len(self._known)


class Revisions:
    """Which bytes a candid last came with (bounded)."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: OrderedDict[tuple[str, int], Digest] = OrderedDict()

    def mark(self, survey: str, candid: int, digest: Digest) -> bool:
        """Whether the candid is known with other bytes; it is remembered with these."""
        key = (survey, candid)
        before = self._known.pop(key, None)
        self._known[key] = digest
        if len(self._known) > self._limit:
            self._known.popitem(last=False)
        return before is not None and before != digest


class Scored(NamedTuple):
    """A batch's outcomes, in order."""

    outcomes: list[Outcome]
    scored_ms: int
    """When the last of them was scored [ms since 1970]."""
    compute_s: float
    """How long scoring took [s]."""
    fresh: int
    """Packets that were really scored."""


@dataclass(slots=True)
class Detector:
    """Sorts out doubles and scores the rest.

    A packet enters the memory of doubles when it became a detection: that detection is then on its way, and should it never arrive
    the worker ends and its memory with it. A rejected packet is not remembered, so a repeat of it is rejected again.
    """

    scorer: Scorer
    doubles: Doubles
    revisions: Revisions
    executor: Executor
    limits: RejectLimits | None = None
    """Halts the flow where too much is rejected."""
    clock: Callable[[], float] = time.time

    async def compute(self, packets: Sequence[Incoming]) -> Scored:
        """Outcomes of a batch.

        Raises
        ------
        EngineFailure
            The scorer failed.
        RejectLimitError
            Too much is rejected: the batch is neither delivered nor acknowledged.
        """
        digests = [Doubles.digest(packet.value) for packet in packets]
        first: dict[Digest, int] = {}
        for i, digest in enumerate(digests):
            if isinstance(packets[i].value, Unreadable):
                continue
            if digest not in first and digest not in self.doubles:
                first[digest] = i
        started = time.perf_counter()
        fresh = [packets[i].value for i in first.values()]
        loop = asyncio.get_running_loop()
        results = await loop.run_in_executor(self.executor, score_in_halves, self.scorer, fresh) if fresh else []
        compute_s = time.perf_counter() - started
        scored = dict(zip(first, results, strict=True))
        outcomes = []
        for i, digest in enumerate(digests):
            value = packets[i].value
            result = Rejected(value.error_class, value.reason) if isinstance(value, Unreadable) else scored.get(digest)
            if isinstance(result, Rejected):
                outcomes.append(Outcome(result))  # each repeat in its own name: it has an origin of its own
            elif result is None or first[digest] != i:
                outcomes.append(Outcome(None))
            else:
                outcomes.append(Outcome(result, self.revisions.mark(result.survey, result.candid, digest)))
                self.doubles.add(digest)
        if self.limits is not None:
            results_of = (outcome.result for outcome in outcomes)
            self.limits.observe(result.error_class if isinstance(result, Rejected) else None for result in results_of)
        return Scored(outcomes, int(self.clock() * 1000), compute_s, len(fresh))


def score_in_halves(scorer: Scorer, packets: Sequence[bytes]) -> Sequence[Detection | Rejected]:
    """Score a batch; where that fails, once more in two halves.

    Raises
    ------
    EngineFailure
        A half failed too, or the scorer did not answer for every packet.
    """
    try:
        return _checked(scorer, packets)
    except Exception as error:
        # A device that ran out of memory may manage a smaller batch; a device that is gone will not.
        log.warning("scoring failed, trying again in halves", packets=len(packets), error=repr(error))
        middle = (len(packets) + 1) // 2
        try:
            return [*_checked(scorer, packets[:middle]), *(_checked(scorer, packets[middle:]) if packets[middle:] else ())]
        except Exception as again:
            raise EngineFailure(f"the engine failed on {len(packets)} packets and on half of them ({again!r})") from again


def _checked(scorer: Scorer, packets: Sequence[bytes]) -> Sequence[Detection | Rejected]:
    results = scorer(packets)
    if len(results) != len(packets):
        raise RuntimeError(f"{len(results)} outcomes for {len(packets)} packets")
    return results
