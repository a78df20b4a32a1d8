"""The batcher: when a batch closes, how many fly, and that acknowledgements stay in order."""

from __future__ import annotations

import asyncio
import time

import pytest

from streams.ingest import Batcher


class Stage:
    """Records what the batcher does; computing and sending take as long as they are told to."""

    def __init__(self, compute_s: float = 0.0, deliver_s: dict[int, float] | None = None, fail_at: int | None = None) -> None:
        self.compute_s, self.deliver_s, self.fail_at = compute_s, deliver_s or {}, fail_at
        self.batches: list[list[int]] = []
        self.computing = self.most_computing = 0
        self.sent: list[list[int]] = []
        self.acknowledged: list[int] = []
        self.failures: list[BaseException] = []

    async def compute(self, packets: list[int]) -> int:
        self.computing += 1
        self.most_computing = max(self.most_computing, self.computing)
        self.batches.append(packets)
        await asyncio.sleep(self.compute_s)
        self.computing -= 1
        if self.fail_at in packets:
            raise RuntimeError("engine")
        return len(self.batches) - 1

    async def send(self, packets: list[int], number: int) -> list[asyncio.Task[None]]:
        self.sent.append(packets)
        return [asyncio.create_task(asyncio.sleep(self.deliver_s.get(number, 0.0)))]

    def acknowledge(self, packets: list[int], number: int) -> None:
        self.acknowledged += packets

    def batcher(self, size: int = 4, wait_s: float = 0.02) -> Batcher[int, int]:
        return Batcher(size, wait_s, self.compute, self.send, self.acknowledge, self.failures.append)


async def test_a_full_batch_goes_at_once() -> None:
    stage = Stage()
    batcher = stage.batcher(wait_s=60)
    for i in range(8):
        await batcher.put(i)
    await asyncio.sleep(0.01)
    assert stage.batches == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert stage.acknowledged == list(range(8))


async def test_a_batch_closes_so_long_after_its_first_packet() -> None:
    stage = Stage()
    batcher = stage.batcher(size=100, wait_s=0.05)
    began = time.monotonic()
    for i in range(3):  # more packets do not put it off
        await batcher.put(i)
        await asyncio.sleep(0.01)
    while not stage.batches:  # noqa: ASYNC110 - what is tested has none
        await asyncio.sleep(0.001)
    assert 0.045 <= time.monotonic() - began < 0.2
    assert stage.batches == [[0, 1, 2]]


async def test_the_next_batch_is_computed_while_the_last_is_delivered_and_a_third_waits() -> None:
    stage = Stage(deliver_s={0: 0.1, 1: 0.1})
    batcher = stage.batcher(wait_s=0)
    for i in range(10):
        await batcher.put(i)
    await asyncio.sleep(0.05)
    assert stage.batches == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert stage.acknowledged == []
    await batcher.drain()
    assert stage.batches[2] == [8, 9]
    assert stage.acknowledged == list(range(10))
    assert stage.most_computing == 1


async def test_acknowledgements_are_in_order_although_the_second_is_delivered_first() -> None:
    stage = Stage(deliver_s={0: 0.1, 1: 0.0})
    batcher = stage.batcher()
    for i in range(8):
        await batcher.put(i)
    await asyncio.sleep(0.05)
    assert len(stage.sent) == 2
    assert stage.acknowledged == []
    await batcher.drain()
    assert stage.acknowledged == list(range(8))


async def test_put_waits_while_both_flights_are_taken() -> None:
    stage = Stage(deliver_s={0: 0.2, 1: 0.2})
    batcher = stage.batcher()
    for i in range(12):  # two batches fly, the third is full
        await batcher.put(i)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(batcher.put(12), 0.05)
    await asyncio.wait_for(batcher.put(12), 1)
    await batcher.drain()
    assert stage.acknowledged == list(range(13))


@pytest.mark.parametrize("fail_at", [0, 5])
async def test_nothing_behind_a_failure_is_acknowledged(fail_at: int) -> None:
    stage = Stage(fail_at=fail_at, deliver_s={0: 0.02})
    batcher = stage.batcher()
    for i in range(12):
        await batcher.put(i)
    await asyncio.sleep(0.1)
    assert [str(e) for e in stage.failures] == ["engine"]
    assert stage.acknowledged == ([] if fail_at == 0 else [0, 1, 2, 3])
    await asyncio.wait_for(batcher.drain(), 1)
