"""`protonova run` as a process: it comes up, brings back what is killed, and leaves nothing behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from console.kafka_node.node import LocalKafka


def until(true: Callable[[], object], within: float = 150.0) -> None:
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def worker_pid(state: Path) -> int:
    try:
        return int(json.loads((state / "run" / "worker-0.json").read_text())["pid"])
    except (OSError, ValueError):
        return 0


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_run_brings_back_a_killed_worker_and_takes_its_children_along(kafka: LocalKafka, tmp_path: Path, how: signal.Signals) -> None:
    state = tmp_path / "state"
    code = (
        "import sys; from console.commands.run import run; from settings.model import Settings; "
        # A cluster's settings must not keep our own single node from starting.
        "sys.exit(run(Settings(state=sys.argv[1], status_port=0, replication=3)))"
    )
    said = (tmp_path / "said").open("w")
    process = subprocess.Popen([sys.executable, "-c", code, str(state)], stderr=said, cwd=Path(__file__).parents[2])
    try:
        until(lambda: "ready after" in (tmp_path / "said").read_text() or process.poll() is not None)
        assert process.poll() is None, (tmp_path / "said").read_text()
        first = worker_pid(state)
        psutil.Process(first).kill()
        until(lambda: worker_pid(state) not in (0, first))
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 4, "Kafka, worker, drift, status page"
        process.send_signal(how)
        status = process.wait(60)
        assert status == (0 if how is signal.SIGTERM else -signal.SIGKILL)
        _, alive = psutil.wait_procs(children, 60)
        assert not alive
    finally:
        if process.poll() is None:
            process.kill()
