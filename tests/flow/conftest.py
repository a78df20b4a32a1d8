"""One Apache Kafka for a whole test session, and what the tests of the flow do with it. Their number is printed at the end."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from prometheus_client.parser import text_string_to_metric_families

from console.child import Child
from console.kafka_node.node import LocalKafka
from errors import UserError
from schemas.taxonomy import SLUGS
from settings.model import Settings
from streams.kafka import topics
from tests.flow import stand_in
from tools.docs.tables_of_docs import grid

_count = itertools.count(1)
_ran: list[str] = []
clients_read: list[tuple[str, str, str, str]] = []
"""Client, version, form of the detections, how many of them it read: of `test_clients_flow`."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "kafka" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.flow)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(400))  # a worker's start alone takes 20 s where four processes share two cores


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and "flow" in report.keywords:
        _ran.append(report.outcome)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if _ran:
        terminalreporter.write_line(f"{len(_ran)} flow tests ran against Apache Kafka {version()}")
    if clients_read:
        terminalreporter.write_line(table_of_clients())


def table_of_clients() -> str:
    """What each client read, Markdown."""
    return grid(("client", "version", "form", "detections read"), clients_read)


def version() -> str:
    """Of the Kafka that is locked."""
    from console.kafka_node.jars import locked

    return next(jar.version for jar in locked() if jar.name == "kafka_2.13")


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """The node; a test that kills it brings it back."""
    node = LocalKafka()
    try:
        node.start(tmp_path_factory.mktemp("kafka"))
    except UserError as error:
        if "cannot be fetched" not in str(error):  # without a network there is no Kafka; every other failure is ours
            raise
        pytest.skip(str(error))
    yield node
    node.stop()


class Bench:
    """Topics, group and state folder of one test, and its worker processes."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.workers: dict[int, Child] = {}
        self.since: dict[TopicPartition, int] = {}
        """Where the records of this test begin."""

    async def mark(self) -> None:
        """What the topics hold now is not a concern of the test that follows."""
        self.since = {}
        async with topics.admin_client(self.settings) as admin:
            names = [name for name in await admin.list_topics() if not name.startswith("__")]
        async with self.reader(*names) as consumer:
            self.since = await consumer.end_offsets(list(consumer.assignment()))

    def start(self, slot: int = 0, seconds_a_packet: float = 0.0, *, program: str = stand_in.__file__, **environment: str) -> Child:
        """Start a worker, with the stand-in scorer unless another program is named."""
        ready = self.settings.state / "run" / f"worker-{slot}.json"
        ready.unlink(missing_ok=True)
        command = [sys.executable, program, str(slot), str(seconds_a_packet)]
        where = {"PYTHONPATH": str(Path(__file__).parents[2]), **self.settings.environment(), **environment}
        self.workers[slot] = Child(command, self.settings.state / "logs" / f"worker-{slot}.log", environment=where)
        return self.workers[slot]

    async def ready(self, slot: int = 0, within: float = 120.0) -> None:
        """Wait until a worker has taken its place."""
        await until(lambda: (self.settings.state / "run" / f"worker-{slot}.json").exists(), within, lambda: self.log(slot))

    def log(self, slot: int = 0) -> str:
        """What a worker said."""
        return (self.settings.state / "logs" / f"worker-{slot}.log").read_text()

    def lag(self, slot: int = 0) -> float:
        """Packets that a worker knows to be behind, as its metrics say."""
        port = json.loads((self.settings.state / "run" / f"worker-{slot}.json").read_text())["metrics"]
        families = text_string_to_metric_families(httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text)
        return sum(sample.value for family in families if family.name == "protonova_worker_lag_packets" for sample in family.samples)

    @asynccontextmanager
    async def producer(self) -> AsyncIterator[AIOKafkaProducer]:
        producer = AIOKafkaProducer(**self.settings.client_options(), max_request_size=9_500_000, linger_ms=2)
        await producer.start()
        try:
            yield producer
        finally:
            await producer.stop()

    async def publish(self, packets: Iterable[bytes], topic: str = "alerts.ztf", **kwargs: Any) -> None:
        """Send packets, the key by their number."""
        async with self.producer() as producer:
            sends = [await producer.send(topic, value, key=b"%d" % i, **kwargs) for i, value in enumerate(packets)]
            await asyncio.gather(*sends)

    @asynccontextmanager
    async def reader(self, *names: str) -> AsyncIterator[AIOKafkaConsumer]:
        """A consumer of topics from the mark, else from their beginning, without a group."""
        consumer = AIOKafkaConsumer(**self.settings.client_options(), group_id=None, auto_offset_reset="earliest")
        await consumer.start()
        try:
            async with topics.admin_client(self.settings) as admin:
                found = await topics.partitions_of(admin)
            places = [TopicPartition(n, p) for n in names for p in range(found.get(n, 0))]
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            for place in self.since.keys() & set(places):
                consumer.seek(place, self.since[place])
            yield consumer
        finally:
            await consumer.stop()

    async def read(self, count: int, *names: str, within: float = 120.0) -> dict[str, list[ConsumerRecord]]:
        """Records of topics until there are so many of them together; fails with the worker's log."""
        out: dict[str, list[ConsumerRecord]] = {name: [] for name in names}
        deadline = time.monotonic() + within
        async with self.reader(*names) as consumer:
            while sum(map(len, out.values())) < count:
                for place, records in (await consumer.getmany(timeout_ms=100)).items():
                    out[place.topic] += records
                assert time.monotonic() < deadline, f"{ {k: len(v) for k, v in out.items()} } of {count}\n{self.log()}"
        return out

    async def everything(self, *names: str) -> dict[str, list[ConsumerRecord]]:
        """All records that topics hold now, from the mark."""
        async with self.reader(*names) as consumer:
            ends = await consumer.end_offsets(list(consumer.assignment()))
            starts = await consumer.beginning_offsets(list(consumer.assignment()))
        return await self.read(sum(end - self.since.get(place, starts[place]) for place, end in ends.items()), *names)

    async def committed(self) -> tuple[int, int]:
        """What the group has committed of the alert topics, and where they end (sums)."""
        async with topics.admin_client(self.settings) as admin:
            offsets = await admin.list_consumer_group_offsets(self.settings.app_id)
        async with self.reader(*topics.ALERTS) as consumer:
            ends = await consumer.end_offsets(list(consumer.assignment()))
        return sum(max(0, o.offset) for place, o in offsets.items() if place.topic in topics.ALERTS), sum(ends.values())

    async def all_committed(self, within: float = 90.0) -> None:
        """Wait until the group has committed everything; a broker just back may not know its coordinator yet."""
        deadline = time.monotonic() + within
        said = "nothing was answered"
        while True:
            try:
                committed, end = await self.committed()
            except KafkaError as error:
                said = repr(error)
            else:
                if committed == end:
                    return
                said = f"committed {committed} of {end}"
            assert time.monotonic() < deadline, f"{said}\n{self.log()}"
            await asyncio.sleep(0.2)


@pytest.fixture
async def two(bench: Bench) -> Bench:
    """Two workers with the published model, ready."""
    from tests.flow import real_worker

    await topics.declare(bench.settings, SLUGS)
    for slot in (0, 1):
        bench.start(slot, program=real_worker.__file__)
    for slot in (0, 1):
        await bench.ready(slot)
    return bench


async def until(true: Callable[[], bool], within: float, said: Callable[[], str] = str) -> None:
    """Wait for something."""
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline, said()
        await asyncio.sleep(0.05)


async def fresh(kafka: LocalKafka, folder: Path) -> Bench:
    """Fresh topics and a group of its own."""
    settings = Settings(kafka=kafka.bootstrap, state=folder / "state", app_id=f"test-{next(_count)}", partitions=4)
    (settings.state / "logs").mkdir(parents=True)
    async with topics.admin_client(settings) as admin:
        await clear(admin)
    await topics.declare(settings, stand_in.StandIn.classes)
    return Bench(settings)


@pytest.fixture
async def bench(kafka: LocalKafka, tmp_path: Path) -> AsyncIterator[Bench]:
    """Fresh topics and a group of its own for a test."""
    bench = await fresh(kafka, tmp_path)
    yield bench
    for worker in bench.workers.values():
        worker.kill()


@pytest.fixture(scope="module")
def running(kafka: LocalKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One worker for a module whose tests ask nothing special of it. No other test of the module may use `bench`: it deletes the topics."""
    bench = asyncio.run(fresh(kafka, tmp_path_factory.mktemp("running")))
    yield bench
    for worker in bench.workers.values():
        worker.kill()


@pytest.fixture
async def flowing(running: Bench) -> Bench:
    """The module's worker, ready; what other tests did is before the mark."""
    if not running.workers or running.workers[0].poll() is not None:
        running.start()
    await running.ready()
    await running.all_committed()
    await running.mark()
    return running


async def clear(admin: AIOKafkaAdminClient) -> None:
    """Delete every topic of ours."""
    ours = [name for name in await admin.list_topics() if not name.startswith("__")]
    if ours:
        await admin.delete_topics(ours)
        while set(ours) & set(await admin.list_topics()):  # noqa: ASYNC110 - the broker has no event for it
            await asyncio.sleep(0.05)


def header(record: ConsumerRecord, name: str) -> str | None:
    """A header's text."""
    return next((value.decode() for key, value in record.headers if key == name), None)


def ids(records: Sequence[ConsumerRecord]) -> list[str]:
    """survey:candid:scoring_id of detections; the digest between them depends on a packet's size alone here."""
    from schemas.records.codec import decode_detection

    found = [decode_detection(r.value) for r in records]
    assert all(d.detection_id == f"{d.packet_id}:{d.scoring_id}" for d in found)
    return [f"{d.survey}:{d.candid}:{d.scoring_id}" for d in found]
