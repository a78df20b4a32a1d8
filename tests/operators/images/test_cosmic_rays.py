"""L.A.Cosmic: every namespace the same bits, astroscrappy's and lacosmic's mask, the cosmic rays that were there and no stars."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from operators.images.cosmic_rays import cosmic_rays, cosmic_rays_array
from operators.images.planes import BAD, COSMIC_RAY, NO_DATA, NONLINEAR, SATURATED, TRAIL
from tests.operators.images.detectors import READ_NOISE, noisy, sky_with_stars, to_numpy, with_cosmic_rays

LIMITS = tuple(float(np.float32(x)) for x in (READ_NOISE**2, 4.5, 0.3 * 4.5, 5.0))


def _image(n: int = 140, seed: int = 0):
    """A crowded image with cosmic rays, holes and a bleeding star."""
    light, hit = with_cosmic_rays(sky_with_stars(n, seed=seed), seed=seed + 1, rays=n)
    image, mask = noisy(light, seed=seed + 2), np.zeros((n, n), np.uint8)
    image[20:30, 20:30] = np.nan  # wider than the window its middle is filled from
    mask[20:30, 20:30] = NO_DATA
    image[0, 5], image[n - 1, n - 1], image[60, 60] = np.inf, -np.inf, 1e7
    mask[60, 60] = BAD
    image[80:90, 100], mask[80:90, 100] = 60_000, SATURATED | NONLINEAR
    mask[40:44, :] |= TRAIL
    return image, mask, hit


def test_every_namespace_gives_the_same_bits(to_xp):
    image, mask, _ = _image()
    expected, expected_clean = cosmic_rays_array(image, mask, limits=LIMITS, iterations=4)
    found, clean = cosmic_rays(to_xp(image), to_xp(mask), read_noise=READ_NOISE)
    assert type(found) is type(to_xp(mask))
    assert set(np.unique(expected)) == {0, COSMIC_RAY}
    np.testing.assert_array_equal(to_numpy(found), expected)
    np.testing.assert_array_equal(to_numpy(clean), expected_clean)
    assert np.isfinite(expected_clean).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 2), (4, 4), (5, 7), (33, 65)])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_loop_gives_the_array_versions_bits_for_noise_of_any_shape(shape, seed):
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 30, shape).astype(np.float32)  # far more noise than is stated, half of it below zero
    image[rng.random(shape) < 0.05] *= 40
    mask = rng.choice(np.array([0, 0, 0, 0, 0, 0, 0, 0, 0, BAD, SATURATED, NO_DATA, TRAIL], np.uint8), shape)
    expected = cosmic_rays_array(image, mask, limits=LIMITS, iterations=4)
    for got, right in zip(cosmic_rays(image, mask, read_noise=READ_NOISE), expected, strict=True):
        np.testing.assert_array_equal(got, right)


def test_an_image_without_one_good_pixel_has_no_cosmic_rays():
    nothing = np.full((12, 12), np.nan, np.float32)
    found, clean = cosmic_rays(nothing, np.zeros((12, 12), np.uint8), read_noise=0.0)
    assert not found.any()
    assert not clean.any()


@pytest.mark.parametrize("seed", [3, 4])
def test_astroscrappy_gives_the_same_mask_and_image(seed):
    import astroscrappy

    light, _ = with_cosmic_rays(sky_with_stars(400, seed=seed), seed=seed + 10)
    image = noisy(light, seed=seed + 20)
    bad = np.zeros(image.shape, np.uint8)
    bad[100, 100:103] = TRAIL  # excluded, not filled: theirs fills nothing
    found, clean = cosmic_rays(image, bad, read_noise=READ_NOISE)
    theirs, their_clean = astroscrappy.detect_cosmics(
        image, inmask=bad != 0, readnoise=READ_NOISE, sepmed=False, satlevel=np.inf, cleantype="meanmask", fsmode="median"
    )
    assert theirs.sum() > 200
    assert (theirs != (found != 0)).sum() <= 1e-4 * theirs.sum()
    np.testing.assert_allclose(clean, their_clean, rtol=1e-6)


def test_astroscrappy_finds_the_same_in_a_real_image(shared: Path):
    path = shared / "ccd/astroscrappy/astroscrappy/tests/data/gmos.fits"
    if not path.exists():
        pytest.skip(f"no real data under {path}")
    import astroscrappy
    from astropy.io import fits

    image = (fits.getdata(path, "SCI") * 1.933).astype(np.float32)
    found, clean = cosmic_rays(image, np.zeros(image.shape, np.uint8), read_noise=4.24)
    theirs, their_clean = astroscrappy.detect_cosmics(image, readnoise=4.24, sepmed=False, satlevel=np.inf)
    np.testing.assert_array_equal(found != 0, theirs)
    np.testing.assert_allclose(clean, their_clean, rtol=1e-6)
    assert (found[41:72, 142:161] != 0).sum() + (found[117:147, 35:43] != 0).sum() >= 0.95 * (found != 0).sum(), "the two real tracks"
    assert (found != 0).sum() > 90


def test_lacosmic_finds_the_same_cosmic_rays():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import lacosmic

    light, hit = with_cosmic_rays(sky_with_stars(200, seed=5), seed=15)
    image = noisy(light, seed=25)
    found, _ = cosmic_rays(image, np.zeros(image.shape, np.uint8), read_noise=READ_NOISE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, theirs = lacosmic.remove_cosmics(
            image, contrast=5.0, cr_threshold=4.5, neighbor_threshold=0.3 * 4.5, effective_gain=1.0, readnoise=READ_NOISE, maxiter=4
        )
    both = (theirs & (found != 0)).sum()
    assert both >= 0.95 * max(theirs.sum(), (found != 0).sum()), "its borders are mirrored, and its noise is not clipped as ours"
    assert hit.sum() > 30


def test_cosmic_rays_are_found_and_stars_are_not():
    clean = sky_with_stars(600, seed=6, sigma=1.5)
    light, hit = with_cosmic_rays(clean, seed=16)
    image, mask = noisy(light, seed=26), np.zeros((600, 600), np.uint8)
    found = cosmic_rays(image, mask, read_noise=READ_NOISE)[0] != 0
    strong = hit & (light - clean > 10 * np.sqrt(clean + READ_NOISE**2))
    assert strong.sum() > 200
    assert found[strong].mean() > 0.95
    near = np.zeros_like(hit)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            near |= np.roll(hit, (dy, dx), (0, 1))
    assert (found & ~near).sum() <= 1e-4 * found.size
    alone = cosmic_rays(noisy(clean, seed=36), mask, read_noise=READ_NOISE)[0] != 0
    assert alone.sum() <= 1e-4 * alone.size
    assert not (alone & (clean > 1000)).any(), "none of it in a star"


def _saturated(n: int = 120):
    """A star far above saturation whose charge ran up and down its column, and a cosmic ray that saturates one pixel."""
    light = np.full((n, n), 200.0)
    y, x = np.mgrid[:n, :n]
    star = np.exp(-((y - 60.2) ** 2 + (x - 59.7) ** 2) / 2 / 1.3**2)
    light += 2e6 * star / star.sum()
    light[35:90, 60] += 70_000  # one pixel wide
    light[33, 60] += 20_000  # its end holds what was left
    light[34, 60] += 50_000
    light[100, 20] += 90_000
    image = np.minimum(noisy(light, seed=7), 60_000).astype(np.float32)
    return image, (image >= 60_000).astype(np.uint8) * np.uint8(SATURATED)


def test_saturated_stars_and_what_they_bled_are_not_cosmic_rays(to_xp):
    image, mask = _saturated()
    found = to_numpy(cosmic_rays(to_xp(image), to_xp(mask), read_noise=READ_NOISE)[0]) != 0
    assert not found[20:105, 40:80].any()
    assert found[100, 20], "one saturated pixel alone"


def test_without_the_mask_the_same_star_would_be_taken_for_cosmic_rays():
    image, mask = _saturated()
    assert (cosmic_rays(image, np.zeros_like(mask), read_noise=READ_NOISE)[0][20:105, 40:80] != 0).sum() > 20


def test_what_cannot_be_is_refused_in_a_line():
    image, mask = np.zeros((9, 9), np.float32), np.zeros((9, 9), np.uint8)
    with pytest.raises(ValueError, match="different shapes"):
        cosmic_rays(image, mask[1:], read_noise=1.0)
    for wrong in ({"sigma": 0.0}, {"share": 1.5}, {"contrast": float("nan")}, {"iterations": 51}, {"iterations": 0}):
        with pytest.raises(ValueError, match="positive numbers"):
            cosmic_rays(image, mask, **{"read_noise": 1.0, **wrong})
    with pytest.raises(ValueError, match="positive numbers"):
        cosmic_rays(image, mask, read_noise=float("nan"))
