"""Catalogues of stars: read with distrust; a reference gets its zero point by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data.frames.star_catalogue import calibrated_by, read_catalogue
from errors import UserError
from operators.images.planes import Reference, Stars

WCS = "\n".join(
    [
        "CTYPE1  = 'RA---TAN'", "CTYPE2  = 'DEC--TAN'", "CRVAL1  = 150.0", "CRVAL2  = 2.0", "CRPIX1  = 50.5", "CRPIX2  = 50.5",
        "CD1_1   = -0.000277777777", "CD1_2   = 0.0", "CD2_1   = 0.0", "CD2_2   = 0.000277777777", "CUNIT1  = 'deg'", "CUNIT2  = 'deg'",
    ]
)  # fmt: skip


def test_a_catalogue_is_read_by_the_names_of_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "stars.csv"
    path.write_text("id,dec,ra,g,r\na,2.0,150.0,18.5,18.1\nb,2.1,150.1,,17.0\n")
    found = read_catalogue(path)
    assert found.ra.tolist() == [150.0, 150.1]
    assert found.magnitudes["r"].tolist() == [18.1, 17.0]
    assert np.isnan(found.magnitudes["g"][1])


@pytest.mark.parametrize("text", ["", "ra,dec\n1,2\n", "ra,dec,r\n1,2\n", "ra,dec,r\n1,x,3\n", "ra,dec,r\n1,inf,3\n", "\0\n"])
def test_what_is_not_a_catalogue_is_named_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "stars.csv"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_catalogue(path)
    assert "\n" not in str(caught.value)


def test_a_reference_gets_its_zero_point(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    y, x, magnitude = rng.uniform(10, 90, 12), rng.uniform(10, 90, 12), rng.uniform(15, 18, 12)
    yy, xx = np.mgrid[-15:16, -15:16]
    psf = np.exp(-0.5 * (yy**2 + xx**2) / 1.2**2)
    flux = 10 ** (0.4 * (28.0 - magnitude))
    one = np.ones(12)
    stars = Stars(y, x, flux, 0.005 * flux, 2.8 * one, one, 0 * one)
    image = np.zeros((100, 100), np.float32)
    reference = Reference(
        image, image.astype(np.uint8), (psf / psf.sum()).astype(np.float32), 5.0, float("nan"), stars, WCS, "f", "r", "ccd1"
    )
    path = tmp_path / "stars.csv"
    ra, dec = 150 - (x - 49.5) / 3600 / np.cos(np.radians(2.0)), 2 + (y - 49.5) / 3600
    rows = [f"{a:.8f},{d:.8f},{m:.4f}" for a, d, m in zip(ra, dec, magnitude, strict=True)]
    path.write_text("\n".join(["ra,dec,r", *rows]) + "\n")
    found, said = calibrated_by(reference, read_catalogue(path))
    assert found.zero_point == pytest.approx(28.0, abs=0.02)
    assert "12 stars" in said
    path.write_text("ra,dec,g\n150,2,18\n")
    assert "no column r" in calibrated_by(reference, read_catalogue(path))[1]
