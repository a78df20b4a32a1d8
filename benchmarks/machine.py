"""Where a figure was measured. It goes into every result."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

LIBRARIES = (
    "aiokafka", "astropy", "deflate", "fastavro", "faust-streaming", "light-curve", "numba", "numpy", "onnxruntime", "torch", "uvloop",
)  # fmt: skip


def cpu_model() -> str:
    """Name of the processor, as the kernel gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def instruction_sets() -> list[str]:
    """The ones that decide how fast a network runs."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return []
    flags = next((set(line.partition(":")[2].split()) for line in text.splitlines() if line.startswith("flags")), set())
    return sorted(flags & {"avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile", "amx_bf16"})


def stolen() -> tuple[float, float]:
    """CPU time that was wanted so far, and of it what the host gave to other guests [s]; 0 where the system is not Linux."""
    times = psutil.cpu_times()
    taken = float(getattr(times, "steal", 0.0))
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0)), taken


def stolen_share(since: tuple[float, float]) -> float:
    """Share of the CPU time wanted since then that other guests of the host had: what it does to latencies is none of our doing."""
    wanted, taken = (now - then for now, then in zip(stolen(), since, strict=True))
    return round(taken / wanted, 4) if wanted > 0 else 0.0


def describe() -> dict[str, Any]:
    """CPU, cores, memory [GiB], load when asked, Python and the libraries that do the work."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "missing"
    return {
        "cpu": cpu_model(),
        "instruction_sets": instruction_sets(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_average_before": [round(x, 2) for x in psutil.getloadavg()],
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "libraries": versions,
    }
