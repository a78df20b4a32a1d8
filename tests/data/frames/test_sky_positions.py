"""Positions on the sky are astropy's for the trimmed image, with distortion and at the poles too."""

from __future__ import annotations

import io

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from data.frames.fits_image import read_frame
from data.frames.frame_error import FrameError
from data.frames.sky_positions import checked_sky_map, sky_map
from tests.data.frames.made_frames import CARDS, H, W, cards, frame_file

SIP = {
    "CTYPE1": "RA---TAN-SIP",
    "CTYPE2": "DEC--TAN-SIP",
    "A_ORDER": 2,
    "B_ORDER": 2,
    "A_2_0": 2e-5,
    "A_1_1": -1e-5,
    "B_0_2": 3e-5,
    "B_1_1": 1e-5,
}
YX = np.array([[0.0, 0.0], [5.25, 40.5], [H - 1, W - 1]])


@pytest.mark.parametrize(
    "changed",
    [
        {},
        SIP,
        {"CRVAL1": 0.0005},
        {"CRVAL2": 89.9995},
        {"CRVAL2": -90.0},
        {"CTYPE1": "RA---ZPN", "CTYPE2": "DEC--ZPN", "PV2_1": 1.0, "PV2_3": 0.2},
        {"CD1_1": None, "CD1_2": None, "CD2_1": None, "CD2_2": None, "CDELT1": -1e-4, "CDELT2": 1e-4, "CROTA2": 30.0},
    ],
)
@pytest.mark.parametrize("x0", [0, 8])
def test_a_pixel_is_where_astropy_has_it(changed: dict[str, object], x0: int) -> None:
    file = frame_file(**changed, TRIMSEC=f"[{1 + x0}:{60 + x0},1:{H}]", BIASSEC=None)
    frame = read_frame(file)
    assert frame.wcs_problem == ""
    found = checked_sky_map(frame.wcs, (H, W))
    with fits.open(io.BytesIO(file)) as units:
        wanted = WCS(units[0].header, fix=False).all_pix2world(YX[:, 1] + x0, YX[:, 0], 0)
    ra, dec = found.to_sky(YX)
    assert np.allclose((ra - wanted[0] + 180) % 360 - 180, 0, atol=1e-9)
    assert np.allclose(dec, wanted[1], atol=1e-10)
    assert np.allclose(found.to_pixels(ra, dec), YX, atol=1e-3)
    assert found.scale == pytest.approx(0.36, rel=1e-3)
    assert np.all(found.holds(ra, dec))


def test_directions_elsewhere_are_not_on_the_image() -> None:
    found = sky_map(read_frame(frame_file(**SIP)).wcs, (H, W))
    assert found is not None
    assert not found.holds(np.array([150.01, 330.0, 10.0]), np.array([2.5, -2.5, 80.0])).any()
    assert np.isnan(found.to_pixels(330.0, -2.5)).all(), "behind the projection"
    assert found.to_pixels(np.array([]), np.array([])).shape == (0, 2)
    assert len(found.corners()[0]) == 4


def test_a_distortion_without_its_name_is_left_away_and_its_name_without_one_too() -> None:
    plain = read_frame(frame_file()).wcs
    assert read_frame(frame_file(**{**SIP, "CTYPE1": CARDS["CTYPE1"], "CTYPE2": CARDS["CTYPE2"]})).wcs == plain
    assert read_frame(frame_file(CTYPE1="RA---TAN-SIP", CTYPE2="DEC--TAN-SIP")).wcs == plain
    assert sky_map("", (H, W)) is None
    with pytest.raises(FrameError, match="CTYPE1"):
        checked_sky_map(None, (H, W))
    assert "CRPIX1" in cards()
