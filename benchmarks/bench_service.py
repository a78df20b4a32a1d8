"""What the benchmark through Kafka is made of: how much of everything, a worker process, and its figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from aiokafka import TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from console.child import Child
from console.kafka_node.node import last_line
from errors import UserError
from streams.metrics import BATCH

ALERTS = "alerts.ztf"
PARTITIONS = 4
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
PATIENCE = 300.0
"""Longest wait for a worker to get through its packets [s]."""
POLL = 0.05
"""How often the outputs are counted [s]: seldom enough to leave the cores to the workers."""
LAST_SHARE = 0.97
"""Of a backlog that is measured: behind it batches are no longer full [1]."""
OURS, NAIVE, AGAINST = "ours", "naive", "against"
IN_CHECKOUT = (
    "import os, runpy, sys; os.chdir(sys.argv[1]); sys.path[0] = sys.argv[1]; sys.argv[:2] = ['streams.worker']; "
    "runpy.run_module('streams.worker', run_name='__main__')"
)
"""Runs a worker of another checkout; our modules are not on its path."""


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
    passes: int = 3
    burst: int = 10_000

    @classmethod
    def quick(cls) -> Plan:
        """For a look: everything runs, nothing is long enough to quote."""
        return cls(naive_packets=200, our_packets=1500, warm_s=5, paced_s=5, quiet_s=5, quiet_times=1, passes=1, burst=1000)


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


def middle(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The pass of median CPU cost; the costs and rates of all beside it."""
    by_cost = sorted(rows, key=lambda row: float(row["cpu_us"]))
    return {
        **by_cost[len(by_cost) // 2],
        "passes": [{name: row[name] for name in ("cpu_us", "alerts_per_s", "cores_busy")} for row in rows],
    }


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
