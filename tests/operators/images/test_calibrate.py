"""Calibration: every namespace the same bits, ccdproc's planes, the light that was there."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from operators.images.calibrate import calibrate, calibrated_planes, calibrated_planes_array
from operators.images.planes import BAD, COSMIC_RAY, NO_DATA, NONLINEAR, SATURATED, Calibrated, Masters, RawFrame, Readout
from tests.operators.images.detectors import EXPOSURE, GAIN, READ_NOISE, frame, masters, moved, to_numpy

PLANES = ("science", "variance", "mask")


def _odd(dtype: Any = np.float32) -> tuple[RawFrame, Masters]:
    """A frame with everything that can be wrong with a pixel."""
    its = masters(70, 611)
    its.inverse_flat[3, 3:6] = 0.0
    its.inverse_flat[4, 4] = np.nan
    its.inverse_flat[5, 5] = -1.0
    its.dark[6, 6], its.bias[7, 7] = np.nan, np.inf
    raw = frame(np.full((70, 611), 500.0), its, dtype=dtype)
    raw.data[20:30, 40] = 60_000
    raw.data[31, 50] = 50_000
    if np.issubdtype(dtype, np.floating):
        raw.data[40, 40:44] = (np.nan, np.inf, -np.inf, 1e30)
        raw.data[41, 611:620] = np.nan
        raw.data[42, 611:] = np.nan
    return dataclasses.replace(raw, readout=dataclasses.replace(raw.readout, linear_to=40_000.0, nonlinearity=2e-6)), its


def test_every_namespace_gives_the_same_bits(to_xp):
    raw, its = _odd()
    expected = calibrated_planes_array(raw, its)
    got = calibrated_planes(*moved(raw, its, to_xp))
    for name in PLANES:
        assert type(getattr(got, name)) is type(to_xp(raw.data))
        np.testing.assert_array_equal(to_numpy(getattr(got, name)), getattr(expected, name), err_msg=name)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, ">i2", ">f4", np.float64])
@pytest.mark.parametrize("overscan", [True, False])
def test_the_loop_gives_the_array_versions_bits_for_whatever_a_file_holds(dtype, overscan):
    raw, its = _odd(np.uint16)
    readout = raw.readout if overscan else dataclasses.replace(raw.readout, overscan=None)
    raw = dataclasses.replace(raw, data=np.minimum(raw.data, 32_000).astype(dtype), readout=readout)
    got, expected = calibrated_planes(raw, its), calibrated_planes_array(raw, its)
    for name in PLANES:
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name), err_msg=name)


def test_what_is_wrong_with_a_pixel_costs_that_pixel():
    raw, its = _odd()
    got = calibrate(raw, its, cosmic_rays=False)
    m = got.mask
    assert np.isfinite(got.science).all()
    assert np.isfinite(got.variance).all()
    assert (m[18:28, 40] & SATURATED).all()
    assert (m[29, 50] & (NONLINEAR | SATURATED)) == NONLINEAR
    assert (m[3, 3:6] == BAD).all()
    assert m[4, 4] & BAD
    assert m[5, 5] & BAD
    assert m[6, 6] == NO_DATA
    assert m[7, 7] & NO_DATA
    assert (m[38, 40:43] & NO_DATA).all()
    assert (m[40] & NO_DATA).all(), "a row without a level"
    assert not (m[39] & NO_DATA).any(), "the finite values of its overscan are enough"
    rest = m.copy()
    rest[:8], rest[18:28, 40], rest[29, 50], rest[38, 40:44], rest[40], rest[35, 611 // 3] = 0, 0, 0, 0, 0, 0
    assert not rest.any()
    assert (got.science[m & NO_DATA != 0] == 0).all()
    assert (got.variance[m & NO_DATA != 0] == 0).all()


def test_saturation_is_a_property_of_the_raw_value():
    its = masters(20, 20)
    raw = frame(np.full((20, 20), 100.0), its)
    raw.data[10, 10], raw.data[11, 11] = 60_000, 59_999  # a level of 1000 and the bias bring both below
    got = calibrate(raw, its, cosmic_rays=False)
    assert got.mask[8, 10] & SATURATED
    assert not got.mask[9, 11] & SATURATED


def test_planes_are_filled_anew_where_old_ones_are_given():
    raw, its = _odd()
    out = Calibrated(np.full((70, 611), 7, np.float32), np.full((70, 611), 7, np.float32), np.full((70, 611), 255, np.uint8))
    got = calibrated_planes(raw, its, out=out)
    assert got.science is out.science
    for name in PLANES:
        np.testing.assert_array_equal(getattr(out, name), getattr(calibrated_planes(raw, its), name))


def _by_ccdproc(raw: RawFrame, its: Masters) -> tuple[Any, Any, Any]:
    """Science, variance and mask of the same frame by ccdproc, with its units and uncertainties."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ccdproc
        from astropy import units as u
        from astropy.nddata import CCDData

        y0, y1, x0, x1 = raw.readout.trim
        assert raw.readout.overscan is not None
        _, _, u0, u1 = raw.readout.overscan
        flat = np.where(its.inverse_flat > 0, 1 / np.where(its.inverse_flat > 0, its.inverse_flat, 1), 1)
        made = CCDData(raw.data.astype(np.float64), unit="adu")
        ccd = ccdproc.subtract_overscan(made, overscan=made[:, u0:u1], overscan_axis=1, median=True)
        ccd = ccdproc.trim_image(ccd[y0:y1, x0:x1])
        ccd = ccdproc.subtract_bias(ccd, CCDData(its.bias, unit="adu", mask=its.bad != 0))
        gain, noise = raw.readout.gain * u.electron / u.adu, raw.readout.read_noise * u.electron
        ccd = ccdproc.gain_correct(ccdproc.create_deviation(ccd, gain=gain, readnoise=noise, disregard_nan=True), gain)
        dark = CCDData(its.dark * raw.readout.gain, unit="electron")
        ccd = ccdproc.subtract_dark(ccd, dark, dark_exposure=1 * u.s, data_exposure=raw.exposure * u.s, scale=True)
        ccd = ccdproc.flat_correct(ccd, CCDData(flat, unit="", mask=~(its.inverse_flat > 0)), norm_value=1.0)
        assert ccd.unit == u.electron
        return np.asarray(ccd.data), np.asarray(ccd.uncertainty.array) ** 2, np.asarray(ccd.mask)


def test_ccdproc_gives_the_same_planes_and_the_same_union_of_masks():
    its = masters(64, 80)
    its.inverse_flat[9, 9] = 0.0
    raw = frame(np.full((64, 80), 400.0), its)
    science, variance, mask = _by_ccdproc(raw, its)
    got = calibrate(raw, its, cosmic_rays=False)
    np.testing.assert_array_equal(got.mask != 0, mask)
    good = ~mask
    np.testing.assert_allclose(got.science[good], science[good], rtol=3e-6, atol=2e-4)
    np.testing.assert_allclose(got.variance[good], variance[good], rtol=3e-6)


def test_ccdproc_gives_the_same_planes_of_real_pixels(shared: Path):
    path = shared / "ccd/astroscrappy/astroscrappy/tests/data/gmos.fits"
    if not path.exists():
        pytest.skip(f"no real data under {path}")
    from astropy.io import fits

    pixels = fits.getdata(path, "SCI").astype(np.float32)
    h, w = pixels.shape
    its = masters(h, w)
    data = np.concatenate([pixels, np.random.default_rng(0).normal(30, 2, (h, 20)).astype(np.float32)], axis=1)
    data[:, :w] += 30
    readout = Readout(1.933, 4.24, 60_000.0, (0, h, 0, w), (0, h, w, w + 20))
    raw = RawFrame(data, readout, "science", "S20190808S0048", "gmos", "r", 10.0, 58_703.0)
    science, variance, mask = _by_ccdproc(raw, its)
    got = calibrate(raw, its, cosmic_rays=False)
    light = ~mask & (science > 0)  # below zero its deviation is of the absolute value
    assert light.mean() > 0.9
    np.testing.assert_allclose(got.science[~mask], science[~mask], rtol=1e-6, atol=1e-3)
    np.testing.assert_allclose(got.variance[light], variance[light], rtol=2e-5)


def test_the_light_that_was_there_is_recovered_within_the_stated_error():
    light = 50.0 + np.add.outer(np.arange(300.0), np.arange(400.0)) ** 1.1
    its = masters(300, 400)
    raw = frame(light, its)
    got = calibrate(raw, its, cosmic_rays=False)
    pull = ((got.science - light) / np.sqrt(got.variance))[got.mask == 0]
    assert abs(pull.mean()) < 0.05  # a row's level is known to a fifth of the read noise
    assert pull.std() == pytest.approx(1.0, abs=0.025)


def test_non_linearity_is_taken_back():
    true = np.linspace(100, 30_000, 400).reshape(20, 20)
    c = 3e-6
    measured = (np.sqrt(1 + 4 * c * true) - 1) / (2 * c)
    its = Masters(*(np.zeros((20, 20), np.float32) for _ in range(2)), np.ones((20, 20), np.float32), np.zeros((20, 20), np.uint8))
    readout = Readout(2.0, 3.0, 60_000.0, (0, 20, 0, 20), nonlinearity=c, linear_to=25_000.0)
    got = calibrate(RawFrame(measured, readout, "science", "f", "d", "r", 1.0, 60_000.0), its, cosmic_rays=False)
    np.testing.assert_allclose(got.science, 2.0 * true, rtol=1e-5)
    np.testing.assert_array_equal(got.mask == NONLINEAR, measured.astype(np.float32) > 25_000)


def test_cosmic_rays_are_flagged_and_stay_in_the_image():
    its = masters(60, 60)
    raw = frame(np.full((60, 60), 300.0), its)
    raw.data[30, 20:24] += 900
    plain, got = calibrate(raw, its, cosmic_rays=False), calibrate(raw, its)
    np.testing.assert_array_equal(got.science, plain.science)
    assert (got.mask[28, 20:24] & COSMIC_RAY).all()
    assert (got.mask & COSMIC_RAY != 0).sum() < 10
    np.testing.assert_array_equal(got.mask & ~np.uint8(COSMIC_RAY), plain.mask)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda raw, its: (dataclasses.replace(raw, data=raw.data[:40]), its), "does not lie in a frame of 40 x"),
        (lambda raw, its: (dataclasses.replace(raw, data=raw.data[0]), its), "two axes"),
        (lambda raw, its: (raw, dataclasses.replace(its, dark=its.dark[:, :-1])), "the master's dark is 60 x 59, the image 60 x 60"),
        (
            lambda raw, its: (dataclasses.replace(raw, readout=dataclasses.replace(raw.readout, overscan=(5, 60, 60, 70))), its),
            "beside each row",
        ),
    ],
)
def test_shapes_that_do_not_fit_are_one_line(change, says):
    its = masters(60, 60)
    raw = frame(np.full((60, 60), 300.0), its)
    with pytest.raises(ValueError, match=says):
        calibrate(*change(raw, its))


def test_noise_and_gain_are_those_of_the_readout():
    its = masters(200, 200)
    raw = frame(np.zeros((200, 200)), its, dtype=np.float32)
    got = calibrate(raw, its, cosmic_rays=False)
    dark = float(its.dark.mean()) * EXPOSURE * GAIN
    assert got.variance[got.mask == 0].mean() == pytest.approx(READ_NOISE**2 + dark, rel=0.1)
