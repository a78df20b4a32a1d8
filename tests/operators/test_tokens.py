from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from operators.tokens import CHANNELS, N_FEATURES, flux_scale, tokens, tokens_array
from operators.types import N_TOKENS
from tests.operators.batches import random_batch, to_numpy


def channel(out, name):
    return out[..., CHANNELS.index(name)]


def test_every_namespace_gives_what_the_kernel_gives(moved):
    batch = random_batch(40, points=120)
    out = to_numpy(tokens_array(moved(batch)))
    assert out.shape == (40, N_TOKENS, N_FEATURES)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, tokens(batch), atol=2e-6)


def test_public_function_takes_every_namespace(moved):
    batch = random_batch(5)
    np.testing.assert_allclose(to_numpy(tokens(moved(batch))), tokens(batch), atol=2e-6)


def test_each_valid_point_becomes_a_token_and_padding_is_zero():
    batch = random_batch(30, points=40)
    out = tokens(batch)
    valid = channel(out, "valid")
    np.testing.assert_array_equal(valid.sum(axis=1), batch.valid.sum(axis=1))
    assert not out[valid == 0].any()
    np.testing.assert_array_equal(channel(out, "detected").sum(axis=1), (batch.detected & batch.valid).sum(axis=1))
    np.testing.assert_array_equal(channel(out, "is a limit").sum(axis=1), np.isfinite(batch.limit).sum(axis=1))


def test_when_full_detections_stay_and_the_latest_of_the_rest():
    batch = random_batch(20, points=150, seed=3)
    out = tokens(batch, n_tokens=16)
    kept = channel(out, "detected").sum(axis=1)
    np.testing.assert_array_equal(kept, np.minimum((batch.detected & batch.valid).sum(axis=1), 16))
    # the alert's own point is the latest detection, so it is there: time before the alert 0
    last = channel(out, "log time before the alert")[np.arange(20), channel(out, "valid").sum(axis=1).astype(int) - 1]
    assert np.all(last[channel(out, "valid").sum(axis=1) == 16] <= 0)
    assert np.any(last == 0)


def test_tokens_are_in_time_order():
    out = tokens(random_batch(30, points=150))
    before, valid = channel(out, "log time before the alert"), channel(out, "valid") > 0
    both = valid[:, 1:] & valid[:, :-1]
    assert np.all((before[:, 1:] - before[:, :-1])[both] >= 0)


def test_a_brighter_copy_gives_the_same_tokens():
    batch = random_batch(10)
    ten = np.float32(10)
    brighter = dataclasses.replace(batch, flux=batch.flux * ten, flux_err=batch.flux_err * ten, limit=batch.limit * ten)
    np.testing.assert_allclose(tokens(brighter), tokens(batch), atol=1e-5)


def test_later_points_do_not_change_what_came_before():
    """Causal: the scale of n points is the scale of the packet that holds these n points only."""
    batch = random_batch(1, points=30, seed=8)
    cut = dataclasses.replace(batch, valid=batch.valid & (np.arange(batch.valid.shape[1]) < 10))
    assert flux_scale(cut)[0] <= flux_scale(batch)[0]


def test_scale_of_one_noisy_point_is_shrunk():
    batch = random_batch(1, points=1)
    noisy = dataclasses.replace(batch, flux_err=np.abs(batch.flux) / np.float32(3))
    assert flux_scale(noisy)[0] == pytest.approx(abs(batch.flux[0, 0]) * 0.5, rel=1e-5)


def test_no_detection_scales_by_the_deepest_limit():
    batch = random_batch(1, points=5)
    limits = np.where(batch.valid, np.float32(25), np.float32(np.nan))
    limits[0, 0] = 20
    none = dataclasses.replace(
        batch,
        detected=np.zeros_like(batch.detected),
        flux=np.full_like(batch.flux, np.nan),
        flux_err=np.full_like(batch.flux, np.nan),
        limit=limits,
    )
    assert flux_scale(none)[0] == 20


def test_an_error_of_nearly_nothing_is_only_a_sure_point():
    batch = random_batch(3, points=12, seed=4)
    tiny = dataclasses.replace(batch, flux_err=np.full_like(batch.flux_err, np.float32(1e-30)))
    assert np.isfinite(tokens(tiny)).all()
    sure = tiny.detected & tiny.valid & np.isfinite(tiny.flux)
    np.testing.assert_allclose(flux_scale(tiny), np.abs(np.where(sure, tiny.flux, 0)).max(axis=1), rtol=1e-5)
