"""MOCs, polygons and sky maps against mocpy; broken ones are one line."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from mocpy import MOC

from data.areas.area_error import AreaError
from data.areas.area_ranges import moc_of_json, moc_ranges, polygon_ranges, ranges_of_fits, sky_map
from data.history.cells import cells_of
from operators.areas import areas_of, inside
from tests.data.areas.sky_maps import gaussian_map


def holds(ranges: np.ndarray, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return inside(areas_of([ranges]), cells_of(ra, dec))[0]


def sky(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))


def test_a_moc_is_mocpys_in_each_form(tmp_path: Path) -> None:
    moc = MOC.from_string("3/1-4 7 5/812 900-1000 0/11")
    moc.save(tmp_path / "moc.fits", format="fits")
    wanted = np.asarray(moc.to_depth29_ranges, np.int64)
    for found in (moc_ranges("3/1-4 7 5/812,900-1000 0/11"), moc_of_json(moc.serialize("json")), moc_ranges(moc.to_string())):
        np.testing.assert_array_equal(found, wanted)
    ra, dec = sky(5000, 1)
    np.testing.assert_array_equal(holds(wanted, ra, dec), moc.contains_lonlat(ra * _deg(), dec * _deg()))


def _deg() -> Any:
    from astropy import units

    return units.deg


def test_a_sky_map_holds_what_it_says(tmp_path: Path) -> None:
    data = gaussian_map(197.45, -23.38, sigma=3.0)
    found = sky_map(data)
    assert found.probability.sum() == pytest.approx(1)
    rng = np.random.default_rng(2)
    dec = -23.38 + rng.normal(0, 3.0, 20_000)
    ra = (197.45 + rng.normal(0, 3.0, 20_000) / np.cos(np.radians(dec))) % 360
    for level in (0.5, 0.9, 0.99):
        share = holds(ranges_of_fits(data, level=level), ra, dec).mean()
        assert share == pytest.approx(level, abs=0.02)
    (tmp_path / "map.fits").write_bytes(data)
    oracle = MOC.from_multiordermap_fits_file(tmp_path / "map.fits", cumul_to=0.9)
    theirs = oracle.contains_lonlat(ra * _deg(), dec * _deg())
    assert (theirs == holds(ranges_of_fits(data), ra, dec)).mean() > 0.995


def test_a_polygon_is_mocpys_and_holds_its_middle() -> None:
    corners = [(359.0, -1.0), (1.0, -1.0), (1.0, 1.0), (359.0, 1.0)]
    ranges = polygon_ranges(corners)
    ra, dec = np.array([0.0, 359.5, 0.9, 1.2, 180.0, 358.8]), np.array([0.0, 0.5, -0.9, 0.0, 0.0, 0.0])
    assert holds(ranges, ra, dec).tolist() == [True, True, True, False, False, False]


@pytest.mark.parametrize("text", ["", "x", "3/", "40/1", "3/99999", "3/5-1", "3/-5", "/3", "1" * 30, "3/1;DROP", "5"])
def test_a_broken_moc_is_one_line(text: str) -> None:
    with pytest.raises(AreaError) as caught:
        moc_ranges(text)
    assert "\n" not in str(caught.value)


def _changed(**columns: np.ndarray) -> bytes:  # type: ignore[type-arg]
    table = fits.BinTableHDU.from_columns(
        [fits.Column(name, "K" if values.dtype.kind == "i" else "D", array=values) for name, values in columns.items()]
    )
    out = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(out)
    return out.getvalue()


def test_broken_maps_are_one_line() -> None:
    whole = gaussian_map(10.0, 10.0, sigma=5.0)
    uniq = np.arange(4, 16, dtype=np.int64)
    density = np.full(12, 1 / (4 * np.pi))
    assert len(sky_map(_changed(UNIQ=uniq, PROBDENSITY=density)).probability) == 12
    cases = [
        b"", b"not FITS", whole[:4000], whole[:-3000], _changed(OTHER=uniq), _changed(UNIQ=uniq, PROBDENSITY=-density),
        _changed(UNIQ=uniq, PROBDENSITY=density * np.nan), _changed(UNIQ=uniq, PROBDENSITY=5 * density),
        _changed(UNIQ=uniq - 4, PROBDENSITY=density), _changed(UNIQ=uniq * 0 + 4, PROBDENSITY=density),
        _changed(UNIQ=uniq.astype(float), PROBDENSITY=density), _changed(UNIQ=uniq + 2**62, PROBDENSITY=density),
    ]  # fmt: skip
    for data in cases:
        with pytest.raises(AreaError) as caught:
            sky_map(data)
        assert "\n" not in str(caught.value)
    for level in (0.0, 1.0, float("nan")):
        with pytest.raises(AreaError, match="level"):
            ranges_of_fits(whole, level=level)


@pytest.mark.parametrize("corners", [[], [(0, 0), (1, 1)], [(0, 0), (1, 1), (400, 0)], [(0, 0), (0, 0), (0, 0)],
                                     [(0, 0), (120, 0), (240, 0)], [(float("nan"), 0), (1, 1), (2, 0)]])  # fmt: skip
def test_a_polygon_that_is_none_is_refused(corners: list[tuple[float, float]]) -> None:
    with pytest.raises(AreaError):
        polygon_ranges(corners)
