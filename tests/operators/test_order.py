"""Orders and order statistics give what NumPy gives."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.kernels.order import different, median, percentile, stable_order

VALUES = st.lists(st.integers(-30, 30).map(lambda x: x / 3), max_size=90)


@settings(deadline=None)
@given(VALUES)
def test_of_any_values(values: list[float]) -> None:
    x = np.array(values, float)
    np.testing.assert_array_equal(stable_order(x, len(x)), np.argsort(x, kind="stable"))
    out, n = different(x, len(x))
    np.testing.assert_array_equal(out[:n], np.unique(x))
    if len(x):
        assert median(x) == np.median(x)
    else:
        assert np.isnan(median(x))


@settings(deadline=None)
@given(VALUES.filter(lambda values: len(values) > 1), st.lists(st.floats(0, 100), max_size=7))
def test_rising_percentiles_of_one_vector(values: list[float], asked: list[float]) -> None:
    x, begin = np.array(values, float), 0
    for q in sorted(asked):
        found, begin = percentile(x, begin, q)
        np.testing.assert_allclose(found, np.percentile(values, q), atol=1e-12)


def test_different_ones_leave_nan_out() -> None:
    x = np.array([np.nan, 2.0, np.nan, 1.0, 2.0, np.nan, 1.0])
    out, n = different(x, len(x))
    assert out[:n].tolist() == [1.0, 2.0]
    assert different(x[:1], 1)[1] == 0
