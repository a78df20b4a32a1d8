"""`protonova demo --tess` as a person runs it: nothing of a small sector vanishes, and the report holds the figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from console.kafka_node.node import LocalKafka


def test_a_small_sector_goes_through_and_nothing_vanishes(kafka: LocalKafka, tmp_path: Path) -> None:
    report, state = tmp_path / "r.json", tmp_path / "state"
    done = subprocess.run(
        [sys.executable, "-m", "console.cli", "demo", "--tess", "--packets", "60", "--seed", "3", "--report", str(report)],
        cwd=Path(__file__).parents[2], env={**os.environ, "PROTONOVA_STATE": str(state)}, capture_output=True, text=True, timeout=380,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    found = json.loads(report.read_text())
    assert found["balanced"]
    assert found["packets"] == 60 == found["detections"] + found["duplicates"] + sum(found["rejected"].values())
    assert found["made"] == {"duplicates": found["duplicates"], "broken": sum(found["rejected"].values())}
    assert found["latency"]["p50_ms"] > 0
    truth = found["truth"]
    for name in ("exoplanet-transit", "transit-anomaly"):
        by_depth = truth[name]["by_depth"].values()
        assert truth[name]["all"]["n"] == sum(b["n"] for b in by_depth) > 0
        if not truth[name]["in_bundle"]:
            assert f"the bundle has no class {name}" in done.stdout
    assert truth["confusion"]["quiet"]
    assert "nothing vanished" in done.stdout
    assert not (state / "demo").exists()
