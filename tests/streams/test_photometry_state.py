"""What the differencer knows of earlier frames, without a broker: who is near, what was measured before, what covered what, all bounded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schemas.records.calibrated_frame import CalibratedFrame
from schemas.records.photometry_measured import PhotometryMeasured
from schemas.records.photometry_position import PhotometryPosition
from streams.agents import photometry_state
from streams.agents.photometry_state import PhotometryState
from tests.schemas.test_records import CALIBRATED


def frame(k: int, *, ra: float = 10.0, dec: float = 20.0, half: float = 0.1, **change: object) -> CalibratedFrame:
    corners = (ra - half, dec - half, ra + half, dec - half, ra + half, dec + half, ra - half, dec + half)
    footprint = tuple(angle % 360 if i % 2 == 0 else angle for i, angle in enumerate(corners))
    given = {"frame_id": f"n{k}", "mjd": 60000.0 + k, "footprint": footprint, "limit": 2.0, "public": True, **change}
    return replace(CALIBRATED, **given)  # type: ignore[arg-type]


def position(name: str, ra: float, dec: float, *, public: bool = True) -> PhotometryPosition:
    return PhotometryPosition(name, ra, dec, public=public)


def measured(name: str, k: int, flux: float = 1.0, *, public: bool = True) -> PhotometryMeasured:
    return PhotometryMeasured(name, f"n{k}", "ccd0", 60000.0 + k, "r", flux, 0.25, 2.0, flux > 5, 1, (), public)


def known(*positions: PhotometryPosition) -> PhotometryState:
    state = PhotometryState()
    for one in positions:
        state.take_position(one.key, one)
    return state


@pytest.mark.parametrize(("ra", "dec"), [(10.0, 20.0), (0.02, 0.0), (200.0, 89.5)])
def test_positions_near_a_frame_across_the_meridian_and_at_the_pole(ra: float, dec: float) -> None:
    state = known(position("in", (ra + 0.05) % 360, dec), position("far", (ra + 180) % 360, -dec / 2), position("north", ra, dec - 0.4))
    assert [p.name for p in state.near(frame(1, ra=ra, dec=dec))] == ["in"]


def test_positions_in_pixels_are_those_of_the_detector_and_field() -> None:
    here = PhotometryPosition("here", None, None, "ccd0", "m31", 1.0, 2.0)
    state = known(
        here, replace(here, name="any", field=""), replace(here, name="other", detector="ccd1"), replace(here, name="away", field="m33")
    )
    without = replace(frame(1), footprint=())
    assert [p.name for p in state.near(without)] == ["here", "any"]


def test_what_is_not_public_says_so() -> None:
    state = known(position("shut", 10.0, 20.0, public=False))
    for one in (measured("shut", 1), measured("shut", 2, public=False)):
        state.take_measured(one)
    for covered in (frame(1), frame(2, public=False)):
        state.take_frame(covered)
    now = frame(5)
    assert [p.public for p in state.near(now)] == [False]
    assert [m.public for m in state.histories(now, ["shut"])["shut"]] == [True, False]
    assert [f.public for f in state.coverage(now)] == [True, False]


def test_a_history_is_what_was_before_in_order_each_exposure_once() -> None:
    state = known(position("a", 10.0, 20.0))
    for one in (measured("a", 3), measured("a", 1), measured("a", 2, 7.0), measured("a", 1, 9.0), measured("a", 4), measured("a", 5)):
        state.take_measured(one)
    found = state.histories(frame(4), ["a", "unknown"])
    assert found == {"a": [measured("a", 1, 9.0), measured("a", 2, 7.0), measured("a", 3)]}
    state.take_position(b"a", None)
    assert state.positions == {}
    assert state.histories(frame(9), ["a"]) == {}
    assert state.counts()["measured"] == 0


def test_coverage_is_of_earlier_frames_that_overlap() -> None:
    state = PhotometryState()
    for one in (
        frame(3),
        frame(1),
        frame(2, ra=40.0),
        frame(6),
        replace(frame(0), limit=None),
        frame(4, frame_id="n5"),
        frame(1, ra=10.15),
    ):
        state.take_frame(one)
    assert [f.mjd for f in state.coverage(frame(5))] == [60001.0, 60003.0]  # n1 was calibrated twice; n5 is this exposure itself


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"MOST_MEASURED": 600, "MOST_POSITIONS": 20, "MOST_FRAMES": 30}.items():
        monkeypatch.setattr(photometry_state, name, value)
    state = PhotometryState()
    for k in range(200):
        name = f"p{k % 40}"
        if k < 40:
            one = position(name, 10.0 + k / 1e4, 20.0)
            state.take_position(one.key, one)
        state.take_frame(frame(k))
        for _ in range(10):
            state.take_measured(measured(name, k))
        counts = state.counts()
        assert counts["measured"] <= 610
        assert counts["positions"] <= 20
        assert counts["frames"] <= 30
        assert counts["measured"] == sum(len(rows) // photometry_state._ROW.size for rows in state._rows.values())
    assert [p.name for p in state.near(frame(300))] == [f"p{k}" for k in range(20, 40)]
    assert state.histories(frame(300), ["p39"])["p39"][-1].frame_id == "n199"
