"""Against other codes and against the formulas written out: sep, photutils, astropy, NumPy."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import sep
from astropy.convolution import convolve_fft
from photutils.aperture import CircularAperture, aperture_photometry
from photutils.centroids import centroid_2dg

from operators.images.background import background
from operators.images.detect import forced
from operators.images.planes import Reference
from operators.images.psf import aperture_share, fwhm_of, psf_grid, psf_of
from operators.images.register import affine_between, apply, map_between, match, offset_between, resample
from operators.images.source_noise import convolve_array
from operators.images.stars import APERTURE, empty, stars
from operators.images.subtract import prepare, subtract
from operators.images.zero_point import flux_scale, zero_point
from operators.kernels.difference import convolve_separable
from tests.operators.images.scenes import Optics, expose, field_of

SIZE = 256


def gaussian(size: int, sigma: float) -> np.ndarray:
    d = np.arange(size) - size // 2
    p = np.exp(-(d[:, None] ** 2 + d**2) / (2 * sigma**2))
    return (p / p.sum()).astype(np.float32)


def moffat(fwhm: float) -> np.ndarray:
    p = np.zeros((31, 31), np.float32)
    Optics(fwhm).draw(p, 15, 15, 1e5)
    return p / p.sum()


def bare(image: np.ndarray, psf: np.ndarray, noise: float) -> Reference:
    return Reference(image=image, mask=np.zeros(image.shape, np.uint8), psf=psf, noise=noise, zero_point=25.0, stars=empty(), wcs=None,
                     field="f", filter="r", detector="d")  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2])
def test_the_sky_is_that_of_sep(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image, mask = expose(field_of(seed, size=SIZE, n=40), Optics(), size=SIZE, sky=400, rng=rng)
    slope = np.linspace(0, 60, SIZE, dtype=np.float32)[:, None]
    image = image + np.float32(300) + slope
    level, noise, _ = background(image, mask)
    theirs = sep.Background(image, bw=64, bh=64)
    assert noise == pytest.approx(theirs.globalrms, rel=0.04)
    assert noise == pytest.approx(np.sqrt(425), rel=0.04)  # wings of faint stars are noise, too
    off = np.asarray(level) - theirs.back()
    assert np.abs(off).max() < 0.3 * noise
    assert abs(off.mean()) < 0.05 * noise
    truth = np.asarray(level) - 300 - slope
    assert abs(np.median(truth)) < 0.12 * noise


def test_masked_pixels_take_no_part_in_the_sky() -> None:
    rng = np.random.default_rng(3)
    image = (100 + rng.normal(0, 5, (130, 190))).astype(np.float32)
    mask = np.zeros(image.shape, np.uint8)
    image[:70, :70], mask[:70, :70] = 9000, 1
    image[0, 100] = np.nan
    level, noise, _ = background(image, mask)
    assert noise == pytest.approx(5, rel=0.05)
    assert np.abs(np.asarray(level) - 100).max() < 2
    nothing = background(image, np.ones_like(mask))
    assert np.isnan(nothing[1])


def test_sources_are_those_that_were_drawn() -> None:
    rng = np.random.default_rng(4)
    what = field_of(4, size=SIZE, n=40)
    image, mask = expose(what, Optics(3.2), size=SIZE, sky=300, rng=rng)
    found = stars(image, np.sqrt(325), mask=mask)
    assert np.all(np.diff(found.flux) <= 0)
    bright = what.stars[(what.stars[:, 2] > 8000) & (np.abs(what.stars[:, :2] - SIZE / 2) < SIZE / 2 - 20).all(1)]
    i, j = match(np.stack([found.y, found.x], 1), bright[:, :2], radius=1.0)
    assert len(j) >= 0.8 * len(bright)
    clean = found.flags[i] == 0
    assert np.abs(found.y[i][clean] - bright[j[clean], 0]).max() < 0.1
    aperture = aperture_photometry(image.astype(float), CircularAperture(np.stack([found.x, found.y], 1), APERTURE))["aperture_sum"]
    np.testing.assert_allclose(found.flux, np.asarray(aperture), rtol=2e-3, atol=30)
    first = int(i[clean][np.argmax(found.flux[i[clean]])])
    y, x = int(found.y[first]), int(found.x[first])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cx, cy = centroid_2dg(image[y - 7 : y + 8, x - 7 : x + 8].astype(float))
    assert found.y[first] == pytest.approx(cy + y - 7, abs=0.03)
    assert found.x[first] == pytest.approx(cx + x - 7, abs=0.03)


def test_no_stars_and_no_noise_are_an_empty_table() -> None:
    flat = np.zeros((64, 64), np.float32)
    for noise in (1.0, 0.0, np.nan):
        assert len(stars(flat, noise, mask=np.zeros(flat.shape, np.uint8)).y) == 0
    assert len(stars(flat, 1.0, mask=np.ones(flat.shape, np.uint8)).y) == 0


def test_the_psf_is_the_one_that_was_drawn() -> None:
    rng = np.random.default_rng(6)
    optics = Optics(3.6, widening=0.0)
    image, mask = expose(field_of(6, size=SIZE, n=120), optics, size=SIZE, sky=100, rng=rng)
    want = np.zeros((31, 31), np.float32)
    optics.draw(want, 15, 15, 1e6)
    want /= want.sum()
    got = np.asarray(psf_of(image, stars(image, np.sqrt(125), mask=mask)))
    assert got.sum() == pytest.approx(1, abs=1e-5)
    assert np.abs(got - want).max() < 0.04 * want.max()
    assert fwhm_of(got) == pytest.approx(fwhm_of(want), rel=0.04)
    assert aperture_share(got) == pytest.approx(aperture_share(want), abs=0.02)


def test_the_psf_follows_the_frame() -> None:
    rng = np.random.default_rng(7)
    image, mask = expose(field_of(7, size=512, n=900), Optics(3.2, widening=0.5), size=512, sky=60, rng=rng)
    grid = np.asarray(psf_grid(image, stars(image, np.sqrt(85), mask=mask), tiles=(3, 3)))
    widths = np.array([[fwhm_of(p) for p in row] for row in grid])
    corners = widths[[0, 0, 2, 2], [0, 2, 0, 2]]
    assert corners.min() > 1.08 * widths[1, 1]


def test_registration_finds_the_map() -> None:
    rng = np.random.default_rng(8)
    a = rng.random((60, 2)) * 1000
    truth = np.array([[1.0, 2e-3, 14.2], [-2e-3, 1.0, -11.7]])
    b = apply(truth, a) + rng.normal(0, 0.02, a.shape)
    b[5] += 1.5  # a star with a proper motion
    shift = offset_between(a, b, within=30)
    i, j = match(a + shift, b, radius=4.0)
    assert len(i) > 50
    np.testing.assert_array_equal(i, j)
    fitted = affine_between(a[i], b[j])
    assert np.abs(apply(fitted, a) - apply(truth, a)).max() < 0.03
    bent = np.concatenate([truth, [[1e-6, 0, 2e-6], [0, -2e-6, 1e-6]]], axis=1)
    assert np.abs(apply(map_between(a, apply(bent, a)), a) - apply(bent, a)).max() < 1e-3
    np.testing.assert_allclose(affine_between(a[:1], a[:1] + 3), [[1, 0, 3], [0, 1, 3]])
    with pytest.raises(ValueError, match="no stars"):
        affine_between(a[:0], a[:0])
    assert len(match(a, a[:0], radius=3.0)[0]) == 0


def test_resampling_keeps_flux_and_place() -> None:
    d = np.arange(64)
    image = np.exp(-((d[:, None] - 30.3) ** 2 + (d - 33.8) ** 2) / (2 * 1.6**2)).astype(np.float32)
    got = resample(image, [[1, 0, 0.37], [0, 1, -2.21]], shape=(64, 64))
    want = np.exp(-((d[:, None] - 30.3 + 0.37) ** 2 + (d - 33.8 - 2.21) ** 2) / (2 * 1.6**2))
    inner = np.isfinite(got)
    np.testing.assert_allclose(got[inner], want[inner], atol=6e-3)


@pytest.mark.parametrize("scale", [1.0, 0.7])
def test_subtraction_is_the_formula_written_out(scale: float) -> None:
    """Equations 13 to 17 in double precision over the whole frame at once, no tiles."""
    rng = np.random.default_rng(9)
    pr, pn, sr, sn = moffat(2.6), moffat(3.4), 3.0, 9.0  # whose transforms vanish nowhere: noise divided by noise is compared with none
    sky = np.zeros((SIZE, SIZE), np.float32)
    sky[rng.integers(30, SIZE - 30, 20), rng.integers(30, SIZE - 30, 20)] = 500
    reference = (convolve_fft(sky, pr, boundary="wrap") + rng.normal(0, sr, sky.shape)).astype(np.float32)
    new = (convolve_fft(scale * sky, pn, boundary="wrap") + rng.normal(0, sn, sky.shape)).astype(np.float32)

    def hat(p: np.ndarray) -> np.ndarray:
        full = np.zeros(sky.shape)
        full[: p.shape[0], : p.shape[1]] = p
        return np.fft.fft2(np.roll(full, (-15, -15), (0, 1)))

    r, n, fr, fn = np.fft.fft2(reference), np.fft.fft2(new), hat(pr), hat(pn)
    den = sn**2 * abs(fr) ** 2 + sr**2 * scale**2 * abs(fn) ** 2
    d = (fr * n - scale * fn * r) / np.sqrt(den)
    fd = scale / np.sqrt(sn**2 + sr**2 * scale**2)
    s = np.fft.ifft2(d * np.conj(scale * fr * fn / np.sqrt(den))).real
    response = (scale**2 * abs(fr * fn) ** 2 / den).sum() / sky.size
    prepared = prepare(bare(reference, pr, sr), tile=128)
    got = subtract(new, np.zeros(new.shape, np.uint8), psf=pn, noise=sn, scale=scale, prepared=prepared, shift=0.0)
    inner = (slice(40, -40),) * 2
    np.testing.assert_allclose(got.difference[inner], (np.fft.ifft2(d).real / fd * scale)[inner], atol=0.02)
    np.testing.assert_allclose((got.significance * got.noise)[inner], (s / response * scale)[inner], atol=0.25)
    empty_sky = np.sqrt(scale**2 / response)
    assert np.median(got.noise) == pytest.approx(empty_sky, rel=0.08)
    assert got.psf.sum() == pytest.approx(1, abs=1e-5)


def test_filters_are_those_of_astropy() -> None:
    rng = np.random.default_rng(10)
    image = rng.normal(0, 1, (60, 70)).astype(np.float32)
    taps_y, taps_x = rng.random(7).astype(np.float32), rng.random(7).astype(np.float32)
    want = convolve_fft(image, np.outer(taps_y, taps_x)[::-1, ::-1], boundary="fill", normalize_kernel=False, nan_treatment="fill")
    got = np.empty_like(image)
    convolve_separable(image, taps_y, taps_x, got)
    np.testing.assert_allclose(got, want, atol=1e-4)
    np.testing.assert_allclose(convolve_array(image, taps_y, taps_x=taps_x), want, atol=1e-4)


def test_a_zero_point_holds_for_the_whole_light() -> None:
    rng = np.random.default_rng(11)
    what = field_of(11, size=512, n=500)
    image, mask = expose(what, Optics(3.6), size=512, sky=100, rng=rng)
    found = stars(image, np.sqrt(125), mask=mask)
    mag = 27.3 - 2.5 * np.log10(what.stars[:, 2])
    mag[::9] = np.nan
    mag[1::9] += 0.7  # variable
    zp, err, n = zero_point(found, what.stars[:, :2], catalogue_mag=mag, psf=psf_of(image, found))
    assert n > 8
    assert zp == pytest.approx(27.3, abs=0.04)
    assert 0 < err < 0.02
    none = zero_point(found, np.empty((0, 2)), catalogue_mag=np.empty(0))
    assert np.isnan(none[0])
    assert none[2] == 0


def test_the_flux_scale_does_not_depend_on_seeing() -> None:
    what = field_of(12, size=SIZE, n=120)
    one, two = (
        expose(what, Optics(f), size=SIZE, sky=100, gain=g, rng=np.random.default_rng(k))[0] for f, g, k in ((2.6, 1, 1), (4.6, 0.8, 2))
    )
    none = np.zeros(one.shape, np.uint8)
    a, b = (stars(image, np.sqrt(125), mask=none) for image in (one, two))
    j, i = match(np.stack([a.y, a.x], 1), np.stack([b.y, b.x], 1), radius=2.0)
    scale, err = flux_scale(b, a, pairs=(i, j), psf=psf_of(two, b), reference_psf=psf_of(one, a))
    assert scale == pytest.approx(0.8, rel=0.03)
    assert err < 0.02


def test_forced_fluxes_are_nan_where_too_little_was_measured() -> None:
    image = np.random.default_rng(13).normal(0, 5, (96, 96)).astype(np.float32)
    psf = moffat(3.6)
    image[25:56, 25:56] += 3000 * psf
    mask = np.zeros(image.shape, np.uint8)
    mask[40, 41] = 1
    image[40, 41] = 9999
    mask[68:73, 68:73] = 1
    prepared = prepare(bare(np.zeros_like(image), moffat(3.0), 1.0))
    got = subtract(image, mask, psf=psf, noise=5.0, scale=1.0, prepared=prepared)
    flux, err = forced(got, [[20, 70], [40, 40], [70.2, 69.9], [-3, 5], [95, 300], [np.nan, 2]])
    assert np.isfinite(flux).tolist() == [True, True, False, False, False, False]
    assert err[0] == pytest.approx(np.median(got.noise), rel=0.05)
    assert abs(flux[1] - 3000) < 4 * err[1]  # what the bad pixel held is made up for
    assert err[1] > 1.05 * float(got.noise[40, 40])
