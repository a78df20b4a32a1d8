"""A challenger made in a process of its own, whose memory, time and threads are limited: a crash costs the attempt and nothing else.

folder with `order.json` and `packets.bin` → folder with `bundle/` and `outcome.json`, of a costly recipe `baseline/`, too; progress as JSON
lines on standard output

    python -m learning.challenger_process FOLDER

The parent (`streams.agents.trainer`) starts it in a session of its own and keeps its standard input open: when that ends, however the
parent ended, the whole session is ended, processes of a training included. The parent holds the limit of time by the clock; here a limit
of the processor's time stands behind it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from errors import ProtonovaError, one_line

ORDER, PACKETS, OUTCOME, BUNDLE, LOG = "order.json", "packets.bin", "outcome.json", "bundle", "attempt.log"
BASELINE = "baseline"
"""Folder beside the bundle of a recipe that costs more than a head made anew: such a head of the same labels."""
REFUSED, NO_MEMORY = 2, 3
"""Exit statuses: it cannot be made of this; it needs more memory than it may have."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
NICE = 10
"""Behind the workers, which have the stream to score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the process may use."""

    memory_mb: int
    """Of data a process: file mappings, such as libraries, do not count."""
    seconds: float
    """By the clock."""
    threads: int
    """Processes that simulate or train at once, each of one thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be made; everything that decides the bundle, so that an attempt that was cut off gives the same one."""

    recipe: str
    champion: str
    """Folder of its bundle."""
    seed: int
    created_on: str
    version: str
    sets: str
    """Folder of the replay buffer."""
    replay: int
    real: str = ""
    """Folder of labelled real packets; empty: none."""
    minutes: float = 60.0
    limits: Limits
    labels: list[str] = field(default_factory=list)
    """Of the first packets of `packets.bin`; the others are the window."""
    packet_ids: list[str] = field(default_factory=list)
    taught: Mapping[str, int] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)
    """Of the packets, one after the other [bytes]."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Of the caller's own; not read here."""


def write_order(folder: Path, order: Order, *, packets: Sequence[bytes]) -> None:
    """Put an order down; `order.json` is written last, so that a folder that has it is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / PACKETS).open("wb") as file:
        file.writelines(packets)
        file.flush()
        os.fsync(file.fileno())
    part = folder / f".{ORDER}"
    part.write_text(json.dumps(asdict(order)) + "\n", encoding="utf-8")
    part.replace(folder / ORDER)


def read_order(folder: Path) -> Order | None:
    """The order in a folder; None: there is none, or it is another version's."""
    try:
        found = json.loads((folder / ORDER).read_bytes())
        return Order(**{**found, "limits": Limits(**found["limits"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def read_packets(folder: Path, order: Order) -> list[bytes]:
    """The packets of an order.

    Raises
    ------
    OSError
        The file is not there.
    ValueError
        It is of another size.
    """
    data = (folder / PACKETS).read_bytes()
    if len(data) != sum(order.sizes):
        raise ValueError(f"{PACKETS} has {len(data):,} bytes instead of {sum(order.sizes):,}")
    packets, start = [], 0
    for size in order.sizes:
        packets.append(data[start : start + size])
        start += size
    return packets


def command_of(folder: Path) -> list[str]:
    """The command line of the process."""
    return [sys.executable, "-m", "learning.challenger_process", str(folder)]


def environment_of() -> dict[str, str]:
    """Variables of the process, on top of ours: one thread in each process, so that sums are taken in one order on any machine."""
    return dict.fromkeys(THREADS, "1") | {"PYTHONUNBUFFERED": "1"}


def reason_of(status: int, folder: Path) -> str:
    """Why an attempt failed, in one line.

    Parameters
    ----------
    status : int
        Of its process.
    folder : Path
        Of the attempt.
    """
    try:
        found = json.loads((folder / OUTCOME).read_bytes())
        if isinstance(found, dict) and "error" in found:
            return one_line(found["error"], 400)
    except (OSError, ValueError):
        pass
    try:
        lines = (folder / LOG).read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    last = next((line for line in reversed(lines) if line.strip() and not line.startswith((" ", "Traceback"))), "it left no message")
    how = f"signal {-status}" if status < 0 else f"status {status}"
    return f"the attempt's process ended with {how}: {one_line(last, 300)}"


class Lines:
    """Progress as JSON lines."""

    def __init__(self) -> None:
        self._tenth = -1

    def stage(self, text: str) -> None:
        """See `learning.workplace.Progress`."""
        print(json.dumps({"stage": text}), flush=True)

    def step(self, step: Any) -> None:
        """Say each tenth of the steps."""
        tenth = 10 * step.step // step.steps
        if tenth != self._tenth:
            self._tenth = tenth
            print(json.dumps({"step": step.step, "steps": step.steps, "loss": round(step.loss, 4)}), flush=True)

    def figures(self, title: str, found: Mapping[str, Any]) -> None:
        """Nothing: figures are in the manifest."""


def limit(limits: Limits) -> None:
    """Limit this process and those it starts."""
    memory = limits.memory_mb * 2**20
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    seconds = int(limits.seconds * limits.threads) + 60
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(NICE)


def _end_with_parent() -> None:
    """End the session when standard input does."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def work(folder: Path, order: Order) -> dict[str, Any]:
    """Make the challenger of an order; what becomes of it, as `outcome.json` has it."""
    import torch

    from learning.challengers import HEAD, RecipeError, Workshop, make
    from learning.labelled import Labelled, Window

    torch.set_num_threads(1)
    packets = read_packets(folder, order)
    n = len(order.labels)
    given: dict[str, Any] = {
        "labelled": Labelled(packets[:n], list(order.labels), list(order.packet_ids), order.taught),
        "window": Window(packets[n:]),
        "seed": order.seed,
        "workshop": Workshop(
            created_on=order.created_on,
            version=order.version,
            sets=Path(order.sets),
            replay=order.replay,
            processes=order.limits.threads,
            real=Path(order.real) if order.real else None,
            minutes=order.minutes,
        ),
        "progress": Lines(),
    }
    if order.recipe != HEAD:
        with contextlib.suppress(RecipeError):  # without a label there is nothing that a head could be made of
            make(HEAD, Path(order.champion), to=folder / BASELINE, **given)
    bundle = make(order.recipe, Path(order.champion), to=folder / BUNDLE, **given)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"sha256": bundle.sha256, "memory_mb": peak}


def _is_memory(error: Exception) -> bool:
    """Whether an error is about memory: Python's, the system's, a library's that cannot be mapped, or of torch's allocator."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    return isinstance(error, ImportError | RuntimeError) and any(word in str(error) for word in ("memory", "failed to map segment"))


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point; the exit status."""
    [place] = sys.argv[1:] if arguments is None else arguments
    folder = Path(place)
    if os.getpgrp() == os.getpid():  # in a session of its own
        _end_with_parent()
    order = read_order(folder)
    if order is None:
        print(f"{folder} holds no order", file=sys.stderr)
        return REFUSED
    limit(order.limits)
    try:
        outcome, status = work(folder, order), 0
    except (ProtonovaError, FloatingPointError, MemoryError, OSError, ValueError, ImportError, RuntimeError) as error:
        if _is_memory(error):
            outcome, status = {"error": f"it needs more than the {order.limits.memory_mb:,} MB of memory that it may have"}, NO_MEMORY
        elif isinstance(error, RuntimeError):
            raise
        else:
            outcome, status = {"error": one_line(f"{error}" or type(error).__name__, 400)}, REFUSED
    part = folder / f".{OUTCOME}"
    part.write_text(json.dumps(outcome) + "\n", encoding="utf-8")
    part.replace(folder / OUTCOME)
    return status


if __name__ == "__main__":
    sys.exit(main())
