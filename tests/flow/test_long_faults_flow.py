"""Worker and broker killed by turns through a long feed: nothing is lost, and duplicates collapse by their id."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from console.kafka_node.node import LocalKafka
from streams.kafka import topics
from tests.flow.conftest import Bench, ids
from tests.flow.test_faults_flow import FLOWS_AGAIN_WITHIN, expected, feed

KILLS = int(os.environ.get("PROTONOVA_KILLS", "24"))
BETWEEN = 12.0
"""[s] from one kill to the next, so that the flow has begun again."""
RATE = 100.0
"""[packets/s]"""
pytestmark = [pytest.mark.nightly, pytest.mark.timeout(3600)]


async def test_every_packet_survives_a_night_of_kills(bench: Bench, kafka: LocalKafka) -> None:
    stop, began = asyncio.Event(), time.monotonic()
    bench.start(seconds_a_packet=0.002)
    await bench.ready()
    feeding = asyncio.create_task(feed(bench, 0, 10_000_000, RATE, stop))
    await bench.read(100, topics.DETECTIONS)
    for number in range(KILLS):
        await asyncio.sleep(BETWEEN)
        if number % 3 == 2:
            await asyncio.to_thread(lambda: (kafka.kill(), kafka.restart()))
        else:
            bench.workers[0].kill()
        if bench.workers[0].poll() is not None:
            bench.start(seconds_a_packet=0.002)
        before = len((await bench.everything(topics.DETECTIONS))[topics.DETECTIONS])
        await bench.read(before + 1, topics.DETECTIONS, within=2 * FLOWS_AGAIN_WITHIN)
        if bench.workers[0].poll() is not None:  # it may end on a broker that is away too long; the supervisor starts it again
            bench.start(seconds_a_packet=0.002)
    stop.set()
    sent = await feeding
    if bench.workers[0].poll() is not None:
        bench.start(seconds_a_packet=0.002)
    await bench.all_committed(within=300)
    found = ids((await bench.everything(topics.DETECTIONS))[topics.DETECTIONS])
    print(f"{sent} packets, {KILLS} kills in {time.monotonic() - began:.0f} s: {len(found) - len(set(found))} duplicates of {len(found)}")
    assert sorted(set(found)) == expected(sent)
