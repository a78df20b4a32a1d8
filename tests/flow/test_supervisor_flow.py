"""How soon detections come again when a worker is killed, and when it is asked to end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import time
from pathlib import Path

import pytest

from console.commands.run import Supervisor, ready_pid
from console.kafka_node.node import LocalKafka
from data.simulate.night import night
from tests.flow.conftest import Bench, fresh, until

RATE = 20
"""Packets a second while workers come and go."""
IN_FLIGHT = 0.3
"""Within this time the broker has appended what an ended worker had sent [s]."""


async def detections(bench: Bench, since: float) -> float:
    """Wait for the first detection that the broker appended after a moment; how long after it [s]."""
    async with bench.reader("detections") as consumer:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            for messages in (await consumer.getmany(timeout_ms=50)).values():
                for message in messages:
                    if message.timestamp / 1000 > since:
                        return message.timestamp / 1000 - since
    raise AssertionError("no detection came again")


@pytest.mark.slow
@pytest.mark.timeout(500)
async def test_detections_come_again_soon_after_every_end_of_a_worker(kafka: LocalKafka, tmp_path: Path) -> None:
    bench = await fresh(kafka, tmp_path)
    lines: list[str] = []
    supervisor = Supervisor(bench.settings.model_copy(update={"status_port": 0}), report=lines.append)
    began = time.monotonic()
    await asyncio.to_thread(supervisor.start)
    started_in = time.monotonic() - began
    packets = [packet for packet, _ in night(23, 400, duplicates=0, broken=0)]

    async def publish() -> None:
        async with bench.producer() as producer:
            for n in range(1_000_000):
                await producer.send_and_wait("alerts.ztf", packets[n % len(packets)] + b"", key=b"%d" % n)
                await asyncio.sleep(1 / RATE)

    feeding = asyncio.create_task(publish())
    found: dict[str, list[float]] = {"SIGKILL": [], "SIGTERM": []}
    try:
        await detections(bench, time.time())
        for how in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM):
            worker = supervisor.worker()
            assert worker is not None
            await until(lambda pid=worker.pid: ready_pid(bench.settings.state, 0) == pid, 120)  # type: ignore[misc]
            os.kill(worker.pid, how)
            await until(lambda child=worker: child.poll() is not None, 60)  # type: ignore[misc]
            await asyncio.sleep(IN_FLIGHT)  # what it drained or had sent is still its own
            found[how.name].append(IN_FLIGHT + await detections(bench, time.time()))
    finally:
        feeding.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await feeding
        await asyncio.to_thread(supervisor.stop)
    pauses = [float(m[1]) for line in lines if (m := re.search(r"started again in ([\d.]+) s", line))]
    print(f"started in {started_in:.1f} s; detections again after {found} s; pauses {pauses} s")
    assert pauses == [0.5, 0.5, 0.0]
    # 6 s is what is wanted, with threefold slack; a busy machine starts everything slowly, and its first start is the measure then.
    assert max(max(times) for times in found.values()) <= max(18.0, 2 * started_in)
