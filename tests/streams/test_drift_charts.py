"""The charts that the API shows are the sums that raise alarms."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest

from operators.alert_statistics import STATISTICS
from operators.drift_panel import SUPPORTING, Panel
from streams.drift_charts import charts_of
from tests.operators.test_drift_panel import STRATA, nights, reference, run


def test_a_statistic_that_moves_shows_where_and_by_how_much_before_it_alarms() -> None:
    panel = Panel(reference())
    assert run(panel, nights(3, 1, shift={"zp": 2.0})) == []
    charts = {one.statistic: one for one in charts_of(cast(Any, SimpleNamespace(model="ab", panel=panel)))}
    assert tuple(charts) == STATISTICS
    zp = charts["zp"]
    held = panel.state()["charts"]["zp"]["sides"]
    assert (zp.up, zp.down, zp.threshold) == (held[0][0], held[1][0], panel.thresholds["zp"])
    assert 0 < zp.up < zp.threshold
    assert zp.since_ms == 1000
    assert {one.stratum for one in zp.strata} == set(STRATA)
    for one in zp.strata:
        assert one.mean is not None
        assert one.usual is not None
        assert one.excess > 0
        assert one.mean > one.usual
    assert sum(one.excess for one in zp.strata) == pytest.approx(held[0][3])
    assert all(math.isinf(charts[name].threshold) for name in SUPPORTING)
    quiet = charts_of(cast(Any, SimpleNamespace(model="ab", panel=Panel(reference()))))
    assert all((one.up, one.down, one.since_ms, one.strata) == (0.0, 0.0, 0, ()) for one in quiet)
