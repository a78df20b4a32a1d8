"""Cells of the sky: every place of a cone lies in its ranges, and few others do."""

from __future__ import annotations

import numpy as np
import pytest

from data.history.cells import cells_of, ranges, separation


def places_around(rng: np.random.Generator, ra: float, dec: float, *, radius: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Places within a radius [deg], by turning the pole there."""
    away = np.radians(radius * np.sqrt(rng.random(n)))
    angle = rng.uniform(0, 2 * np.pi, n)
    a, d = np.radians(ra), np.radians(dec)
    sin_dec = np.sin(d) * np.cos(away) + np.cos(d) * np.sin(away) * np.cos(angle)
    x = np.cos(away) - np.sin(d) * sin_dec
    y = np.sin(angle) * np.sin(away) * np.cos(d)
    return np.degrees(a + np.arctan2(y, x)) % 360, np.degrees(np.arcsin(np.clip(sin_dec, -1, 1)))


@pytest.mark.parametrize("radius", [0.5 / 3600, 5 / 3600, 29 / 3600, 31 / 3600, 0.05, 1.0, 9.0])
def test_no_place_of_a_cone_is_outside_its_ranges(radius: float) -> None:
    rng = np.random.default_rng(int(radius * 1e6) + 5)
    centres = [(0.0, 90.0), (12.0, -90.0), (0.0, 0.0), (359.9999, 41.81), (45.0, 41.8103149), (45.0, -41.81), (90.0, 0.01), (315.0, 89.99)]
    centres += zip(rng.uniform(0, 360, 60).tolist(), np.degrees(np.arcsin(rng.uniform(-1, 1, 60))).tolist(), strict=True)
    for ra, dec in centres:
        found = ranges(ra, dec, radius=radius)
        cells = cells_of(*places_around(rng, ra, dec, radius=radius, n=400))
        firsts, ends = (np.array(column) for column in zip(*found, strict=True))
        at = np.searchsorted(firsts, cells, side="right") - 1
        assert (at >= 0).all(), (ra, dec)
        assert (cells < ends[at]).all(), (ra, dec)
        assert (firsts[1:] > ends[:-1]).all()
        area = (ends - firsts).sum() * 4 * np.pi / (12 * 4.0**29)
        assert area < 60 * np.pi * np.radians(radius) ** 2 or radius > 5, (ra, dec)
        assert len(found) <= 200


def test_what_is_not_a_place_has_no_cell() -> None:
    assert cells_of(np.array([np.nan, 10.0, 10.0, -10.0]), np.array([0.0, 91.0, np.inf, 0.0])).tolist()[:3] == [-1, -1, -1]
    assert cells_of(np.array([-10.0]), np.array([5.0])) == cells_of(np.array([350.0]), np.array([5.0]))
    with pytest.raises(ValueError, match="radius"):
        ranges(0, 0, radius=11.0)


def test_separations_are_astropys() -> None:
    coordinates = pytest.importorskip("astropy.coordinates")
    rng = np.random.default_rng(3)
    ras, decs = places_around(rng, 200.0, 60.0, radius=2.0, n=50)
    there = coordinates.SkyCoord(ras, decs, unit="deg")
    wanted = coordinates.SkyCoord(200.0, 60.0, unit="deg").separation(there).arcsec
    np.testing.assert_allclose(separation(200.0, 60.0, ras=ras, decs=decs), wanted, rtol=1e-9)
