"""Light curves of TESS sectors: what is in them is what their truth says, on a star and an instrument as real ones are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from data.simulate.binaries import eclipse_light
from data.simulate.draw import POPULATIONS, Draw, generator
from data.simulate.eclipses import eclipsing
from data.simulate.instrument import Window, hourly_noise, look
from data.simulate.planets import Orbit, comet, dips, hidden_light, planet, tail, transit_light, varying
from data.simulate.space_curves import ANOMALIES, SPACE_KINDS, STILL, SpaceCurve, flares, packet, smeared, space_curve
from schemas.surveys.decode import Decoder


def drawn(kind: str, index: int, **how: Any) -> SpaceCurve:
    return space_curve(kind, generator("train", 31, index), **how)


def parts(kind: str, index: int, cadence: float = 120.0) -> tuple[Draw, Window]:
    rng = generator("train", 32, index)
    return Draw(rng, "train", scope=kind, kind=kind), look(Draw(rng, "train", scope="space"), cadence)


@pytest.mark.parametrize("kind", SPACE_KINDS)
def test_every_kind_is_a_packet_that_decodes(kind: str) -> None:
    curves = [drawn(kind, k, cadence=1800.0) for k in range(4)]
    decoded = Decoder().decode([packet(c, tic=100 + k, sector=5) for k, c in enumerate(curves)])
    assert not decoded.rejected
    assert list(decoded.batch.object_id) == [f"TIC {100 + k}" for k in range(4)]
    for k, curve in enumerate(curves):
        assert np.all(np.diff(curve.time) > 0)
        assert np.all(curve.flux_err > 0)
        assert np.isfinite(curve.flux).mean() > 0.85
        assert decoded.batch.mjd[k] == pytest.approx(curve.time[-1] + 56_999.5, abs=0.001)


def test_a_seed_a_kind_and_a_population_make_a_curve() -> None:
    for kind in ("transit", "flare", "instrumental", "EA"):
        first, again = drawn(kind, 1), drawn(kind, 1)
        for a, b in zip(first, again, strict=True):
            np.testing.assert_array_equal(a, b)
        other = drawn(kind, 1, population="demo")
        assert len(other.flux) != len(first.flux) or not np.array_equal(other.flux, first.flux, equal_nan=True)
        assert drawn(kind, 2).truth != first.truth


def test_unknown_kinds_and_cadences_are_refused() -> None:
    with pytest.raises(ValueError, match="no kind SNe"):
        drawn("SNe", 1)
    with pytest.raises(ValueError, match="positive"):
        drawn("quiet", 1, cadence=-3.0)


def test_cadences_are_those_of_the_mission() -> None:
    found = [drawn("quiet", k).truth["cadence"] for k in range(60)]
    assert set(found) == {120.0, 200.0, 600.0, 1800.0}
    assert 0.25 < np.mean(np.array(found) == 120.0) < 0.55
    curve = drawn("quiet", 3, cadence=600.0)
    assert np.median(np.diff(curve.time)) * 86_400 == pytest.approx(600.0)
    assert 0.3 < np.diff(curve.time).max() < 3.0  # the downlink


@pytest.mark.parametrize(("ratio", "impact"), [(0.05, 0.0), (0.1, 0.4), (0.15, 0.7)])
def test_a_planets_dip_is_that_of_two_discs(ratio: float, impact: float) -> None:
    """The same star with linear limb darkening by `binaries.eclipse_light`, which cuts it into rings."""
    axis = 10.0
    orbit = Orbit(3.0, 0.0, axis, ratio, impact, (0.6, 0.0))
    phase = np.linspace(-0.03, 0.03, 301)
    ours = transit_light(orbit)(phase * 3.0)
    discs = eclipse_light(1 / axis, ratio / axis, surface=0.0, inclination=float(np.arccos(impact / axis)), phase=phase)
    assert np.abs(ours - discs).mean() < 0.02 * (1 - discs.min())  # rings are steps to a planet smaller than one
    assert ours.min() == pytest.approx(discs.min(), abs=0.05 * (1 - discs.min()))


def test_a_dip_ends_where_the_discs_part() -> None:
    assert hidden_light(np.array([1.0501]), 0.05, limb=(0.3, 0.2))[0] == 0
    assert hidden_light(np.array([0.0]), 0.1, limb=(0.0, 0.0))[0] == pytest.approx(0.01)
    darkened = hidden_light(np.array([0.0, 0.9]), 0.1, limb=(0.3, 0.2))
    assert darkened[0] > 0.01 > darkened[1]


def test_a_planets_truth_is_what_its_light_shows() -> None:
    for k in range(12):
        d, window = parts("transit", k)
        signal = planet(d, window)
        truth = signal.truth
        t = np.linspace(truth["epoch"] - truth["duration"], truth["epoch"] + truth["duration"], 4001)
        light = signal.light(t)
        assert 1 - light.min() == pytest.approx(truth["depth"], rel=0.02)
        assert t[light < 1].mean() == pytest.approx(truth["epoch"], abs=0.01 * truth["duration"])
        assert np.ptp(t[light < 1]) == pytest.approx(truth["duration"], rel=0.04)
        np.testing.assert_allclose(signal.light(t + truth["period"]), light, atol=1e-6)
        assert window.start <= truth["epoch"] <= window.start + truth["period"]


def test_most_planets_transit_twice_and_all_once() -> None:
    counts, depths = [], []
    for k in range(300):
        d, window = parts("transit", k, 1800.0)
        truth = planet(d, window).truth
        times = truth["epoch"] + truth["period"] * np.arange(60)
        counts.append(int(window.covers(times, 0.0).sum()))
        depths.append(truth["depth"])
    assert min(counts) >= 1
    assert 0.8 < np.mean(np.array(counts) >= 2) <= 1.0
    assert np.percentile(depths, 2) < 5e-4
    assert 0.015 < np.percentile(depths, 98) < 0.06


def test_a_long_cadence_smears() -> None:
    orbit = Orbit(2.0, 1.0, 8.0, 0.1, 0.0, (0.3, 0.2))
    time = np.linspace(0.9, 1.1, 500)
    window = Window(time, 1800.0, ((0.9, 0.95), (0.96, 1.1)))
    light = transit_light(orbit)
    blurred = smeared(light, window)
    edges = (light(time) == 1) & (blurred < 1)
    assert edges.any()
    fine = light(time[edges][0] + (np.arange(2000) / 2000 - 0.5) * 1800 / 86_400).mean()
    assert blurred[edges][0] == pytest.approx(fine, abs=3e-4)


@pytest.mark.parametrize("magnitude", [8.0, 10.0, 12.0, 14.0])
def test_noise_follows_the_magnitude(magnitude: float) -> None:
    published = {8.0: 94e-6, 10.0: 200e-6, 12.0: 600e-6, 14.0: 2300e-6}  # Stassun et al. 2018, fig. 8
    assert hourly_noise(magnitude) == pytest.approx(published[magnitude], rel=0.1)


def test_measured_noise_is_the_stated_one() -> None:
    ratios = []
    for k in range(40):
        curve = drawn("quiet", k, cadence=120.0)
        good = np.isfinite(curve.flux) & (curve.quality == 0)
        steps = np.diff(curve.flux[good]) / np.sqrt(2) / curve.flux_err[good][1:]
        ratios.append(1.4826 * np.median(np.abs(steps)))
        hour = curve.flux_err[0] / np.median(curve.flux[good]) * np.sqrt(120 / 3600)
        assert 0.7 < hour / hourly_noise(curve.magnitude) < 2.2
    assert np.median(ratios) == pytest.approx(1.0, abs=0.08)


def test_quiet_stars_are_quieter_than_instruments() -> None:
    def excess(kind: str, k: int) -> float:
        curve = drawn(kind, k, cadence=600.0)
        good = np.isfinite(curve.flux)
        hours = curve.flux[good][: good.sum() // 12 * 12].reshape(-1, 12).mean(axis=1) / np.median(curve.flux[good])
        return float(np.std(hours) / hourly_noise(curve.magnitude))

    quiet, instrument = ([excess(kind, k) for k in range(60)] for kind in STILL)
    assert np.median(instrument) > 1.5 * np.median(quiet)
    flagged = [float((drawn("instrumental", k, cadence=600.0).quality != 0).mean()) for k in range(60)]
    assert min(flagged) < 0.03 < 0.1 < max(flagged)  # some artefacts are flagged, some are not


def test_varying_transits_vary() -> None:
    kinds = set()
    for k in range(30):
        d, window = parts("varying-transit", k)
        signal = varying(d, window)
        truth = signal.truth
        n = np.arange(int((window.end - truth["epoch"]) / truth["period"]))
        centres, depths = [], []
        for at in truth["epoch"] + n * truth["period"]:
            t = np.linspace(at - 0.45 * truth["period"], at + 0.45 * truth["period"], 6000)
            lost = 1 - signal.light(t)
            centres.append(float(np.sum(t * lost) / lost.sum()) - at)
            depths.append(lost.max())
        assert len(n) >= 3
        if "timing" in truth:
            assert np.std(centres) == pytest.approx(truth["timing"], rel=0.5, abs=1e-4)
            assert np.std(centres) > 0.02 * truth["duration"]
        if "factors" in truth:
            assert np.std(depths) / np.mean(depths) > 0.05
        else:
            assert np.std(depths) / np.mean(depths) < 0.02
        kinds.add(("timing" in truth, "factors" in truth))
    assert {(True, False), (False, True)} <= kinds


def test_comets_are_asymmetric_and_planets_are_not() -> None:
    def skew(light: np.ndarray, t: np.ndarray) -> float:
        lost = np.clip(1 - light, 0, None)
        at = int(np.argmax(lost))
        return float(lost[at:].sum() / max(lost[:at].sum(), 1e-12))

    x = np.linspace(-1, 2, 3001)
    assert skew(1 - tail(x, ingress=0.1, egress=0.3, bump=0.1), x) > 3
    assert tail(x, ingress=0.1, egress=0.3, bump=0.1).min() < -0.05  # light scattered forward
    for k in range(15):
        signal = comet(*parts("comet-transit", k))
        t0, length = signal.truth["epoch"], signal.truth["duration"]
        t = np.linspace(t0 - 0.4 * length, t0 + 0.8 * length, 4000)
        assert skew(signal.light(t), t) > 1.6
        assert signal.truth["asymmetry"] > 0.5
        dip = planet(*parts("transit", k))
        t = np.linspace(dip.truth["epoch"] - dip.truth["duration"], dip.truth["epoch"] + dip.truth["duration"], 4000)
        lost = 1 - dip.light(t)
        assert lost[2000:].sum() == pytest.approx(lost[:2000].sum(), rel=0.02)


def test_single_dips_have_depth_and_no_period() -> None:
    for k in range(25):
        d, window = parts("single-dip", k)
        signal = dips(d, window)
        assert "period" not in signal.truth
        assert 0.003 <= signal.truth["depth"] < 0.5
        t = np.linspace(window.start, window.end, 4000)
        lost = 1 - signal.light(t)
        assert lost.max() == pytest.approx(signal.truth["depth"], rel=1e-6)
        assert lost.min() >= 0


def test_eclipses_have_the_period_and_the_depths_of_their_truth() -> None:
    how, shallow = set(), 0
    for k in range(60):
        d, window = parts("EA", k)
        signal = eclipsing(d, window)
        truth = signal.truth
        how |= {"whole", "grazing", "blended"} & truth.keys()
        t = truth["epoch"] + truth["period"] * np.linspace(-0.2, 0.2, 2001)
        light = signal.light(t)
        assert light.min() == pytest.approx(1 - truth["depth"], abs=1e-6)
        assert t[np.argmin(light)] == pytest.approx(truth["epoch"], abs=0.02 * truth["period"])
        np.testing.assert_allclose(signal.light(t + 3 * truth["period"]), light, atol=1e-9)
        assert truth["secondary"] <= truth["depth"] + 1e-9
        if "blended" in truth:
            assert truth["depth"] <= 0.0201
        shallow += truth["depth"] < 0.03
    assert how == {"whole", "grazing", "blended"}
    assert shallow > 12  # what planets are confused with


def test_flares_rise_fast_and_fall_slowly() -> None:
    for k in range(10):
        signal = flares(*parts("flare", k))
        t0, half = signal.truth["epoch"], signal.truth["duration"]
        fine = np.linspace(t0 - 3 * half, t0 + 8 * half, 3000)
        light = signal.light(fine)
        base = light[0]
        assert light.max() - base > 0.6 * signal.truth["amplitude"]
        assert 3 <= signal.truth["n"] <= 30


def test_anomalies_and_still_kinds_are_kinds() -> None:
    assert {*ANOMALIES, *STILL, "transit"} <= set(SPACE_KINDS)
    assert len(set(SPACE_KINDS)) == len(SPACE_KINDS)


def test_a_demos_sky_differs_from_training() -> None:
    means = {
        name: [space_curve("quiet", generator(name, 2, k), population=name, cadence=1800.0).magnitude for k in range(80)]
        for name in POPULATIONS
    }
    assert np.std(means["demo"]) < np.std(means["train"])
    assert abs(np.mean(means["demo"]) - np.mean(means["train"])) > 0.02
