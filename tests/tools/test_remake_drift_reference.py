"""What ships beside the bundle is a reference of its own scores; and the tool makes one."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from operators.alert_statistics import STATISTICS
from operators.drift_panel import SUPPORTING, Panel
from operators.drift_reference import Reference
from registry.bundle import DRIFT, PUBLISHED, load, refuse
from tools.remake_drift_reference import MADE_FOR, made, main


def test_what_ships_is_of_the_bundle_that_ships() -> None:
    blob = (PUBLISHED / DRIFT).read_bytes()
    assert len(blob) < 100_000
    arrays = safetensors.numpy.load(blob)
    assert bytes(arrays[MADE_FOR]).decode() == load().sha256, "made for another bundle: python -m tools.remake_drift_reference"
    reference = Reference.of_arrays(arrays)
    assert {"ztf/g/sky", "ztf/g/plane", "ztf/r/sky", "ztf/r/plane"} <= set(reference.strata)
    for name, stratum in reference.strata.items():
        assert np.isfinite(stratum.mean).all(), name
        assert (stratum.spread > 0).all(), name
    assert set(reference.thresholds) == set(STATISTICS) - set(SUPPORTING)
    assert all(10 < value < 1000 for value in reference.thresholds.values())
    assert Panel(reference).thresholds["zp"] == pytest.approx(reference.thresholds["zp"])
    refuse(PUBLISHED)  # it may lie beside a bundle


@pytest.mark.slow
def test_the_tool_makes_one_of_a_bundle(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(PUBLISHED, folder)
    blob = made(folder, alerts=500, nights=60_000, streams=20)
    assert blob == made(folder, alerts=500, nights=60_000, streams=20)
    reference = Reference.of_arrays(safetensors.numpy.load(blob))
    assert {"ztf/g/sky", "ztf/r/sky"} <= set(reference.strata)
    assert main(["--bundle", str(tmp_path / "none")]) == 1
