"""The batcher: when a batch closes, how many fly, and that acknowledgements stay in order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from streams.agents.batcher import Batcher


class Stage:
    """Records what the batcher does; a batch whose number is held is delivered when the test lets it go."""

    def __init__(self, held: tuple[int, ...] = (), fail_at: int | None = None) -> None:
        self.held, self.fail_at = {number: asyncio.Event() for number in held}, fail_at
        self.batches: list[list[int]] = []
        self.computing = self.most_computing = 0
        self.sent: list[list[int]] = []
        self.acknowledged: list[int] = []
        self.failures: list[BaseException] = []

    async def compute(self, packets: list[int]) -> int:
        self.computing += 1
        self.most_computing = max(self.most_computing, self.computing)
        self.batches.append(packets)
        await asyncio.sleep(0)
        self.computing -= 1
        if self.fail_at in packets:
            raise RuntimeError("engine")
        return len(self.batches) - 1

    async def send(self, packets: list[int], number: int) -> list[asyncio.Task[object]]:
        self.sent.append(packets)
        return [asyncio.create_task(self.held[number].wait() if number in self.held else asyncio.sleep(0))]

    def acknowledge(self, packets: list[int], number: int) -> None:
        self.acknowledged += packets

    def batcher(self, size: int = 4, wait_s: float = 60.0) -> Batcher[int, int]:
        return Batcher(size, wait_s, compute=self.compute, send=self.send, acknowledge=self.acknowledge, on_failure=self.failures.append)


async def until(true: Callable[[], object]) -> None:
    """Wait for what has to come, however slow the machine is."""
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 - what is tested has no event for it
            await asyncio.sleep(0.001)


async def settled() -> None:
    """Everything that can go on without a timer and without us has gone on."""
    for _ in range(100):
        await asyncio.sleep(0)


async def test_a_full_batch_goes_at_once() -> None:
    stage = Stage()
    batcher = stage.batcher(wait_s=60)
    for i in range(8):
        await batcher.put(i)
    await until(lambda: len(stage.acknowledged) == 8)
    assert stage.batches == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert stage.acknowledged == list(range(8))


async def test_a_batch_closes_so_long_after_its_first_packet() -> None:
    stage = Stage()
    batcher = stage.batcher(size=100_000, wait_s=0.05)
    began = time.monotonic()
    count = 0
    async with asyncio.timeout(30):
        while not stage.batches:  # packets that keep coming do not put it off
            await batcher.put(count)
            count += 1
            await asyncio.sleep(0.001)
    assert time.monotonic() - began >= 0.045
    assert stage.batches[0] == list(range(len(stage.batches[0])))


async def test_the_next_batch_is_computed_while_the_last_is_delivered_and_a_third_waits() -> None:
    stage = Stage(held=(0, 1))
    batcher = stage.batcher(wait_s=0)
    for i in range(10):
        await batcher.put(i)
    await until(lambda: len(stage.sent) == 2)
    await settled()
    assert stage.batches == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert stage.acknowledged == []
    stage.held[0].set()
    await until(lambda: len(stage.batches) == 3)
    assert stage.acknowledged == [0, 1, 2, 3]
    stage.held[1].set()
    await batcher.drain()
    assert stage.batches[2] == [8, 9]
    assert stage.acknowledged == list(range(10))
    assert stage.most_computing == 1


async def test_acknowledgements_are_in_order_although_the_second_is_delivered_first() -> None:
    stage = Stage(held=(0,))
    batcher = stage.batcher()
    for i in range(8):
        await batcher.put(i)
    await until(lambda: len(stage.sent) == 2)
    await settled()
    assert stage.acknowledged == []
    stage.held[0].set()
    await batcher.drain()
    assert stage.acknowledged == list(range(8))


async def test_put_waits_while_both_flights_are_taken() -> None:
    stage = Stage(held=(0, 1))
    batcher = stage.batcher()
    for i in range(12):  # two batches fly, the third is full
        await batcher.put(i)
    waiting = asyncio.create_task(batcher.put(12))
    await until(lambda: len(stage.sent) == 2)
    await settled()
    assert not waiting.done()
    for held in stage.held.values():
        held.set()
    await asyncio.wait_for(waiting, 30)
    await batcher.drain()
    assert stage.acknowledged == list(range(13))


async def test_draining_takes_nothing_more() -> None:
    """A worker that is asked to end while packets keep coming would else never be done."""
    stage = Stage(held=(0, 1))
    batcher = stage.batcher()
    count = 0

    async def feed() -> None:
        nonlocal count
        while True:
            await batcher.put(count)
            count += 1

    feeding = asyncio.create_task(feed())
    await until(lambda: len(stage.sent) == 2)
    draining = asyncio.create_task(batcher.drain())
    await settled()
    for held in stage.held.values():
        held.set()
    await asyncio.wait_for(draining, 30)
    assert stage.acknowledged == list(range(count))
    await settled()
    assert not feeding.done()
    assert stage.acknowledged == list(range(count)), "what came after is left to the next worker"
    feeding.cancel()


@pytest.mark.parametrize("fail_at", [0, 5])
async def test_nothing_behind_a_failure_is_acknowledged(fail_at: int) -> None:
    stage = Stage(fail_at=fail_at)
    batcher = stage.batcher()
    for i in range(12):
        await batcher.put(i)
    await until(lambda: stage.failures)
    await settled()
    assert [str(e) for e in stage.failures] == ["engine"]
    assert stage.acknowledged == ([] if fail_at == 0 else [0, 1, 2, 3])
    await asyncio.wait_for(batcher.drain(), 30)


async def test_a_batch_is_full_by_its_bytes_too() -> None:
    batches: list[int] = []

    async def compute(packets: list[int]) -> list[int]:
        return packets

    async def send(packets: list[int], result: list[int]) -> list[asyncio.Future[None]]:
        batches.append(sum(packets))
        return []

    batcher: Batcher[int, list[int]] = Batcher(
        64,
        10.0,
        compute=compute,
        send=send,
        acknowledge=lambda packets, result: None,
        on_failure=pytest.fail,
        weigh=lambda size: size,
        limit_bytes=100,
    )
    for size in (60, 60, 30, 30, 30, 250, 10):
        await batcher.put(size)
    await asyncio.wait_for(batcher.drain(), 5)
    assert batches == [60 + 60, 30 + 30 + 30 + 250, 10]


async def test_settling_finishes_what_is_in_hand_and_goes_on() -> None:
    done: list[int] = []

    async def compute(packets: list[int]) -> list[int]:
        await asyncio.sleep(0.01)
        return packets

    async def send(packets: list[int], result: list[int]) -> list[asyncio.Future[None]]:
        return []

    batcher: Batcher[int, list[int]] = Batcher(
        4, 10.0, compute=compute, send=send, acknowledge=lambda packets, result: done.extend(packets), on_failure=pytest.fail
    )
    for number in range(10):
        await batcher.put(number)
    await asyncio.wait_for(batcher.settle(), 5)
    assert done == list(range(10))
    await batcher.put(10)
    await asyncio.wait_for(batcher.settle(), 5)
    assert done == list(range(11))
