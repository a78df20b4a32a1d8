"""The dip view: what it shows of a planet, that it depends on the light curve alone, and what it is where there is nothing to search."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from operators.dips import CURVE, DIPS, NEAR, SINGLE, WHOLE, look
from operators.whole_curves import Curve, Curves

PERIOD, DEPTH, DURATION = 3.3, 4e-3, 0.12


def star(seed: int, *, depth: float = DEPTH, rotation: float = 0.0, points: int = 3_600) -> Curve:
    rng = np.random.default_rng(seed)
    t = 60_000 + np.arange(points) * 600 / 86_400
    flux = 1 + 3e-4 * rng.standard_normal(points)
    if rotation:
        flux += rotation * np.sin(2 * np.pi * t / 5.7)
    flux[np.abs((t - 60_001.0 + PERIOD / 2) % PERIOD - PERIOD / 2) < DURATION / 2] *= 1 - depth
    return Curve(t, 9_000 * flux, np.full(points, 2.7), np.zeros(points, np.int64))


def channel(view: np.ndarray, name: str) -> float:
    return float(view[DIPS.index(name)])


@pytest.mark.parametrize("rotation", [0.0, 5e-3])
def test_a_planet_is_seen_folded_and_near(rotation: float) -> None:
    looked = look(Curves.of([star(1, rotation=rotation)]))
    (found,), (view,) = looked.found, looked.dips
    assert found is not None
    assert found.figures.transit is not None
    assert abs(found.figures.transit.period / PERIOD - 1) < 3e-3
    assert abs(found.figures.transit.depth / DEPTH - 1) < 0.15
    whole, near = view[:WHOLE], view[WHOLE : WHOLE + NEAR]
    assert abs(int(whole.argmin()) - WHOLE // 2) <= 1
    assert near[NEAR // 2 - 1 : NEAR // 2 + 1].mean() == pytest.approx(-1, abs=0.25)
    assert np.abs(near[[0, 1, -2, -1]]).max() < 0.35
    assert channel(view, "periodic") == channel(view, "searched") == 1
    assert channel(view, "log depth") == pytest.approx(np.log10(DEPTH) / 2 + 1.5, abs=0.05)
    if rotation:
        assert found.period is not None
        assert abs(found.period / 5.7 - 1) < 0.05


def test_a_single_dip_is_in_the_middle_of_its_view() -> None:
    curve = star(2, depth=0.0)
    inside = np.abs(curve.time - 60_011.0) < 0.2
    curve.flux[inside] *= 0.98
    (view,) = look(Curves.of([curve])).dips
    single = view[WHOLE + NEAR : WHOLE + NEAR + SINGLE]
    assert single[SINGLE // 2 - 2 : SINGLE // 2 + 2].mean() < -0.7
    assert channel(view, "log single depth") == pytest.approx(np.log10(0.02) / 2 + 1.5, abs=0.1)


def test_a_quiet_star_shows_no_significant_dip_and_scales_do_not_count() -> None:
    curve = star(3, depth=0.0)
    one = look(Curves.of([curve])).dips[0]
    assert channel(one, "log signal to red noise") < np.log10(8) - 1
    brighter = look(Curves.of([curve._replace(flux=40 * curve.flux, flux_err=40 * curve.flux_err)])).dips[0]
    np.testing.assert_allclose(one, brighter, atol=2e-5)


def test_a_target_does_not_depend_on_its_neighbours() -> None:
    curves = [star(4), star(5, rotation=4e-3), star(6, depth=0.0)]
    together = look(Curves.of(curves))
    for i, curve in enumerate(curves):
        alone = look(Curves.of([curve]))
        np.testing.assert_array_equal(alone.dips[0], together.dips[i])
        np.testing.assert_array_equal(alone.folded[0], together.folded[i])


def test_whatever_comes_is_finite_and_bounded() -> None:
    rng = np.random.default_rng(7)
    whole = star(8)
    n = len(whole.time)
    bad = [
        Curve(np.empty(0), np.empty(0), np.empty(0), np.empty(0, np.int64)),
        whole._replace(flux=np.full(n, np.nan)),
        whole._replace(flux=np.zeros(n)),
        whole._replace(flux=-whole.flux),
        whole._replace(flux=np.full(n, 5.0)),
        whole._replace(flux_err=np.full(n, np.nan)),
        whole._replace(time=np.full(n, 60_000.0)),
        whole._replace(time=whole.time[rng.permutation(n)]),
        whole._replace(time=np.where(np.arange(n) < n // 2, whole.time, whole.time + 900.0)),
        whole._replace(flux=np.where(rng.random(n) < 0.5, 1e30, 1e-30)),
        Curve(whole.time[:50], whole.flux[:50], whole.flux_err[:50], whole.quality[:50]),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        looked = look(Curves.of(bad))
    assert np.isfinite(looked.dips).all()
    assert np.abs(looked.dips).max() <= 3
    for row, found in zip(looked.dips, looked.found, strict=True):
        assert (row[-1] == 1) == (found is not None)
        assert found is not None or not row.any()
    assert looked.found[0] is looked.found[1] is looked.found[-1] is None
    assert looked.dips.shape == (len(bad), len(DIPS))
    assert len(DIPS) > WHOLE + NEAR + SINGLE + CURVE
