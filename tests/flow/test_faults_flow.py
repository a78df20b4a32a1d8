"""kill -9 of worker and broker in mid-stream, an engine that fails, workers that come and go: nothing is lost, duplicates collapse."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient

from console.kafka_node.node import LocalKafka, answers
from streams.kafka import topics
from streams.kafka.loop import Loop
from streams.wiring import ENGINE_FAILED, FLOW_FAILED
from tests.flow.conftest import Bench, ids, until
from tests.flow.stand_in import packet

FLOWS_AGAIN_WITHIN = 30.0
"""After a kill [s]; about ten are expected."""


async def feed(bench: Bench, first: int, count: int, rate: float, stop: asyncio.Event | None = None) -> int:
    """Publish packets at a pace [1/s], over a broker that may be away for a while, until all are sent or it is asked to stop; how many."""
    async with bench.producer() as producer:
        sends = []
        for i in range(first, first + count):
            if stop is not None and stop.is_set():
                break
            sends.append(await producer.send("alerts.ztf", packet(i, size=10_000), partition=i % 4))
            await asyncio.sleep(1 / rate)
        await asyncio.gather(*sends)
    return len(sends)


def expected(count: int) -> list[str]:
    return sorted(f"ztf:{i}:feedfacecafe0123" for i in range(count))


async def test_kill_9_of_the_worker_in_mid_stream(bench: Bench) -> None:
    worker = bench.start(seconds_a_packet=0.002)
    await bench.ready()
    feeding = asyncio.create_task(feed(bench, 0, 1000, 200))
    await bench.read(200, topics.DETECTIONS)
    worker.kill()
    killed = time.monotonic()
    before = len((await bench.everything(topics.DETECTIONS))[topics.DETECTIONS])
    bench.start(seconds_a_packet=0.002)
    await bench.read(before + 1, topics.DETECTIONS, within=FLOWS_AGAIN_WITHIN)
    print(f"flowed again {time.monotonic() - killed:.1f} s after the kill")
    await feeding
    await bench.all_committed()
    found = ids((await bench.everything(topics.DETECTIONS))[topics.DETECTIONS])
    print(f"{len(found) - len(set(found))} duplicates of {len(found)}")
    assert sorted(set(found)) == expected(1000)


async def test_kill_9_of_the_broker_in_mid_stream(bench: Bench, kafka: LocalKafka) -> None:
    bench.start()
    await bench.ready()
    feeding = asyncio.create_task(feed(bench, 0, 1000, 150))
    await bench.read(200, topics.DETECTIONS)
    began = time.monotonic()
    await asyncio.to_thread(lambda: (kafka.kill(), kafka.restart()))
    before = len((await bench.everything(topics.DETECTIONS))[topics.DETECTIONS])
    await bench.read(before + 1, topics.DETECTIONS, within=FLOWS_AGAIN_WITHIN)
    print(f"flowed again {time.monotonic() - began:.1f} s after the kill")
    await feeding
    if (status := bench.workers[0].poll()) is not None:  # it may end on a broker that is away too long; the supervisor starts it again
        print(f"the worker ended with {status}")
        bench.start()
    await bench.all_committed()
    found = ids((await bench.everything(topics.DETECTIONS))[topics.DETECTIONS])
    assert sorted(set(found)) == expected(1000)


def test_a_client_outlives_a_connection_that_breaks_under_its_request(kafka: LocalKafka) -> None:
    """What a kill does one time in some: a request is sent when the connection is lost and its reader has not been heard yet."""

    async def breaks() -> list[bool]:
        client = AIOKafkaClient(bootstrap_servers=kafka.bootstrap)
        await client.bootstrap()
        try:
            (broker,) = client.cluster.brokers()
            assert await client.ready(broker.nodeId)
            connection = await client._get_conn(broker.nodeId)
            connection._writer.transport.abort()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert connection._writer is not None, "the client has not heard of it"
            updated = await client._metadata_update(client.cluster, [])  # on uvloop's own transport: RuntimeError, and no one updates again
            return [updated, await asyncio.wait_for(client.force_metadata_update(), 30)]
        finally:
            await client.close()

    with asyncio.Runner(loop_factory=Loop) as runner:
        assert runner.run(breaks())[1]


@asynccontextmanager
async def frozen(kafka: LocalKafka) -> AsyncIterator[None]:
    """The broker's port is open and no one answers."""
    assert kafka.pid is not None
    os.kill(kafka.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(kafka.pid, signal.SIGCONT)
        while not await asyncio.to_thread(answers, kafka.bootstrap):  # noqa: ASYNC110 - its controller took it for dead
            await asyncio.sleep(0.1)


@pytest.mark.slow
async def test_a_broker_that_does_not_answer_for_a_while_is_waited_for(bench: Bench, kafka: LocalKafka) -> None:
    worker = bench.start(PROTONOVA_STALL_S="6")
    await bench.ready()
    await bench.publish(packet(i) for i in range(100))
    await bench.all_committed()
    async with frozen(kafka):
        await until(lambda: "does not say how far" in bench.log(), 60, bench.log)
        await asyncio.sleep(7)  # nothing is to be done: it is not a stall
    await bench.publish(packet(i) for i in range(100, 200))
    await bench.all_committed()
    assert worker.poll() is None, bench.log()
    found = ids((await bench.everything(topics.DETECTIONS))[topics.DETECTIONS])
    assert sorted(set(found)) == expected(200)


@pytest.mark.slow
async def test_a_worker_with_work_ends_when_the_broker_answers_no_more(bench: Bench, kafka: LocalKafka) -> None:
    worker = bench.start(seconds_a_packet=0.02, PROTONOVA_STALL_S="6")
    await bench.ready()
    await bench.publish(packet(i) for i in range(1500))  # 30 s of work
    await until(lambda: bench.lag() > 0, 30, bench.log)
    async with frozen(kafka):
        await until(lambda: worker.poll() is not None, 60, bench.log)
    assert worker.poll() == FLOW_FAILED, bench.log()
    assert "the broker has not answered for" in bench.log(), bench.log()
    bench.start()
    await bench.all_committed()
    found = ids((await bench.everything(topics.DETECTIONS))[topics.DETECTIONS])
    assert sorted(set(found)) == expected(1500)


@pytest.mark.slow
async def test_a_worker_joins_in_mid_stream_and_takes_over(bench: Bench) -> None:
    bench.start(0, 0.005)
    await bench.ready(0)
    stop = asyncio.Event()
    feeding = asyncio.create_task(feed(bench, 0, 100_000, 120, stop))
    await bench.read(100, topics.DETECTIONS)
    bench.start(1, 0.005)  # partitions are revoked from the first while its batches fly
    await bench.ready(1)
    assert "partitions=0" not in bench.log(1)
    before = len((await bench.everything(topics.DETECTIONS))[topics.DETECTIONS])
    await bench.read(before + 100, topics.DETECTIONS)
    assert bench.workers[0].poll() is None, bench.log(0)
    bench.workers[0].kill()  # and it does not come back: its partitions move when its session has ended
    await asyncio.sleep(1)
    stop.set()
    count = await feeding
    await bench.all_committed()
    found = ids((await bench.everything(topics.DETECTIONS))[topics.DETECTIONS])
    print(f"{len(found) - len(set(found))} duplicates of {len(found)}")
    assert sorted(set(found)) == expected(count)


async def test_engine_failure_is_not_a_reject(bench: Bench, tmp_path: Path) -> None:
    boom = tmp_path / "boom"
    boom.touch()
    environment = {"PROTONOVA_TEST_BOOM": str(boom)}
    await bench.publish([packet(1), b"boom:as long as the file is there", packet(2)])
    worker = bench.start(**environment)
    await until(lambda: worker.poll() is not None, 120, bench.log)
    assert worker.wait() == ENGINE_FAILED
    assert "engine failed" in bench.log()
    out = await bench.everything(topics.DETECTIONS, topics.REJECTED)
    assert not out[topics.REJECTED]
    boom.unlink()
    bench.start(**environment)
    out = await bench.read(3, topics.DETECTIONS, topics.REJECTED)
    await bench.all_committed()
    assert {"ztf:1:feedfacecafe0123", "ztf:2:feedfacecafe0123"} == set(ids(out[topics.DETECTIONS]))


async def test_resumes_from_the_committed_offset(bench: Bench) -> None:
    await bench.publish(packet(i) for i in range(300))
    worker = bench.start()
    await bench.read(300, topics.DETECTIONS)
    assert worker.stop() == 0  # SIGTERM: it commits what it finished
    assert (await bench.committed()) == (300, 300)
    bench.start()
    await bench.ready()
    await bench.publish([packet(1000)])
    await bench.all_committed()
    found = ids((await bench.everything(topics.DETECTIONS))[topics.DETECTIONS])
    assert len(found) == 301, "nothing was read twice"


@pytest.mark.slow
async def test_the_marks_of_a_transaction_are_not_lag(bench: Bench) -> None:
    """They take an offset that no one reads, and so no one commits."""
    worker = bench.start(PROTONOVA_STALL_S="6")
    await bench.ready()
    producer = AIOKafkaProducer(**bench.settings.client_options(), transactional_id="observatory")
    await producer.start()
    try:
        for first in (0, 10):
            async with producer.transaction():
                for i in range(first, first + 10):
                    await producer.send("alerts.ztf", packet(i), partition=i % 4)
    finally:
        await producer.stop()
    await bench.read(20, topics.DETECTIONS)
    await asyncio.sleep(18)
    assert worker.poll() is None, bench.log()
    assert bench.lag() == 0
