"""What a challenger beside the champion costs: `python -m benchmarks.shadow [PACKETS]`.

real packets through a worker and `protonova shadow`, both processes of their own → CPU an alert of each, their ratio, idle CPU

Both are started and warm before the packets come; the shadow's challenger is the published model with other thresholds, its share the
default. CPU time, not the clock's: what else runs here matters little.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.packets import distinct, take
from console.child import Child
from console.kafka_node.node import LocalKafka
from registry.bundle import Parts, load, save
from settings.model import Settings
from streams.kafka import topics
from streams.models import submit

PARTITIONS = 4
IDLE_S = 20.0
QUIET_S = 6.0
WITHIN_S = 240.0
THREADS = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def main() -> int:
    """Print the figures as JSON."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    with tempfile.TemporaryDirectory() as folder:
        kafka = LocalKafka()
        kafka.start(Path(folder) / "kafka")
        try:
            found = asyncio.run(measure(kafka.bootstrap, Path(folder), packets=n))
        finally:
            kafka.stop()
    print(json.dumps(found, indent=1))
    return 0


async def measure(broker: str, folder: Path, *, packets: int) -> dict[str, Any]:
    """The figures; see the module."""
    settings = Settings(kafka=broker, state=folder / "state", app_id="bench-shadow", partitions=PARTITIONS)
    (settings.state / "logs").mkdir(parents=True)
    was = load(settings.bundle)
    await topics.declare(settings, was.classes)
    head = replace(was.head, thresholds=np.clip(was.head.thresholds + np.float32(0.01), 0, 1).astype(np.float32))
    kept = was.manifest.model_dump(exclude={"format", "files"})
    await submit(settings, save(folder / "other", Parts(kept, was.encoder, head, was.reference, was.golden)).path, author="bench")
    given = take(662)
    values = [value for _, value in distinct(given.values, packets)]
    environment = {**os.environ, **THREADS, **settings.environment()}
    commands = {"worker": ["-m", "streams.worker", "--slot", "0"], "shadow": ["-m", "console.cli", "shadow"]}
    children = {
        name: Child([sys.executable, *command], settings.state / "logs" / f"{name}.log", environment=environment)
        for name, command in commands.items()
    }
    try:
        await _until(lambda: (settings.state / "run" / "worker-0.json").exists(), children)
        await _until(lambda: "a model scores along" in children["shadow"].log.read_text(), children)
        await asyncio.sleep(QUIET_S)
        processes = {name: psutil.Process(child.pid) for name, child in children.items()}
        before = {name: _cpu(one) for name, one in processes.items()}
        await asyncio.sleep(IDLE_S)
        idle = {name: (_cpu(one) - before[name]) / IDLE_S for name, one in processes.items()}
        before, began = {name: _cpu(one) for name, one in processes.items()}, time.monotonic()
        await _publish(settings, values)
        counts = await _settled(settings)
        took = time.monotonic() - began
        spent = {name: _cpu(one) - before[name] for name, one in processes.items()}
        memory = {name: round(one.memory_info().rss / 2**20) for name, one in processes.items()}
    finally:
        for child in children.values():
            child.stop()
    net = {name: spent[name] - idle[name] * took for name in spent}
    return {
        "packets": packets, "of": given.source, "detections": counts[topics.DETECTIONS], "shadow_records": counts[topics.SHADOW],
        "cpu_us_an_alert": {name: round(1e6 * net[name] / packets, 1) for name in net},
        "shadow_of_worker": round(net["shadow"] / net["worker"], 4),
        "idle_cores": {name: round(value, 4) for name, value in idle.items()}, "memory_mib": memory, "share": settings.shadow_share,
    }  # fmt: skip


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def _until(true: Callable[[], bool], children: dict[str, Child]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not true():
        for name, child in children.items():
            if child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{name} is not ready: {child.log.read_text()[-2000:]}")
        await asyncio.sleep(0.2)


async def _publish(settings: Settings, values: list[bytes]) -> None:
    from aiokafka import AIOKafkaProducer

    producer = AIOKafkaProducer(**settings.client_options(), max_request_size=9_000_000, max_batch_size=1_000_000)
    await producer.start()
    try:
        sent = [await producer.send("alerts.ztf", value, key=b"%d" % i) for i, value in enumerate(values)]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def _settled(settings: Settings) -> dict[str, int]:
    """Records of the output topics, once their number stands still."""
    from aiokafka import AIOKafkaConsumer, TopicPartition

    consumer = AIOKafkaConsumer(**settings.client_options())
    await consumer.start()
    try:
        places = [TopicPartition(topics.DETECTIONS, p) for p in range(PARTITIONS)] + [TopicPartition(topics.SHADOW, 0)]
        last: dict[TopicPartition, int] = {}
        since = time.monotonic()
        while time.monotonic() - since < QUIET_S:
            now = await consumer.end_offsets(places)
            if now != last:
                last, since = now, time.monotonic()
            await asyncio.sleep(0.5)
    finally:
        await consumer.stop()
    counts = dict.fromkeys((topics.DETECTIONS, topics.SHADOW), 0)
    for place, end in last.items():
        counts[place.topic] += end
    return counts


if __name__ == "__main__":
    sys.exit(main())
