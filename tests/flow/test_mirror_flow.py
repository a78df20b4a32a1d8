"""Two real clusters: what appears on the one arrives on the other, once each, whatever ends in between."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from console.child import Child
from console.kafka_node.node import LocalKafka
from streams.agents.mirror import ORIGIN
from streams.kafka import topics
from tests.flow.conftest import Bench, header, until

SOURCE = """\
[[source]]
name = "{name}"
bootstrap = "{bootstrap}"
topics = ['^ztf_\\d{{8}}_programid1$']
survey = "ztf"
"""


@pytest.fixture(scope="module")
def observatory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """A cluster of another one's."""
    node = LocalKafka()
    node.start(tmp_path_factory.mktemp("observatory"))
    yield node
    node.stop()


async def night(node: LocalKafka, name: str, partitions: int = 2) -> None:
    """Make a nightly topic."""
    admin = AIOKafkaAdminClient(bootstrap_servers=node.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, partitions, 1)])
    finally:
        await admin.close()


async def observe(node: LocalKafka, topic: str, numbers: range, **options: Any) -> None:
    """Publish packets there, keyless as surveys do; one transaction where an id is given."""
    producer = AIOKafkaProducer(bootstrap_servers=node.bootstrap, **options)
    await producer.start()
    try:
        if "transactional_id" in options:
            await producer.begin_transaction()
        sends = [await producer.send(topic, b"packet %d" % i, headers=[("night", b"%d" % i)], partition=i % 2) for i in numbers]
        await asyncio.gather(*sends)
        if "transactional_id" in options:
            await producer.abort_transaction()
    finally:
        await producer.stop()


def mirror(bench: Bench, *sources: tuple[str, str]) -> Child:
    """Start the process."""
    folder = bench.settings.state / "mirror"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "protonova.toml").write_text("".join(SOURCE.format(name=name, bootstrap=server) for name, server in sources))
    return start(bench)


def start(bench: Bench) -> Child:
    """Start the process on what its folder says."""
    folder = bench.settings.state / "mirror"
    code = f"import os; os.chdir({str(folder)!r}); from console.cli import main; main()"
    where = {"PYTHONPATH": str(Path(__file__).parents[2]), **bench.settings.environment()}
    return Child([sys.executable, "-c", code, "mirror"], bench.settings.state / "logs" / "mirror.log", environment=where)


def log(bench: Bench) -> str:
    return (bench.settings.state / "logs" / "mirror.log").read_text()


async def arrived(bench: Bench, count: int, within: float = 60.0) -> list[Any]:
    """Committed records of the alert topic, once there are so many."""
    consumer = AIOKafkaConsumer(
        **bench.settings.client_options(), isolation_level="read_committed", auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    try:
        consumer.assign([TopicPartition("alerts.ztf", p) for p in range(bench.settings.partitions)])
        found: list[Any] = []
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        while len(found) < count:
            assert loop.time() < deadline, f"{len(found)} of {count}\n{log(bench)}"
            for messages in (await consumer.getmany(timeout_ms=200)).values():
                found += messages
        for messages in (await consumer.getmany(timeout_ms=1500)).values():  # what would be too many
            found += messages
        return found
    finally:
        await consumer.stop()


@pytest.mark.slow
async def test_nightly_topics_arrive_once_each_through_kills(observatory: LocalKafka, bench: Bench) -> None:
    await night(observatory, "ztf_20261128_programid1")
    await night(observatory, "ztf_20261128_programid2")  # not public: no pattern names it
    await observe(observatory, "ztf_20261128_programid1", range(6000))
    await observe(observatory, "ztf_20261128_programid2", range(50))
    child = mirror(bench, ("ztf", observatory.bootstrap), ("gone", "127.0.0.1:9"))
    for k in range(4):  # killed in the middle of its work, again and again
        await until(lambda wanted=k + 1: log(bench).count("partitions taken up") >= wanted, 60, lambda: log(bench))  # type: ignore[misc]
        await asyncio.sleep(0.05 + 0.1 * k)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child = mirror(bench, ("ztf", observatory.bootstrap), ("gone", "127.0.0.1:9"))
    try:
        await arrived(bench, 6000)
        await night(observatory, "ztf_20261129_programid1")
        await observe(observatory, "ztf_20261129_programid1", range(6000, 6300))
        await observe(observatory, "ztf_20261129_programid1", range(9000, 9010), transactional_id="aborted")
        found = await arrived(bench, 6300, 45.0)
    finally:
        child.kill()
    assert Counter(m.value for m in found) == Counter(b"packet %d" % i for i in range(6300))
    for message in found:
        assert header(message, "night") == message.value.decode().removeprefix("packet ")
        assert header(message, "origin_cluster") == "ztf"
        assert header(message, "origin_topic") == f"ztf_2026112{8 if int(header(message, 'night') or 0) < 6000 else 9}_programid1"
        assert {name for name, _ in message.headers} == {"night", *ORIGIN}
    # Order within each of the source's partitions is kept.
    for topic in ("ztf_20261128_programid1", "ztf_20261129_programid1"):
        for partition in ("0", "1"):
            offsets = [
                int(header(m, "origin_offset") or 0)
                for m in found
                if (header(m, "origin_topic"), header(m, "origin_partition")) == (topic, partition)
            ]
            assert offsets == sorted(offsets)
            assert len(offsets) >= 150


async def test_a_record_that_is_too_large_is_rejected_and_the_rest_goes_on(observatory: LocalKafka, bench: Bench) -> None:
    await topics_of_size(observatory, "ztf_20270101_programid1", 9_500_000)
    producer = AIOKafkaProducer(bootstrap_servers=observatory.bootstrap, max_request_size=9_400_000)
    await producer.start()
    for value in (b"before", b"x" * 8_900_000, b"after"):
        await producer.send_and_wait("ztf_20270101_programid1", value, partition=0)
    await producer.stop()
    source = ("large", observatory.bootstrap)
    child = mirror(bench, source)
    try:
        got = await bench.read(1, topics.REJECTED, within=60)
        [rejected] = got[topics.REJECTED]
        found = await arrived(bench, 2)
    finally:
        child.kill()
    values = [m.value for m in found if header(m, "origin_topic") == "ztf_20270101_programid1"]
    assert values == [b"before", b"after"]
    assert header(rejected, "error_class") == "too_large"
    assert header(rejected, "topic") == "large/ztf_20270101_programid1"


async def topics_of_size(node: LocalKafka, name: str, size: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=node.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 2, 1, topic_configs={"max.message.bytes": str(size)})])
    finally:
        await admin.close()


async def test_increments_of_another_cluster_go_to_their_topic(observatory: LocalKafka, bench: Bench) -> None:
    await night(observatory, "ztf_20270201_programid1")
    await observe(observatory, "ztf_20270201_programid1", range(20))
    folder = bench.settings.state / "mirror"
    folder.mkdir(parents=True)
    text = SOURCE.format(name="cadences", bootstrap=observatory.bootstrap).replace("ztf_\\d{8}", "ztf_20270201")
    (folder / "protonova.toml").write_text(text.replace('survey = "ztf"', 'survey = "tess"\nincrements = true'))
    child = start(bench)
    try:
        found = (await bench.read(20, topics.INCREMENTS))[topics.INCREMENTS]
    finally:
        child.kill()
    assert Counter(m.value for m in found) == Counter(b"packet %d" % i for i in range(20))


@pytest.mark.slow
async def test_a_second_mirror_takes_over_and_nothing_comes_twice(observatory: LocalKafka, bench: Bench) -> None:
    await night(observatory, "ztf_20261201_programid1")
    await observe(observatory, "ztf_20261201_programid1", range(400))
    first = mirror(bench, ("pair", observatory.bootstrap))
    try:
        await until(lambda: "partitions taken up" in log(bench), 60, lambda: log(bench))
        second = mirror(bench, ("pair", observatory.bootstrap))
        try:
            await asyncio.sleep(3)
            await observe(observatory, "ztf_20261201_programid1", range(400, 600))
            await asyncio.sleep(3)
            found = [m for m in await arrived(bench, 600) if header(m, "origin_topic") == "ztf_20261201_programid1"]
        finally:
            second.kill()
    finally:
        first.kill()
    assert Counter(m.value for m in found) == Counter(b"packet %d" % i for i in range(600))
