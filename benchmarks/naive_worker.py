"""The naive stack's service: take one packet, score it, send the detection, take the next. Fixed, as `naive.py` is.

`python -m benchmarks.naive_worker HOST:PORT SOURCE SINK [BUNDLE]`; `benchmarks.broker` starts it with one thread a library, as ours has.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import torch
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.naive import Naive
from pipeline.state import load
from registry.bundle import load as load_bundle


async def serve(broker: str, source: str, *, sink: str, bundle: Path | None) -> None:
    """Score every packet of a topic until killed; aiokafka as its documentation shows it, checksums included."""
    stack = Naive(load_bundle(bundle), load(bundle, engine="onnxruntime"))
    consumer = AIOKafkaConsumer(
        source,
        bootstrap_servers=broker,
        group_id="naive",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=8_000_000,
    )
    producer = AIOKafkaProducer(bootstrap_servers=broker, max_request_size=9_000_000)
    await consumer.start()
    await producer.start()
    try:
        done = 0
        while True:
            message = await consumer.getone()
            await producer.send_and_wait(sink, stack.score(message.value), key=message.key)
            done += 1
            if done % 100 == 0:  # at least once: what was sent is acknowledged, now and then, as one does by hand
                await consumer.commit()
    finally:
        await consumer.stop()
        await producer.stop()


if __name__ == "__main__":
    torch.set_num_threads(1)
    _, _broker, _source, _sink, *_bundle = sys.argv
    asyncio.run(serve(_broker, _source, sink=_sink, bundle=Path(_bundle[0]) if _bundle else None))
