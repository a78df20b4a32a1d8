"""How far apart stars lie beyond their errors: recovered, whatever their errors, and not led by stars that vary."""

from __future__ import annotations

import numpy as np
import pytest

from operators.images.source_noise import _beyond


def stars(scatter: float, *, seed: int, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients and errors: most stars are faint, and their errors larger than what they are to show."""
    rng = np.random.default_rng(seed)
    error = np.where(rng.random(n) < 0.7, 0.05, 0.004)
    return np.abs(rng.normal(0, np.hypot(error, scatter))), error


@pytest.mark.parametrize("varies", [False, True])
@pytest.mark.parametrize("scatter", [0.01, 0.03])
def test_the_scatter_comes_back(scatter: float, varies: bool) -> None:
    found = [_beyond(*stars(scatter, seed=seed), varies=varies) for seed in range(20)]
    assert np.median(found) == pytest.approx(scatter, rel=0.3)


def test_stars_without_scatter_show_none() -> None:
    assert np.median([_beyond(*stars(0.0, seed=seed), varies=True) for seed in range(20)]) < 0.002


def test_variable_stars_do_not_hide_themselves() -> None:
    apart, error = stars(0.01, seed=1, n=60)
    apart[:9], error[:9] = 0.3, 0.004
    assert _beyond(apart, error, varies=True) < 0.02
    assert _beyond(apart, error, varies=False) > 0.1  # a PSF that is known worst somewhere does count
