"""What is monitored of an alert: kernel against array version in every namespace, values by hand, sums that add up."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from operators.alert_statistics import (
    ABSENT,
    BINS,
    HIGH,
    IMPLIED,
    LOW,
    NOISE_SLOPE,
    STATISTICS,
    WIDTH_SLOPE,
    Window,
    alert_statistics,
    alert_statistics_array,
    windows_of,
)
from operators.head import Judged
from operators.kernels.alert_statistics import find_extremes, whole_positions
from operators.types import CONTEXT, RAW_STAMP, AlertBatch
from pipeline.monitored import ROW, monitored, rows_of
from tests.namespaces import Namespace, to_numpy
from tests.operators.batches import random_batch

S = {name: i for i, name in enumerate(STATISTICS)}


def alerts(n: int = 40) -> tuple[AlertBatch, np.ndarray, Judged]:
    """Random alerts, some without images, limits or zero points, and what a head might say of them."""
    rng = np.random.default_rng(3)
    batch = random_batch(n)
    own_limit, zero_point = rng.uniform(1, 30, n).astype(np.float32), rng.normal(26.2, 0.1, n).astype(np.float32)
    own_limit[::7], zero_point[::5] = np.nan, np.nan
    stamps = batch.stamps.copy()
    stamps[1], stamps[2, 2] = np.nan, 0.0
    batch = dataclasses.replace(batch, own_limit=own_limit, zero_point=zero_point, stamps=stamps)
    probability = rng.dirichlet(np.full(6, 0.3), n).astype(np.float32)
    novelty, distance = rng.uniform(0, 1, (2, n)).astype(np.float32)
    conformal = probability > 0.1
    conformal[::9] = False
    judged = Judged(probability, probability, novelty, probability.argmax(axis=1), distance, conformal)
    return batch, rng.normal(0, 3, (n, 9)).astype(np.float32), judged


def test_every_namespace_gives_what_the_kernel_gives(xp: Namespace) -> None:
    batch, logits, judged = alerts()
    expected = alert_statistics(batch, logits, judged=judged)
    found = alert_statistics_array(xp.batch(batch), xp.asarray(logits), judged=xp.tree(judged))
    assert to_numpy(found).dtype == np.float32
    np.testing.assert_allclose(to_numpy(found), expected, rtol=2e-5, atol=2e-5)
    dispatched = alert_statistics(xp.batch(batch), xp.asarray(logits), judged=xp.tree(judged))
    np.testing.assert_allclose(to_numpy(dispatched), expected, rtol=2e-5, atol=2e-5)
    there = np.isfinite(expected).mean(axis=0)
    assert ((there > 0.2) & (there <= 1)).all(), dict(zip(STATISTICS, there, strict=True))
    assert ((expected >= LOW) & (expected <= HIGH) | np.isnan(expected)).all()


def test_values_by_hand() -> None:
    """A zero point 0.1 mag off, pixel noise of 12 counts, seeing of 2.02 arcsec: what the packet states against what it implies."""
    batch, logits, judged = alerts(4)
    rng = np.random.default_rng(5)
    stamps = np.full((4, 3, RAW_STAMP, RAW_STAMP), np.nan, np.float32)
    stamps[:, 2] = rng.normal(0, 12, (4, RAW_STAMP, RAW_STAMP))
    stamps[:, 2, 16, 20:24] = 1e6  # a star that does not subtract
    context = batch.context.copy()
    context[:, CONTEXT.index("fwhm")], context[:, CONTEXT.index("signal_to_noise")] = 2.02, 100.0
    context[:, CONTEXT.index("n_visits")] = 1000.0
    limit_magnitude = 26.2 - IMPLIED - NOISE_SLOPE * np.log10(12) - WIDTH_SLOPE * np.log10(2.02) + np.array([0.0, 0.1, 0.0, 0.0])
    batch = dataclasses.replace(
        batch, stamps=stamps, context=context, pixel_scale=np.full(4, 1.01, np.float32), zero_point=np.full(4, 26.2, np.float32),
        own_limit=(10 ** (0.4 * (23.9 - limit_magnitude))).astype(np.float32),
    )  # fmt: skip
    values = alert_statistics(batch, logits, judged=judged)
    noise = values[:, S["zp"]] - np.array([0.0, 0.1, 0.0, 0.0])
    assert np.abs(noise).max() < 0.3  # 248 differences: 0.1 mag of scatter each
    np.testing.assert_allclose(values[:, S["log_snr"]], 2.0, atol=1e-5)
    np.testing.assert_allclose(values[:, S["visits"]], 3.0, atol=1e-5)
    np.testing.assert_allclose(values[:, S["fwhm"]], np.log10(2.02), atol=1e-5)
    np.testing.assert_allclose(values[:, S["limit"]], limit_magnitude, atol=1e-4)
    np.testing.assert_allclose(values[:, S["points"]], batch.valid.sum(axis=1))
    p = judged.probability.astype(float)
    np.testing.assert_allclose(values[:, S["entropy"]], -(p * np.log(p + 1e-12)).sum(axis=1), atol=1e-4)
    np.testing.assert_allclose(values[:, S["energy"]], np.log(np.exp(logits.astype(float)).sum(axis=1)), atol=1e-4)


def test_a_hostile_alert_moves_a_mean_by_its_range_at_most() -> None:
    batch, logits, judged = alerts(4)
    context = np.full_like(batch.context, 3e38)
    context[1], context[2] = -np.inf, np.nan
    worst = dataclasses.replace(batch, context=context, own_limit=np.array([0, np.inf, -1, 1e-38], np.float32))
    values = alert_statistics(worst, np.full_like(logits, -1e30), judged=judged)
    assert ((values >= LOW) & (values <= HIGH) | np.isnan(values)).all()
    np.testing.assert_allclose(to_numpy(alert_statistics_array(worst, np.full_like(logits, -1e30), judged=judged)), values, atol=1e-4)


def test_windows_add_up_and_come_back_from_a_summary() -> None:
    batch, logits, judged = alerts(60)
    values = alert_statistics(batch, logits, judged=judged)
    strata = ["ztf/r/sky" if k % 3 else "ztf/g/plane" for k in range(60)]
    classes = ["sn-ia" if k % 2 else "agn" for k in range(60)]
    whole = windows_of(values, batch.context, strata=strata, classes=classes)
    parts = [
        windows_of(values[k : k + 20], batch.context[k : k + 20], strata=strata[k : k + 20], classes=classes[k : k + 20])
        for k in (0, 20, 40)
    ]
    for stratum, window in whole.items():
        rows = np.array([s == stratum for s in strata])
        there = np.isfinite(values[rows])
        assert window.n == rows.sum()
        assert sum(window.classes.values()) == window.n
        np.testing.assert_array_equal(window.count, there.sum(axis=0))
        np.testing.assert_allclose(window.sum, np.nansum(values[rows].astype(float), axis=0))
        np.testing.assert_allclose(window.squares, np.nansum(values[rows].astype(float) ** 2, axis=0))
        np.testing.assert_array_equal(window.nulls, np.isnan(batch.context[rows]).sum(axis=0))
        np.testing.assert_array_equal(window.histogram.sum(axis=1), window.count)
        k = S["novelty"]
        np.testing.assert_array_equal(window.histogram[k], np.histogram(values[rows][:, k], bins=BINS, range=(0, 1))[0])
        added = sum((part[stratum] for part in parts), Window(0))
        carried = json.loads(json.dumps(window.record()))
        nulls = dict(zip(ABSENT, window.nulls.tolist(), strict=True))
        back = Window.of_record(
            window.n, carried | {"a later statistic": {"n": 1, "sum": 1.0, "squares": 1.0}}, nulls=nulls, classes=window.classes
        )
        for other in (added, back):
            assert other.n == window.n
            assert other.classes == window.classes
            for name in ("count", "histogram", "nulls"):
                np.testing.assert_array_equal(getattr(other, name), getattr(window, name))
            for name in ("sum", "squares", "mean"):
                np.testing.assert_allclose(getattr(other, name), getattr(window, name))


def test_a_statistic_that_few_alerts_have_has_no_mean() -> None:
    window = Window(100)
    window.count[S["zp"]], window.sum[S["zp"]] = 24, 5.0
    window.count[S["limit"]], window.sum[S["limit"]] = 25, 500.0
    assert np.isnan(window.mean[S["zp"]])
    assert window.mean[S["limit"]] == pytest.approx(20.0)


def test_rows_of_a_batch_are_what_numpy_would_lay_out() -> None:
    """`pipeline.monitored` writes the bytes of a batch in loops; a structured array, field by field, is their oracle."""
    batch, logits, judged = alerts(37)
    context = batch.context.copy()
    context[3, 4] = np.inf
    mjd = batch.mjd.copy()
    mjd[5] = np.nan
    for schema in ((), tuple(range(4_294_967_259, 4_294_967_296))):
        whole = dataclasses.replace(batch, context=context, mjd=mjd, schema=schema)
        expected = np.empty(37, ROW)
        expected["values"] = alert_statistics(whole, logits, judged=judged)
        expected["context"], expected["mjd"], expected["schema"] = context, mjd, schema or 0
        expected["empty"] = ~judged.conformal.any(axis=1)
        found = monitored(whole, logits, judged=judged)
        assert found == [row.tobytes() for row in expected]
        back = rows_of(found)
        np.testing.assert_array_equal(back.context, context)
        np.testing.assert_array_equal(back.mjd, mjd)
        assert 0 < back.empty.sum() < 37
    oracle = alert_statistics_array(batch, logits, judged=judged)
    np.testing.assert_allclose(rows_of(monitored(batch, logits, judged=judged)).values, oracle, rtol=2e-5, atol=2e-5)


def test_extremes_and_positions_are_numpys() -> None:
    rng = np.random.default_rng(8)
    values = rng.integers(0, 5, (50, 6)).astype(np.float32)
    values[rng.random(values.shape) < 0.3] = np.nan
    values[:, 2], values[1:, 3] = np.nan, np.nan
    low, high = find_extremes(values)
    there = np.isfinite(values).any(axis=0)
    np.testing.assert_array_equal(low >= 0, there)
    np.testing.assert_array_equal(low[there], np.nanargmin(values[:, there], axis=0))
    np.testing.assert_array_equal(high[there], np.nanargmax(values[:, there], axis=0))
    positions = np.concatenate([rng.normal(5, 8, 200), [np.nan, np.inf, -np.inf, 20.0, 19.99, -0.5]])
    cut = np.clip(np.where(np.isnan(positions), 0.0, positions), 0, 19).astype(np.int64)
    np.testing.assert_array_equal(whole_positions(positions, 20), np.bincount(cut, minlength=20))
