"""Packets of many requests → micro-batches of the scorer in force.

When the scorer is idle the first packet waits `window_s` for others; what comes while it works is the next batch. It works on the event
loop itself: one process a core has nothing else to do meanwhile, and a thread beside the loop would fight with it for the interpreter's
lock (a tenth of the CPU, twice the latency). Where scoring may wait (a schema registry, a GPU) it has a thread of its own.
Packets are taken from the
requests in turn, so that a request of a thousand does not hold up one of a single packet. A full queue refuses at once: what waits is
bounded, and the client learns it when it can still go elsewhere.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog

from errors import ProtonovaError, RetryableError
from gpu.session import EngineError
from schemas.records.detection import Detection
from schemas.records.rejected import Rejected
from streams.scorer import Scorer, batch_size_of

log = structlog.get_logger(__name__)

Outcome = Detection | Rejected
QUANTUM = 8
"""Packets of a request that are taken before it is another's turn."""
LONGEST_WINDOW = 0.05
STILL = 2
"""Turns of the event loop without another request, after which none is at the door."""


class BusyError(ProtonovaError):
    """Too many packets wait already."""


@dataclass(slots=True, eq=False)
class _Job:
    """A request's packets."""

    packets: Sequence[bytes]
    write: Callable[[Outcome], Any]
    """Makes of each outcome what the answer holds."""
    done: asyncio.Future[list[Any]]
    results: list[Any] = field(default_factory=list)
    taken: int = 0


class MicroBatcher:
    """Gathers packets and scores them.

    Parameters
    ----------
    scorer_of : callable
        The scorer of a batch that begins now.
    window_s : float
        How long the first packet waits for others while nothing is scored [s].
    most_waiting : int
        Packets that may wait.
    threaded : bool
        Score in a thread of its own.
    """

    def __init__(
        self, scorer_of: Callable[[], Scorer], *, window_s: float = 0.003, most_waiting: int = 4096, threaded: bool = False
    ) -> None:
        self._scorer_of, self._window, self._most = scorer_of, min(window_s, LONGEST_WINDOW), most_waiting
        self._jobs: deque[_Job] = deque()
        self._waiting = 0
        self._size = batch_size_of(scorer_of())
        self._some, self._full = asyncio.Event(), asyncio.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="score") if threaded else None
        self._task: asyncio.Task[None] | None = None
        self.batches = self.packets = self.engine_failures = 0

    def start(self) -> None:
        """Begin to score."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End; what waits is given up."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        for job in self._jobs:
            job.done.cancel()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def waiting(self) -> int:
        """Packets that wait."""
        return self._waiting

    async def score(self, packets: Sequence[bytes], write: Callable[[Outcome], Any]) -> list[Any]:
        """Score packets.

        Parameters
        ----------
        packets : sequence of bytes
        write : callable
            What is made of each outcome.

        Returns
        -------
        list
            One a packet, in order.

        Raises
        ------
        BusyError
            Too many packets wait already.
        gpu.session.EngineError
            The engine failed, and once more on half of the batch.
        errors.RetryableError
            A schema registry does not answer.
        """
        if not packets:
            return []
        if self._waiting + len(packets) > self._most and self._waiting:
            raise BusyError(f"{self._waiting:,} packets wait to be scored")
        job = _Job(packets, write, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._waiting += len(packets)
        self._some.set()
        if self._waiting >= self._size:
            self._full.set()
        try:
            return await job.done
        except asyncio.CancelledError:
            self._drop(job)
            raise

    def _drop(self, job: _Job) -> None:
        """The client of a request has gone: what of it was not taken is not scored."""
        with suppress(ValueError):
            self._jobs.remove(job)
            self._waiting -= len(job.packets) - job.taken

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._some.wait()
            if self._window and self._waiting < self._size:
                timer = loop.call_later(self._window, self._full.set)
                await self._full.wait()
                timer.cancel()
                await self._settle(loop.time() + self._window)
            taken = self._take()
            if not self._jobs:
                self._some.clear()
            if self._waiting < self._size:
                self._full.clear()
            if not taken:
                continue
            self.batches += 1
            self.packets += len(taken)
            scorer = self._scorer_of()
            try:
                if self._pool is None:
                    found = _scored(scorer, taken)
                    await asyncio.sleep(0)  # what came meanwhile is read, before the next batch is taken
                else:
                    found = await loop.run_in_executor(self._pool, _scored, scorer, taken)
            except EngineError as error:
                self.engine_failures += 1
                log.error("the engine failed", why=str(error), packets=len(taken))
                self._fail(taken, error)
                continue
            except Exception as error:  # the clients must not wait for ever
                self._fail(taken, error)
                continue
            self.engine_failures = 0
            for (job, _), result in zip(taken, found, strict=True):
                if job.done.done():
                    continue
                if isinstance(result, Exception):
                    job.done.set_exception(result)
                    self._drop(job)
                    continue
                job.results.append(result)
                if len(job.results) == len(job.packets):
                    job.done.set_result(job.results)

    async def _settle(self, until: float) -> None:
        """Have what lies in the sockets read first: after a batch the next one's requests are there, and a larger batch costs each less."""
        still = 0
        while self._waiting < self._size and still < STILL and asyncio.get_running_loop().time() < until:
            before = self._waiting
            await asyncio.sleep(0)
            still = 0 if self._waiting > before else still + 1

    def _take(self) -> list[tuple[_Job, bytes]]:
        """The next packets, of the requests in turn."""
        out: list[tuple[_Job, bytes]] = []
        while self._jobs and len(out) < self._size:
            job = self._jobs.popleft()
            n = min(QUANTUM, self._size - len(out), len(job.packets) - job.taken)
            out += [(job, packet) for packet in job.packets[job.taken : job.taken + n]]
            job.taken += n
            if job.taken < len(job.packets):
                self._jobs.append(job)
        self._waiting -= len(out)
        return out

    def _fail(self, taken: Sequence[tuple[_Job, bytes]], error: Exception) -> None:
        for job in {id(job): job for job, _ in taken}.values():
            if not job.done.done():
                job.done.set_exception(error)
            self._drop(job)


def _scored(scorer: Scorer, taken: Sequence[tuple[_Job, bytes]]) -> list[Any]:
    """Each packet's outcome as its request wants it, or the error that is its own."""
    packets = [packet for _, packet in taken]
    try:
        outcomes: Sequence[Outcome | Exception] = scorer(packets)
    except EngineError:
        if len(packets) == 1:
            raise
        half = len(packets) // 2  # once in halves, as the stream does: a device that was out of memory goes on
        outcomes = [*scorer(packets[:half]), *scorer(packets[half:])]
    except RetryableError:
        outcomes = [_alone(scorer, packet) for packet in packets]  # who needs no registry does not wait for one
    return [
        outcome if isinstance(outcome, Exception) else _written(job, outcome) for (job, _), outcome in zip(taken, outcomes, strict=True)
    ]


def _written(job: _Job, outcome: Outcome) -> Any:
    """What the request wants of an outcome; a fault of writing it is this request's alone."""
    try:
        return job.write(outcome)
    except Exception as error:
        return error


def _alone(scorer: Scorer, packet: bytes) -> Outcome | Exception:
    try:
        return scorer([packet])[0]
    except RetryableError as error:
        return error
