"""What ships beside the bundle is a reference of its own scores; and the tool makes one."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from evaluation.studies.drift_streams import Scored
from operators.alert_statistics import HIGH, LOW, STATISTICS
from operators.drift_panel import SUPPORTING, Panel
from operators.drift_reference import Reference
from operators.types import CONTEXT
from registry.bundle import DRIFT, PUBLISHED, load, refuse
from tools.remake_drift_reference import MADE_FOR, centred, made, main


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


def test_the_spread_is_that_of_nights_and_the_mean_that_of_the_sky() -> None:
    known = Reference.of_arrays(safetensors.numpy.load((PUBLISHED / DRIFT).read_bytes()))
    rng, n = np.random.default_rng(1), 600
    values = rng.uniform(LOW, HIGH, (n, len(STATISTICS))).astype(np.float32)
    context = rng.normal(size=(n, len(CONTEXT))).astype(np.float32)
    context[:, CONTEXT.index("galactic_latitude")] = np.where(np.arange(n) % 2, 90, 0)
    band = np.arange(n) // 2 % 2
    found = centred(known, Scored(values, context, band, np.zeros(n, np.int64), np.zeros(n), np.zeros(n)))
    rows = (band == 1) & (np.arange(n) % 2 == 1)
    stratum, before = found.strata["ztf/r/sky"], known.strata["ztf/r/sky"]
    np.testing.assert_allclose(stratum.mean, values[rows].mean(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(stratum.spread, before.spread)
    np.testing.assert_allclose(stratum.histogram.sum(axis=1), 1)
    assert found.thresholds == known.thresholds


@pytest.mark.slow
def test_the_tool_makes_one_of_a_bundle(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(PUBLISHED, folder)
    blob = made(folder, alerts=500, nights=60_000, streams=20)
    assert blob == made(folder, alerts=500, nights=60_000, streams=20)
    reference = Reference.of_arrays(safetensors.numpy.load(blob))
    assert {"ztf/g/sky", "ztf/r/sky"} <= set(reference.strata)
    assert main(["--bundle", str(tmp_path / "none")]) == 1
