"""`protonova status --serve` where no broker is: the page is served, says so, and takes the broker that comes."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx


def test_the_page_is_served_without_a_broker_and_finds_the_one_that_comes(tmp_path: Path) -> None:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PROTONOVA_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "console.cli", "status", "--serve", "--port", "0"],
        cwd=tmp_path, env={**clean, "PYTHONPATH": str(Path(__file__).parents[2])}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        found = re.search(r"status page: (\S+)/", process.stdout.readline())
        assert found is not None
        base = found[1]
        with httpx.Client(timeout=30, trust_env=False, transport=httpx.HTTPTransport(retries=20)) as client:
            page = client.get(base + "/")
            assert page.status_code == 200
            assert "no broker" in page.text
            assert client.get(base + "/readyz").status_code == 503
            assert client.get(base + "/subjects/detections-value/versions/latest").status_code == 200
            with socket.socket() as later:  # as the node of `protonova run` writes where it listens
                later.bind(("127.0.0.1", 0))
                later.listen()
                (tmp_path / "state" / "kafka").mkdir(parents=True)
                port = later.getsockname()[1]
                (tmp_path / "state" / "kafka" / "node.json").write_text(json.dumps({"broker": port}))
                deadline = time.monotonic() + 60
                while client.get(base + "/status.json").json()["broker"] != f"127.0.0.1:{port}":
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
                assert client.get(base + "/readyz").status_code == 503, "it listens, but does not answer"
    finally:
        process.terminate()
        process.wait(30)
        if process.stdout is not None:
            process.stdout.close()
    assert process.returncode in (0, -15)
