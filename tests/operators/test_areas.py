"""Areas and positions against brute force, poles and ra 0 among them."""

from __future__ import annotations

import numpy as np
import pytest

from data.areas.area_error import AreaError
from data.areas.position_index import check_positions, index_positions
from data.history.cells import cells_of, separation
from operators.areas import areas_of, inside, merged_ranges, near


def places(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Over the sky, and many at the poles, at ra 0 and on edges of cells."""
    rng = np.random.default_rng(seed)
    ra, dec = rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    ra[: n // 6], dec[: n // 6] = rng.normal(0, 0.01, n // 6) % 360, rng.normal(0, 0.01, n // 6)
    dec[n // 6 : n // 3] = 90 - np.abs(rng.normal(0, 0.01, n // 3 - n // 6))
    dec[n // 3 : n // 2] = -90 + np.abs(rng.normal(0, 0.01, n // 2 - n // 3))
    ra[n // 2 : 2 * n // 3] = np.round(ra[n // 2 : 2 * n // 3] / 22.5) * 22.5 % 360
    return ra, dec


@pytest.mark.parametrize("radii", [(2.0, 5.0), (20.0, 400.0), (3_600.0, 18_000.0)])
def test_pairs_are_those_of_brute_force(radii: tuple[float, float]) -> None:
    rng = np.random.default_rng(1)
    ra, dec = places(400, 2)
    radius = rng.uniform(*radii, 400) / 3600
    index = index_positions(ra, dec, radius=radius)
    angle, away = rng.uniform(0, 2 * np.pi, 400), radius * rng.uniform(0.0, 1.4, 400)
    at_dec = np.clip(dec + away * np.sin(angle), -90, 90)
    at_ra = (ra + away * np.cos(angle) / np.maximum(np.cos(np.radians(at_dec)), 1e-6)) % 360
    found = near(index, cells_of(at_ra, at_dec), ra=at_ra, dec=at_dec)
    have = set(zip(found.rows.tolist(), found.entries.tolist(), strict=True))
    wanted, edge = set(), set()
    for i in range(400):
        apart = separation(at_ra[i], at_dec[i], ras=ra, decs=dec) / 3600
        wanted |= {(i, int(j)) for j in np.flatnonzero(apart <= radius)}
        edge |= {(i, int(j)) for j in np.flatnonzero(np.abs(apart - radius) < 1e-9)}
    assert len(wanted) > 150
    assert have ^ wanted <= edge
    for row, entry, apart in zip(*found, strict=True):
        assert apart == pytest.approx(float(separation(at_ra[row], at_dec[row], ras=ra[[entry]], decs=dec[[entry]])[0]), abs=1e-5)


def test_ranges_are_merged_and_asked() -> None:
    areas = areas_of([np.array([[10, 20], [15, 30], [40, 50], [30, 31]]), np.empty((0, 2), np.int64), np.array([[0, 5]])])
    assert areas.begins.tolist() == [10, 40, 0]
    assert areas.ends.tolist() == [31, 50, 5]
    cells = np.array([-1, 0, 4, 5, 9, 10, 30, 31, 49, 50])
    assert inside(areas, cells)[0].tolist() == [c in range(10, 31) or c in range(40, 50) for c in cells.tolist()]
    assert not inside(areas, cells)[1].any()
    assert inside(areas, cells)[2].tolist() == [0 <= c < 5 for c in cells.tolist()]
    assert merged_ranges(np.empty((0, 2), np.int64)).shape == (0, 2)


def test_a_place_that_is_none_is_nowhere() -> None:
    index = index_positions(np.array([0.0]), np.array([0.0]), radius=np.array([5.0]))
    assert len(near(index, np.array([-1]), ra=np.array([0.0]), dec=np.array([0.0])).rows) == 0
    empty = index_positions(np.empty(0), np.empty(0), radius=np.empty(0))
    assert len(near(empty, cells_of(np.zeros(3), np.zeros(3)), ra=np.zeros(3), dec=np.zeros(3)).rows) == 0


def test_many_at_one_place_are_all_found() -> None:
    n = 500
    index = index_positions(np.full(n, 10.0), np.full(n, -5.0), radius=np.full(n, 1e-3))
    assert len(near(index, cells_of(np.array([10.0]), np.array([-5.0])), ra=np.array([10.0]), dec=np.array([-5.0])).rows) == n


@pytest.mark.parametrize(
    ("ra", "dec", "radius", "says"),
    [(10.0, 91.0, 1e-3, "swapped"), (200.0, 95.0, 1e-3, "dec -90"), (float("nan"), 0.0, 1e-3, "ra nan"), (-1.0, 0.0, 1e-3, "ra is 0"),
     (1.0, 0.0, 0.0, "above 0"), (1.0, 0.0, 6.0, "at most 5"), (1.0, float("inf"), 1e-3, "dec inf")],
)  # fmt: skip
def test_a_position_that_is_none_is_named(ra: float, dec: float, radius: float, says: str) -> None:
    with pytest.raises(AreaError, match="position 2") as caught:
        check_positions(np.array([1.0, ra]), np.array([1.0, dec]), radius=np.array([1e-3, radius]))
    assert says in str(caught.value)
