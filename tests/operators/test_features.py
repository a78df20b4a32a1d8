"""The `light-curve` library (Rust) is the oracle; the array version is the oracle of the kernel."""

from __future__ import annotations

import light_curve as lc
import numpy as np
import pytest

from operators.features import COMPARABLE, FEATURES, NAMES, SPLIT, TYPICAL, comparable, features, features_array
from operators.types import MAX_POINTS
from tests.operators.batches import random_batch, to_numpy

ORACLE = {
    "mean": lc.Mean(),
    "weighted_mean": lc.WeightedMean(),
    "standard_deviation": lc.StandardDeviation(),
    "amplitude": lc.Amplitude(),
    "skew": lc.Skew(),
    "kurtosis": lc.Kurtosis(),
    "reduced_chi2": lc.ReducedChi2(),
    "beyond_1_std": lc.BeyondNStd(1.0),
    "cusum": lc.Cusum(),
    "eta": lc.Eta(),
    "stetson_k": lc.StetsonK(),
    "excess_variance": lc.ExcessVariance(),
    "maximum_slope": lc.MaximumSlope(),
}


@pytest.mark.parametrize("view", ["blue", "red"])
def test_equals_light_curve(view):
    batch = random_batch(60, points=80, seed=5)
    ours = features(batch)
    for i in range(len(batch)):
        keep = batch.valid[i] & np.isfinite(batch.flux[i]) & ((batch.wavelength[i] < SPLIT) == (view == "blue"))
        if keep.sum() < 4:
            continue
        t, m, e = (np.asarray(c[i][keep], dtype=np.float64) for c in (batch.time, batch.flux, batch.flux_err))
        for name, oracle in ORACLE.items():
            (expected,) = oracle(t, m, e, sorted=True)
            assert ours[i, FEATURES.index(f"{view}_{name}")] == pytest.approx(expected, rel=2e-4, abs=1e-5), (i, name)
        slope, _ = np.polyfit(t - t.mean(), m, 1)
        assert ours[i, FEATURES.index(f"{view}_linear_trend")] == pytest.approx(slope, rel=1e-3, abs=1e-4)
        assert ours[i, FEATURES.index(f"{view}_time_since_peak")] == pytest.approx(batch.mjd[i] - t[m.argmax()], abs=1e-4)


def test_every_namespace_gives_what_the_kernel_gives(moved):
    batch = random_batch(30, points=100)
    out = to_numpy(features_array(moved(batch)))
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, features(batch), rtol=1e-5, atol=1e-6)


def test_too_few_points_are_nan_not_a_number_made_up():
    batch = random_batch(20, points=1)
    out = features(batch)
    points = out[:, [FEATURES.index("blue_points"), FEATURES.index("red_points")]]
    np.testing.assert_array_equal(points.sum(axis=1), 1)
    assert np.isnan(out[:, FEATURES.index("red_eta")]).all()
    assert np.isfinite(out[points[:, 1] == 1, FEATURES.index("red_mean")]).all()
    assert len(FEATURES) == 2 * len(NAMES)
    assert batch.flux.shape[1] == MAX_POINTS


def test_comparable_features_are_bounded_and_the_same_in_every_namespace(moved):
    values = features(random_batch(40, points=30))
    out = comparable(values)
    assert out.shape == (40, COMPARABLE) == (40, 2 * len(TYPICAL))
    assert np.isfinite(out).all()
    assert np.abs(out).max() <= 3 / COMPARABLE**0.5 + 1e-7
    mean = values[:, FEATURES.index("red_mean")].astype(np.float64)
    expected = np.nan_to_num((np.arcsinh(mean) - TYPICAL["mean"][0]) / TYPICAL["mean"][1]).clip(-3, 3) / COMPARABLE**0.5
    used = [name for name in FEATURES if "points" not in name]
    np.testing.assert_allclose(out[:, used.index("red_mean")], expected, rtol=1e-5, atol=1e-6)
    batch = moved(random_batch(40, points=30))
    np.testing.assert_allclose(to_numpy(comparable(features_array(batch))), out, rtol=1e-4, atol=1e-4)
