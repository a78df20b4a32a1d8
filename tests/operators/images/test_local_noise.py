"""Cells of a difference whose significance is too wide get more noise; the others keep theirs, to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from operators.images.local_noise import cell_widths, widened
from operators.images.planes import NO_DATA, Difference
from operators.namespace import array_namespace, to_host
from tests.operators.images.conftest import Moved


def difference(significance: np.ndarray, mask: np.ndarray | None = None) -> Difference:
    planes = [significance.astype(np.float32), np.ones_like(significance, np.float32)]
    bits = np.zeros(significance.shape, np.uint8) if mask is None else mask
    return Difference(planes[0], planes[0], planes[1], bits, np.ones((3, 3), np.float32) / 9)


@pytest.fixture
def sky() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(150, 197))


def test_empty_sky_stays_as_it_is(sky: np.ndarray) -> None:
    made = difference(sky)
    assert widened(made) is made
    sky[40:48, 40:48] = 50.0  # a bright source is not noise
    assert (cell_widths(difference(sky)) == 1).all()


def test_a_cell_that_is_too_wide_is_brought_to_unit_width_and_no_other(sky: np.ndarray) -> None:
    sky[32:64, 64:96] *= 3
    sky[96:128, 0:32] += 4  # a residual that is coherent has no width of its own, but is none the less no detection
    made = widened(difference(sky))
    after = np.asarray(made.significance)
    assert 1.4826 * np.median(np.abs(after[32:64, 64:96])) == pytest.approx(1, abs=0.15)
    assert np.abs(after[96:128, 0:32]).max() < 2
    rest = np.ones(sky.shape, bool)
    rest[32:64, 64:96] = rest[96:, 0:32] = False  # the rows beyond the last whole cell go with it
    np.testing.assert_array_equal(after[rest], sky.astype(np.float32)[rest])
    flux = np.asarray(made.significance) * np.asarray(made.noise)
    np.testing.assert_allclose(flux, sky, rtol=1e-5, atol=1e-6)  # fluxes do not move


def test_what_lies_beyond_the_last_whole_cell_goes_with_it(sky: np.ndarray) -> None:
    sky[:, 160:] *= 4
    after = np.asarray(widened(difference(sky)).significance)
    assert np.std(after[:, 192:]) == pytest.approx(1, abs=0.2)


def test_masked_pixels_do_not_count(sky: np.ndarray) -> None:
    mask = np.zeros(sky.shape, np.uint8)
    mask[0:32, 0:32] = NO_DATA
    sky[0:32, 0:32] = 99
    assert cell_widths(difference(sky, mask))[0, 0] == 1
    small = difference(sky[:20, :9])
    assert cell_widths(small).shape == (1, 1)


def test_every_namespace_gives_the_same(sky: np.ndarray, to_xp: Moved) -> None:
    sky[32:64, 64:96] *= 3
    expected = widened(difference(sky))
    one = difference(sky)
    there = Difference(*(to_xp(np.asarray(p)) for p in (one.difference, one.significance, one.noise, one.mask)), psf=one.psf)
    got = widened(there)
    assert array_namespace(got.significance) is array_namespace(there.significance)
    np.testing.assert_allclose(np.asarray(to_host(got.significance)), np.asarray(expected.significance), rtol=1e-6)
    np.testing.assert_allclose(np.asarray(to_host(got.noise)), np.asarray(expected.noise), rtol=1e-6)
