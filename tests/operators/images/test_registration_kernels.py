"""The loops behind registration give what their array forms give, to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from operators.images.planes import BAD, COSMIC_RAY, NO_DATA, NONLINEAR, SATURATED
from operators.images.register import filled, filled_array, resample_mask, resample_mask_array

AFFINES = (
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]],
    [[0.9998, 0.017, -3.4], [-0.017, 0.9998, 5.6]],
    [[1.001, 0.0, -40.0, 1e-5, 2e-5, -1e-5], [0.002, 0.999, 300.0, 0.0, 1e-6, 3e-5]],
)


def scene(seed: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    image = rng.normal(10, 3, (83, 121)).astype(np.float32)
    mask = np.where(rng.random(image.shape) < share, rng.choice([BAD, SATURATED, COSMIC_RAY, NONLINEAR], image.shape), 0).astype(np.uint8)
    mask[20:45, 30:60] |= NO_DATA  # wider than the rounds reach
    mask[:, 0] |= BAD
    image[5, 5] = np.nan
    image[60, 70] = np.inf
    return image, mask


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("rounds", [1, 8, 50])
def test_filling_is_that_of_the_array_form(share: float, rounds: int) -> None:
    image, mask = scene(3, share)
    before = image.copy(), mask.copy()
    got, expected = filled(image, mask, rounds=rounds), filled_array(image, mask, rounds=rounds)
    np.testing.assert_array_equal(got, expected)
    assert np.isfinite(got).all()
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(mask, before[1])
    good = ((mask & ~np.uint8(NONLINEAR)) == 0) & np.isfinite(image)
    np.testing.assert_array_equal(got[good], image[good])


@pytest.mark.parametrize("affine", AFFINES)
def test_bits_are_those_of_the_array_form(affine: list[list[float]]) -> None:
    _, mask = scene(4, 0.05)
    got, expected = (form(mask, affine, shape=(90, 140)) for form in (resample_mask, resample_mask_array))
    np.testing.assert_array_equal(got, expected)
    assert (got == NO_DATA).any()
