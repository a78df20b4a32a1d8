"""Windows against what is usual: when the panel alarms, what it says of it, that it goes on after a restart, and its thresholds."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest

from operators import drift_panel as drift
from operators.alert_statistics import ABSENT, BINS, HIGH, LOW, STATISTICS, windows_of
from operators.drift_detectors import GRID, make
from operators.drift_panel import Alarm, Panel, diagnose
from operators.drift_reference import LEAST_WINDOWS, Reference, reference_of
from operators.drift_thresholds import Placed, bootstrap_thresholds, calibrated, standardised
from operators.types import CONTEXT

S = {name: i for i, name in enumerate(STATISTICS)}
STRATA = ("ztf/g/sky", "ztf/r/plane")
N = drift.WINDOW


def night(rng: np.random.Generator, number: int, *, shift: dict[str, float] | None = None, gone: str | None = None) -> Iterator[Placed]:
    """A night of two windows a stratum: each statistic has a level of the night, and scatter within it."""
    level = rng.normal(0, 0.01, len(STATISTICS))
    for _window in range(2):
        for k, stratum in enumerate(STRATA):
            middle = (0.3 + 0.1 * k + level + rng.normal(0, 0.017, len(STATISTICS))) * (HIGH - LOW) + LOW
            values = middle + rng.normal(0, 0.1, (N, len(STATISTICS))) * (HIGH - LOW)
            for name, by in (shift or {}).items():
                values[:, S[name]] += by * 0.02 * (HIGH[S[name]] - LOW[S[name]])
            context = np.ones((N, len(CONTEXT)), np.float32)
            context[rng.random(context.shape) < 0.05] = np.nan
            if gone is not None:
                context[:, CONTEXT.index(gone)] = np.nan
            values = np.clip(values, LOW, HIGH).astype(np.float32)
            made = windows_of(values, context, strata=[stratum] * N, classes=["agn"] * N)[stratum]
            yield Placed(number, stratum, made)


def nights(seed: int, count: int, **how: object) -> list[Placed]:
    rng = np.random.default_rng(seed)
    return [placed for number in range(count) for placed in night(rng, number, **how)]  # type: ignore[arg-type]


def reference(seed: int = 1, **thresholds: float) -> Reference:
    return reference_of([(p.stratum, p.window) for p in nights(seed, 30)], thresholds=thresholds)


def run(panel: Panel, windows: list[Placed]) -> list[Alarm]:
    return [alarm for k, p in enumerate(windows) for alarm in panel.see(p.stratum, p.window, at_ms=1000 * (k + 1))]


def test_stable_nights_raise_nothing_and_a_moved_statistic_is_named() -> None:
    panel = Panel(reference())
    assert run(panel, nights(2, 20)) == []
    alarms = run(panel, nights(3, 10, shift={"zp": 3.0}))
    assert {alarm.statistic for alarm in alarms} == {"zp"}
    first = alarms[0]
    assert first.diagnosis == diagnose(alarms) == drift.ZERO_POINT
    assert first.stratum in STRATA
    assert first.after - first.before == pytest.approx(0.06 * 2, rel=0.4)
    assert 1 <= first.windows < 20
    assert first.severity > 1.5
    assert first.since_ms >= 1000
    for histogram in (first.histogram_before, first.histogram_after):
        assert len(histogram) == BINS
        assert histogram.sum() == pytest.approx(1)
    assert np.arange(BINS) @ (first.histogram_after - first.histogram_before) > 0


def test_a_panel_whose_sums_rise_is_not_quiet_before_it_alarms() -> None:
    panel = Panel(reference())
    assert panel.quiet
    seen = []
    for k, p in enumerate(nights(3, 10, shift={"entropy": 3.0})):
        if panel.see(p.stratum, p.window, at_ms=k):
            break
        seen.append(panel.quiet)
    assert seen[0]
    assert not seen[-1]


@pytest.mark.parametrize(
    ("shift", "meaning"),
    [
        ({"entropy": 3.0}, drift.POPULATION),
        ({"energy": -3.0, "entropy": 2.0}, drift.POPULATION),
        ({"fwhm": 4.0, "limit": -4.0, "log_snr": -4.0, "zp": 3.0}, drift.SEEING),
        ({"points": -4.0, "visits": -4.0, "gap": 4.0, "entropy": 2.0}, drift.CADENCE),
        ({"zero_point": 4.0}, drift.ZERO_POINT),
        ({"limit": -6.0, "log_snr": -4.0}, drift.DEPTH),
        ({"real_bogus": 6.0}, drift.SCORES),
    ],
)
def test_what_changed_is_said(shift: dict[str, float], meaning: str) -> None:
    panel = Panel(reference(), thresholds=dict.fromkeys(STATISTICS, 16.0))
    assert diagnose(run(panel, nights(4, 12, shift=shift))) == meaning


def test_a_field_that_has_gone_alarms_once_and_again_when_it_comes_back_and_goes() -> None:
    panel = Panel(reference())
    gone, whole = nights(5, 3, gone="real_bogus"), nights(6, 2)
    alarms = run(panel, gone)
    assert [(a.statistic, a.stratum, a.diagnosis) for a in alarms] == [("nulls:real_bogus", s, drift.SCHEMA) for s in STRATA]
    assert alarms[0].before == pytest.approx(0.05, abs=0.02)
    assert alarms[0].after == 1
    assert not panel.quiet
    assert run(panel, whole) == []
    assert panel.quiet
    assert len(run(panel, gone)) == 2


def test_an_unknown_stratum_says_nothing_and_few_windows_make_no_reference() -> None:
    one = nights(7, LEAST_WINDOWS // 2)
    kept = reference_of([("few", p.window) for p in one[: LEAST_WINDOWS - 1]])
    assert kept.strata == {}
    assert run(Panel(kept), nights(8, 5, shift={"zp": 9.0})) == []


def test_a_panel_goes_on_where_another_one_was() -> None:
    windows = nights(2, 2) + nights(3, 5, shift={"zp": 4.0, "entropy": 3.0, "energy": 4.0})
    whole = Panel(reference(), detectors={"energy": make("page_hinkley", 10.0)})
    expected = run(whole, windows)
    assert expected
    panel, alarms = Panel(reference(), detectors={"energy": make("page_hinkley", 10.0)}), []
    for k, p in enumerate(windows):
        state = json.loads(json.dumps(panel.state()))
        panel = Panel(reference(), detectors={"energy": make("page_hinkley", 10.0)})
        panel.restore(state)
        alarms += panel.see(p.stratum, p.window, at_ms=1000 * (k + 1))
    assert [(a.statistic, a.stratum, a.since_ms, a.after, a.diagnosis) for a in alarms] == [
        (a.statistic, a.stratum, a.since_ms, a.after, a.diagnosis) for a in expected
    ]
    assert json.dumps(panel.state()) == json.dumps(whole.state())


@pytest.mark.parametrize("state", [{}, {"charts": 3}, {"charts": {"zp": {"sides": [[1]]}}, "recent": [], "absent": []}])
def test_what_is_not_a_state_is_refused(state: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not a state"):
        Panel(reference()).restore(state)


def test_a_reference_comes_back_from_its_arrays() -> None:
    made = reference(zp=12.5)
    back = Reference.of_arrays(made.arrays())
    assert list(back.strata) == list(made.strata)
    assert back.thresholds == {"zp": 12.5}
    for name, stratum in made.strata.items():
        for column in ("mean", "spread", "nulls", "nulls_spread", "histogram"):
            np.testing.assert_allclose(getattr(back.strata[name], column), getattr(stratum, column), rtol=1e-6)
    arrays = made.arrays()
    renamed = arrays | {"statistics": np.frombuffer("\n".join(["later", *STATISTICS[1:]]).encode(), np.uint8)}
    assert np.isnan(Reference.of_arrays(renamed).strata[STRATA[0]].mean[0])
    for broken in ({"mean": arrays["mean"][:, 1:]}, {"strata": np.zeros(0, np.uint8)}):
        with pytest.raises(ValueError, match="shape"):
            Reference.of_arrays(arrays | broken)
    with pytest.raises(ValueError, match="missing"):
        Reference.of_arrays({name: array for name, array in arrays.items() if name != "nulls"})
    assert len(ABSENT) == arrays["nulls"].shape[1]


def test_thresholds_hold_their_run_length_on_other_nights_and_follow_it() -> None:
    """Nights have levels of their own, as by moon and seeing: windows are not independent."""
    stable = nights(11, 30)
    alerts = sum(p.window.n for p in stable)
    often, rarely = (bootstrap_thresholds(stable, run_length=k * alerts, streams=100) for k in (1.0, 30.0))
    assert set(often) == set(STATISTICS) - set(drift.SUPPORTING)
    assert all(rarely[name] > often[name] for name in often)
    counts = {"often": 0, "rarely": 0}
    for seed in range(20, 28):
        known = reference_of([(p.stratum, p.window) for p in nights(seed, 30)])
        windows = nights(seed + 100, 30)
        for name, thresholds in (("often", often), ("rarely", rarely)):
            counts[name] += len(run(Panel(known, thresholds=thresholds), windows))
    assert counts["rarely"] <= 6, counts  # 0.3 are expected where a panel's alarms are independent; thirty nights make thresholds
    assert 2 * counts["rarely"] < counts["often"] <= 50, counts
    with pytest.raises(ValueError, match="nights"):
        bootstrap_thresholds(nights(1, 3), run_length=1e5)
    # The mean of a short reference is further off, and every window takes that up.
    short, long = (bootstrap_thresholds(stable, run_length=3.0 * alerts, reference=n, streams=100) for n in (8, 90))
    assert np.median([short[name] / long[name] for name in long]) > 1.2
    assert bootstrap_thresholds(stable, run_length=3.0 * alerts, reference=30, streams=20) == bootstrap_thresholds(
        stable, run_length=3.0 * alerts, streams=20
    )


@pytest.mark.parametrize("kind", list(GRID))
def test_a_detector_of_river_is_calibrated_and_finds_what_moves(kind: str) -> None:
    stable = nights(11, 30)
    parameter = calibrated(stable, ["zp"], kind=kind, run_length=10 * sum(p.window.n for p in stable), streams=6)
    assert parameter in GRID[kind]
    panel = Panel(reference(), detectors={"zp": make(kind, parameter)})
    quiet = [a for a in run(panel, nights(2, 15)) if a.statistic == "zp"]
    found = [a for a in run(panel, nights(3, 25, shift={"zp": 4.0})) if a.statistic == "zp"]
    assert len(quiet) <= 1
    assert found[0].diagnosis == drift.ZERO_POINT
    assert make(kind).parameter in GRID[kind]
    with pytest.raises(ValueError, match="not a detector"):
        make("chance")


def test_z_is_in_the_unit_of_the_references_own_windows() -> None:
    means = np.tile(np.array([[1.0], [3.0], [5.0], [9.0], [np.nan]]), len(STATISTICS))
    z = standardised(means, np.array([0, 0, 0, 0, 0]), reference=np.array([0, 1, 2]), stream=np.array([3, 4]))
    assert z[0, 0] == pytest.approx(3.0)
    assert np.isnan(z[1, 0])
