"""Simulated stars: every kind can be drawn, and has the periods, amplitudes and shapes that catalogues give."""

from __future__ import annotations

import numpy as np
import pytest

from data.simulate.binaries import binary_profile, eclipse_light
from data.simulate.draw import Draw, generator
from data.simulate.photometry import CADENCES, CONSTANT, STARS, star_curve
from data.simulate.profiles import PHASES, at, fourier
from data.simulate.source import Source

V = 5500.0


def drawn(kind: str, index: int) -> Source:
    return STARS[kind](Draw(generator("train", 21, index), "train", scope=kind, deeper=0.0, kind=kind))


def total(source: Source, t: np.ndarray, wavelength: float = V) -> np.ndarray:
    """Whole light over that of the reference image."""
    w = np.full_like(t, wavelength)
    assert source.star is not None
    return 1 + source.flux(t, w) / source.star.reference(w)


@pytest.mark.parametrize("kind", STARS)
def test_a_kind_asked_for_is_drawn_and_never_has_negative_light(kind: str) -> None:
    t = np.linspace(-500, 200, 3000)
    for k in range(5):
        source = drawn(kind, k)
        assert source.kind == kind
        assert source.persistent
        if kind not in ("stochastic", "dipper", "burster"):
            assert total(source, t).min() > 0


def test_the_reference_image_is_the_mean_light() -> None:
    for kind in ("RRab", "Mira", "EA"):
        t = np.linspace(-760, -500, 4000)
        shares = [np.mean(total(drawn(kind, k), t)) for k in range(20)]
        assert 0.7 < np.median(shares) < 1.4, kind


# kind: range of the median peak-to-peak V amplitude [mag]
AMPLITUDES = {
    "RRab": (0.7, 1.1),  # Soszyński et al. 2014
    "RRc": (0.3, 0.5),
    "DCEP": (0.5, 0.9),  # Soszyński et al. 2015
    "dSct": (0.05, 0.4),  # Rodríguez et al. 2000
    "Mira": (2.5, 5.5),  # Mattei 1997
    "SR": (0.2, 1.5),
    "ACV": (0.02, 0.09),  # Bernhard et al. 2015
    "RCB": (1.0, 6.0),  # Clayton 2012
    "EW": (0.2, 0.8),  # Paczyński et al. 2006
    "transit": (0.002, 0.03),  # Winn 2010
}


@pytest.mark.parametrize("kind", AMPLITUDES)
def test_amplitudes_are_those_published(kind: str) -> None:
    t = np.linspace(0, 1500, 60000) if kind in ("Mira", "SR", "RCB") else np.linspace(0, 40, 20000)
    found = [np.ptp(-2.5 * np.log10(total(drawn(kind, k), t))) for k in range(40)]
    low, high = AMPLITUDES[kind]
    assert low < np.median(found) < high, np.median(found)


def test_rr_lyrae_rise_faster_than_they_fall_and_more_so_rrab() -> None:
    t = np.linspace(0, 30, 60000)
    shares = {}
    for kind in ("RRab", "RRc"):
        found = []
        for k in range(25):
            light = total(drawn(kind, k), t)
            found.append(np.mean(np.diff(light) > 0))
        shares[kind] = float(np.median(found))
    assert shares["RRab"] < shares["RRc"] < 0.5
    assert 0.1 < shares["RRab"] < 0.3


def test_two_equal_discs_in_front_of_each_other() -> None:
    """Edge-on twins lose half of their light at both conjunctions and none between them."""
    light = eclipse_light(0.1, 0.1, surface=1.0, inclination=np.pi / 2, phase=PHASES)
    assert light[0] == pytest.approx(0.5, abs=0.01)
    assert light[len(PHASES) // 2] == pytest.approx(0.5, abs=0.01)
    assert light[len(PHASES) // 4] == 1.0
    outside = np.abs(np.sin(2 * np.pi * PHASES)) > 0.21  # the discs are further apart than the sum of their radii
    assert (light[outside] == 1.0).all()
    dark = eclipse_light(1.0 / 8, 0.1 / 8, surface=0.0, inclination=np.pi / 2, phase=np.array([0.0, 0.5]))
    assert dark[0] == pytest.approx(1 - 0.01 * 1 / (1 - 0.6 / 3), abs=1e-3)  # a planet before the bright middle of the disc
    assert dark[1] == 1.0


def test_contact_binaries_lie_above_rucinskis_line() -> None:
    """Fourier coefficients of contact binaries have a4 > a2 (0.125 - a2), detached ones lie below (Rucinski 1997)."""
    above = {}
    for kind in ("EW", "EA"):
        found = []
        for k in range(60):
            light = 10 ** (
                -0.4 * binary_profile(Draw(generator("train", 5, k), "train", scope=kind), kind, period=0.4 if kind == "EW" else 2.0)
            )
            light = light / light.max()
            a2, a4 = (2 * np.mean(light * np.cos(2 * np.pi * h * PHASES)) for h in (2, 4))
            found.append(a4 > a2 * (0.125 - a2))
        above[kind] = np.mean(found)
    assert above["EW"] > 0.8
    assert above["EA"] < 0.3


def test_profiles_are_read_in_turns() -> None:
    profile = fourier([0.4, 0.2], [4.0, 2.0])
    assert np.ptp(profile) == pytest.approx(1.0)
    np.testing.assert_allclose(at(profile, np.array([0.25, 1.25, -0.75])), profile[256])


@pytest.mark.parametrize("cadence", CADENCES)
@pytest.mark.parametrize("kind", ["RRab", "Mira", CONSTANT])
def test_photometry_is_a_table_of_total_light(kind: str, cadence: str) -> None:
    first, again = (star_curve(kind, np.random.default_rng(3), cadence=cadence) for _ in range(2))  # type: ignore[arg-type]
    for name, column in first.items():
        np.testing.assert_array_equal(column, again[name])
    assert np.all(np.diff(first["time"]) >= 0)
    assert np.all(first["flux"] > 0)
    assert np.all(first["flux_err"] > 0)
    assert np.isnan(first["limit"]).all()


def test_an_all_sky_camera_has_its_points_noise_and_length() -> None:
    curves = [star_curve(CONSTANT, np.random.default_rng(k), cadence="camera") for k in range(60)]
    assert 1000 < np.median([np.ptp(c["time"]) for c in curves]) < 3500
    assert 150 < np.median([len(c["time"]) for c in curves]) < 600
    scatter = [1.4826 * np.median(np.abs(m - np.median(m))) for c in curves if (m := -2.5 * np.log10(c["flux"])).size]
    assert 0.012 < np.percentile(scatter, 5) < 0.04
    assert 0.08 < np.percentile(scatter, 95) < 0.3


def test_a_star_in_a_catalogue_of_variables_was_seen_to_vary() -> None:
    for k in range(20):
        c = star_curve("ACV", np.random.default_rng(k), cadence="camera")
        m = -2.5 * np.log10(c["flux"])
        assert 1.4826 * np.median(np.abs(m - np.median(m))) < 0.2
