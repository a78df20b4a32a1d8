"""Increments joined through Apache Kafka: `python -m benchmarks.increments [TARGETS]`.

sectors of two-minute cadences, each in increments of two days → CPU an increment, resident memory, size of the store; then the same
read again into an empty store, as after the loss of the file

In one process beside Kafka; the CPU is the process's own and holds the client library.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from aiokafka import AIOKafkaProducer

from console.kafka_node.node import LocalKafka
from data.joining.curve_store import remove
from schemas.surveys.tess_increment import POINT, encode_whole
from settings.model import Settings
from streams.agents.increments import Joiner
from streams.kafka import topics
from streams.worker import configure_logging

CADENCES, STEP = 19_700, 1_440


def increments(tic: int) -> list[bytes]:
    """A target's sector in parts."""
    points = np.zeros(CADENCES, POINT)
    points["time"] = 3000 + np.arange(CADENCES) / 720
    points["flux"] = np.random.default_rng(tic).normal(1000, 3, CADENCES)
    points["flux_err"] = 2.5
    star = {"ra": 10.0, "dec": -20.0, "tmag": 9.5, "baseline": 1000.0}
    ends = [min(CADENCES, begin + STEP) for begin in range(0, CADENCES, STEP)]
    return [encode_whole(tic, 70, cadence=end - 1, **star, points=points[begin:end]) for begin, end in zip([0, *ends], ends, strict=False)]


async def publish(settings: Settings, targets: int) -> tuple[int, int]:
    """Send all increments, the targets by turns; how many, and their bytes."""
    producer = AIOKafkaProducer(**settings.client_options(), max_request_size=9_500_000)
    await producer.start()
    sent = size = 0
    try:
        parts = [increments(tic) for tic in range(1, targets + 1)]
        for number in range(len(parts[0])):
            for tic, packets in enumerate(parts, 1):
                await producer.send(topics.INCREMENTS, packets[number], key=b"%d" % tic)
                sent, size = sent + 1, size + len(packets[number])
        await producer.flush()
    finally:
        await producer.stop()
    return sent, size


def stored(path: Path) -> int:
    """Increments that the store has taken."""
    try:
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            return int(database.execute("SELECT coalesce(sum(next), 0) FROM positions").fetchone()[0])
        finally:
            database.close()
    except sqlite3.Error:
        return 0


async def measure(settings: Settings, sent: int) -> str:
    """One line of a joiner from an empty store to the last increment."""
    path = settings.state / "increments" / "curves.sqlite"
    process, most = psutil.Process(), 0
    began, cpu = time.perf_counter(), time.process_time()
    joiner = Joiner(settings)
    task = asyncio.create_task(joiner.run())
    while stored(path) < sent:
        await asyncio.sleep(0.2)
        most = max(most, process.memory_info().rss)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    task.cancel()
    await asyncio.wait([task])
    size = path.stat().st_size
    remove(path)
    cost = f"{wall:.1f} s, {1e3 * cpu / sent:.2f} ms of CPU each, {most / 1e6:.0f} MB resident, store {size / 1e6:.0f} MB"
    return f"{cost}, {dict(joiner.counts)}"


async def measured(settings: Settings, targets: int) -> None:
    """Print both lines."""
    await topics.declare(settings, [])
    sent, size = await publish(settings, targets)
    print(f"{targets} targets, {sent} increments of {size / 1e6:.0f} MB")
    print(f"joined and sent: {await measure(settings, sent)}")
    print(f"read again:      {await measure(settings, sent)}")


def main() -> None:
    """Run it on a Kafka of its own."""
    configure_logging("warning")
    targets = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory() as folder:
        node = LocalKafka()
        node.start(Path(folder) / "kafka")
        try:
            asyncio.run(measured(Settings(kafka=node.bootstrap, state=Path(folder) / "state"), targets))
        finally:
            node.stop()


if __name__ == "__main__":
    main()
