"""Injection and recovery on a made star: deep planets are found, shallow ones and nulls are not."""

from __future__ import annotations

import numpy as np
import pytest

from data.connectors.known_periods import Known, known_periods
from data.connectors.star_curves import StarCurve
from evaluation.measures import wilson
from evaluation.studies.injected_planet import Planet, planet_radius
from evaluation.studies.injection import (
    PERIODS,
    RANGES,
    ROTATOR,
    STREAM,
    Case,
    injected,
    nulls,
    recovery,
    thresholds,
    way_of,
    without_known,
)
from operators.transit_figures import Transit
from operators.whole_curves import Curve


def star(*, noise: float = 6e-4, spots: float = 2e-3, turn: float = 8.0, seed: int = 1) -> StarCurve:
    """A sector at ten minutes."""
    time = np.arange(1325.0, 1352.0, 10 / 1440)
    time = time[np.abs(time - 1338.5) > 0.5]
    rng = np.random.default_rng(seed)
    flux = 15_000 * (1 + spots * np.sin(2 * np.pi * time / turn) + noise * rng.standard_normal(len(time)))
    return StarCurve(77, 4, 10.0, 63.4, -69.2, 3000, Curve(time, flux, np.full(len(time), 15_000 * noise), np.zeros(len(time), np.int64)))


def found(signal: float, transits: int) -> Transit:
    values = dict.fromkeys(Transit.__slots__, 1.0) | {"signal_to_noise": signal, "transits": transits}
    return Transit(**values)  # type: ignore[arg-type]


def test_deep_planets_are_recovered_and_nothing_is_found_in_nulls() -> None:
    got = recovery(Case(star(), STREAM), depths=(60e-6, 4e-3), trials=3, n_nulls=24, seed=2)
    shallow, deep = got["depths"]
    assert deep["recall"]["share"] > 0.7
    assert shallow["recall"]["share"] < 0.3
    assert got["false_positives"]["share"] <= 0.01
    assert len(deep["bins"]) == len(PERIODS) - 1
    assert sum(b["recall"]["of"] for b in deep["bins"]) == deep["recall"]["of"] == 12


def test_classes_are_counted_where_something_classifies() -> None:
    packets: list[bytes] = []

    def classify(some: object) -> list[str]:
        packets.extend(some)  # type: ignore[arg-type]
        return ["planet"] * len(some)  # type: ignore[arg-type]

    got = recovery(Case(star(), STREAM), depths=(2e-3,), trials=1, n_nulls=10, classify=classify)
    assert got["classes"] == {"2000 ppm": {"planet": 4}, "nulls": {"planet": 1}}
    assert len(set(packets)) == 5


def test_thresholds_leave_at_most_the_share_of_false_ones() -> None:
    rng = np.random.default_rng(4)
    some = [found(float(s), int(n)) for s, n in zip(rng.gamma(40, 0.15, 2000), rng.integers(2, 12, 2000), strict=True)]
    least = thresholds([*some, None])
    reached = sum(map(least.reached, some))
    assert 0 < reached <= 0.01 * len(some)
    assert len(least.values) == len(RANGES)
    assert not least.reached(None)


def test_nulls_hold_the_star_and_not_its_order() -> None:
    here = star()
    left = here.curve.flux / np.median(here.curve.flux) - 1
    made = list(nulls(here, left, count=4, rng=np.random.default_rng(0)))
    for flux in made:
        assert np.std(flux) == pytest.approx(np.std(here.curve.flux), rel=0.05)
        assert not np.array_equal(flux, here.curve.flux)


def test_a_spotted_star_is_searched_otherwise() -> None:
    assert way_of(star()) is STREAM
    assert way_of(star(spots=2e-2, turn=1.1)) is ROTATOR


def test_the_known_planet_is_taken_out() -> None:
    here = star()
    planet = Planet(period=3.0, epoch=1326.0, depth=5e-3)
    known = Known("b", "planet", 3.0, 1326.0, planet.duration())
    light = planet.light(here.curve.time, cadence=10 / 1440)
    assert light.min() < 0.996
    rest = without_known(here, [known])
    assert planet.light(rest.curve.time, cadence=10 / 1440).min() > 0.9999
    assert known_periods()["TIC 25155310"][0].period == pytest.approx(3.2888)


@pytest.mark.parametrize("impact", [0.0, 0.6, 0.85])
@pytest.mark.parametrize("depth", [150e-6, 5e-3])
def test_a_planet_has_the_depth_that_is_asked_for(depth: float, impact: float) -> None:
    planet = Planet(period=4.0, epoch=2.0, depth=depth, impact=impact)
    time = np.linspace(1.5, 2.5, 4001)
    loss = 1 - planet.light(time, cadence=0.0)
    assert loss.max() == pytest.approx(depth, rel=1e-3)
    assert np.ptp(time[loss > depth / 2]) == pytest.approx(planet.duration(), rel=0.1)
    slow = 1 - planet.light(time, cadence=0.1)
    assert slow.sum() == pytest.approx(loss.sum(), rel=0.02)  # averaging keeps the light


def test_a_depth_that_no_planet_has_is_refused() -> None:
    with pytest.raises(ValueError, match="no planet"):
        planet_radius(0.9999999, 0.9)


def test_injection_multiplies_the_flux() -> None:
    here = star()
    flux = injected(here, Planet(period=5.0, epoch=1330.0, depth=1e-2))
    assert 1 - (flux / here.curve.flux).min() == pytest.approx(1e-2, rel=0.05)


def test_wilson_holds_the_share() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    low, high = wilson(5, 10)
    assert low == pytest.approx(0.2366, abs=1e-3)  # Newcombe 1998, table I's method 3
    assert high == pytest.approx(0.7634, abs=1e-3)
