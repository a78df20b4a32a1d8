"""Light curves without images: the same by seed, causal, and never reported by bookkeeping alone."""

from __future__ import annotations

import numpy as np
import pytest

from data.simulate.classes import DRAWN, draw_kind
from data.simulate.curves import TARGETS, kinds, look, make, one, stream, target
from data.simulate.draw import generator

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="module")
def drawn() -> dict[str, np.ndarray]:
    return make(300, seed=4, processes=1)


def test_a_curve_depends_on_seed_and_number_alone(drawn: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    again = make(300, seed=4, processes=1)
    for name, column in again.items():
        np.testing.assert_array_equal(column, drawn[name], err_msg=name)
    other = make(300, seed=5, processes=1)
    assert (other["label"] != drawn["label"]).mean() > 0.5


@pytest.mark.slow
def test_processes_change_nothing() -> None:
    a, b = make(1040, seed=6, processes=2), make(1040, seed=6, processes=1)
    for name, column in a.items():
        np.testing.assert_array_equal(column, b[name], err_msg=name)


def test_columns_hold_what_they_say(drawn: dict[str, np.ndarray]) -> None:
    for i in range(300):
        valid = drawn["valid"][i]
        time = drawn["time"][i, valid]
        assert len(time) >= 3
        assert (np.diff(time) >= 0).all()
        assert time[-1] == 0
        assert drawn["first_detection"][i] <= 0
        assert np.isfinite(drawn["flux"][i, valid]).all()
        assert (drawn["flux_err"][i, valid] > 0).all()
        assert drawn["number"][i] == drawn["detected"][i].sum()
        assert ((drawn["wavelength"][i, valid] > 3000) & (drawn["wavelength"][i, valid] < 10500)).all()


def test_every_kind_with_a_light_curve_has_one() -> None:
    seen = {kind for kind, _ in stream(kinds(), 2, seed=1)}
    assert seen == set(kinds())
    assert set(DRAWN) - seen == {"asteroid", "cosmic-ray", "hot-pixel", "bad-column", "noise"}


def test_the_clean_curve_is_brightest_at_the_peak_and_nothing_for_what_lasts() -> None:
    for kind in ("Ia", "SLSN-I", "TDE", "GRB"):
        for k in range(5):
            clean = target(draw_kind(kind, generator("train", 2, k)))
            assert clean.shape == (TARGETS,)
            assert clean[2 * 10 + 3] == pytest.approx(0, abs=0.05)  # r at the peak of r
            assert np.abs(clean[:-2]).max() <= 3
            assert 0 <= clean[-2] < 5
    assert np.isnan(target(draw_kind("RRab", generator("train", 2, 1)))).all()


def test_bookkeeping_states_no_supernova_from_another() -> None:
    """How many points, bands and days there are is drawn without regard to the kind."""
    found = {
        kind: np.array([(len(s.time), len(set(s.wavelength.tolist()))) for _, s in stream([kind], 250, seed=3)]) for kind in ("Ia", "IIP")
    }
    for column in (0, 1):
        a, b = (np.sort(found[kind][:, column]) for kind in found)
        both = np.unique(np.concatenate([a, b]))
        distance = np.abs(np.searchsorted(a, both, "right") / len(a) - np.searchsorted(b, both, "right") / len(b)).max()
        assert distance < 0.3  # Kolmogorov–Smirnov: duration differs a little, so does the number of points above the limit


def test_what_does_not_shine_is_not_seen() -> None:
    source = draw_kind("Ia", generator("train", 2, 1))
    source.flux = lambda t, wavelength: np.zeros_like(t)
    assert look(source, np.random.default_rng(0)) is None


def test_populations_do_not_share_curves() -> None:
    a, b = one("Ia", 1, index=1, population="train"), one("Ia", 1, index=1, population="demo")
    assert a is not None
    assert b is not None
    assert len(a[0].time) != len(b[0].time) or not np.array_equal(a[0].time, b[0].time)
