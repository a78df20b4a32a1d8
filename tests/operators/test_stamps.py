from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from operators.stamps import normalise, normalise_array, resample, stamps
from operators.types import RAW_STAMP, STAMP
from tests.operators.batches import random_batch, to_numpy


def test_every_namespace_gives_what_the_kernel_gives(moved):
    batch = random_batch(20)
    out = stamps(batch)
    assert out.shape == (20, 4, STAMP, STAMP)
    assert np.isfinite(out).all()
    np.testing.assert_allclose(to_numpy(stamps(moved(batch))), out, atol=1e-5)


def test_kernel_equals_the_array_version():
    image = random_batch(20).stamps[:, :, 15:47, 15:47]
    np.testing.assert_allclose(normalise(image), normalise_array(image), atol=1e-6)


def test_ztf_is_cropped_about_the_target():
    batch = random_batch(3)
    ztf = dataclasses.replace(batch, pixel_scale=np.full(3, 1.01, np.float32))
    middle = resample(ztf.stamps, ztf.pixel_scale)
    np.testing.assert_array_equal(middle[:, :, STAMP // 2, STAMP // 2], ztf.stamps[:, :, RAW_STAMP // 2, RAW_STAMP // 2])


def test_rubin_pixels_are_averaged_with_the_target_in_the_middle():
    raw = np.full((1, 3, RAW_STAMP, RAW_STAMP), np.nan, np.float32)
    raw[:, :, 16:47, 16:47] = 1.0  # 31 x 31 pixels of 0.2 arcsec
    raw[:, :, RAW_STAMP // 2, RAW_STAMP // 2] = 26.0  # mean of the 5 x 5 pixels around it: 2
    out = resample(raw, np.array([0.2], np.float32))
    assert out[0, 0, STAMP // 2, STAMP // 2] == pytest.approx(2.0, rel=1e-5)
    assert np.isnan(out[0, 0, 0, 0])


def test_missing_stamps_are_zeros_with_an_empty_mask():
    batch = random_batch(4)
    none = dataclasses.replace(batch, pixel_scale=np.full(4, np.nan, np.float32))
    assert not stamps(none).any()


def test_background_noise_and_gain_do_not_matter():
    image = random_batch(5).stamps[:, :, 15:47, 15:47]
    np.testing.assert_allclose(normalise(image * np.float32(3) + np.float32(200)), normalise(image), atol=2e-3)


def test_noise_is_near_one_sigma_and_a_star_stands_out():
    image = np.random.default_rng(0).normal(0, 7, (1, 3, STAMP, STAMP)).astype(np.float32)
    image[0, 0, 16, 16] = 7000
    out = normalise(image)
    assert abs(float(np.median(out[0, 0]))) < 0.05
    assert out[0, 0, 16, 16] == pytest.approx(1000**0.25 - 1, rel=0.1)


def test_pixels_marked_by_the_largest_float_are_missing():
    image = random_batch(3).stamps[:, :, 15:47, 15:47].copy()
    marked = image.copy()
    marked[:, :, 3:6, :] = np.finfo(np.float32).min
    image[:, :, 3:6, :] = np.nan
    np.testing.assert_array_equal(normalise(marked), normalise(image))
    np.testing.assert_allclose(normalise_array(marked), normalise(image), atol=1e-6)
