"""Candidates and positions: which belongs to which, where listed ones lie, what new ones are named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.images.planes import Candidates
from pipeline.frame_positions import MovedSky, Placed, associated, placed, position_name, refined
from schemas.records.photometry_measured import PhotometryMeasured
from schemas.records.photometry_position import FOUND, POSITION_NAME, PhotometryPosition


class Plane:
    """A sky without curvature: ra = x / 100, dec = y / 100 [deg]."""

    scale = 36.0

    def to_sky(self, yx: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return yx[:, 1] / 100, yx[:, 0] / 100

    def to_pixels(self, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
        return np.stack([100 * dec, 100 * ra], axis=1)


STILL = np.array([[1.0, 0, 0, 0, 0, 0], [0, 1.0, 0, 0, 0, 0]])
SHIFT = np.array([[1.0, 0, 3.0, 0, 0, 0], [0, 1.0, -2.0, 0, 0, 0]])
BACK = np.array([[1.0, 0, -3.0, 0, 0, 0], [0, 1.0, 2.0, 0, 0, 0]])


def test_a_candidate_belongs_to_the_nearest_position_within_reach() -> None:
    listed = np.array([[10.0, 10.0], [10.0, 12.0], [50.0, 50.0]])
    yx = np.array([[10.2, 11.2], [10.0, 9.5], [30.0, 30.0], [50.0, 53.0]])
    of_listed, new = associated(yx, np.array([9.0, -8.0, 7.0, 6.0]), listed=listed, radius=1.5)
    assert of_listed.tolist() == [1, 0, -1]
    assert new.tolist() == [2, 3]


def test_of_several_candidates_at_one_place_the_most_significant_counts() -> None:
    yx = np.array([[10.0, 10.5], [10.0, 10.0], [40.0, 40.0], [40.0, 41.0], [40.0, 41.9]])
    snr = np.array([6.0, -20.0, 7.0, 9.0, 6.0])
    of_listed, new = associated(yx, snr, listed=np.array([[10.0, 10.0]]), radius=1.5)
    assert of_listed.tolist() == [1]
    assert new.tolist() == [3]  # those beside it are the same source, and none of them a second object
    nothing = associated(np.zeros((0, 2)), np.zeros(0), listed=np.zeros((0, 2)), radius=1.5)
    assert [len(part) for part in nothing] == [0, 0]


def test_positions_on_the_sky_and_in_pixels_find_their_place() -> None:
    positions = [
        PhotometryPosition("sky", 0.5, 0.25),
        PhotometryPosition("off", 3.0, 0.1),
        PhotometryPosition("pixels", None, None, "d", y=20.0, x=30.0),
        PhotometryPosition("other", None, None, "e", y=20.0, x=30.0),
        PhotometryPosition("edge", 0.0, 0.0),
    ]
    there = placed(positions, shape=(100, 100), sky=Plane(), detector="d", to_reference=SHIFT)
    assert [p.name for p in there.positions] == ["sky", "pixels", "edge"]
    np.testing.assert_allclose(there.yx, [[25.0, 50.0], [23.0, 28.0], [0.0, 0.0]])
    blind = placed(positions, shape=(100, 100), sky=None, detector="d", to_reference=STILL)
    assert [p.name for p in blind.positions] == ["pixels"]
    assert len(placed([], shape=(100, 100), sky=Plane(), detector="d", to_reference=STILL)) == 0


def test_a_frames_sky_serves_a_reference_without_one() -> None:
    moved = MovedSky(Plane(), to_frame=SHIFT, to_reference=BACK)
    ra, dec = moved.to_sky(np.array([[5.0, 7.0]]))
    assert (ra[0], dec[0]) == (0.05, 0.08)  # pixel (5, 7) of the reference is (8, 5) of the frame
    np.testing.assert_allclose(moved.to_pixels(ra, dec), [[5.0, 7.0]])
    assert moved.scale == 36.0


@pytest.mark.parametrize(
    ("ra", "dec", "name"),
    [
        (0.0, 0.0, "PNJ000000.00+000000.0"),
        (150.0, -30.0, "PNJ100000.00-300000.0"),
        (359.9999999, 89.99999, "PNJ235959.99+895959.9"),
        (15.0 * (1 + 2 / 60 + 3.459 / 3600), 4 + 5 / 60 + 6.78 / 3600, "PNJ010203.45+040506.7"),  # cut off, not rounded
        (10.0, -0.0003, "PNJ004000.00-000001.0"),
        (360.0, 12.5, "PNJ000000.00+123000.0"),
    ],
)
def test_a_position_is_named_by_its_place(ra: float, dec: float, name: str) -> None:
    assert position_name(ra, dec) == name


@given(st.floats(0, 360), st.floats(-90, 90))
def test_every_place_has_a_name_that_may_be_a_key(ra: float, dec: float) -> None:
    name = position_name(ra, dec)
    assert POSITION_NAME.fullmatch(name)
    degrees = int(name[3:5]) * 15 + int(name[5:7]) / 4 + float(name[7:12]) / 240
    assert 0 <= (ra - degrees + 1e-8) % 360 < 0.01 / 240 + 1e-6
    sign = -1 if name[12] == "-" else 1
    assert abs(sign * (int(name[13:15]) + int(name[15:17]) / 60 + float(name[17:]) / 3600) - dec) < 0.1 / 3600 + 1e-8


def test_a_source_is_measured_at_the_mean_of_its_detections_and_a_listed_place_stays() -> None:
    places = (
        PhotometryPosition("weak", 0.1, 0.1, origin=FOUND),
        PhotometryPosition("equal", 0.1, 0.2, origin=FOUND),
        PhotometryPosition("listed", 0.1, 0.3),
        PhotometryPosition("new", 0.1, 0.4, origin=FOUND),
        PhotometryPosition("not seen now", 0.1, 0.5, origin=FOUND),
    )
    yx = np.array([[10.0, 10.0], [20.0, 10.0], [30.0, 10.0], [40.0, 10.0], [50.0, 10.0]])
    at = yx[:4] + np.array([0.6, -0.4])
    found = Candidates(at[:, 0], at[:, 1], np.array([-50.0, 5.0, 50.0, 50.0]), np.ones(4), np.ones(4))

    def before(name: str, snr: float, mjd: float = 1.0) -> PhotometryMeasured:
        return PhotometryMeasured(name, "f", "d", mjd, "r", -snr, 1.0, detected=True)

    histories = {name: [before(name, 5.0), before(name, 80.0, mjd=2.0)] for name in ("weak", "equal", "listed", "not seen now")}
    histories["equal"].insert(0, PhotometryMeasured("equal", "f", "d", 0.5, "r", 400.0, 1.0))  # not a detection: no place comes from it
    where = refined(Placed(places, yx), found, candidate={0: 0, 1: 1, 2: 2, 3: 3}, histories=histories)
    np.testing.assert_allclose(where[0], at[0], atol=0.01)
    np.testing.assert_allclose(where[1], (yx[1] + at[1]) / 2)
    np.testing.assert_allclose(where[2:], yx[2:])
