"""Transits and flares: astropy's box search, periods and depths of made planets, binaries distinguished from them, nothing in noise."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest

from operators.detrend import I64, Curve, Curves, Detrending, detrend
from operators.transits import Figures, Points, Searching, Transit, figures, flares, signal_to_noise, single_event
from operators.types import F64

NOISE = 8e-4
CADENCE = 10 / 1440
START = 1325.3


def star(seed: int, *, days: float = 27.0, slow: float = 2e-3) -> Curve:
    """A sector at ten minutes: rotation, white noise, the gap in the middle."""
    rng = np.random.default_rng(seed)
    t = START + np.arange(0, days, CADENCE)
    t = t[(t < START + 0.48 * days) | (t > START + 0.52 * days)]
    flux = 1 + slow * np.sin(2 * np.pi * t / 3.7 + seed) + NOISE * rng.standard_normal(len(t))
    return Curve(t, 15_000 * flux, np.full(len(t), 15_000 * NOISE), np.zeros(len(t), np.int64))


def dipped(curve: Curve, period: float, depth: float, *, duration: float = 0.12, epoch: float = START + 1.1, every: int = 1) -> Curve:
    """With box transits; every: only each so many-th."""
    cycle = np.round((curve.time - epoch) / period)
    inside = (np.abs(curve.time - epoch - cycle * period) < duration / 2) & (cycle % every == 0)
    return curve._replace(flux=np.where(inside, curve.flux * (1 - depth), curve.flux))


def found(*curves: Curve, how: Searching | None = None) -> list[Figures]:
    joined = Curves.of(list(curves))
    return figures(joined, detrend(joined, how=Detrending(step=3)), how=how)


@pytest.mark.parametrize(("period", "durations"), [(3.288, (0.08, 0.12, 0.2)), (1.37, (0.06, 0.1))])
def test_the_search_is_astropys(period: float, durations: tuple[float, ...]) -> None:
    timeseries = pytest.importorskip("astropy.timeseries", reason="no astropy here")
    joined = Curves.of([dipped(star(1), period, 1e-3, duration=0.1)])
    points = Points(joined.time, detrend(joined))
    periods = 1 / np.linspace(1 / 9, 1 / 0.7, 4000)
    ours = signal_to_noise(points, periods, durations=np.array(durations))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = timeseries.BoxLeastSquares(points.t, points.r, 1 / np.sqrt(points.w)).power(periods, durations, objective="snr").depth_snr
    assert periods[ours.argmax()] == periods[theirs.argmax()]
    assert ours.max() == pytest.approx(theirs.max(), rel=0.02)
    assert np.corrcoef(ours, theirs)[0, 1] > 0.98


@pytest.mark.parametrize(("period", "depth", "duration"), [(3.288, 2e-3, 0.12), (0.81, 1e-3, 0.06), (8.3, 4e-3, 0.25)])
def test_planets_are_found_with_their_figures(period: float, depth: float, duration: float) -> None:
    (got,) = found(dipped(star(2), period, depth, duration=duration))
    assert got.transit is not None
    assert got.transit.period == pytest.approx(period, rel=3e-3)
    assert got.transit.depth == pytest.approx(depth, rel=0.2)
    assert got.transit.duration == pytest.approx(duration, rel=0.35)
    cycles = (got.transit.epoch - START - 1.1) / period
    assert abs(cycles - np.round(cycles)) * period < 0.3 * duration
    assert got.transit.signal_to_noise > 12
    assert got.transit.signal_to_noise == pytest.approx(got.transit.depth / got.transit.depth_err, rel=1e-6)
    assert got.transit.odd_even < 4
    assert abs(got.transit.secondary_depth) < 0.3 * depth


def test_noise_has_less_than_planets() -> None:
    quiet = [f.transit.red_signal_to_noise for f in found(*(star(seed) for seed in range(3, 9))) if f.transit is not None]
    (planet,) = found(dipped(star(3), 4.1, 1.5e-3))
    assert planet.transit is not None
    assert planet.transit.red_signal_to_noise > 1.3 * max(quiet)


def test_a_binary_shows_in_odd_and_even_or_in_its_secondary() -> None:
    deep = dipped(dipped(star(10), 4.0, 2e-2, duration=0.15), 4.0, 8e-3, duration=0.15, epoch=START + 3.1)
    (half,) = found(deep, how=Searching(longest=2.5))  # folded at half its period the minima alternate
    assert half.transit is not None
    assert half.transit.period == pytest.approx(2.0, rel=2e-3)
    assert half.transit.odd_even > 20
    (whole,) = found(deep, how=Searching(shortest=3.0, longest=6.0))
    assert whole.transit is not None
    assert whole.transit.period == pytest.approx(4.0, rel=2e-3)
    assert whole.transit.secondary_depth == pytest.approx(8e-3, rel=0.2)
    assert whole.transit.secondary_phase == pytest.approx(0.5, abs=0.03)
    assert whole.transit.secondary_signal_to_noise > 20


def test_a_single_dip_is_a_single_event() -> None:
    once = dipped(star(11), 1000.0, 6e-3, duration=0.2, epoch=START + 7.0)
    quiet, dip = (f.single for f in found(star(11), once, how=Searching(least_single=1e9)))
    assert quiet is not None
    assert dip is not None
    assert dip.time == pytest.approx(START + 7.0, abs=0.06)
    assert dip.depth == pytest.approx(6e-3, rel=0.25)
    assert dip.significance > 8 > quiet.significance


def test_only_targets_worth_it_are_searched() -> None:
    how = Searching(least_single=7.0)
    quiet, planet = found(star(12), dipped(star(12), 5.0, 8e-3), how=how)
    assert quiet.transit is None
    assert planet.transit is not None


def test_flares_have_their_shape_and_light() -> None:
    curve = star(13, slow=0)
    t0 = START + 5.0
    rising = (curve.time > t0 - 0.01) & (curve.time <= t0)
    falling = curve.time > t0
    light = np.where(rising, 0.05, np.where(falling, 0.05 * np.exp(-(curve.time - t0) / 0.04), 0.0))
    joined = Curves.of([curve._replace(flux=curve.flux * (1 + light))])
    points = Points(joined.time, detrend(joined))
    (flare,) = [f for f in flares(points) if f.amplitude > 0.02]
    assert flare.peak == pytest.approx(t0, abs=2 * CADENCE)
    assert flare.impulsive
    assert flare.equivalent_duration == pytest.approx(light.sum() * CADENCE * 86_400, rel=0.15)
    assert flare.significance > 50
    mirrored = joined.flux[::-1].copy()
    back = Curves.of([Curve(START + START + 27 - joined.time[::-1], mirrored, joined.flux_err, joined.quality)])
    (slow,) = [f for f in flares(Points(back.time, detrend(back))) if f.amplitude > 0.02]
    assert not slow.impulsive  # rises slowly and falls at once: no flare of a star
    assert flares(Points(joined.time, detrend(Curves.of([curve]))))[:1] == ()


@pytest.mark.parametrize("n", [0, 1, 5, 200])
def test_little_or_nothing_gives_no_figures_and_no_fault(n: int) -> None:
    rng = np.random.default_rng(0)
    short = Curve(START + np.arange(n) * CADENCE, 1 + NOISE * rng.standard_normal(n), np.full(n, NOISE), np.zeros(n, np.int64))
    (got,) = found(short)
    assert got.transit is None
    flat = short._replace(flux=np.ones(n))
    assert found(flat) == [Figures(None, None, ())]


def test_years_between_do_not_exhaust_the_machine() -> None:
    curve = star(14, days=8)
    (got,) = found(curve._replace(time=np.where(np.arange(len(curve.time)) < 500, curve.time, curve.time + 3000)))
    assert got.transit is None or got.transit.searched_from >= 0.5  # how far down it went is stated


def test_errors_that_are_unknown_are_the_scatter() -> None:
    curve = dipped(star(15), 3.3, 3e-3)
    (got,) = found(curve._replace(flux_err=np.full(len(curve.time), np.nan)))
    assert got.transit is not None
    assert got.transit.period == pytest.approx(3.3, rel=3e-3)
    assert single_event(Points(curve.time, detrend(Curves.of([curve]))), how=Searching()) is not None


def test_unusable_settings_are_refused() -> None:
    for wrong in ({"shortest": -1.0}, {"shortest": 3.0, "longest": 2.0}, {"durations": ()}, {"durations": (0.3, 0.1)}):
        with pytest.raises(ValueError):
            Searching(**wrong)  # type: ignore[arg-type]


def shaped(curve: Curve, period: float, shape: Callable[[F64, I64], F64], *, epoch: float = START + 1.1) -> Transit:
    """The transit found where shape(time from the middle [d], cycle) is taken off."""
    cycle = np.round((curve.time - epoch) / period).astype(np.int64)
    off = curve.time - epoch - cycle * period
    (got,) = found(curve._replace(flux=curve.flux * (1 - shape(off, cycle))), how=Searching(shortest=0.8 * period, longest=1.3 * period))
    assert got.transit is not None
    assert got.transit.period == pytest.approx(period, rel=3e-3)
    return got.transit


def box(off: F64, depth: float = 8e-3, duration: float = 0.16) -> F64:
    return np.where(np.abs(off) < duration / 2, depth, 0.0)


@pytest.mark.parametrize("period", [2.1, 3.37])
def test_a_planets_single_transits_agree(period: float) -> None:
    for seed in (20, 21, 22):
        got = shaped(star(seed), period, lambda off, cycle: box(off))
        assert abs(got.asymmetry) < 0.08
        assert got.depth_scatter < 4
        assert got.timing_scatter < 0.01
        assert 0.7 < got.grazing < 1.4


@pytest.mark.parametrize("period", [2.1, 3.37])
def test_anomalous_transits_show_in_their_figures(period: float) -> None:
    planet = shaped(star(23), period, lambda off, cycle: box(off))

    def tail(sign: int) -> Transit:
        def dip(off: F64, cycle: I64) -> F64:
            behind = sign * off - 0.08
            return box(off) + np.where(behind > 0, 6e-3 * np.exp(-np.clip(behind, 0, None) / 0.1), 0)

        return shaped(star(23), period, dip)

    assert tail(1).asymmetry > planet.asymmetry + 0.02
    assert tail(-1).asymmetry < planet.asymmetry - 0.02
    alternating = shaped(star(23), period, lambda off, cycle: box(off) * (1 + 0.4 * (-1.0) ** cycle))
    assert alternating.depth_scatter > 4 * planet.depth_scatter
    shifted = shaped(star(23), period, lambda off, cycle: box(off - 0.04 * np.sin(2.4 * cycle)))
    assert shifted.timing_scatter > 3 * planet.timing_scatter
    assert shifted.timing_scatter == pytest.approx(0.028, rel=0.5)
    vee = shaped(star(23), period, lambda off, cycle: np.clip(0.016 * (1 - np.abs(off) / 0.15), 0, None))
    assert vee.grazing > 1.5


def test_transits_at_gaps_are_counted_as_such() -> None:
    curve = star(24)
    gap = float(curve.time[np.diff(curve.time).argmax()])
    never = shaped(curve, 6.6, lambda off, cycle: box(off), epoch=gap - 2.5)
    assert never.near_gap == 0
    often = shaped(curve, 1.7, lambda off, cycle: box(off), epoch=gap - 0.2)
    assert 0 < often.near_gap < 0.5


def test_figures_that_few_transits_cannot_give_are_nan() -> None:
    got = shaped(star(25), 13.0, lambda off, cycle: box(off), epoch=START + 5.0)
    assert got.transits == 2
    assert np.isnan(got.timing_scatter)
    assert np.isfinite(got.depth_scatter)


def test_the_quick_settings_find_what_the_full_ones_do() -> None:
    rng = np.random.default_rng(31)
    both = [0, 0]
    for seed in range(8):
        t = START + np.arange(0, 27, 2 / 1440)
        flux = 1 + 2e-3 * np.sin(2 * np.pi * t / 3.7 + seed) + NOISE * rng.standard_normal(len(t))
        period = float(rng.uniform(0.8, 8))
        curve = dipped(Curve(t, flux, np.full(len(t), NOISE), np.zeros(len(t), np.int64)), period, 8e-4)
        joined = Curves.of([curve])
        full, quick = detrend(joined), detrend(joined, how=Detrending.quick())
        seen = np.isfinite(full.flux) & np.isfinite(quick.flux)
        assert np.mean(seen) > 0.99
        assert np.std(full.flux[seen] - quick.flux[seen]) < 0.1 * NOISE
        for k, (left, how) in enumerate(((full, Searching()), (quick, Searching.quick()))):
            (got,) = figures(joined, left, how=how)
            both[k] += got.transit is not None and abs(got.transit.period / period - 1) < 5e-3
    assert both[0] >= 6
    assert both[1] >= both[0] - 1
