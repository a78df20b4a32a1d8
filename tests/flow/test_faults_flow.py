"""kill -9 of worker and broker in mid-stream, an engine that fails, workers that come and go: nothing is lost, doubles collapse."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from console.kafka import LocalKafka
from streams import topics
from streams.app import ENGINE_FAILED
from tests.flow.conftest import Bench, ids, until
from tests.flow.stand_in import packet

FLOWS_AGAIN_WITHIN = 30.0
"""After a kill [s]; about ten are expected."""


async def feed(bench: Bench, first: int, count: int, rate: float, stop: asyncio.Event | None = None) -> int:
    """Publish packets at a pace [1/s], over a broker that may be away for a while, until all are sent or it is told to stop; how many."""
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
    print(f"{len(found) - len(set(found))} doubles of {len(found)}")
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
    print(f"{len(found) - len(set(found))} doubles of {len(found)}")
    assert sorted(set(found)) == expected(count)


async def test_engine_failure_is_no_reject(bench: Bench, tmp_path: Path) -> None:
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
