"""Sorting, duplicates, the latest points, times and latitudes, cut-outs in odd forms."""

from __future__ import annotations

import gzip
import io

import numpy as np
import pytest

from operators.types import MAX_POINTS
from schemas.avro.container import make_cutout, make_fits
from schemas.surveys.columns import Columns
from schemas.surveys.cutouts import Cutouts
from schemas.surveys.history import DETECTION, FORCED, LIMIT, OWN, ROWS, put, settle
from schemas.surveys.times import ecliptic_latitude, galactic_latitude, utc_to_tai


def settled(points: list[tuple[float, float, float, float, float, float]], first: float = np.nan, here: float = np.inf) -> Columns:
    columns, room, m = Columns(1), np.empty((ROWS, len(points))), 0
    for point in points:
        m = put(room, m, *point)
    columns.n_detected[0] = settle(room, m, 0, first, here, *columns.light_curve)
    return columns


def measured(time: float, band: float, flux: float, rank: float) -> tuple[float, float, float, float, float, float]:
    return (time, band, flux, 1.0, np.nan, rank)


def limit(time: float, band: float, value: float) -> tuple[float, float, float, float, float, float]:
    return (time, band, np.nan, np.nan, value, LIMIT)


def test_of_one_exposure_the_best_stays() -> None:
    c = settled(
        [limit(10.0, 1, 9.0), measured(10.00005, 1, 3.0, FORCED), measured(10.00002, 1, 4.0, DETECTION), measured(10.00001, 2, 5.0, FORCED)]
    )
    assert c.valid[0].sum() == 2
    assert c.flux[0, :2].tolist() == [5.0, 4.0]
    assert c.time[0, :2].tolist() == [10.00001, 10.00002]
    assert c.detected[0, :2].tolist() == [True, True]


def test_the_alerts_own_point_wins_over_another_detection() -> None:
    c = settled([measured(5.0, 1, 1.0, DETECTION), measured(5.00001, 1, 2.0, OWN)])
    assert c.flux[0, 0] == 2.0
    assert c.valid[0].sum() == 1


def test_what_came_after_the_alert_is_left_out() -> None:
    c = settled([measured(6.0, 1, 9.0, DETECTION), measured(5.0, 1, 2.0, OWN), measured(4.0, 1, 1.0, FORCED), limit(5.5, 2, 3.0)], here=5.0)
    assert c.time[0, : c.valid[0].sum()].tolist() == [4.0, 5.0]
    assert c.first_detection[0] == 5.0


def test_neighbouring_exposures_are_two() -> None:
    assert settled([measured(5.0, 1, 1.0, FORCED), measured(5.0002, 1, 2.0, FORCED)]).valid[0].sum() == 2


def test_the_latest_points_stay() -> None:
    c = settled([measured(float(t), 1, float(t), DETECTION) for t in range(3 * MAX_POINTS)][::-1])
    assert c.valid[0].all()
    assert c.time[0, 0] == 2 * MAX_POINTS
    assert c.time[0, -1] == 3 * MAX_POINTS - 1
    assert c.first_detection[0] == 0.0
    assert c.truncated[0]


def test_the_first_detection_is_the_earlier_one() -> None:
    points = [limit(90.0, 1, 1.0), measured(95.0, 1, 1.0, FORCED), measured(100.0, 1, 9.0, DETECTION)]
    for known, first, truncated in ((np.nan, 100.0, False), (80.0, 80.0, True), (105.0, 100.0, False), (89.5, 89.5, False)):
        c = settled(points, known)
        assert c.first_detection[0] == first
        assert c.truncated[0] == truncated


def test_nothing_measured() -> None:
    c = settled([])
    assert not c.valid[0].any()
    assert np.isnan(c.time[0]).all()
    assert not c.truncated[0]


def test_leap_seconds_are_astropys() -> None:
    time = pytest.importorskip("astropy.time")
    for mjd in (41317.0, 41499.0, 50000.3, 51177.9, 51179.1, 57752.9, 57754.1, 60000.25):
        assert utc_to_tai(mjd) == pytest.approx(time.Time(mjd, format="mjd", scale="utc").tai.mjd, abs=1e-8)


def test_latitudes_are_astropys() -> None:
    coordinates = pytest.importorskip("astropy.coordinates")
    rng = np.random.default_rng(1)
    for ra, dec in zip(rng.uniform(0, 360, 50), np.degrees(np.arcsin(rng.uniform(-1, 1, 50))), strict=True):
        place = coordinates.SkyCoord(ra, dec, unit="deg")
        assert galactic_latitude(ra, dec) == pytest.approx(place.galactic.b.deg, abs=1e-4)
        assert ecliptic_latitude(ra, dec) == pytest.approx(place.barycentricmeanecliptic.lat.deg, abs=1e-4)
    assert np.isfinite([galactic_latitude(192.85948, 27.12825), ecliptic_latitude(270.0, 66.5607)]).all()


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float64"])
def test_other_pixel_types_and_scaling(dtype: str) -> None:
    fits = pytest.importorskip("astropy.io.fits")
    image = (np.arange(30 * 30) % 100).reshape(30, 30).astype(dtype)
    hdu = fits.PrimaryHDU(image)
    if dtype == "int16":
        hdu.scale("int16", bzero=5, bscale=2)
    out = io.BytesIO()
    hdu.writeto(out)
    with fits.open(io.BytesIO(out.getvalue())) as opened:
        expected = np.asarray(opened[0].data, np.float32)
    stamp = np.zeros((63, 63), np.float32)
    assert Cutouts().read(out.getvalue(), stamp) is not None
    np.testing.assert_array_equal(stamp[16:46, 16:46], expected)


def test_a_larger_image_is_cropped_about_its_centre() -> None:
    image = np.zeros((101, 81), np.float32)
    image[50, 40] = 1
    stamp = np.zeros((63, 63), np.float32)
    scale = Cutouts().read(make_cutout(image, 0.25), stamp)
    assert scale == 0.25
    assert stamp[31, 31] == 1
    assert stamp.sum() == 1


def test_gzip_in_several_members_and_a_long_header() -> None:
    plain = make_fits(np.ones((63, 63)))
    stamp = np.zeros((63, 63), np.float32)
    long = plain[:400] + b"COMMENT x".ljust(80) * 60 + plain[400:480] + b" " * (2880 * 2 - 80 * 66) + plain[2880:]
    assert Cutouts().read(long, stamp) is not None
    assert (stamp == 1).all()
    two = gzip.compress(plain[:3000]) + gzip.compress(plain[3000:])
    assert Cutouts().read(two, stamp) is None  # no survey writes it: the stamp counts as missing


@pytest.mark.parametrize(
    ("card", "value"),
    [("NAXIS", "3"), ("NAXIS1", "99999"), ("BITPIX", "12"), ("NAXIS2", "0"), ("NAXIS1", "ab"), ("NAXIS2", "163"), ("END", "")],
)
def test_headers_that_are_refused(card: str, value: str) -> None:
    stamp = np.full((63, 63), 5.0, np.float32)
    data = make_fits(np.ones((63, 63)))
    at = data.index(f"{card:<8}".encode())
    data = data[:at] + (f"{card:<8}= {value:>20}" if value else "").ljust(80).encode() + data[at + 80 :]
    assert Cutouts().read(data, stamp) is None
    assert (stamp == 5).all()
