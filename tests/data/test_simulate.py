"""The simulated sky: reproducible, in the published ranges, and the same as packets and as arrays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data.simulate import classes
from data.simulate.arrays import make, pick, to_batch
from data.simulate.cadence import visits
from data.simulate.cataclysmic import KINDS
from data.simulate.draw import Draw, generator
from data.simulate.images import stamps
from data.simulate.measured import PIXEL
from data.simulate.observe import BEGAN, DRB_SINCE, FORCED_SINCE, Alert, observe
from data.simulate.scene import as_catalogued, host_share, scene
from data.simulate.sky import dimming, ecliptic_latitude, from_ecliptic, from_galactic, galactic_latitude, modulus, redshift_at
from data.simulate.surroundings import NOTHING, context
from data.simulate.survey_packets import n_detections, packet
from operators.types import CONTEXT, RAW_STAMP, STAMP
from schemas.surveys.decode import Decoder

pytestmark = pytest.mark.filterwarnings("error")
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def drawn() -> dict[str, np.ndarray]:
    return make(260, seed=3, processes=1)


def test_an_alert_depends_on_seed_and_number_alone(drawn: dict[str, np.ndarray]) -> None:
    again = make(9, seed=3, processes=1)
    for name, column in again.items():
        np.testing.assert_array_equal(column, drawn[name][:9], err_msg=name)
    other = make(9, seed=4, processes=1)
    assert not set(other["object_id"]) & set(again["object_id"])


def test_processes_change_nothing(drawn: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.simulate.arrays._CHUNK", 6)
    again = make(12, seed=3, processes=2)
    for name, column in again.items():
        np.testing.assert_array_equal(column, drawn[name][:12], err_msg=name)


def test_populations_share_neither_streams_nor_parameters() -> None:
    trained, shown = make(12, seed=3, processes=1), make(12, seed=3, population="demo", processes=1)
    assert not set(trained["object_id"]) & set(shown["object_id"])
    assert trained["mjd"].max() < shown["mjd"].min()
    draws = {
        name: np.array([Draw(generator(name, 1, k), name, scope="sn-ia").normal("stretch", 0.98, sd=0.1) for k in range(3000)])
        for name in ("train", "demo")
    }
    shift = (draws["demo"].mean() - draws["train"].mean()) / 0.1
    assert 0.05 < abs(shift) < 0.45
    assert draws["demo"].std() < 0.9 * draws["train"].std()


def test_columns_are_an_alert_batch(drawn: dict[str, np.ndarray]) -> None:
    batch = to_batch(drawn)
    assert len(batch) == 260
    assert drawn["stamps"].shape == (260, 3, STAMP, STAMP)
    assert set(batch.survey) == {"ztf", "lsst", "tess"}
    for i in range(len(batch)):
        valid = batch.valid[i]
        times = batch.time[i, valid]
        assert np.all(np.diff(times) > 0)
        assert times[-1] == batch.mjd[i]
        assert batch.first_detection[i] <= batch.mjd[i]
        assert batch.detected[i, valid][-1]
        measured = np.isfinite(batch.flux[i, valid])
        np.testing.assert_array_equal(measured, np.isfinite(batch.flux_err[i, valid]))
        np.testing.assert_array_equal(measured, ~np.isfinite(batch.limit[i, valid]))
        assert drawn["n_detections"][i] == batch.detected[i].sum() >= 1
        assert batch.context[i, CONTEXT.index("flux")] == batch.flux[i, valid][-1]


def test_all_classes_and_all_strata_occur() -> None:
    assert len(classes.CLASSES) == 18
    seen: dict[str, list[int]] = {slug: [] for slug in classes.CLASSES}
    for k, slug in enumerate(classes.CLASSES):
        for j in range(12):
            alert = pick(11, 100 * k + j, population="train", surveys={"ztf": 1.0}, classes={slug: 1.0})
            assert alert.observed.label == slug
            seen[slug].append(n_detections(alert))
    assert all(min(counts) <= 4 for counts in seen.values())
    everything = np.concatenate(list(seen.values()))
    for low, high in ((1, 1), (2, 4), (5, 999)):
        assert np.mean((everything >= low) & (everything <= high)) > 0.15
    assert max(seen["asteroid"]) <= 2  # two exposures within minutes


def test_cataclysmic_variables_fade_below_their_reference_too() -> None:
    """Nova-likes in a low state, and dwarf novae whose reference image caught an outburst."""
    t = np.linspace(0.5, 110, 400)
    lowest, kinds = [], set()
    for k in range(60):
        source = classes.draw("cv", generator("train", 4, k))
        kinds.add(source.kind)
        light = source.flux(t, np.full_like(t, 6366.4))
        assert np.isfinite(light).all()
        lowest.append(light.min() < -30)
    assert kinds == set(KINDS)
    assert 0.15 < np.mean(lowest) < 0.7


def test_every_class_names_its_source() -> None:
    for slug, function in {**classes.CLASSES, **classes.GROUPS}.items():
        assert function.__doc__, slug
        assert any(year in function.__doc__ for year in map(str, range(1982, 2026))), f"{slug} cites nothing"


# medians over the training population. Rest frame for times [d], observer's g - r at the r-band peak [mag]: published ranges of samples
SHAPES = {
    # slug: (half-rise, half-decline, g - r at peak, g - r 15 d later)
    "sn-ia": ((7.5, 12), (18, 27), (-0.15, 0.2), (0.2, 0.6)),  # Miller et al. 2020, Dhawan et al. 2022
    "sn-ii": ((4, 14), (40, 85), (0.0, 0.5), (0.4, 0.9)),  # González-Gaitán et al. 2015, Anderson et al. 2014
    "sn-iin": ((12, 30), (35, 90), (-0.1, 0.4), (0.0, 0.5)),  # Nyholm et al. 2020: rise 20 or 50 d from first light
    "sn-ibc": ((7, 13), (15, 28), (0.35, 0.75), (0.8, 1.3)),  # Taddia et al. 2015, Stritzinger et al. 2018, with host reddening
    "slsn": ((17, 32), (25, 50), (-0.1, 0.3), (0.0, 0.5)),  # Chen et al. 2023: rise 42 ± 18 d from first light
    "tde": ((11, 25), (28, 55), (-0.4, -0.05), (-0.4, -0.05)),  # van Velzen et al. 2021, Hammerstein et al. 2023
}


@pytest.mark.parametrize("slug", SHAPES)
def test_shapes_and_colours_are_those_published(slug: str) -> None:
    t = np.linspace(0.1, 700, 1400)
    g, r = np.full_like(t, 4746.5), np.full_like(t, 6366.4)
    found = []
    for k in range(90):
        source = classes.draw(slug, generator("train", 8, k))
        red, blue, stretch = source.flux(t, r), source.flux(t, g), 1 + source.redshift
        peak = int(red.argmax())
        later = np.flatnonzero(red[peak:] < red[peak] / 2)
        after = min(int(np.searchsorted(t, t[peak] + 15)), len(t) - 1)
        half_rise = t[peak] - t[np.argmax(red > red[peak] / 2)]
        half_decline = t[peak + later[0]] - t[peak] if len(later) else np.nan
        found.append([half_rise / stretch, half_decline / stretch, *(-2.5 * np.log10(blue[j] / red[j]) for j in (peak, after))])
    medians = np.nanmedian(found, axis=0)
    for name, value, (low, high) in zip(("half-rise", "half-decline", "g - r", "g - r + 15 d"), medians, SHAPES[slug], strict=True):
        assert low <= value <= high, f"{slug}: {name} {value:.2f} outside {low} … {high}"


def test_kilonovae_fade_as_at2017gfo() -> None:
    """AT2017gfo lost about 1 mag a day in r and 2 in g, and was red after three days (Villar et al. 2017)."""
    fading = []
    for k in range(60):
        source = classes.draw("kilonova", generator("train", 8, k))
        at = np.array([1.0, 3.0]) * (1 + source.redshift)
        g, r = source.flux(at, np.full(2, 4746.5)), source.flux(at, np.full(2, 6366.4))
        fading.append([1.25 * np.log10(g[0] / g[1]), 1.25 * np.log10(r[0] / r[1]), -2.5 * np.log10(g[1] / r[1])])
    g_rate, r_rate, colour = np.median(fading, axis=0)
    assert 1.0 < g_rate < 2.6
    assert 0.6 < r_rate < 1.6
    assert 0.7 < colour < 2.0


def test_distances_dust_and_coordinates() -> None:
    assert redshift_at(modulus(0.1)) == pytest.approx(0.1, rel=1e-3)
    assert modulus(0.1) == pytest.approx(38.31 - 2.5 * np.log10(1.1), abs=0.02)  # 460 Mpc, H0 = 70
    ratio = -2.5 * np.log10(dimming(np.array([4400.0, 5500.0]), 1.0))
    assert ratio[1] == pytest.approx(1.0, abs=0.02)
    assert ratio[0] == pytest.approx(1.33, abs=0.03)  # A_B / A_V
    assert galactic_latitude(192.85948, 27.12825) == pytest.approx(90, abs=0.01)
    assert ecliptic_latitude(*from_ecliptic(77.0, -12.0)) == pytest.approx(-12.0)
    assert galactic_latitude(*from_galactic(210.0, 33.0)) == pytest.approx(33.0)


def test_cadence_has_seasons_of_weather_and_depth_by_moon() -> None:
    v = visits(np.random.default_rng(1), "ztf", population="train", start=59000.0, end=59600.0)
    nights = np.unique(np.floor(v.mjd))
    assert 120 < len(nights) < 420
    assert np.diff(nights).max() >= 4
    assert 20.0 < np.median(v.limit) < 20.9
    moon = np.cos(2 * np.pi * (v.mjd - 51549.6) / 29.530588) < -0.8
    assert np.median(v.limit[moon]) < np.median(v.limit[~moon]) - 0.15


def _alerts(n: int) -> list[Alert]:
    return [pick(5, k, population="demo", surveys={"ztf": 1.0}, classes=classes.STREAM_MIX) for k in range(n)]


def test_a_packet_decodes_to_the_columns_of_make() -> None:
    columns = make(70, seed=5, population="demo", processes=1, surveys={"ztf": 1.0}, classes=classes.STREAM_MIX)
    expected = to_batch(columns)
    decoded = Decoder().decode([packet(alert) for alert in _alerts(70)])
    assert not decoded.rejected
    batch = decoded.batch
    for name in ("survey", "candid", "object_id", "programid", "band"):
        assert getattr(batch, name) == getattr(expected, name), name
    for name in ("truncated", "detected", "valid"):
        np.testing.assert_array_equal(getattr(batch, name), getattr(expected, name), err_msg=name)
    for name in ("ra", "dec", "mjd", "first_detection", "time", "wavelength", "flux", "flux_err", "limit", "pixel_scale"):
        np.testing.assert_allclose(getattr(batch, name), getattr(expected, name), rtol=2e-5, atol=1e-6, err_msg=name)
    for k, name in enumerate(CONTEXT):
        np.testing.assert_allclose(batch.context[:, k], expected.context[:, k], rtol=1e-4, atol=1e-4, err_msg=name)
    np.testing.assert_allclose(batch.measured, expected.measured, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(batch.survey_scores, expected.survey_scores, rtol=1e-5, atol=1e-6)
    for name in ("own_limit", "zero_point"):
        np.testing.assert_allclose(getattr(batch, name), getattr(expected, name), rtol=1e-5, err_msg=name)
    crop = slice(RAW_STAMP // 2 - STAMP // 2, RAW_STAMP // 2 + STAMP // 2)
    central = batch.stamps[:, :, crop, crop]
    np.testing.assert_allclose(central, expected.stamps[:, :, crop, crop], rtol=1e-3, atol=0.2)  # float16


def test_stamps_show_what_the_catalogues_say() -> None:
    faded = 0
    for k in range(60):
        slug = ("rr-lyrae", "sn-ia", "asteroid")[k % 3]
        alert = pick(6, k, population="train", surveys={"ztf": 1.0}, classes={slug: 1.0})
        o, surroundings = alert.observed, scene(alert.observed)
        facts = context(alert, surroundings)
        images, (y0, y1, _, x1) = stamps(alert, surroundings, context=facts)
        assert images.shape == (3, RAW_STAMP, RAW_STAMP)
        assert np.isnan(images[:, :y0]).all()
        assert np.isnan(images[:, :, x1:]).all()
        assert y1 - y0 <= RAW_STAMP
        core = images[:, 29:34, 29:34]
        if np.isnan(images).any() or abs(o.flux[alert.now]) / o.error[alert.now] < 8:
            continue
        noise = 1.4826 * np.median(np.abs(images[2] - np.median(images[2])))
        assert core[2].sum() > 4 * noise, f"{slug} {k}: the difference is positive whatever its sign"
        faded += o.flux[alert.now] < 0
        if slug == "rr-lyrae":
            assert facts["distpsnr1"] < 1
            assert core[1].max() > np.median(images[1]) + 20 * 1.0
        if slug == "asteroid" and facts["distnr"] > 8:
            assert core[1].max() < core[0].max()
    assert faded


@pytest.mark.usefixtures("shared")
def test_asteroids_and_supernovae_have_the_surroundings_of_real_ones() -> None:
    """Medians of 145 asteroids and of the SN Ia among the public packets, with the room that so few leave."""
    ranges = {
        "asteroid": {"distnr": (5, 12), "distpsnr1": (7, 17), "magpsf": (18.6, 19.8), "sgscore1": (0.1, 0.7), "sigmapsf": (0.07, 0.18)},
        "sn-ia": {"distpsnr1": (0.5, 5), "sgscore1": (0.0, 0.5), "srmag1": (16.0, 20.5), "sigmapsf": (0.06, 0.19)},
    }
    for slug, wanted in ranges.items():
        rows = []
        for k in range(80):
            alert = pick(7, k, population="train", surveys={"ztf": 1.0}, classes={slug: 1.0})
            o, now = alert.observed, alert.now
            size = abs(float(o.flux[now]))
            rows.append(
                {**context(alert, scene(o)), "magpsf": 23.9 - 2.5 * np.log10(size), "sigmapsf": 1.0857 * float(o.error[now]) / size}
            )
        for name, (low, high) in wanted.items():
            values = [row[name] for row in rows if row[name] is not None and row[name] != NOTHING]
            assert low < np.median(values) < high, f"{slug} {name}: {np.median(values)}"


def test_an_unseen_object_is_none() -> None:
    unseen = [observe(2, k, slug="m-dwarf-flare", population="train") for k in range(40)]
    assert any(o is None for o in unseen)
    assert any(o is not None for o in unseen)


def test_the_same_bytes_in_another_process() -> None:
    code = "import hashlib; from data.simulate.night import night; print(hashlib.sha256(b''.join(p for p, _ in night(12, 25))).hexdigest())"
    from hashlib import sha256

    from data.simulate.night import night

    run = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == sha256(b"".join(p for p, _ in night(12, 25))).hexdigest()


def test_a_history_begins_no_earlier_than_the_survey_and_grows_with_its_age() -> None:
    counts: dict[bool, list[float]] = {True: [], False: []}
    for k in range(160):
        alert = pick(13, k, population="train", surveys={"ztf": 1.0}, classes={("eclipsing-binary", "agn", "sn-ia")[k % 3]: 1.0})
        o = alert.observed
        facts = context(alert, scene(o))
        assert facts["mjdstarthist"] >= BEGAN
        assert facts["ncovhist"] >= facts["ndethist"] >= 1
        counts[bool(o.visits.mjd[alert.now] < DRB_SINCE)].append(facts["ncovhist"])
    assert min(map(len, counts.values())) > 20
    assert np.median(counts[True]) < 0.5 * np.median(counts[False])


def test_packets_have_the_fields_of_their_date() -> None:
    forced: dict[bool, list[bool]] = {True: [], False: []}
    for k in range(60):
        alert = pick(14, k, population="train", surveys={"ztf": 1.0}, classes={"sn-ia": 1.0})
        o = alert.observed
        date = float(o.visits.mjd[alert.now])
        assert (context(alert, scene(o))["drb"] is None) == (date < DRB_SINCE)
        forced[float(o.visits.mjd[0]) >= FORCED_SINCE].append(bool(o.forced_rows.any()))
        if date < FORCED_SINCE - 300:
            assert not o.forced_rows.any()
    assert np.mean(forced[True]) > 0.4


def test_bad_nights_are_in_real_packets_proportion() -> None:
    """Percentiles of `diffmaglim` of 8,700 earlier visits in public packets: 5 % 17.9, 16 % 19.1, half 20.0, 84 % 20.5."""
    limit = np.concatenate(
        [visits(np.random.default_rng(k), "ztf", population="train", start=59000.0, end=59100.0).limit for k in range(60)]
    )
    low, middle, high = np.percentile(limit, (5, 50, 84))
    assert 18.3 < low < 19.3
    assert 19.9 < middle < 20.5
    assert 20.4 < high < 20.9


def test_half_of_some_stars_are_blends() -> None:
    """A neighbour's constant light makes the amplitude small, and the catalogued star no fainter."""
    amplitude = []
    for k in range(80):
        o = observe(15, k, slug="rr-lyrae", population="train")
        if o is not None and o.source.star is not None:
            red = o.visits.band == 1
            share = 1 + o.forced[red] / o.source.star.reference(o.visits.wavelength[red])
            amplitude.append(2.5 * np.log10(np.percentile(share, 95) / max(np.percentile(share, 5), 0.05)))
    assert 0.1 < np.mean(np.array(amplitude) < 0.3) < 0.6
    assert np.mean(np.array(amplitude) > 0.4) > 0.2


def test_a_star_stands_off_its_alert_by_the_error_of_the_position(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two pixels of error move the star in science and template, as they move it in the catalogue's distance; the change stays."""
    alert = next(
        a
        for k in range(100)
        if (a := pick(16, k, population="train", surveys={"ztf": 1.0}, classes={"eclipsing-binary": 1.0})).observed.source.star is not None
        and a.observed.source.star.mag_r < 17
    )
    surroundings = scene(alert.observed)
    at, near = {}, {}
    for name, error in (("none", np.zeros(2)), ("two", np.array([2 * PIXEL, 0.0]))):
        for module in ("images", "surroundings"):
            monkeypatch.setattr(f"data.simulate.{module}.position_error", lambda _, error=error: error)
        facts = context(alert, surroundings)
        images, _ = stamps(alert, surroundings, context=facts)
        near[name] = facts["distpsnr1"]
        core = np.nan_to_num(images[1] - np.nanmedian(images[1]))[20:43, 20:43]
        at[name] = np.array(np.unravel_index(core.argmax(), core.shape))
    np.testing.assert_array_equal(at["two"] - at["none"], [0, 2])
    assert near["none"] < 0.01 < 1.9 < near["two"] < 2.1


def test_noise_has_the_covariance_of_readout_and_resampling() -> None:
    found = []
    for k in range(40):
        alert = pick(17, k, population="train", surveys={"ztf": 1.0}, classes={"asteroid": 1.0})
        surroundings = scene(alert.observed)
        images, _ = stamps(alert, surroundings, context=context(alert, surroundings))
        if np.isnan(images).any():
            continue
        row = []
        for image in images[:2]:
            z = image - np.median(image)
            z /= 1.4826 * np.median(np.abs(z))
            z[np.abs(z) > 3] = np.nan
            row += [np.nanmean(z[:, 1:] * z[:, :-1]) / np.nanmean(z * z), np.nanmean(z[:, 2:] * z[:, :-2]) / np.nanmean(z * z)]
        found.append(row)
    science, _, template, template_second = np.median(found, axis=0)
    assert -0.12 < science < -0.01  # 145 real asteroids: -0.07
    assert 0.12 < template < 0.32  # 0.18
    assert template_second < 0.05  # -0.10


def test_a_nucleus_and_its_host_are_one_catalogued_source() -> None:
    kinds = set()
    for k in range(40):
        alert = pick(18, k, population="train", surveys={"ztf": 1.0}, classes={"agn": 1.0})
        o = alert.observed
        whole = scene(o)
        one = as_catalogued(o, whole)
        kinds.add(o.source.host is None)
        assert len(one.dx) == len(whole.dx) - (o.source.host is not None)
        if o.source.host is not None:
            assert one.mag_r[0] < whole.mag_r[:2].min()
            assert bool(one.galaxy[0]) == (host_share(o, whole) > 1 / 3)
    assert kinds == {True, False}
