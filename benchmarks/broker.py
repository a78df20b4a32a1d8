"""End to end through a real Apache Kafka, started here: both stacks, each as its own service in its own process.

packets → CPU a packet at saturation, alerts a second and core, mean batch size; ours also: latency at a steady rate, the first alert after
a quiet minute, memory

Latency is the output's append time minus the input's: one clock, the broker's.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiokafka
import httpx
import psutil
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.packets import Packets, distinct
from console.child import Child
from console.kafka_node.node import LocalKafka, free_port, last_line
from console.report import percentile
from errors import UserError
from streams.kafka.topics import DETECTIONS, PRIVATE, REJECTED
from streams.metrics import BATCH

ALERTS = "alerts.ztf"
PARTITIONS = 4
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
PATIENCE = 300.0
"""Longest wait for a worker to get through its packets [s]."""
POLL = 0.05
"""How often the outputs are counted [s]: seldom enough to leave the cores to the workers."""
OURS, NAIVE = "ours", "naive"


class BenchError(UserError):
    """The benchmark cannot go on; one line."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything."""

    naive_packets: int = 1000
    our_packets: int = 6000
    rate: float = 200.0  # [packets/s]
    warm_s: float = 30.0
    paced_s: float = 30.0
    quiet_s: float = 60.0
    quiet_times: int = 3

    @classmethod
    def quick(cls) -> Plan:
        """For a look: everything runs, nothing is long enough to quote."""
        return cls(naive_packets=200, our_packets=1000, warm_s=5, paced_s=5, quiet_s=5, quiet_times=1)


@dataclass(slots=True)
class Service:
    """A worker process and where its packets come and go."""

    name: str
    child: Child
    source: str
    sinks: tuple[TopicPartition, ...]
    """Detections first: all partitions of the first one's topic, then those of what else may come out."""
    metrics: str | None = None
    process: psutil.Process = field(init=False)

    def __post_init__(self) -> None:
        self.process = psutil.Process(self.child.pid)

    def cpu(self) -> float:
        """User and system time so far [s]."""
        if self.child.poll() is not None:
            raise BenchError(f"the {self.name} worker ended with status {self.child.poll()}: {self.said()}")
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def said(self) -> str:
        """The last line of its log: the folder goes when the benchmark ends."""
        return last_line(self.child.log.read_text(encoding="utf-8", errors="replace"))

    def memory(self) -> tuple[float, float]:
        """Resident memory now and at its highest [MiB]."""
        now = self.process.memory_info().rss / 2**20
        try:
            lines = Path(f"/proc/{self.child.pid}/status").read_text(encoding="utf-8").splitlines()
            peak = next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
        except (OSError, StopIteration):
            peak = now
        return now, peak


class Bench:
    """One Kafka, its clients, and the measurements.

    Parameters
    ----------
    packets : Packets
    plan : Plan
    state : Path
        An empty folder for Kafka's data and the logs.
    bundle : Path, optional
        The model both run; the one that ships if None.
    say : callable
        Called with what is going on.
    """

    def __init__(self, packets: Packets, plan: Plan, state: Path, bundle: Path | None, say: Callable[[str], None]) -> None:
        self.packets, self.plan, self.state, self.bundle, self.say = packets, plan, state, bundle, say
        self._published = 0

    async def run(self, kafka: LocalKafka) -> dict[str, Any]:
        """Everything, one after the other."""
        self.broker = kafka.bootstrap
        admin = AIOKafkaAdminClient(bootstrap_servers=self.broker)
        # Many packets in one request: filling a topic is not what is measured.
        self.producer = aiokafka.AIOKafkaProducer(bootstrap_servers=self.broker, max_request_size=8_000_000, max_batch_size=1_000_000)
        self.watcher = aiokafka.AIOKafkaConsumer(bootstrap_servers=self.broker, max_partition_fetch_bytes=8_000_000)
        await admin.start()
        await self.producer.start()
        await self.watcher.start()
        try:
            return {"naive": await self._naive(admin), "ours": await self._ours()}
        finally:
            await self.watcher.stop()
            await self.producer.stop()
            await admin.close()

    async def _naive(self, admin: AIOKafkaAdminClient) -> dict[str, Any]:
        source, sink = "bench.naive.alerts", "bench.naive.detections"
        limits = {"max.message.bytes": "9000000", "message.timestamp.type": "LogAppendTime"}
        await admin.create_topics([NewTopic(name, PARTITIONS, 1, topic_configs=limits) for name in (source, sink)])
        await self._publish(source, self._take(self.plan.naive_packets))
        command = [sys.executable, "-m", "benchmarks.naive_worker", self.broker, source, sink]
        if self.bundle is not None:
            command.append(str(self.bundle))
        service = Service(NAIVE, Child(command, self.state / "naive.log", THREADS), source, partitions_of(sink, PARTITIONS))
        try:
            return await self._saturate(service, self.plan.naive_packets)
        finally:
            service.child.stop()

    async def _ours(self) -> dict[str, Any]:
        port = free_port()
        environment = {
            **THREADS,
            "PROTONOVA_KAFKA": self.broker,
            "PROTONOVA_STATE": str(self.state / "worker"),
            "PROTONOVA_PARTITIONS": str(PARTITIONS),
            "PROTONOVA_METRICS_PORT": str(port),
            "PROTONOVA_LOG_LEVEL": "warning",
        }
        if self.bundle is not None:
            environment["PROTONOVA_BUNDLE"] = str(self.bundle)
        sinks = (*partitions_of(DETECTIONS, PARTITIONS), *partitions_of(PRIVATE), *partitions_of(REJECTED))
        await self._declare(environment)
        await self._publish(ALERTS, self._take(self.plan.our_packets))
        command = [sys.executable, "-m", "streams.worker", "--slot", "0"]
        service = Service(OURS, Child(command, self.state / "worker.log", environment), ALERTS, sinks, f"http://127.0.0.1:{port}/metrics")
        try:
            figures = await self._saturate(service, self.plan.our_packets)
            figures["mean_batch"] = await asyncio.to_thread(mean_batch, service.metrics)
            figures["paced"] = await self._paced(service)
            figures["quiet"] = await self._quiet(service)
            figures["memory_mib"], figures["memory_peak_mib"] = service.memory()
            return figures
        finally:
            service.child.stop()

    async def _declare(self, environment: Mapping[str, str]) -> None:
        """Our topics, by the command an operator uses."""
        made = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "console.cli", "topics", "--repair",
            env={**os.environ, **environment}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await made.communicate()
        if made.returncode:
            raise BenchError(f"the topics could not be made: {said.decode(errors='replace').strip().splitlines()[-1]}")

    def _take(self, n: int) -> list[tuple[int, bytes]]:
        taken = distinct(self.packets.values, n, self._published)
        self._published += n
        return taken

    async def _publish(self, topic: str, packets: Sequence[tuple[int, bytes]], rate: float = 0.0) -> dict[int, int]:
        """Send packets over the partitions in turn, at a rate if one is given; candid → append time [ms]."""
        sent = []
        begin = time.monotonic()
        for i, (candid, packet) in enumerate(packets):
            if rate:
                await asyncio.sleep(max(0.0, begin + i / rate - time.monotonic()))
            sent.append((candid, await self.producer.send(topic, packet, key=str(candid).encode(), partition=i % PARTITIONS)))
        await self.producer.flush()
        return {candid: (await future).timestamp for candid, future in sent}

    async def _ends(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        ends: dict[TopicPartition, int] = await self.watcher.end_offsets(list(partitions))
        return ends

    async def _saturate(self, service: Service, n: int) -> dict[str, Any]:
        """The topic is full before the worker starts: its CPU from the first output seen to the last."""
        self.say(f"{service.name}: {n:,} packets wait, the worker starts")
        before = sum((await self._ends(service.sinks)).values())
        deadline = time.monotonic() + PATIENCE
        start: tuple[float, float, int] | None = None
        while True:
            cpu, now = service.cpu(), time.monotonic()
            done = sum((await self._ends(service.sinks)).values()) - before
            if start is None and done:
                start = now, cpu, done
            if done >= n:
                break
            if now > deadline:
                raise BenchError(f"the {service.name} worker scored {done} of {n} packets in {PATIENCE:.0f} s: {service.said()}")
            await asyncio.sleep(POLL)
        if start is None or done <= start[2]:
            raise BenchError(f"{n} packets are too few for the {service.name} worker: all were there at once")
        cpu, now = service.cpu(), time.monotonic()
        counted = done - start[2]
        cpu_us = 1e6 * (cpu - start[1]) / counted
        resident, peak = service.memory()
        return {
            "packets": n,
            "counted": counted,
            "rejected": await self._rejected(service),
            "cpu_us": cpu_us,
            "alerts_per_core_s": 1e6 / cpu_us,
            "alerts_per_s": counted / (now - start[0]),
            "memory_mib": resident,
            "memory_peak_mib": peak,
        }

    async def _rejected(self, service: Service) -> int:
        """Outputs that are not detections."""
        rejected = [place for place in service.sinks if place.topic == REJECTED]
        return sum((await self._ends(rejected)).values()) if rejected else 0

    async def _paced(self, service: Service) -> dict[str, Any]:
        """Latency at a steady rate, the warm-up left out."""
        plan = self.plan
        warm, counted = round(plan.rate * plan.warm_s), round(plan.rate * plan.paced_s)
        self.say(f"{service.name}: {plan.rate:g} packets a second for {plan.warm_s:g} s of warm-up and {plan.paced_s:g} s")
        begin = await self._ends(service.sinks)
        packets = self._take(warm + counted)
        appended = await self._publish(service.source, packets, plan.rate)
        latency = await self._latencies(service, begin, appended)
        late = sorted(latency[candid] for candid, _ in packets[warm:] if candid in latency)
        return {
            "rate": plan.rate,
            "packets": counted,
            "detections": len(late),
            "p50_ms": percentile(late, 0.5),
            "p99_ms": percentile(late, 0.99),
            "max_ms": late[-1] if late else None,
            "mean_ms": statistics.fmean(late) if late else None,
        }

    async def _quiet(self, service: Service) -> dict[str, Any]:
        """One packet after a quiet time, again and again; the worst one counts."""
        found: list[int] = []
        for _ in range(self.plan.quiet_times):
            self.say(f"{service.name}: {self.plan.quiet_s:g} quiet seconds, then one packet")
            await asyncio.sleep(self.plan.quiet_s)
            begin = await self._ends(service.sinks)
            appended = await self._publish(service.source, self._take(1))
            found += (await self._latencies(service, begin, appended)).values()
        return {"quiet_s": self.plan.quiet_s, "first_ms": found, "worst_ms": max(found) if found else None}

    async def _latencies(self, service: Service, begin: Mapping[TopicPartition, int], appended: Mapping[int, int]) -> dict[int, int]:
        """candid → output's append time minus the input's [ms], for those that became a detection."""
        wanted, rejected = set(appended), 0
        seen: dict[int, int] = {}
        self.watcher.assign(list(begin))
        for partition, offset in begin.items():
            self.watcher.seek(partition, offset)
        deadline = time.monotonic() + PATIENCE / 5
        while len(seen) + rejected < len(wanted) and time.monotonic() < deadline:
            for partition, messages in (await self.watcher.getmany(timeout_ms=100)).items():
                for message in messages:
                    candid = next((int(value) for name, value in message.headers if name == "candid"), None)
                    if partition.topic == REJECTED:
                        rejected += 1
                    elif candid in wanted:
                        seen.setdefault(candid, message.timestamp - appended[candid])
        self.watcher.unsubscribe()
        if len(seen) + rejected < len(wanted):
            raise BenchError(f"{len(wanted) - len(seen) - rejected} packets of {len(wanted)} never came out of the {service.name} worker")
        return seen


def partitions_of(topic: str, n: int = 1) -> tuple[TopicPartition, ...]:
    return tuple(TopicPartition(topic, i) for i in range(n))


def mean_batch(address: str | None) -> float | None:
    """Mean size of the worker's batches so far, from its own metrics; None where it exposes none."""
    if address is None:
        return None
    try:
        text = httpx.get(address, timeout=5).text
    except httpx.HTTPError:
        return None
    name = next(iter(BATCH.describe())).name
    values = {sample.name: sample.value for family in text_string_to_metric_families(text) for sample in family.samples}
    count = values.get(f"{name}_count", 0.0)
    return values[f"{name}_sum"] / count if count else None
