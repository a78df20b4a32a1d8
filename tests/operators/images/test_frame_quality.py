"""Trails and bleeding: every namespace the same, what was drawn is found where it was, stars and galaxies are not."""

from __future__ import annotations

import numpy as np
import pytest

from operators.images.calibrate import calibrate
from operators.images.frame_quality import bleeding, bleeding_array, share_of, trail
from operators.images.planes import BAD, COSMIC_RAY, SATURATED, TRAIL
from tests.operators.images.detectors import READ_NOISE, frame, masters, noisy, sky_with_stars, to_numpy

SKY_NOISE = float(np.sqrt(200 + READ_NOISE**2))


def _with_trail(shape, *, angle: float, through=(0.5, 0.5), peak: float, width: float = 1.6, seed: int = 1, stars: int = 60):
    """An image with a trail, and its distance from each pixel."""
    n = max(shape)
    light = sky_with_stars(n, seed=seed, stars=stars)[: shape[0], : shape[1]]
    y, x = np.mgrid[: shape[0], : shape[1]]
    away = (y - shape[0] * through[0]) * np.cos(angle) - (x - shape[1] * through[1]) * np.sin(angle)
    return noisy(light + peak * np.exp(-0.5 * (away / width) ** 2), seed=seed + 1), np.abs(away)


@pytest.mark.parametrize("angle", [0.0, 0.3, np.pi / 4, 1.2, np.pi / 2, 2.0, 3 * np.pi / 4, 3.0])
@pytest.mark.parametrize("shape", [(512, 512), (300, 520)])
def test_a_trail_is_found_where_it_is_at_every_angle(angle, shape):
    image, away = _with_trail(shape, angle=angle, through=(0.45, 0.55), peak=120.0)
    found = trail(image, np.zeros(shape, np.uint8), noise=SKY_NOISE)
    assert set(np.unique(found)) == {0, TRAIL}
    assert (found[away < 2.0] != 0).mean() > 0.98
    assert not found[away > 12].any()


@pytest.mark.parametrize("peak", [8.0, 30.0, 3_000.0])
def test_faint_and_bright_trails_are_as_wide_as_they_are_seen(peak):
    image, away = _with_trail((600, 600), angle=0.7, peak=peak)
    found = trail(image, np.zeros((600, 600), np.uint8), noise=SKY_NOISE)
    assert (found[away < 1.0] != 0).mean() > 0.97
    reach = away[found != 0].max()
    assert reach < 1.6 * np.sqrt(2 * np.log(max(peak, 20.0))) + 5
    assert share_of(found, TRAIL) == pytest.approx((found != 0).mean())


def test_two_trails_and_a_half_masked_one():
    image, away = _with_trail((512, 512), angle=0.4, peak=80.0)
    more, beside = _with_trail((512, 512), angle=1.9, through=(0.3, 0.6), peak=150.0, stars=0, seed=5)
    mask = np.zeros((512, 512), np.uint8)
    mask[:, 200:230] = BAD
    both = image + more - 200
    both[:, 200:230] = np.nan
    found = trail(both, mask, noise=1.4 * SKY_NOISE) != 0
    assert found[(away < 1) & (mask == 0)].mean() > 0.95
    assert found[(beside < 1) & (mask == 0)].mean() > 0.95
    assert not found[(away > 14) & (beside > 14)].any()


def test_stars_a_galaxy_and_a_spike_are_not_trails():
    light = sky_with_stars(512, seed=3, stars=400)
    y, x = np.mgrid[:512, :512]
    light += 2_000 * np.exp(-np.hypot((y - 200) / 25, (x - 300) / 60))  # a galaxy seen from the side
    star = np.hypot(y - 350, x - 150)
    light += 5e4 * (1 + (star / 3) ** 2) ** -1.7
    light += 300 * np.exp(-0.5 * ((y - 350) / 1.2) ** 2) * np.exp(-np.abs(x - 150) / 40)  # a spike
    for seed in range(4):
        assert not trail(noisy(light, seed=seed), np.zeros((512, 512), np.uint8), noise=SKY_NOISE).any()


def test_every_namespace_finds_the_same_trail(to_xp):
    image, _ = _with_trail((200, 260), angle=0.5, peak=60.0, stars=15)
    mask = np.zeros(image.shape, np.uint8)
    expected = trail(image, mask, noise=SKY_NOISE)
    assert expected.any()
    got = trail(to_xp(image), to_xp(mask), noise=SKY_NOISE)
    assert type(got) is type(to_xp(mask))
    assert (to_numpy(got) != expected).mean() < 1e-3


@pytest.mark.parametrize("shape", [(1, 1), (20, 400), (127, 127)])
def test_images_too_small_for_a_trail_have_none(shape):
    assert not trail(np.ones(shape, np.float32), np.zeros(shape, np.uint8), noise=1.0).any()
    assert not trail(np.ones((200, 200), np.float32), np.zeros((200, 200), np.uint8), noise=float("nan")).any()


def test_an_image_without_one_good_pixel_has_no_trail():
    assert not trail(np.full((200, 200), np.nan, np.float32), np.full((200, 200), BAD, np.uint8), noise=1.0).any()


def _bled():
    rng = np.random.default_rng(0)
    image = rng.normal(200, 15, (90, 60)).astype(np.float32)
    mask = np.zeros(image.shape, np.uint8)
    for column in (30, 1, 59):
        image[20:50, column], mask[20:50, column] = 60_000, SATURATED
        image[50:54, column], image[17:20, column] = (30_000, 9_000, 2_000, 700), (800, 5_000, 20_000)
    image[70:73, 10], mask[70:73, 10], image[73, 10] = 60_000, SATURATED, 9_000  # too short: a star, or a cosmic ray
    return image, np.abs(image) + 25, mask


def test_charge_is_followed_to_where_it_ends(to_xp):
    image, variance, mask = _bled()
    got = to_numpy(bleeding(to_xp(image), to_xp(variance), mask=to_xp(mask)))
    expected = np.zeros_like(mask)
    for column in (30, 1, 59):
        expected[50:54, column], expected[17:20, column] = SATURATED, SATURATED
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(bleeding_array(image, variance, mask=mask), expected)


@pytest.mark.parametrize("seed", range(4))
def test_the_walk_gives_the_array_versions_bits(seed):
    rng = np.random.default_rng(seed)
    shape = [(80, 70), (6, 9), (40, 3), (5, 5)][seed]
    image = rng.normal(0, 100, shape).astype(np.float32)
    mask = ((rng.random(shape) < 0.85).astype(np.uint8)) * SATURATED
    np.testing.assert_array_equal(
        bleeding(image, np.ones(shape, np.float32), mask=mask), bleeding_array(image, np.ones(shape, np.float32), mask=mask)
    )


def test_calibration_flags_what_a_star_bled_as_saturated_and_not_as_cosmic_rays():
    light = np.full((120, 120), 300.0)
    light[40:80, 60] = 150_000
    light[80:83, 60], light[37:40, 60] = (30_000, 8_000, 2_000), (1_500, 9_000, 40_000)
    its = masters(120, 120)
    got = calibrate(frame(light, its), its)
    assert (got.mask[37:83, 60] & SATURATED).all()
    assert not (got.mask[30:90, 55:66] & COSMIC_RAY).any()
