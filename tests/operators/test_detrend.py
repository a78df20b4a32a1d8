"""Detrending: the values of its oracles, honest edges and gaps, transits and flares that survive it, errors that hold."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from operators.detrend import DUPLICATE, EVENT, HALF_WINDOW, MASKED, NO_TREND, QUALITY, Detrending, detrend
from operators.whole_curves import Curve, Curves
from tests.operators import detrend_oracle

NOISE = 1e-3
LEVEL = 15_000.0
PLAIN = Detrending(window=0.5, threshold=0)


def star(seed: int = 1, *, days: float = 6.0, cadence: float = 10 / 1440, slow: float = 4e-3, level: float = LEVEL) -> Curve:
    """A rotating star with white noise, and a gap of a day."""
    rng = np.random.default_rng(seed)
    t = 1325.3 + np.arange(0, days, cadence)
    t = t[(t < 1325.3 + 0.45 * days) | (t > 1326.3 + 0.45 * days)]
    flux = level * (1 + slow * np.sin(2 * np.pi * t / 3.1) + NOISE * rng.standard_normal(len(t)))
    return Curve(t, flux, np.full(len(t), level * NOISE), np.zeros(len(t), np.int64))


def of(curve: Curve, how: Detrending = PLAIN) -> Any:
    return detrend(Curves.of([curve]), how=how)


@pytest.mark.parametrize("method", ["biweight", "median"])
@pytest.mark.parametrize("seed", [1, 2])
def test_trends_are_those_of_the_definition(method: Any, seed: int) -> None:
    curve = star(seed, days=4)
    rng = np.random.default_rng(seed)
    curve.flux[rng.choice(len(curve.flux), 30, replace=False)] *= 1.02  # outliers, which the cut-off leaves out
    got = of(curve, Detrending(window=0.5, threshold=0, method=method)).trend
    want = detrend_oracle.sliding(curve.time, curve.flux, 0.5, 0 if method == "median" else 5.0)
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-6 * LEVEL * NOISE)


@pytest.mark.parametrize("method", ["biweight", "median"])
@pytest.mark.parametrize("window", [0.3, 0.75])
def test_values_are_those_of_wotan(method: Any, window: float) -> None:
    wotan = pytest.importorskip("wotan", reason="no wotan here")
    curve = star(3, days=13)
    curve.flux[500:520] *= 0.99
    got = of(curve, Detrending(window=window, threshold=0, method=method)).trend
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, want = wotan.flatten(curve.time, curve.flux, window_length=window, method=method, return_trend=True)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-9 * LEVEL * NOISE)


def test_cosines_are_those_of_wotan() -> None:
    wotan = pytest.importorskip("wotan", reason="no wotan here")
    curve = star(4, days=13)
    curve.flux[500:520] *= 0.99
    got = of(curve, Detrending(window=1.0, method="cosine", clip=2.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, want = wotan.flatten(
            curve.time, curve.flux, window_length=1.0, break_tolerance=0.5, method="cosine", robust=True, return_trend=True
        )
    inner = got.flags & HALF_WINDOW == 0
    np.testing.assert_allclose(got.trend[inner], want[inner], rtol=0, atol=0.05 * LEVEL * NOISE)
    assert np.all(got.flags[500:520] & EVENT)


def test_what_is_left_is_as_lightkurve_leaves_it() -> None:
    """Another method (Savitzky-Golay), the same aim: noise of the same size, no slow change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lightkurve = pytest.importorskip("lightkurve", reason="no lightkurve here")
        curve = star(5, days=13)
        flat = lightkurve.LightCurve(time=curve.time, flux=curve.flux).flatten(window_length=73, break_tolerance=36)
        theirs = np.asarray(flat.flux.value) - 1
    ours = of(curve).flux
    inner = of(curve).flags == 0
    assert np.std(ours[inner]) == pytest.approx(np.std(theirs[inner]), rel=0.03)
    assert np.corrcoef(ours[inner], theirs[inner])[0, 1] > 0.97


def test_a_gap_breaks_windows_and_edges_are_flagged() -> None:
    curve = star(6)
    whole = of(curve)
    before = curve.time < 1328.5
    alone = of(Curve(*(column[before] for column in curve)))
    np.testing.assert_array_equal(whole.trend[before], alone.trend)  # what lies beyond the gap has no say
    edges = [curve.time[0], curve.time[before][-1], curve.time[~before][0], curve.time[-1]]
    distance = np.min(np.abs(curve.time[:, None] - edges), axis=1)
    flagged = whole.flags & HALF_WINDOW != 0
    assert np.all(flagged[distance < 0.23])
    assert not np.any(flagged[distance > 0.251])


def test_nothing_is_extrapolated() -> None:
    curve = star(7)
    curve.flux[:50] = np.nan  # no light there, only times
    curve.quality[300:330] = 32  # inside a segment
    got = of(curve)
    assert np.all(np.isnan(got.trend[:50]))
    assert np.all(np.isfinite(got.trend[300:330]))  # between good points it is known,
    assert np.all(np.isnan(got.flux[300:330]))  # but what was measured there is not shown
    assert np.all(got.flags[300:330] & MASKED)


@pytest.mark.parametrize(("bit", "masked"), [(32, True), (4096, True), (64, False), (1024, False)])
def test_quality_bits_take_points_out(bit: int, masked: bool) -> None:
    curve = star(8)
    curve.quality[100] = bit  # a momentum dump, scattered light; a cosmic ray that was mended
    curve.flux[100] *= 5
    got = of(curve)
    assert bool(got.flags[100] & MASKED) is masked
    assert bool(QUALITY["tess"] & bit) is masked
    rest = star(8)
    if masked:
        np.testing.assert_allclose(got.trend, of(rest).trend, rtol=1e-4)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("depth", [1.5 * NOISE, 3 * NOISE])
def test_transits_and_flares_survive(sign: int, depth: float) -> None:
    """A long event, half of the window: without protection the trend takes part of it."""
    curve = star(9, cadence=2 / 1440, slow=1e-3)
    inside = np.abs(curve.time - 1327.0) < 0.13
    curve.flux[inside] *= 1 + sign * depth
    how = Detrending(window=0.75)
    kept = of(curve, how)
    lost = of(curve, Detrending(window=0.75, threshold=0))
    assert np.mean(kept.flags[inside] & EVENT != 0) > 0.9
    assert abs(np.mean(kept.flux[inside]) / (sign * depth) - 1) < 0.15
    assert abs(np.mean(lost.flux[inside]) / (sign * depth) - 1) > 0.2
    quiet = of(star(9, cadence=2 / 1440, slow=1e-3), how)
    far = np.abs(curve.time - 1327.0) > 0.7
    np.testing.assert_allclose(kept.trend[far], quiet.trend[far], rtol=1e-9)


def test_a_quiet_star_has_no_events_and_a_variable_one_is_not_all_events() -> None:
    quiet = of(star(10, cadence=2 / 1440), Detrending())
    assert np.mean(quiet.flags & EVENT != 0) < 0.01
    fast = star(10, cadence=2 / 1440)
    fast.flux[:] *= 1 + 0.2 * np.sin(2 * np.pi * fast.time / 0.2)
    assert np.mean(of(fast, Detrending()).flags & EVENT != 0) < 0.31


@pytest.mark.parametrize("method", ["biweight", "median", "cosine"])
def test_errors_hold_the_trends_own(method: Any) -> None:
    """Of many stars that do not change the trend scatters as its error says, and the rest by the whole error."""
    how = Detrending(window=0.4, threshold=0, method=method, clip=10.0)
    stars = [star(seed, days=2, slow=0.0, level=1.0) for seed in range(150)]
    got = [of(s, how) for s in stars]
    middle = 60
    trend = np.array([g.trend[middle] for g in got])
    alone = np.sqrt([g.flux_err[middle] ** 2 - NOISE**2 for g in got])
    assert np.std(trend) == pytest.approx(np.mean(alone), rel=0.25)
    assert np.all(np.array([g.flux_err[middle] for g in got]) > NOISE)


def test_targets_of_any_length_are_each_as_alone() -> None:
    empty = Curve(np.empty(0), np.empty(0), np.empty(0), np.empty(0, np.int64))
    one = Curve(np.array([1400.0]), np.array([5.0]), np.array([1.0]), np.array([0]))
    curves = [star(11), empty, star(12, days=3), one]
    together = detrend(Curves.of(curves))
    for i, curve in enumerate(curves):
        for a, b in zip(together.of(Curves.of(curves), i), detrend(Curves.of([curve])), strict=True):
            np.testing.assert_array_equal(a, b)
    assert together.flags[-1] == NO_TREND | HALF_WINDOW


def test_order_and_repeated_times_do_not_matter() -> None:
    curve = star(13)
    mixed = np.random.default_rng(0).permutation(len(curve.time))
    got = of(Curve(*(column[mixed] for column in curve)))
    want = of(curve)
    np.testing.assert_array_equal(got.trend, want.trend[mixed])
    twice = of(Curve(*(np.concatenate([column, column[40:50]]) for column in curve)))
    np.testing.assert_array_equal(twice.trend[: len(curve.time)], want.trend)
    assert np.all(twice.flags[-10:] & DUPLICATE)
    assert np.all(np.isnan(twice.flux[-10:]))


@pytest.mark.parametrize("method", ["biweight", "median", "cosine"])
@pytest.mark.parametrize("what", ["all NaN", "negative", "constant", "infinite", "years apart", "no errors", "two values"])
def test_bad_input_is_flagged_and_never_raises(method: Any, what: str) -> None:
    curve = star(14, days=3)
    time, flux, err = (column.copy() for column in curve[:3])
    if what == "all NaN":
        flux[:] = np.nan
    elif what == "negative":
        flux *= -1
    elif what == "constant":
        flux[:] = 7.0
    elif what == "infinite":
        flux[::7], time[::11] = np.inf, -np.inf
    elif what == "years apart":
        time[len(time) // 2 :] += 2000
    elif what == "no errors":
        err[:] = np.nan
    else:
        flux[:] = np.where(np.arange(len(flux)) % 2, 1.0, 2.0)
    got = of(Curve(time, flux, err, curve.quality), Detrending(window=0.5, method=method))
    hidden = got.flags & (MASKED | NO_TREND | DUPLICATE) != 0
    np.testing.assert_array_equal(np.isnan(got.flux), hidden)
    assert not np.any(np.isinf(got.flux))
    if what in ("all NaN", "negative"):
        assert hidden.all()
    elif what == "constant":
        np.testing.assert_allclose(got.flux[~hidden], 0, atol=1e-9)
    if what == "no errors":
        assert np.isnan(got.flux_err).all()


def test_fewer_evaluations_change_little() -> None:
    curve = star(15, cadence=2 / 1440)
    every, some = of(curve), of(curve, Detrending(window=0.5, threshold=0, step=5))
    assert np.nanmax(np.abs(some.trend - every.trend)) < 0.2 * LEVEL * NOISE


def test_unusable_settings_and_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="window"):
        Detrending(window=0.0)
    with pytest.raises(ValueError, match="as long as"):
        Curves.of([Curve(np.zeros(3), np.zeros(2), np.zeros(3), np.zeros(3, np.int64))])
