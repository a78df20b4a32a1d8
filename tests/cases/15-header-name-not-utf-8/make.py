"""A record whose header's name is no UTF-8 is one packet's fault, not the worker's end."""

from __future__ import annotations

import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "_lib"))

import asyncio
import struct

from aiokafka import AIOKafkaProducer
from aiokafka.record.util import calc_crc32c
from case import Worker, broker, check, done, records, send, wait_for, ztf_packets

NAME, BYTES = "hhhh", b"\xff\xfe\xc3\x28"
CRC, ATTRIBUTES = 17, 21  # where a record batch (format 2) has its sum, and what the sum is over


async def odd(settings, packet: bytes) -> None:
    """Send one record whose header has such a name: written with another one, changed in the finished batch, its sum made anew."""
    producer = AIOKafkaProducer(**settings.client_options(), max_request_size=9_000_000, max_batch_size=1_000_000)
    await producer.start()
    try:
        batch = producer.create_batch()
        batch.append(key=None, value=packet, timestamp=None, headers=[(NAME, b"a value")])
        data = bytearray(batch._build())
        at = data.rindex(NAME.encode() + b"\x0ea value")
        data[at : at + len(BYTES)] = BYTES
        struct.pack_into(">I", data, CRC, calc_crc32c(memoryview(bytes(data[ATTRIBUTES:]))))
        batch._buffer = data
        await (await producer.send_batch(batch, "alerts.ztf", partition=0))
    finally:
        await producer.stop()


async def live(settings, worker: Worker) -> None:
    packets = ztf_packets(9)
    await send(settings, packets[:4], "alerts.ztf", partition=0)
    await odd(settings, packets[4])
    await send(settings, packets[5:], "alerts.ztf", partition=0)

    async def told() -> tuple[int, int]:
        found = await records(settings, "detections", "alerts.rejected")
        return sum(r.topic == "detections" for r in found), sum(r.topic == "alerts.rejected" for r in found)

    async def all_out() -> bool:
        worker.look()
        return sum(await told()) >= 9

    await wait_for(all_out, 40.0, 1.0)
    detections, rejections = await told()
    worker.look()
    got = f"{detections} detections + {rejections} rejected; the worker ended {len(worker.ends)} times {sorted(set(worker.ends))}"
    right = "8 detections + 1 rejected (or 9 detections); the worker ended 0 times"
    check("9 packets, the fifth with a header named ff fe c3 28", got, right, detections + rejections == 9 and rejections <= 1 and not worker.ends)


with broker() as base:
    runner = Worker(base, again=True)
    runner.ready()
    try:
        asyncio.run(live(base, runner))
        tail = [line for line in runner.said().splitlines() if "Unicode" in line or "worker ends" in line]
        print("      the worker said: " + (tail[-1][:240] if tail else "nothing of it"))
    finally:
        runner.stop()
done()
