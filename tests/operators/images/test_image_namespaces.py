"""What of the images' operators is not compared elsewhere, in every namespace: the whole calibration, PSF and flux scale."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from operators.images.calibrate import calibrate
from operators.images.frame_quality import share_of
from operators.images.planes import BAD, TRAIL, Calibrated
from operators.images.psf import aperture_share, fwhm_of, psf_of
from operators.images.stars import stars
from operators.images.zero_point import flux_scale
from tests.namespaces import Namespace, to_numpy
from tests.operators.images.detectors import frame, masters, sky_with_stars
from tests.operators.images.scenes import Optics, expose, field_of


@pytest.mark.parametrize("cosmic_rays", [True, False])
def test_a_frame_is_calibrated_the_same(xp: Namespace, cosmic_rays: bool) -> None:
    its = masters(120, 130)
    raw = frame(sky_with_stars(130, seed=4)[:120], its, seed=6)
    want = calibrate(raw, its, cosmic_rays=cosmic_rays)
    got = calibrate(dataclasses.replace(raw, data=xp.asarray(raw.data)), xp.tree(its), cosmic_rays=cosmic_rays)
    for plane in dataclasses.fields(Calibrated):
        assert type(getattr(got, plane.name)) is type(xp.asarray(raw.data))
        np.testing.assert_array_equal(to_numpy(getattr(got, plane.name)), getattr(want, plane.name), err_msg=plane.name)


def test_the_share_of_flagged_pixels_is_the_same(xp: Namespace) -> None:
    mask = np.random.default_rng(1).integers(0, 64, (40, 50)).astype(np.uint8)
    for bits in (TRAIL, BAD, TRAIL | BAD):
        assert share_of(xp.asarray(mask), bits) == pytest.approx(((mask & bits) != 0).mean(), rel=1e-12)


def test_psf_and_flux_scale_are_the_same(xp: Namespace) -> None:
    rng = np.random.default_rng(2)
    image, mask = expose(field_of(3, size=224, n=60), Optics(3.2), size=224, sky=0, depth=5, rng=rng)
    image = np.nan_to_num(image).astype(np.float32)
    found = stars(image, 15.0, mask=mask)
    want, got = psf_of(image, found), psf_of(xp.asarray(image), found)
    assert type(got) is type(xp.asarray(image))
    np.testing.assert_allclose(to_numpy(got), want, atol=1e-7)
    assert fwhm_of(got) == pytest.approx(fwhm_of(want), rel=1e-6)
    assert 2.5 < fwhm_of(got) < 4.5
    assert aperture_share(got) == pytest.approx(aperture_share(want), rel=1e-6)
    half = dataclasses.replace(found, flux=found.flux / 2, flux_err=found.flux_err / 2)
    pairs = np.arange(len(found.y)), np.arange(len(found.y))
    scale, error = flux_scale(half, found, pairs=pairs, psf=got, reference_psf=got)
    assert scale == pytest.approx(0.5, rel=1e-6)
    assert 0 < error < 0.05
