"""The wiring table on a real broker: made, corrected, compacted."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from console.kafka_node.node import LocalKafka
from errors import UserError
from streams.kafka import topics
from tests.flow.conftest import Bench

CLASSES = ("sn-ia", "tde", "bogus")


async def test_declared_topics_are_as_the_table_says(bench: Bench) -> None:
    assert await topics.declare(bench.settings, CLASSES) == []
    rows = await topics.check(bench.settings, CLASSES)
    assert [r.name for r in rows] == [t.name for t in topics.wiring(CLASSES)]
    assert not [r for r in rows if r.problems]
    assert {r.name: r.partitions for r in rows}["alerts.lsst"] == 4


async def test_a_wrong_topic_is_seen_and_corrected_and_other_settings_stay(bench: Bench) -> None:
    async with topics.admin_client(bench.settings) as admin:
        wrong = {
            "retention.ms": "5000",
            "segment.bytes": "1048576",
            "max.message.bytes": "1000000",
            "message.timestamp.type": "LogAppendTime",
        }
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, "detections", wrong)])
        await admin.delete_topics(["drift.alarms"])
        while "drift.alarms" in await admin.list_topics():  # noqa: ASYNC110 - the broker has no event for it
            await asyncio.sleep(0.05)
        problems = {r.name: r.problems for r in await topics.check(bench.settings, CLASSES) if r.problems}
        assert problems == {"detections": ("retention.ms is 5000, not 2592000000",), "drift.alarms": ("missing",)}
        done = await topics.declare(bench.settings, CLASSES)
        assert sorted(done) == ["corrected detections: retention.ms 5000 to 2592000000", "made drift.alarms"]
        assert (await topics._configs(admin, ["detections"]))["detections"]["segment.bytes"] == ("1048576", True)


async def test_more_partitions_are_added_and_never_fewer(bench: Bench) -> None:
    more = bench.settings.model_copy(update={"partitions": 6})
    assert "detections: 4 partitions to 6" in await topics.declare(more, CLASSES)
    assert await topics.declare(bench.settings, CLASSES) == []


async def test_a_compacted_topic_keeps_the_latest_of_each_key(bench: Bench) -> None:
    table = [topics.Topic("test.compact", "key", "anything", 1000, cleanup="compact")]
    async with topics.admin_client(bench.settings) as admin:
        await topics.ensure(admin, table, partitions=1, replication=1)
        quick = {**table[0].configs(), "segment.ms": "100", "min.cleanable.dirty.ratio": "0.001", "max.compaction.lag.ms": "200"}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, "test.compact", quick)])
    async with bench.producer() as producer:
        for i in range(60):
            await producer.send_and_wait("test.compact", b"%d" % i, key=b"%d" % (i % 3))
        await asyncio.sleep(0.3)
        await producer.send_and_wait("test.compact", b"last", key=b"roll")  # closes the segment, so that it may be compacted
    for _ in range(200):
        consumer = AIOKafkaConsumer("test.compact", **bench.settings.client_options(), group_id=None, auto_offset_reset="earliest")
        await consumer.start()
        records = []
        while got := await consumer.getmany(timeout_ms=300):
            records += [r for rs in got.values() for r in rs]
        await consumer.stop()
        if len(records) < 61:
            break
        await asyncio.sleep(0.3)
    kept = {r.key: r.value for r in records}
    assert len(records) < 61, "it was never compacted"
    assert kept == {b"0": b"57", b"1": b"58", b"2": b"59", b"roll": b"last"}


def test_a_second_run_on_the_same_folder_is_one_line(kafka: LocalKafka) -> None:
    folder = Path(kafka._folder).parent
    with pytest.raises(UserError) as caught:
        LocalKafka().start(folder)
    assert "another protonova run uses the state folder" in str(caught.value)
    assert "\n" not in str(caught.value)
