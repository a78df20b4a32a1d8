"""What earlier frames say of a position: once a frame, nothing later, nothing private in what is public."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.frame_history import MOST_POINTS, Coverage, Covered, covers, history, limits_of
from schemas.records.calibrated_frame import CalibratedFrame
from schemas.records.photometry_measured import PhotometryMeasured


def measured(frame_id: str, mjd: float, **changes: Any) -> PhotometryMeasured:
    return PhotometryMeasured(**({"position": "p", "frame_id": frame_id, "detector": "d", "mjd": mjd, "filter": "r", "flux": mjd - 60000.0,
                                  "flux_err": 1.0, "limit": 5.0} | changes))  # fmt: skip


def calibrated_frame(
    frame_id: str, mjd: float, *, ra: float = 10.0, dec: float = 20.0, half: float = 0.1, **changes: Any
) -> CalibratedFrame:
    corners = (ra - half, dec - half, ra + half, dec - half, ra + half, dec + half, ra - half, dec + half)
    fields: dict[str, Any] = {
        "frame_id": frame_id, "detector": "d", "filter": "g", "field": "", "mjd": mjd, "exposure": 60.0, "public": True, "uri": "",
        "length": 1, "sha256": "", "raw_sha256": "",
        "masters": (), "footprint": corners, "pixel_scale": 1.0, "sky": None, "noise": None, "seeing": None,
        "elongation": None, "n_stars": 0, "saturated_share": None, "cosmic_ray_share": None, "bad_share": None, "zero_point": None,
        "zero_point_err": None, "limit": 7.0, "flags": (), "calibrated_ms": 0,
    }  # fmt: skip
    return CalibratedFrame(**(fields | changes))


def made(*rows: PhotometryMeasured, coverage: tuple[Covered, ...] = (), public: bool = True, mjd: float = 60010.0) -> Any:
    return history(rows, coverage=coverage, frame=("now", "d"), mjd=mjd, public=public)


def test_points_stand_in_the_order_of_time_once_a_frame() -> None:
    before = made(measured("b", 60002.0), measured("a", 60001.0), measured("b", 60002.0, flux=9.0, detected=True))
    assert [point["mjd"] for point in before.points] == [60001.0, 60002.0]
    assert before.points[1]["flux"] == 9.0  # a frame that came again was measured anew
    assert (before.n_visits, before.n_detections, before.first_detection) == (2, 1, 60002.0)


def test_what_is_later_or_the_frame_itself_is_not_history() -> None:
    before = made(measured("a", 60001.0), measured("later", 60010.0), measured("later", 60011.0), measured("now", 60009.0))
    assert [point["mjd"] for point in before.points] == [60001.0]


def test_private_measurements_and_frames_are_in_private_packets_only() -> None:
    rows = (measured("a", 60001.0, public=False, detected=True), measured("b", 60002.0))
    assert [point["mjd"] for point in made(*rows).points] == [60002.0]
    assert made(*rows).first_detection is None
    assert [point["mjd"] for point in made(*rows, public=False).points] == [60001.0, 60002.0]
    frames = [calibrated_frame("a", 60001.0, public=False), calibrated_frame("b", 60002.0)]
    of = {public: Coverage(frames, limits={}, before=60010.0, public=public).at(10.0, 20.0) for public in (True, False)}
    assert [[f.key[0] for f in of[public]] for public in (True, False)] == [["b"], ["a", "b"]]


def test_a_frame_that_covered_the_place_gives_its_limit_unless_it_was_measured() -> None:
    frames = [calibrated_frame("a", 60001.0), calibrated_frame("b", 60002.0), calibrated_frame("c", 60003.0, limit=None),
              calibrated_frame("d", 60004.0, footprint=()), calibrated_frame("e", 60011.0), calibrated_frame("f", 60005.0, ra=11.0),
              calibrated_frame("a", 60001.0, footprint=())]  # fmt: skip
    there = Coverage(frames, limits={}, before=60010.0, public=True).at(10.0, 20.0)
    before = made(measured("b", 60002.0, flux=3.0), coverage=there)
    assert before.points[0] == {"mjd": 60001.0, "filter": "g", "limit": 7.0}
    assert [point.get("flux") for point in before.points] == [None, 3.0]
    assert (before.n_visits, before.n_detections) == (2, 0)


def test_the_depth_of_a_subtraction_goes_before_the_announced_one() -> None:
    frames = [calibrated_frame("a", 60001.0), calibrated_frame("c", 60003.0, limit=None)]
    limits = limits_of(
        [measured("c", 60003.0, limit=4.0, position="elsewhere"), measured("a", 60001.0, limit=6.0), measured("x", 1.0, limit=None)]
    )
    assert limits == {("c", "d"): 4.0, ("a", "d"): 6.0}
    there = Coverage(frames, limits=limits, before=60010.0, public=True).at(10.0, 20.0)
    assert [(f.key[0], f.limit) for f in there] == [("a", 6.0), ("c", 4.0)]


def test_a_long_history_keeps_its_end_and_its_counts() -> None:
    before = made(*(measured(f"f{k}", 60000.0 + 1e-3 * k, detected=True) for k in range(MOST_POINTS + 50)))
    assert len(before.points) == MOST_POINTS
    assert before.points[-1]["mjd"] == 60000.0 + 1e-3 * (MOST_POINTS + 49)
    assert (before.n_visits, before.n_detections, before.first_detection) == (MOST_POINTS + 50, MOST_POINTS + 50, 60000.0)


@pytest.mark.parametrize(("ra", "dec"), [(10.0, 20.0), (0.0, 45.0), (359.99, -70.0), (120.0, 89.5), (33.0, 0.0)])
def test_a_footprint_holds_its_inside_and_nothing_else(ra: float, dec: float) -> None:
    half = 0.2
    wide = half / np.cos(np.radians(dec))
    corners = np.array([[(ra - wide) % 360, dec - half], [(ra + wide) % 360, dec - half], [(ra + wide) % 360, dec + half],
                        [(ra - wide) % 360, dec + half]])  # fmt: skip
    for order in (corners, corners[::-1]):  # a mirrored detector turns the other way round
        a, d = np.radians(order[:, 0]), np.radians(order[:, 1])
        vectors = np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=-1)[None]
        assert covers(vectors, ra=ra, dec=dec)[0]
        assert covers(vectors, ra=(ra + 0.8 * wide) % 360, dec=dec)[0]
        assert not covers(vectors, ra=(ra + 1.2 * wide) % 360, dec=dec)[0]
        assert not covers(vectors, ra=ra, dec=dec - 1.2 * half)[0]
        assert not covers(vectors, ra=(ra + 180) % 360, dec=-dec)[0]  # the other end of the sky
    assert covers(np.zeros((0, 4, 3)), ra=ra, dec=dec).shape == (0,)
