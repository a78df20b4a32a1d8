"""`protonova demo --drift` as a person runs it, in its short form: every act ends as it should."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from console.kafka_node.node import LocalKafka


@pytest.mark.nightly
@pytest.mark.timeout(2400)
def test_a_changing_sky_goes_once_around_the_loop(kafka: LocalKafka, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    report, picture, state = tmp_path / "r.json", tmp_path / "p.png", tmp_path / "state"
    arguments = ["--drift", "--short", "--seed", "7", "--report", str(report), "--picture", str(picture)]
    done = subprocess.run(
        [sys.executable, "-m", "console.cli", "demo", *arguments],
        cwd=Path(__file__).parents[2], env={**os.environ, "PROTONOVA_STATE": str(state)}, capture_output=True, text=True, timeout=2300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    found = json.loads(report.read_text())
    assert len(found["acts"]) == 7
    assert all(act["came"] for act in found["acts"])
    kinds = [step["kind"] for step in found["steps"]]
    assert kinds.index("alarm") < kinds.index("command") < kinds.index("challenger_made") < kinds.index("promoted")
    assert kinds.index("promoted") < kinds.index("rolled_back")
    after = found["figures"]["after"]
    assert after["recall"] >= 0.5
    assert after["false_calls"] <= 0.02
    assert picture.read_bytes().startswith(b"\x89PNG")
