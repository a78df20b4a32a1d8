"""What a FITS file says becomes a raw frame: pixels, time, detector, filter, readout and sky, with astropy as the other reader."""

from __future__ import annotations

import gzip
import io
import math
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time

from data.frames.fits_image import images_of, read_frame, section
from data.frames.frame_error import FrameError
from data.frames.instrument_table import filter_of, instrument_of, kind_of
from tests.data.frames.made_frames import CARDS, MJD, OVER, H, W, cards, file_of, frame_file, pixels, tiled


def reason(file: bytes, **how: object) -> tuple[str, str]:
    with pytest.raises(FrameError) as caught:
        read_frame(file, **how)  # type: ignore[arg-type]
    return caught.value.reason, str(caught.value)


def test_a_frame_has_what_its_header_says() -> None:
    frame = read_frame(frame_file())
    assert np.array_equal(frame.data, pixels())
    assert frame.data.dtype == np.uint16
    assert (frame.kind, frame.detector, frame.filter, frame.field, frame.frame_id) == ("science", "ccd1", "r", "F_12", "n1e7")
    assert (frame.exposure, frame.binning, frame.temperature, frame.public) == (30.0, (1, 1), -20.0, True)
    r = frame.readout
    assert (r.gain, r.read_noise, r.saturation, r.trim, r.overscan) == (1.5, 6.0, 60_000.0, (0, H, 0, W), (0, H, W, W + OVER))
    assert frame.mjd == pytest.approx(Time("2026-11-01T03:04:20.5", scale="utc").tai.mjd, abs=1e-9)


@pytest.mark.parametrize(
    ("changed", "utc"),
    [
        ({"DATE__OBS": None, "MJD__OBS": MJD}, "2026-11-01T03:04:20.5"),
        ({"DATE__OBS": "2026-11-01", "UT": "03:04:05.5"}, "2026-11-01T03:04:20.5"),
        ({"DATE__OBS": "2026-11-01", "MJD__OBS": MJD}, "2026-11-01T03:04:20.5"),
        ({"MJD__AVG": MJD, "DATE__OBS": None}, "2026-11-01T03:04:05.5"),
        ({"DATE__OBS": "1998-06-30T23:59:45"}, "1998-07-01T00:00:00"),
        ({"DATE__OBS": "30/06/98", "UT": "23:59:45"}, "1998-07-01T00:00:00"),
    ],
)
def test_times_become_the_middle_of_the_exposure_in_tai(changed: dict[str, object], utc: str) -> None:
    assert read_frame(frame_file(**changed)).mjd == pytest.approx(Time(utc, scale="utc").tai.mjd, abs=2e-8)


@pytest.mark.parametrize(("scale", "seconds"), [("TAI", 0.0), ("TT", -32.184), ("GPS", 19.0)])
def test_other_scales_of_time(scale: str, seconds: float) -> None:
    frame = read_frame(frame_file(TIMESYS=scale, DATE__OBS=None, MJD__AVG=MJD))
    assert (frame.mjd - MJD) * 86_400 == pytest.approx(seconds, abs=1e-5)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"DATE__OBS": None}, "no MJD-OBS"),
        ({"DATE__OBS": "2026-11-01"}, "time of day"),
        ({"DATE__OBS": "2026-02-30T01:02:03"}, "calendar"),
        ({"DATE__OBS": "2026-11-01T25:02:03"}, "time of day"),
        ({"MJD__OBS": MJD + 1}, "differ by 86,400 s"),
        ({"DATE__OBS": None, "MJD__OBS": 2_461_345.6}, "outside"),
        ({"DATE__OBS": "1826-11-01T00:00:00"}, "outside"),
        ({"TIMESYS": "TDB"}, "TIMESYS"),
    ],
)
def test_a_frame_without_one_time_is_refused(changed: dict[str, object], said: str) -> None:
    why, text = reason(frame_file(**changed))
    assert why == "no_time"
    assert said in text


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"DETECTOR": None}, "no_detector"),
        ({"DETECTOR": "  "}, "no_detector"),
        ({"FILTER": None}, "no_filter"),
        ({"FILTER": "Halpha-6563"}, "no_filter"),
        ({"GAIN": None}, "bad_frame"),
        ({"GAIN": -1.0}, "bad_frame"),
        ({"GAIN": "many"}, "bad_frame"),
        ({"RDNOISE": None}, "bad_frame"),
        ({"EXPTIME": None}, "bad_frame"),
        ({"EXPTIME": 0.0}, "bad_frame"),
        ({"EXPTIME": -30.0}, "bad_frame"),
        ({"IMAGETYP": "focus"}, "bad_frame"),
        ({"TRIMSEC": "[1:600,1:40]"}, "bad_frame"),
        ({"TRIMSEC": "[0:60,1:40]"}, "bad_frame"),
        ({"TRIMSEC": "1:60"}, "bad_frame"),
        ({"BIASSEC": "[31:68,1:40]"}, "bad_frame"),
        ({"BIASSEC": "[61:68,5:40]"}, "bad_frame"),
        ({"CCDSUM": "0 1"}, "bad_frame"),
        ({"BZERO": "x"}, "bad_frame"),
    ],
)
def test_a_header_that_cannot_be_is_refused_by_name(changed: dict[str, object], why: str) -> None:
    file = frame_file(**{k: v for k, v in changed.items() if k != "BZERO"})
    if "BZERO" in changed:
        file = file.replace(b"BZERO   =                32768", b"BZERO   = 'x'              ".ljust(30))
    assert reason(file)[0] == why


def test_masters_frames_need_no_filter_nor_gain() -> None:
    frame = read_frame(frame_file(IMAGETYP="BIAS", FILTER=None, GAIN=None, EXPTIME=None, RDNOISE=None))
    assert (frame.kind, frame.filter, frame.exposure) == ("bias", "", 0.0)
    assert math.isnan(frame.readout.gain)
    assert read_frame(frame_file(IMAGETYP="SKYFLAT", FILTER="Bessell V")).filter == "V"
    assert read_frame(frame_file(IMAGETYP="Dark Frame", FILTER="what")).kind == "dark"


@pytest.mark.parametrize(
    ("name", "band"),
    [("R", "R"), ("r", "r"), ("SDSS r", "r"), ("sdss-g", "g"), ("g'", "g"), ("b", "B"), ("Johnson-V", "V"), ("Luminance", "clear"),
     ("zs", "z"),
     ("Y", "y"), ("L", "clear"), ("bessell_I", "I"), ("Ha", None), ("q", None), ("", None)],
)  # fmt: skip
def test_names_of_filters(name: str, band: str | None) -> None:
    from data.connectors.fits_headers import Header

    assert filter_of(instrument_of(Header()), name) == band


@pytest.mark.parametrize(
    ("name", "kind"),
    [("Light Frame", "science"), ("EXPOSE", "science"), ("zero", "bias"), ("Bias Frame", "bias"), ("DARK", "dark"), ("dome flat", "flat"),
     ("SKYFLAT", "flat"), ("Flat Field", "flat"), ("Master Flat", None), ("arc", None)],
)  # fmt: skip
def test_names_of_kinds(name: str, kind: str | None) -> None:
    assert kind_of(name) == kind


def test_the_row_of_an_instrument_comes_first() -> None:
    frame = read_frame(frame_file(ORIGIN="LCOGT", INSTRUME="fa15", DETECTOR="other", CCDATEMP=-100.0, MAXLIN=58_000.0, FILTER="w"))
    assert (frame.detector, frame.filter, frame.temperature, frame.readout.linear_to) == ("fa15", "clear", -100.0, 58_000.0)


@pytest.mark.parametrize(
    ("changed", "public"),
    [({"PROPRIET": True}, False), ({"PROPRIET": False}, True), ({"PUBLIC": "no"}, False), ({"PUBLIC": "later"}, False),
     ({"L1PUBDAT": "2027-11-01T00:00:00"}, False),
     ({"L1PUBDAT": "2026-11-01T00:00:00"}, True), ({"PRIVATE": "maybe"}, False)],
)  # fmt: skip
def test_what_is_not_surely_public_is_private(changed: dict[str, object], public: bool) -> None:
    assert read_frame(frame_file(**changed)).public is public


@pytest.mark.parametrize(("said", "degrees"), [(-20.0, -20.0), (253.15, -20.0), (-400.0, math.nan), ("warm", math.nan)])
def test_temperatures(said: object, degrees: float) -> None:
    assert read_frame(frame_file(CCD__TEMP=said)).temperature == pytest.approx(degrees, nan_ok=True)


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4", "f8", "u2"])
def test_all_kinds_of_numbers(dtype: str) -> None:
    data = (pixels() % 200).astype(dtype)
    frame = read_frame(frame_file(data))
    assert np.array_equal(frame.data, data)
    assert frame.data.dtype.kind in "iuf"
    assert frame.data.dtype.itemsize in (2, 4)


def test_scaled_and_blank_integers() -> None:
    plain = file_of(fits.PrimaryHDU(np.arange(200, dtype=np.int16).reshape(10, 20), cards(TRIMSEC=None, BIASSEC=None, FOCUS=2.5)))
    scaled = read_frame(plain.replace(b"FOCUS   =", b"BSCALE  ="))
    assert np.allclose(np.asarray(scaled.data), np.arange(200).reshape(10, 20) * 2.5)
    assert reason(plain.replace(b"FOCUS   =                  2.5", b"BSCALE  =                  0.0"))[0] == "bad_frame"
    blank = file_of(fits.PrimaryHDU(np.arange(200, dtype=np.int16).reshape(10, 20), cards(TRIMSEC=None, BIASSEC=None, BLANK=7)))
    values = np.asarray(read_frame(blank).data)
    assert np.isnan(values[0, 7])
    assert np.isnan(values).sum() == 1


@pytest.mark.parametrize("kind", ["RICE_1", "GZIP_1", "GZIP_2", "NOCOMPRESS"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4"])
def test_tiles_are_the_same_pixels(kind: str, dtype: str) -> None:
    data = (pixels().astype(np.int64) % 250 if dtype == "u1" else pixels().astype(np.int64) - (500 if dtype[0] == "i" else 0)).astype(dtype)
    frame = read_frame(tiled(data, kind, tile_shape=(16, 25)))
    assert np.array_equal(frame.data, data)
    assert frame.wcs == read_frame(frame_file()).wcs


@pytest.mark.parametrize("kind", ["RICE_1", "GZIP_1", "GZIP_2"])
@pytest.mark.parametrize("dither", [-1, 1, 2])
def test_quantised_tiles_are_astropys(kind: str, dither: int) -> None:
    data = np.random.default_rng(3).normal(100, 5, (H, W + OVER)).astype(np.float32)
    data[3, 4], data[5, :7], data[9] = np.nan, 0, 7.0
    file = tiled(data, kind, quantize_level=8, quantize_method=dither, dither_seed=77)
    with fits.open(io.BytesIO(file)) as units:
        wanted = units[1].data
    assert np.array_equal(read_frame(file).data, wanted, equal_nan=True)


def test_noise_without_pattern_needs_rices_uncoded_blocks() -> None:
    data = np.random.default_rng(4).integers(0, 65_536, (H, W + OVER)).astype(np.uint16)
    data[:8] = 700
    assert np.array_equal(read_frame(tiled(data)).data, data)
    wide = np.random.default_rng(5).integers(-(2**31), 2**31, (H, W + OVER)).astype(np.int32)
    assert np.array_equal(read_frame(tiled(wide)).data, wide.astype(np.float32))


def test_gzip_path_and_several_images(tmp_path: Path) -> None:
    other = pixels(2)
    file = file_of(
        fits.PrimaryHDU(None, cards(DETECTOR=None)),
        fits.ImageHDU(pixels(), cards(), name="A"),
        fits.ImageHDU(other, cards(DETECTOR="ccd2"), name="B"),
    )
    path = tmp_path / "night7.fits.gz"
    path.write_bytes(gzip.compress(file))
    assert np.array_equal(read_frame(path).data, pixels())
    assert read_frame(path, extension="b").detector == "ccd2"
    assert np.array_equal(read_frame(path, extension=2).data, other)
    assert images_of(path) == [(1, "A"), (2, "B")]
    assert reason(file, extension="C")[0] == "bad_frame"


def test_the_name_of_an_exposure_without_one() -> None:
    file = frame_file(FRAMEID=None)
    assert read_frame(file, origin="/nights/7/n7 e3.fits.fz").frame_id == "n7_e3"
    assert read_frame(file).frame_id.startswith("mjd61345.12")


def test_sections_are_one_based_and_inclusive() -> None:
    assert section("[11:20,1:5]", (50, 60)) == (0, 5, 10, 20)
    assert section(" [20:11 , 5:1] ", (50, 60)) == (0, 5, 10, 20)
    moved = read_frame(frame_file(TRIMSEC="[9:68,1:40]", BIASSEC="[1:8,1:40]"))
    assert (moved.readout.trim, moved.readout.overscan) == ((0, 40, 8, 68), (0, 40, 0, 8))


def test_saturation_is_at_the_converters_end_at_the_latest() -> None:
    assert read_frame(frame_file(SATURATE=None)).readout.saturation == 65_535
    assert read_frame(frame_file(SATURATE=1e9)).readout.saturation == 65_535
    assert read_frame(frame_file(pixels().astype(np.float32), SATURATE=None)).readout.saturation == math.inf


def test_cards_of_the_table_are_what_the_tests_use() -> None:
    assert CARDS["DATE-OBS"] == Time(MJD, format="mjd", scale="utc").isot[:21]
