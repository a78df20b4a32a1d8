"""Records of a transaction that was aborted were never sent: they are not scored, and do not stay behind as lag."""

from __future__ import annotations

import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "_lib"))

import asyncio

from aiokafka import AIOKafkaProducer
from case import Worker, broker, check, done, records, send, wait_for, ztf_packets, ztf_records


async def live(settings, worker: Worker) -> None:
    packets = ztf_packets(20)
    ids = [record["candid"] for record in ztf_records(20)]
    producer = AIOKafkaProducer(**settings.client_options(), transactional_id="h-case", max_request_size=9_000_000)
    await producer.start()
    try:
        await producer.begin_transaction()
        for packet in packets[:10]:
            await producer.send_and_wait("alerts.ztf", packet)
        await producer.abort_transaction()
        await producer.begin_transaction()
        for packet in packets[10:15]:
            await producer.send_and_wait("alerts.ztf", packet)
        await producer.commit_transaction()
    finally:
        await producer.stop()
    await send(settings, packets[15:], "alerts.ztf")

    async def out() -> set[int]:
        found = await records(settings, "detections", "detections.private")
        return {int(dict(r.headers)["candid"]) for r in found}

    async def enough() -> bool:
        worker.look()
        return set(ids[10:]) <= await out()

    await wait_for(enough, 30.0, 0.5)
    await asyncio.sleep(3.0)
    seen = await out()
    check("control: 5 of a committed transaction and 5 of none", len(seen & set(ids[10:])), 10)
    check("records of the aborted transaction that were scored", len(seen & set(ids[:10])), 0)

    async def clear() -> bool:
        return worker.lag() == 0

    took = await wait_for(clear, 20.0, 0.5)
    check("control: lag clears", f"{worker.lag()}", "0.0", took is not None)


with broker() as base:
    runner = Worker(base)
    runner.ready()
    try:
        asyncio.run(live(base, runner))
    finally:
        runner.stop()
done()
