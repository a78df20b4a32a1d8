"""The script for a lent GPU, as far as a machine without one goes: its dry run is green, saves as it goes, survives a stage that fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from benchmarks import gpu
from benchmarks.gpu import STAGES, Ground, Run, green, main, measure


def test_the_dry_run_is_green_and_holds_every_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the tests that need a device, which are this session's own."""
    out = tmp_path / "figures.json"
    short = tuple(stage for stage in STAGES if stage.__name__ != "tests")
    monkeypatch.setattr(gpu, "STAGES", short)
    gpu._sessions.clear()
    report = measure(Run(out, 240.0, dry=True))
    assert orjson.loads(out.read_bytes()) == orjson.loads(orjson.dumps(report))
    stages = report["stages"]
    assert list(stages) == ["machine", *(stage.__name__ for stage in short)]
    assert all(stages[stage.__name__]["done"] for stage in short), stages
    report["stages"]["tests"] = {"outcome": {"passed": 0, "failed": 0, "skipped": 12}}
    assert green(report)
    assert set(stages["parity"]) > {"tokens", "stamps", "context", "features", "science", "variance", "mask"}
    assert all(value["off"] <= 1e-4 for value in stages["parity"].values() if isinstance(value, dict))
    assert stages["parity"]["tokens"]["off"] > 0, "the arrays' form beside the kernel, and not the kernel beside itself"
    assert stages["frames"]["of the copy's bandwidth [share]"] > 0
    assert all(value > 0 for name, value in (stages["embeddings"] | stages["packets"]).items() if name.endswith("[1/s]"))
    stages["parity"]["tokens"]["ok"] = False
    assert not green(report), "one stage off is not green"


def test_what_fails_costs_its_own_figures_and_everything_before_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "figures.json"
    seen: list[Any] = []

    def first(ground: Ground) -> None:
        ground.run.save("first", "figure", value=1)
        seen.append(orjson.loads(out.read_bytes())["stages"]["first"]["figure"])
        raise ValueError("a driver\nthat died")

    def last(ground: Ground) -> None:
        ground.run.save("last", "figure", value=2)

    monkeypatch.setattr(gpu, "STAGES", (first, last))
    report = measure(Run(out, 240.0, dry=True))
    assert seen == [1]
    assert report["stages"]["first"] == {"figure": 1, "done": False, "error": "ValueError: a driver that died"}
    assert report["stages"]["last"]["done"] is True
    assert not green(report)
    assert not list(tmp_path.glob("*.part"))


def test_a_run_without_time_left_says_so_and_ends(tmp_path: Path) -> None:
    report = measure(Run(tmp_path / "figures.json", 0.0, dry=True))
    for stage in STAGES:
        assert report["stages"][stage.__name__]["done"] is False
        assert "were left of 0" in report["stages"][stage.__name__]["error"]


@pytest.mark.slow
def test_the_tests_stage_counts_what_pytest_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real run of pytest, on a folder of its own."""
    (tmp_path / "tests" / "pipeline").mkdir(parents=True)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu: x\n")
    (tmp_path / "tests" / "pipeline" / "test_device.py").write_text(
        "import pytest\n@pytest.mark.gpu\ndef test_a(): pass\n@pytest.mark.gpu\ndef test_b(): assert False\n"
        "@pytest.mark.gpu\ndef test_c(): pytest.skip('no')\ndef test_d(): assert False\n"
    )
    monkeypatch.setattr(gpu, "ROOT", tmp_path)
    run = Run(tmp_path / "figures.json", 240.0, dry=True)
    gpu.tests(Ground(run, np, np, None, (), None, 8))  # type: ignore[arg-type]
    found = run.report["stages"]["tests"]
    assert found["outcome"] == {"passed": 1, "failed": 1, "skipped": 1}
    assert found["failed"][0].startswith("FAILED")


def test_without_a_device_it_says_what_to_do(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    try:
        gpu.find_cupy()
    except gpu.EngineError:
        assert main(["--out", str(tmp_path / "x.json")]) == 2
        assert "--dry-run runs the same stages on the processor" in capsys.readouterr().err
    else:
        pytest.skip("gpu: there is one here")
