"""Faust's Kafka transport, five things of it changed.

**The wait in a fetch.** Faust has its consumer wait 1.5 s for new data, and a client has one fetch at a time to each broker, which leaves
out the partitions whose last packets are still buffered. So a packet for such a partition waits until the fetch for the others ends: up to
1.5 s on a quiet stream. With a short wait it is up to that, and an idle worker asks twenty-five times a second (0.5 % of a core).

**The loop of the consumer's thread.** Faust takes asyncio's; uvloop reads a socket for less, and holds the lock of the interpreter, which
the scoring and the main loop wait for, the less for it (`streams.kafka.loop` says what else it takes).

**The way into that thread.** Faust's queue of calls wakes its takers by four tasks for every call; at a few packets a fetch that is most of
what a packet costs there. A fetch goes straight onto the thread's loop instead; commits and the rest keep their queue.

**Where partitions begin and end.** Faust asks for it through that queue, whose two takers serve the commits too, and waits for as long as
any request may take. `spans` asks beside the queue, and gives up in time. It also tells what of a partition was read: the marks of
transactions take offsets that are read over, never handed out and so never committed.

**The hand-over of a message.** Faust hands each one to the streams by racing four tasks, against its own end among others. But a hand-over
that need not wait is done at its first step; only one that waits (a full buffer, a rebalance) is raced.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Coroutine, Generator, Sequence
from typing import Any, NamedTuple

import aiokafka
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from mode.services import WaitResults

from streams.kafka.loop import Loop

FETCH_WAIT_MS = 40


class Span(NamedTuple):
    """Offsets of a partition; each is the first that does not belong to it any more."""

    start: int
    """What retention has taken."""
    read: int | None
    """What the consumer has read; None: it has no position yet."""
    handed: int
    """What it has handed out, packets only."""
    end: int
    """What is there."""

    def done(self, confirmed: int | None) -> int:
        """Up to where nothing is left to be done, where that commit is confirmed. What is gone, or was read and is no packet, is done."""
        committed = max(confirmed or 0, self.start)
        return committed if self.read is None or committed < self.handed else max(committed, self.read)


class _Thread(AIOKafkaConsumerThread):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, thread_loop=Loop(), **options)
        self._handed: dict[Any, int] = {}
        self._close_thread_loop_on_stop = True  # it is the thread's own; a loop handed in is left open

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # read when the consumer starts; Faust has no setting for it
        return consumer

    async def getmany(self, active_partitions: Any, timeout: float) -> Any:  # noqa: ASYNC109 - as Faust has it
        """Records that wait at the consumer, or come within `timeout` [s]; called on the main loop."""
        consumer = self._ensure_consumer()

        async def fetch() -> Any:
            found = await self._fetch_records(consumer, active_partitions, timeout=timeout, max_records=consumer._max_poll_records)
            self._handed.update({place: records[-1].offset + 1 for place, records in found.items() if records})
            return found

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(fetch(), self.thread_loop))

    async def spans(self, partitions: Sequence[Any], within_s: float) -> dict[Any, Span]:
        """As the consumer's; called on the main loop."""
        consumer = self._ensure_consumer()

        async def ask() -> dict[Any, Span]:
            async with asyncio.timeout(within_s):
                starts, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
            # No await from here: position and what was handed out are of one moment.
            return {
                place: Span(starts[place], _position(consumer, place), self._handed.get(place, 0), ends[place])
                for place in partitions
                if place in starts and place in ends
            }

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(ask(), self.thread_loop))


def _position(consumer: aiokafka.AIOKafkaConsumer, place: Any) -> int | None:
    """The consumer's `position`, without the wait for one."""
    subscription = consumer._subscription.subscription
    assignment = None if subscription is None else subscription.assignment
    if assignment is None or place not in assignment.tps:
        return None
    state = assignment.state_value(place)
    position: int | None = state.position if state.has_valid_position else None
    return position


class _Consumer(Consumer):
    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    async def spans(self, partitions: Sequence[Any], within_s: float) -> dict[Any, Span]:
        """Partition → where it begins, is read and ends, as broker and consumer have it now.

        Raises
        ------
        TimeoutError
            It did not answer within `within_s` [s].
        aiokafka.errors.KafkaError
            It refused.
        """
        thread: Any = self._thread
        found: dict[Any, Span] = await thread.spans(partitions, within_s)
        return found

    async def wait_first(self, *coros: Any, timeout: Any = None) -> WaitResults:  # noqa: ASYNC109 - the same
        """The first of some to be done, or the end of the service; at once where the very first one need not wait.

        `Consumer._drain_messages` calls it for each message with the hand-over and the wait for a suspension of the flow.
        """
        ended = self._stopped.is_set() or self._crashed.is_set() or self.suspend_flow.is_set()
        if ended or len(coros) != 2 or not all(isinstance(coro, Coroutine) for coro in coros):
            return await super().wait_first(*coros, timeout=timeout)
        first, other = coros
        try:
            awaited = first.send(None)
        except StopIteration as done:
            other.close()
            return WaitResults([first], [done.value], False)
        except BaseException:
            other.close()
            raise
        return await super().wait_first(_rest(first, awaited), other, timeout=timeout)


async def _rest(coro: Coroutine[Any, Any, Any], awaited: Any) -> Any:
    """The rest of a coroutine that took its first step already and waits for `awaited`."""
    return await _resumed(coro, awaited)


@types.coroutine
def _resumed(coro: Coroutine[Any, Any, Any], awaited: Any) -> Generator[Any, Any, Any]:
    while True:
        try:
            sent = yield awaited
        except BaseException as error:  # a cancellation too: the coroutine's to handle
            try:
                awaited = coro.throw(error)
            except StopIteration as done:
                return done.value
        else:
            try:
                awaited = coro.send(sent)
            except StopIteration as done:
                return done.value


class PromptTransport(Transport):
    """Kafka, with the five changes."""

    Consumer = _Consumer
