"""The finer kinds of transients: each can be asked for, and is as bright, as fast and as blue as its published sample."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from data.simulate import classes
from data.simulate.draw import Draw, generator
from data.simulate.sky import modulus

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize("kind", classes.DRAWN)
def test_every_kind_can_be_asked_for(kind: str) -> None:
    """It comes out by its name, always the same of a seed, and shines while it is active."""
    slug = classes.KINDS[kind]
    t = np.linspace(0.0, 1.0, 60 if kind != "transit" else 6000)  # a planet covers its star for hours in weeks
    for k in range(8):
        source, again = (classes.draw_kind(kind, generator("train", 21, k)) for _ in range(2))
        low, high = source.active
        times = low + (high - low) * t
        light = source.flux(times, np.full_like(times, 6200.0))
        assert source.kind == kind
        assert slug is None or source.label == slug
        assert np.isfinite(light).all()
        assert np.abs(light).max() > 0
        np.testing.assert_array_equal(light, again.flux(times, np.full_like(times, 6200.0)))
        if np.isfinite(source.peak_time):
            assert source.flux(np.array([source.peak_time]), np.array([6200.0]))[0] >= 0.97 * light.max()
            assert not source.persistent
        else:
            assert source.persistent or source.single
        if slug in classes.CLASSES:
            asked = classes.draw(slug, generator("train", 21, k), kind=kind)
            np.testing.assert_array_equal(light, asked.flux(times, np.full_like(times, 6200.0)))


def test_a_class_refuses_a_kind_that_is_not_its_own() -> None:
    with pytest.raises(ValueError, match="no kind IIn"):
        classes.draw("sn-ia", generator("train", 21, 0), kind="IIn")
    with pytest.raises(KeyError):
        classes.draw_kind("sn-ia", generator("train", 21, 0))


def test_a_kind_is_a_choice_of_its_own_class_only() -> None:
    """Where the kind asked for is none of the options, the weights decide as ever."""
    d = Draw(generator("train", 21, 0), "train", scope="sn-ii", kind="IIn")
    assert {d.pick({"IIP": 0.5, "IIL": 0.5}) for _ in range(40)} == {"IIP", "IIL"}


def test_unasked_kinds_come_by_the_weights_of_the_class() -> None:
    for slug in classes.CLASSES:
        seen = Counter(classes.draw(slug, generator("train", 22, k)).kind for k in range(200))
        assert set(seen) <= set(classes.MEMBERS[slug]), slug
        assert len(seen) > len(classes.MEMBERS[slug]) / 2, slug
        for rare in {"Ia-03fg", "Ibn", "CaRT", "PISN", "ANT"} & set(seen):
            assert seen[rare] <= 16, rare  # the stream's mix stays what it was


# medians of published samples: M_g with the dust of the host, half-rise and half-decline in r [rest-frame d], g - r at the peak in r
PUBLISHED: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "Ia": ((-19.4, -18.7), (9, 12.5), (17, 27), (-0.25, 0.05)),  # Miller et al. 2020, Dhawan et al. 2022
    "Ia-91T": ((-19.8, -19.0), (10, 15), (22, 36), (-0.3, 0.05)),  # Taubenberger 2017
    "Ia-91bg": ((-18.0, -16.6), (5, 9), (7, 14), (0.2, 0.7)),  # Taubenberger 2017
    "Iax": ((-18.0, -15.5), (5, 11), (9, 20), (-0.05, 0.4)),  # Foley et al. 2013, Jha 2017
    "Ia-CSM": ((-20.5, -19.0), (10, 20), (25, 60), (-0.2, 0.3)),  # Silverman et al. 2013
    "Ia-03fg": ((-20.5, -19.0), (12, 20), (24, 45), (-0.3, 0.1)),  # Taubenberger 2017, Ashall et al. 2021
    "IIP": ((-17.5, -15.8), (4, 16), (50, 105), (0.0, 0.5)),  # Anderson et al. 2014, González-Gaitán et al. 2015
    "IIL": ((-18.0, -16.6), (4, 14), (25, 50), (0.0, 0.5)),  # Anderson et al. 2014
    "II-87A": ((-16.5, -14.5), (35, 70), (60, 120), (0.5, 1.3)),  # Pastorello et al. 2012
    "IIn": ((-19.5, -17.8), (12, 30), (25, 75), (-0.2, 0.4)),  # Nyholm et al. 2020
    "IIb": ((-17.5, -16.0), (7, 13), (14, 27), (0.2, 0.65)),  # Taddia et al. 2018
    "Ib": ((-17.6, -16.2), (6, 13), (14, 27), (0.2, 0.65)),  # Drout et al. 2011, Taddia et al. 2018
    "Ic": ((-17.8, -16.2), (5, 13), (14, 27), (0.2, 0.65)),  # Drout et al. 2011, Taddia et al. 2018
    "Ic-BL": ((-18.8, -17.3), (5, 12), (12, 25), (0.1, 0.6)),  # Taddia et al. 2019
    "Ibn": ((-20.0, -18.3), (2, 8), (5, 14), (-0.3, 0.3)),  # Hosseinzadeh et al. 2017
    "CaRT": ((-16.6, -14.8), (4, 10), (7, 16), (0.2, 0.8)),  # De et al. 2020
    "SLSN-I": ((-21.8, -20.5), (17, 39), (25, 55), (-0.35, 0.1)),  # De Cia et al. 2018, Chen et al. 2023
    "SLSN-II": ((-21.5, -20.0), (15, 40), (35, 100), (-0.2, 0.4)),  # Kangas et al. 2022
    "PISN": ((-21.5, -18.5), (50, 110), (70, 170), (0.3, 1.1)),  # models of Kasen et al. 2011
    "TDE": ((-20.0, -18.5), (11, 25), (20, 55), (-0.4, -0.05)),  # van Velzen et al. 2021, Hammerstein et al. 2023
    "TDE-slow": ((-20.0, -18.5), (25, 60), (40, 110), (-0.4, -0.05)),  # the slow tail of the same samples
    "TDE-fast": ((-18.5, -16.5), (5, 13), (7, 22), (-0.4, -0.05)),  # Nicholl et al. 2020, Charalampopoulos et al. 2023
    "ANT": ((-22.5, -20.0), (35, 90), (70, 300), (-0.35, 0.15)),  # Wiseman et al. 2025
    "KN": ((-16.4, -15.0), (0.2, 1.0), (0.4, 1.6), (0.0, 0.8)),  # Villar et al. 2017
    "KN-red": ((-15.0, -13.0), (0.2, 1.5), (0.4, 2.5), (0.5, 1.5)),  # Kasen et al. 2017
    "FBOT": ((-20.5, -17.5), (1, 4), (2, 8), (-0.4, 0.0)),  # Drout et al. 2014, Ho et al. 2023
    "ILRT": ((-14.0, -11.5), (5, 18), (30, 90), (0.3, 1.1)),  # Cai et al. 2021
    "LRN": ((-14.0, -10.0), (1, 50), (6, 90), (0.3, 1.2)),  # Pastorello et al. 2019
}


@pytest.mark.parametrize("kind", PUBLISHED)
def test_kinds_are_those_published(kind: str) -> None:
    found = []
    for k in range(70):
        source = classes.draw_kind(kind, generator("train", 9, k))
        stretch = 1 + source.redshift
        t = np.concatenate(
            [np.linspace(0, 1, 200, endpoint=False) * source.peak_time, source.peak_time + np.geomspace(1e-3, 900 * stretch, 300)]
        )
        g, r = (source.flux(t, np.full_like(t, wavelength * stretch)) for wavelength in (4746.5, 6366.4))
        peak = int(r.argmax())
        under = np.flatnonzero(r[peak:] < r[peak] / 2)
        found.append(
            [
                23.9 - 2.5 * np.log10(g.max()) - modulus(source.redshift),
                (t[peak] - t[np.argmax(r > r[peak] / 2)]) / stretch,
                (t[peak + under[0]] - t[peak]) / stretch if len(under) else np.nan,
                -2.5 * np.log10(g[peak] / r[peak]),
            ]
        )
    medians, spreads = np.nanmedian(found, axis=0), np.nanstd(found, axis=0)
    for name, value, (low, high) in zip(("M_g", "half-rise", "half-decline", "g - r"), medians, PUBLISHED[kind], strict=True):
        assert low <= value <= high, f"{kind}: {name} {value:.2f} outside {low} … {high}"
    assert spreads[0] > 0.2
    assert spreads[1] > 0.08 * medians[1]
    assert spreads[3] > 0.03
