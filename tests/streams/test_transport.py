"""The hand-over of packets: bounded in number and bytes, given up by a rebalance, acknowledged in order. No broker is needed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from streams.kafka.buffer import BUFFER_BYTES, REFILL
from streams.kafka.transport import App, packets

ZERO, ONE = TopicPartition("alerts.ztf", 0), TopicPartition("alerts.ztf", 1)
SIZE = 100
"""Packets the buffer takes."""


class Bench:
    """A consumer that is not started, and the stream of its agent."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.consumer: Any = app.consumer
        self.stream: Any = app.stream(app.topic("alerts.ztf", value_serializer="raw"))
        self.buffer = self.stream.channel.queue
        conductor: Any = app.topics
        for place in (ZERO, ONE):
            conductor._tp_index[place].add(self.stream.channel)
        conductor._acking_topics.add("alerts.ztf")
        self.consumer.flow_active = True
        self.app.flow_control.resume()

    async def hand_over(self, records: dict[TopicPartition, list[ConsumerRecord]]) -> bool:
        done: bool = await self.consumer._hand_over(records, {ZERO, ONE})
        return done

    async def take(self, n: int) -> list[Any]:
        """The next packets of the stream."""
        out: list[Any] = []
        async for packet in packets(self.stream):
            out.append(packet)
            if len(out) == n:
                break
        return out

    def committable(self) -> dict[TopicPartition, int]:
        offsets: dict[TopicPartition, int] = self.consumer._filter_committable_offsets(self.consumer._filter_tps_with_pending_acks())
        return offsets


def run(tmp_path: Path, scenario: Callable[[Bench], Awaitable[None]]) -> None:
    async def settle() -> None: ...

    async def body() -> None:
        app = App(
            "handover",
            settle=settle,
            broker="kafka://127.0.0.1:1",
            datadir=str(tmp_path),
            autodiscover=False,
            web_enabled=False,
            stream_buffer_maxsize=SIZE,
        )
        bench = Bench(app)
        try:
            await asyncio.wait_for(scenario(bench), 20)
        finally:
            bench.consumer._thread.thread_loop.close()

    asyncio.run(body())


def record(offset: int, value: bytes = b"packet", place: TopicPartition = ZERO) -> ConsumerRecord:
    return ConsumerRecord(place.topic, place.partition, offset, 1_000 + offset, 1, None, value, None, -1, len(value), ())


def test_packets_arrive_in_each_partitions_order(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        assert await bench.hand_over({ZERO: [record(i) for i in range(5)], ONE: [record(i, place=ONE) for i in range(7, 12)]})
        got = await bench.take(10)
        assert [p.offset for p in got if p.place == ZERO] == [0, 1, 2, 3, 4]
        assert [p.offset for p in got if p.place == ONE] == [7, 8, 9, 10, 11]
        assert {(p.value, p.timestamp_ms - p.offset) for p in got} == {(b"packet", 1000)}

    run(tmp_path, scenario)


def test_a_full_buffer_holds_back_and_nothing_is_left_out(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        handing = asyncio.create_task(bench.hand_over({ZERO: [record(i) for i in range(5 * SIZE)]}))
        await asyncio.sleep(0.05)
        assert not handing.done()
        assert bench.buffer.qsize() == SIZE
        got = await bench.take(5)
        await asyncio.sleep(0.05)
        assert bench.buffer.qsize() == SIZE - 5, "it waits until there is room for many"
        got += await bench.take(round(SIZE * (1 - REFILL)))
        await asyncio.sleep(0.05)
        assert bench.buffer.qsize() == SIZE
        got += await bench.take(5 * SIZE - len(got))
        assert await handing
        assert [p.offset for p in got] == list(range(5 * SIZE))

    run(tmp_path, scenario)


def test_large_packets_fill_the_buffer_by_their_bytes(tmp_path: Path) -> None:
    large = bytes(8_000_000)

    async def scenario(bench: Bench) -> None:
        handing = asyncio.create_task(bench.hand_over({ZERO: [record(i, large) for i in range(SIZE)]}))
        await asyncio.sleep(0.05)
        assert bench.buffer.held < BUFFER_BYTES + len(large)
        got = await bench.take(SIZE)
        assert await handing
        assert [p.offset for p in got] == list(range(SIZE))
        assert bench.buffer.held == 0

    run(tmp_path, scenario)


def test_one_larger_than_the_bound_passes(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        assert await bench.hand_over({ZERO: [record(0, bytes(BUFFER_BYTES + 1))]})
        assert len((await bench.take(1))[0].value) > BUFFER_BYTES

    run(tmp_path, scenario)


@pytest.mark.parametrize("taken", [0, 10])
def test_a_rebalance_ends_a_hand_over_that_waits(tmp_path: Path, taken: int) -> None:
    """And it says so: records that were read and not handed over must be read again."""

    async def scenario(bench: Bench) -> None:
        handing = asyncio.create_task(bench.hand_over({ZERO: [record(i) for i in range(5 * SIZE)]}))
        await asyncio.sleep(0.05)
        got = await bench.take(taken) if taken else []
        bench.consumer.stop_flow()
        bench.app.flow_control.clear()
        assert not await handing
        assert bench.buffer.qsize() == bench.buffer.held == 0
        bench.consumer._forget(ZERO)
        for packet in got:
            packet.ack("detections")
        assert bench.committable() == {}, "what is acknowledged after the partition was taken away is read again"

    run(tmp_path, scenario)


@pytest.mark.parametrize("offsets", [[0, 5], [0, 1, 2], [3, 4, 90], [7]])
def test_the_last_acknowledged_packet_is_committed_whatever_gaps_came_before(tmp_path: Path, offsets: list[int]) -> None:
    """The marks and the aborted records of transactions leave gaps; behind offset 0 one stopped the commits for ever."""

    async def scenario(bench: Bench) -> None:
        await bench.hand_over({ZERO: [record(i) for i in offsets]})
        for packet in await bench.take(len(offsets)):
            packet.ack("detections")
            assert bench.committable() == {ZERO: packet.offset + 1}
            bench.consumer._committed_offset[ZERO] = packet.offset + 1
        assert bench.committable() == {}

    run(tmp_path, scenario)


def test_a_partition_made_anew_begins_from_its_start(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.hand_over({ZERO: [record(i) for i in range(50, 60)], ONE: [record(50, place=ONE)]})
        old = await bench.take(11)
        bench.consumer._committed_offset[ZERO] = bench.consumer._committed_offset[ONE] = 50
        await bench.hand_over({ZERO: [record(i) for i in range(3)]})
        new = await bench.take(3)
        assert [p.offset for p in new] == [0, 1, 2]
        for packet in (*old, new[0]):
            packet.ack("detections")
        assert bench.committable() == {ZERO: 1, ONE: 51}, "the old one's acknowledgements do not skip the new one's packets"

    run(tmp_path, scenario)
