"""Simulated images: the light of a source is all there, and falls off as in real images."""

from __future__ import annotations

import numpy as np
import pytest

from data.simulate.images import DE_VAUCOULEURS, EXPONENTIAL, PSF, _paint, add_gaussian

SIDE = 63


def painted(
    *, radius: float = 0.0, ratio: float = 1.0, sigma: float = 0.9, at: tuple[float, float] = (31.0, 31.0), bulge: bool = False
) -> np.ndarray:
    """A source of 10⁴ counts, stars where `radius` is 0."""
    image = np.zeros((SIDE, SIDE), np.float32)
    one = np.ones(1)
    _paint(
        image, one * at[0], one * at[1], 1e4 * one, one * radius, one * ratio, 0.7 * one, np.array([bulge]), sigma, 1e-4, EXPONENTIAL,
        DE_VAUCOULEURS, PSF,
    )  # fmt: skip
    return image


@pytest.mark.parametrize(("xx", "xy", "yy"), [(0.8, 0.0, 0.8), (9.0, 3.0, 2.0), (400.0, 0.0, 0.6), (30.0, -12.0, 8.0)])
def test_a_gaussian_is_its_formula(xx: float, xy: float, yy: float) -> None:
    image = np.zeros((SIDE, SIDE), np.float32)
    add_gaussian(image, 30.3, 33.8, 500.0, xx, xy, yy, 1e-6)
    y, x = np.mgrid[:SIDE, :SIDE] - np.array([33.8, 30.3])[:, None, None]
    det = xx * yy - xy**2
    expected = 500 / (2 * np.pi * np.sqrt(det)) * np.exp(-0.5 * (yy * x**2 - 2 * xy * x * y + xx * y**2) / det)
    np.testing.assert_allclose(image, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("radius", [0.0, 1.5, 4.0])
def test_all_light_is_there(radius: float) -> None:
    assert painted(radius=radius, ratio=0.6).sum() == pytest.approx(1e4, rel=0.02)


def test_stars_fall_off_as_real_ones() -> None:
    """Rings over the light within one pixel: medians of 422 templates with a catalogue star (seeing 2.0 pixels), half to twice as much."""
    real = {(1, 2): 0.405, (2, 3): 0.096, (3, 4): 0.033, (4, 5): 0.012, (5, 7): 0.0034}
    rng = np.random.default_rng(1)
    found: dict[tuple[int, int], list[float]] = {ring: [] for ring in real}
    for _ in range(30):
        x, y = 31 + rng.uniform(-0.5, 0.5, 2)
        image = painted(sigma=2.0 / 2.3548, at=(x, y))
        radius = np.hypot(*(np.mgrid[:SIDE, :SIDE] - np.array([y, x])[:, None, None]))
        core = image[radius < 1].mean()
        for low, high in real:
            found[low, high].append(image[(radius >= low) & (radius < high)].mean() / core)
    for ring, value in real.items():
        assert 0.5 < np.median(found[ring]) / value < 2.0, ring


def test_a_galaxy_is_wider_than_a_star_and_a_wide_one_is_convolved_alike() -> None:
    """The shortcut for wide profiles gives what the three parts of the point-spread function give."""
    star, galaxy = painted(), painted(radius=1.0)
    assert galaxy[31, 31] < star[31, 31]
    wide = painted(radius=6.0, sigma=0.9)
    radius = 6.0
    image = np.zeros((SIDE, SIDE), np.float32)
    for share, size in EXPONENTIAL.T:
        for part, variance in PSF.T:
            total = size * radius**2 + variance * 0.81
            add_gaussian(image, 31.0, 31.0, 1e4 * share * part, total, 0.0, total, 1e-4)
    np.testing.assert_allclose(wide, image, atol=0.03 * image.max())
