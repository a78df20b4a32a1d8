"""End to end through a real Apache Kafka, started here: both stacks, each as its own service in its own process.

packets → CPU a packet at saturation, alerts a second and core, alerts a second on the wall clock, mean batch size; ours also: two workers
on two cores, a burst, latency at a steady rate, the first alert after a quiet minute, memory. An older checkout may stand beside ours.

Latency is the output's append time minus the input's: one clock, the broker's.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiokafka
import psutil
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from benchmarks.bench_service import (
    AGAINST,
    ALERTS,
    IN_CHECKOUT,
    LAST_SHARE,
    NAIVE,
    OURS,
    PARTITIONS,
    PATIENCE,
    POLL,
    THREADS,
    BenchError,
    Plan,
    Service,
    mean_batch,
    middle,
    partitions_of,
)
from benchmarks.packets import Packets, distinct
from console.child import Child
from console.kafka_node.node import LocalKafka, free_port
from console.report import percentile
from streams.kafka.topics import DETECTIONS, PRIVATE, REJECTED


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
    against : Path, optional
        An older checkout, whose worker reads the same backlog between ours.
    """

    def __init__(
        self, packets: Packets, plan: Plan, *, state: Path, bundle: Path | None, say: Callable[[str], None], against: Path | None = None
    ) -> None:
        self.packets, self.plan, self.state, self.bundle, self.say, self.against = packets, plan, state, bundle, say, against
        self._published = 0

    async def run(self, kafka: LocalKafka) -> dict[str, Any]:
        """Everything, one after the other."""
        self.broker, self.node = kafka.bootstrap, psutil.Process(kafka.pid)
        admin = AIOKafkaAdminClient(bootstrap_servers=self.broker)
        # Many packets in one request: filling a topic is not what is measured.
        self.producer = aiokafka.AIOKafkaProducer(bootstrap_servers=self.broker, max_request_size=8_000_000, max_batch_size=1_000_000)
        self.watcher = aiokafka.AIOKafkaConsumer(bootstrap_servers=self.broker, max_partition_fetch_bytes=8_000_000)
        await admin.start()
        await self.producer.start()
        await self.watcher.start()
        try:
            return {"naive": await self._naive(admin), **await self._ours()}
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
        service = Service(NAIVE, Child(command, self.state / "naive.log", environment=THREADS), source, partitions_of(sink, PARTITIONS))
        try:
            return await self._saturate(service, self.plan.naive_packets)
        finally:
            service.child.stop()

    async def _ours(self) -> dict[str, Any]:
        """Passes over one backlog, an older checkout's between ours, each by a group of its own; then the rest by our last worker."""
        await self._declare(self._environment("declare"))
        await self._publish(ALERTS, self._take(self.plan.our_packets))
        rows: dict[str, list[dict[str, Any]]] = {OURS: [], AGAINST: []}
        for i in range(self.plan.passes):
            if self.against is not None:
                service = self._worker(f"{AGAINST}-{i}", checkout=self.against)
                rows[AGAINST].append(await self._pass(service))
                service.child.stop()
            service = self._worker(f"{OURS}-{i}")
            rows[OURS].append(await self._pass(service))
            if i < self.plan.passes - 1:
                service.child.stop()
        try:
            ours = middle(rows[OURS])
            ours["mean_batch"] = await asyncio.to_thread(mean_batch, service.metrics)
            ours["paced"] = await self._paced(service)
            ours["quiet"] = await self._quiet(service)
            ours["burst"] = await self._burst(service)
            ours["memory_mib"], ours["memory_peak_mib"] = service.memory()
        finally:
            service.child.stop()
        ours["pair"] = await self._pair(ours["alerts_per_s"])
        return {"ours": ours, "against": middle(rows[AGAINST]) if rows[AGAINST] else None}

    def _environment(self, name: str, port: int = 0) -> dict[str, str]:
        """A worker's settings; each name is a group of its own."""
        environment = {
            **THREADS,
            "PROTONOVA_KAFKA": self.broker,
            "PROTONOVA_APP_ID": f"bench-{name}",
            "PROTONOVA_STATE": str(self.state / name),
            "PROTONOVA_PARTITIONS": str(PARTITIONS),
            "PROTONOVA_METRICS_PORT": str(port),
            "PROTONOVA_LOG_LEVEL": "warning",
        }
        if self.bundle is not None:
            environment["PROTONOVA_BUNDLE"] = str(self.bundle)
        return environment

    def _worker(self, name: str, slot: int = 0, *, checkout: Path | None = None) -> Service:
        """Start a worker, of this checkout or of an older one."""
        port = free_port()
        environment = self._environment(name, port - slot)
        command = [sys.executable, "-m", "streams.worker", "--slot", str(slot)]
        if checkout is not None:
            environment |= {"PYTHONPATH": str(checkout.resolve()), "NUMBA_CACHE_DIR": str(self.state / "machine-code")}
            command[1:3] = ["-c", IN_CHECKOUT, str(checkout.resolve())]
        sinks = (*partitions_of(DETECTIONS, PARTITIONS), *partitions_of(PRIVATE), *partitions_of(REJECTED))
        log = self.state / f"{name}-{slot}.log"
        return Service(name, Child(command, log, environment=environment), ALERTS, sinks, f"http://127.0.0.1:{port}/metrics")

    async def _pass(self, service: Service) -> dict[str, Any]:
        try:
            return await self._saturate(service, self.plan.our_packets)
        except BaseException:
            service.child.stop()
            raise

    async def _pair(self, one: float) -> dict[str, Any] | None:
        """Two workers share the backlog and, on two cores, the machine with the broker.

        Where one worker keeps a core busy, two do as many times its packets as the CPU that they and the broker take for one allows.
        None: too little was left of the backlog when both were ready.
        """
        name, n = "pair", self.plan.our_packets
        services = [self._worker(name, slot) for slot in (0, 1)]
        sinks = services[0].sinks
        before = sum((await self._ends(sinks)).values())
        ready = [self.state / name / "run" / f"worker-{slot}.json" for slot in (0, 1)]

        async def look() -> tuple[float, int, float, float]:
            broker = self.node.cpu_times()
            done = sum((await self._ends(sinks)).values()) - before
            return time.monotonic(), done, sum(service.cpu() for service in services), float(broker.user + broker.system)

        try:
            self.say("two workers share the backlog")
            deadline = time.monotonic() + PATIENCE
            start: tuple[float, int, float, float] | None = None
            while (last := await look())[1] < 0.9 * n:
                if start is None and all(path.exists() for path in ready):
                    start = last
                if time.monotonic() > deadline:
                    raise BenchError(f"two workers scored {last[1]} of {n} packets in {PATIENCE:.0f} s: {services[0].said()}")
                await asyncio.sleep(POLL)
            if start is None or last[1] - start[1] < n / 4:
                return None  # a short backlog is gone before both are ready: nothing was measured
        finally:
            for service in services:
                service.child.ask()
            for service in services:
                service.child.stop()
        counted = last[1] - start[1]
        rate, worker_us, broker_us = counted / (last[0] - start[0]), *(1e6 * (last[i] - start[i]) / counted for i in (2, 3))
        return {
            "counted": counted,
            "alerts_per_s": rate,
            "worker_us": worker_us,
            "broker_us": broker_us,
            "over_one": rate / one,
            "possible": 2 * worker_us / (worker_us + broker_us),
        }

    async def _burst(self, service: Service) -> dict[str, Any]:
        """Packets as fast as they can be sent, from the same cores: until how many of them are out."""
        n = self.plan.burst
        packets = self._take(n)
        self.say(f"{service.name}: {n:,} packets at once")
        before = sum((await self._ends(service.sinks)).values())
        began = time.monotonic()
        publishing = asyncio.create_task(self._publish(service.source, packets))
        published_s: float | None = None
        while True:
            done = sum((await self._ends(service.sinks)).values()) - before
            now = time.monotonic() - began
            if published_s is None and publishing.done():
                published_s = now
            if done >= 0.98 * n:
                break
            if now > PATIENCE:
                raise BenchError(f"the {service.name} worker scored {done} of {n} packets in {PATIENCE:.0f} s: {service.said()}")
            await asyncio.sleep(POLL)
        await publishing
        return {"packets": n, "out_s": now, "published_s": published_s}

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
        taken = distinct(self.packets.values, n, start=self._published)
        self._published += n
        return taken

    async def _publish(self, topic: str, packets: Sequence[tuple[int, bytes]], *, rate: float = 0.0) -> dict[int, int]:
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
        before, rejected = sum((await self._ends(service.sinks)).values()), await self._rejected(service)
        deadline = time.monotonic() + PATIENCE
        start: tuple[float, float, int] | None = None
        end: tuple[float, float, int] | None = None
        while True:
            cpu, now = service.cpu(), time.monotonic()
            done = sum((await self._ends(service.sinks)).values()) - before
            if start is None and done:
                start = now, cpu, done
            if done < LAST_SHARE * n or end is None:
                end = now, cpu, done
            if done >= n:
                break
            if now > deadline:
                raise BenchError(f"the {service.name} worker scored {done} of {n} packets in {PATIENCE:.0f} s: {service.said()}")
            await asyncio.sleep(POLL)
        if start is None or end is None or end[2] <= start[2]:
            raise BenchError(f"{n} packets are too few for the {service.name} worker: all were there at once")
        counted = end[2] - start[2]
        cpu_us, per_s = 1e6 * (end[1] - start[1]) / counted, counted / (end[0] - start[0])
        resident, peak = service.memory()
        return {
            "packets": n,
            "counted": counted,
            "rejected": await self._rejected(service) - rejected,
            "cpu_us": cpu_us,
            "alerts_per_core_s": 1e6 / cpu_us,
            "alerts_per_s": per_s,
            "cores_busy": per_s * cpu_us / 1e6,
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
        appended = await self._publish(service.source, packets, rate=plan.rate)
        latency = await self._latencies(service, begin, appended=appended)
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
            found += (await self._latencies(service, begin, appended=appended)).values()
        return {"quiet_s": self.plan.quiet_s, "first_ms": found, "worst_ms": max(found) if found else None}

    async def _latencies(self, service: Service, begin: Mapping[TopicPartition, int], *, appended: Mapping[int, int]) -> dict[int, int]:
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
