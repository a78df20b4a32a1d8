"""Light curves that no star gives: each point flagged or used, figures or none, never a fault and never a warning."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from operators.detrend import DUPLICATE, MASKED, NO_TREND, Detrending, detrend
from operators.transits import Searching, figures
from operators.whole_curves import Curve, Curves

ANY = st.floats(width=64, allow_nan=True, allow_infinity=True)
LIKELY = st.one_of(st.floats(-2, 2), st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 1.0]), ANY)
TIMES = st.one_of(st.floats(1300, 1327), st.sampled_from([np.nan, np.inf, 1300.0, 1300.0 + 3 * 365]))


@pytest.mark.parametrize("quick", [False, True])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_light_curve_is_flagged_and_none_is_a_fault(quick: bool, data: st.DataObject) -> None:
    n = data.draw(st.integers(0, 120))
    time, flux, error = (data.draw(arrays(np.float64, n, elements=kind)) for kind in (TIMES, LIKELY, LIKELY))
    curves = Curves.of([Curve(time, flux, error, data.draw(arrays(np.int64, n, elements=st.sampled_from([0, 0, 0, 1, 32]))))])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        left = detrend(curves, how=Detrending.quick() if quick else None)
        (got,) = figures(curves, left, how=Searching.quick() if quick else None)
    hidden = left.flags & (MASKED | NO_TREND | DUPLICATE) != 0
    assert np.isnan(left.flux[hidden]).all()
    assert not np.isnan(left.flux[~hidden]).any()
    assert (left.flags[~(np.isfinite(time) & np.isfinite(flux))] & MASKED != 0).all()
    if got.transit is not None:
        assert got.transit.depth > 0
        assert 0 < got.transit.duration < got.transit.period
