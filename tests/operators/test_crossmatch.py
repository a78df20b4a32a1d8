"""Tiles against every source: the same matches everywhere, at the poles and at right ascension 0, whatever moves."""

from __future__ import annotations

import healpix
import numpy as np
import pytest

from operators.crossmatch import LONGEST, Layer, Matches, near, near_array, tile_order
from operators.kernels.crossmatch import cell_of
from operators.types import F32, F64

EPOCH = 57_388.5


def on_sphere(rng: np.random.Generator, n: int) -> tuple[F64, F64]:
    return rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))


def crowded(rng: np.random.Generator, n: int) -> tuple[F64, F64]:
    """Places where tiles meet, the sphere ends, or right ascension begins anew."""
    ra, dec = on_sphere(rng, n)
    part = n // 8
    dec[:part] = 90 - rng.exponential(0.01, part)
    dec[part : 2 * part] = -90 + rng.exponential(0.01, part)
    ra[2 * part : 3 * part] = rng.normal(0, 0.005, part) % 360
    dec[2 * part : 3 * part] = rng.normal(0, 0.02, part)
    dec[3 * part : 4 * part] = np.degrees(np.arcsin(2 / 3)) + rng.normal(0, 0.003, part)  # where HEALPix' caps begin
    ra[3 * part : 4 * part] = 90 + rng.normal(0, 0.003, part)
    return ra, dec


def layer(ra: F64, dec: F64, *, reach: float, pm: tuple[F32, F32] | None = None, own: F32 | None = None, order: int | None = None) -> Layer:
    """One layer of sources in any order."""
    speed = 0.0 if pm is None else float(np.hypot(*pm).max()) / 1000
    order = tile_order(len(ra), reach + LONGEST * speed) if order is None else order
    cells = healpix.ang2pix(1 << order, ra, dec, nest=True, lonlat=True)
    at = np.argsort(cells, kind="stable")
    start = np.concatenate([[0], np.cumsum(np.bincount(cells, minlength=12 << (2 * order)))]).astype(np.int64)
    none = np.zeros(0, np.float32)
    columns = [ra[at], dec[at], *((none, none) if pm is None else (pm[0][at], pm[1][at])), none if own is None else own[at]]
    for column in (start, *columns):
        column.setflags(write=False)
    return Layer(order, start, 0, *columns, widest=reach, fastest=speed)


def same(found: Matches, expected: Matches) -> None:
    np.testing.assert_array_equal(found.row, expected.row)
    np.testing.assert_array_equal(found.found, expected.found)
    hit = found.row >= 0
    np.testing.assert_allclose(found.separation[hit], expected.separation[hit], atol=2e-6)


@pytest.mark.parametrize("order", [0, 1, 4, 9, 11])
def test_the_cells_are_those_of_healpix(order: int) -> None:
    rng = np.random.default_rng(order)
    ra, dec = crowded(rng, 4000)
    ra[:4], dec[:4] = [0.0, 359.999999999, 10.0, 270.0], [90.0, -90.0, 90.0, 0.0]
    within = np.zeros(1)
    found = [cell_of(a, d, 1 << order, within) for a, d in zip(ra, dec, strict=True)]
    np.testing.assert_array_equal(found, healpix.ang2pix(1 << order, ra, dec, nest=True, lonlat=True))


@pytest.mark.parametrize(("n", "reach"), [(40, 3.0), (3000, 3.0), (3000, 600.0), (3000, 20_000.0)])
def test_tiles_find_what_every_pair_finds(n: int, reach: float) -> None:
    rng = np.random.default_rng(n)
    sources = layer(*crowded(rng, n), reach=reach)
    pick = rng.integers(0, n, 300)
    angle, away = rng.uniform(0, 2 * np.pi, 300), rng.uniform(0, 1.3 * reach / 3600, 300)
    dec = np.clip(sources.dec[pick] + away * np.sin(angle), -90, 90)
    ra = (sources.ra[pick] + away * np.cos(angle) / np.maximum(np.cos(np.radians(dec)), 1e-4)) % 360
    mjd = np.full(300, EPOCH)
    asked = {"mjd": mjd, "layers": [sources], "epoch": EPOCH, "radius": reach}
    found = near(ra, dec, **asked)
    same(found, near_array(ra, dec, **asked))
    assert found.found.sum() > 100


def test_a_place_at_a_tile_s_edge_sees_the_next_tile() -> None:
    """Everything within reach of a corner where three or four tiles meet, in every face."""
    order, reach = 6, 100.0
    side = 1 << order
    pixels = np.arange(0, 12 * side * side, 197)
    ra, dec = healpix.pix2ang(side, pixels, nest=True, lonlat=True)
    rng = np.random.default_rng(0)
    # half way between the centres of neighbours lie edges, and a random step along them comes to corners
    step = 58.6 / side / 2
    ra, dec = np.repeat(ra, 12), np.repeat(dec, 12)
    dec = np.clip(dec + rng.uniform(-step, step, len(dec)), -90, 90)
    ra = (ra + rng.uniform(-step, step, len(ra)) / np.maximum(np.cos(np.radians(dec)), 1e-3)) % 360
    places = slice(0, len(ra), 5)
    sources = layer(ra, dec, reach=reach, order=order)
    asked = {"mjd": np.full(len(ra[places]), EPOCH), "layers": [sources], "epoch": EPOCH, "radius": reach}
    shifted = np.clip(dec[places] + 80 / 3600, -90, 90)
    same(near(ra[places], shifted, **asked), near_array(ra[places], shifted, **asked))


def test_what_moves_is_found_where_it_is_then() -> None:
    rng = np.random.default_rng(2)
    ra, dec = crowded(rng, 2000)
    pm = rng.normal(0, 2000, (2, 2000)).astype(np.float32)
    pm[:, ::3] = 0
    sources = layer(ra, dec, reach=2.0, pm=(pm[0], pm[1]))
    years = rng.uniform(-30, 40, 400)
    pick = rng.integers(0, 2000, 400)
    mjd = EPOCH + 365.25 * years
    a, d = np.radians(sources.ra[pick]), np.radians(sources.dec[pick])
    east, north = (np.radians(x[pick].astype(np.float64) * years / 3.6e6) for x in (sources.pm_ra, sources.pm_dec))
    there = np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)]) + np.stack(
        [-np.sin(a) * east - np.sin(d) * np.cos(a) * north, np.cos(a) * east - np.sin(d) * np.sin(a) * north, np.cos(d) * north]
    )
    place = np.degrees(np.arctan2(there[1], there[0])) % 360, np.degrees(np.arctan2(there[2], np.hypot(there[0], there[1])))
    asked = {"mjd": mjd, "layers": [sources], "epoch": EPOCH, "radius": 2.0}
    found = near(*place, **asked)
    same(found, near_array(*place, **asked))
    assert (found.row[:, 0] == pick).mean() > 0.97  # others lie nearer at the crowded places only
    still = near(*place, **{**asked, "mjd": np.full(400, EPOCH)})
    assert (still.row[:, 0] == pick).mean() < 0.5


def test_a_galaxy_matches_as_far_as_it_reaches() -> None:
    rng = np.random.default_rng(3)
    ra, dec = crowded(rng, 1500)
    own = np.where(rng.random(1500) < 0.2, rng.uniform(10, 900, 1500), 0).astype(np.float32)
    sources = layer(ra, dec, reach=900.0, own=own)
    places = crowded(rng, 400)
    asked = {"mjd": np.full(400, EPOCH), "layers": [sources], "epoch": EPOCH, "radius": 5.0}
    found = near(*places, **asked)
    same(found, near_array(*places, **asked))
    hit = found.row[:, 0] >= 0
    assert hit.sum() > 20
    assert (found.separation[hit, 0] <= np.maximum(5.0, sources.own[found.row[hit, 0]]) + 1e-6).all()


def test_layers_are_one_list_with_ties_by_row() -> None:
    ra, dec = np.full(20, 120.0), np.full(20, -30.0)
    first, second = layer(ra, dec, reach=5.0), layer(ra + 1e-4, dec, reach=50.0)
    second = Layer(second.order, second.start, 20, second.ra, second.dec, second.pm_ra, second.pm_dec, second.own, 50.0, 0.0)
    found = near(np.array([120.0]), np.array([-30.0]), mjd=np.array([EPOCH]), layers=[second, first], epoch=EPOCH, radius=5.0)
    assert found.found[0] == 40
    assert found.row[0].tolist() == list(range(8))


def test_what_is_not_a_place_has_no_match() -> None:
    sources = layer(np.array([10.0, 0.0]), np.array([10.0, 90.0]), reach=5.0)
    ra, dec = np.array([np.nan, 10.0, np.inf, 10.0, 10.0, 77.0]), np.array([10.0, np.nan, 10.0, 91.0, 10.0, 90.0])
    found = near(ra, dec, mjd=np.array([EPOCH] * 4 + [np.nan, EPOCH]), layers=[sources], epoch=EPOCH, radius=5.0)
    assert found.found.tolist() == [0, 0, 0, 0, 1, 1]
    assert near(ra[:0], dec[:0], mjd=ra[:0], layers=[sources], epoch=EPOCH, radius=5.0).row.shape == (0, 8)
