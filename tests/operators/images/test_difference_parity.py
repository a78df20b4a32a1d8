"""Every namespace gives what the kernels give, and leaves its inputs alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from operators.images import detect as detecting
from operators.images.background import background
from operators.images.detect import cut, detect, forced
from operators.images.planes import Difference, Reference
from operators.images.psf import psf_grid
from operators.images.register import aligned, filled, resample, resample_array, resample_mask
from operators.images.stars import stars
from operators.images.subtract import prepare, subtract
from operators.namespace import to_host
from tests.namespaces import Namespace
from tests.operators.images.scenes import Optics, expose, field_of, reference_of, spoil

AFFINE = np.array([[1.0, 3e-4, 2.3], [-3e-4, 1.0, -1.6]])
CURVED = np.concatenate([AFFINE, np.array([[1e-5, -2e-5, 1e-5], [2e-5, 0, -1e-5]])], axis=1)

Move = Callable[[Any], Any]


@pytest.fixture
def move(xp: Namespace) -> Move:
    return xp.asarray


@cache
def scene() -> tuple[np.ndarray, np.ndarray, float, Reference]:
    rng = np.random.default_rng(5)
    what = field_of(5, size=224, n=60, transients=4)
    ref, ref_mask = expose(what, Optics(3.0), size=224, sky=200, depth=5, rng=rng)
    new, mask = expose(what, Optics(3.6), size=224, sky=200, rng=rng, transients=True)
    spoil(new, mask, rng, rays=5, columns=1)
    new = new + np.float32(0)
    new[100, 100] = np.nan
    return new, mask, 15.0, reference_of(ref, ref_mask, 6.7, depth=5)


def moved_reference(reference: Reference, move: Move) -> Reference:
    return dataclasses.replace(reference, image=move(reference.image), mask=move(reference.mask), psf=move(reference.psf))


def difference(move: Move, *, fused: bool = True, tile: int = 120) -> Difference:
    new, mask, noise, reference = scene()
    prepared = prepare(moved_reference(reference, move), tile=tile)
    psf = psf_grid(np.nan_to_num(new), stars(new, noise, mask=mask), tiles=prepared.grid)
    return subtract(move(new), move(mask), psf=move(psf), noise=noise, scale=1.0, prepared=prepared, fused=fused)


@cache
def expected() -> Difference:
    return difference(np.asarray)


def close(got: Any, want: Any, tolerance: float, *, relative: float = 0) -> None:
    np.testing.assert_allclose(np.asarray(to_host(got), np.float64), np.asarray(to_host(want), np.float64), rtol=relative, atol=tolerance)


def test_subtraction_is_the_same_in_every_namespace(move: Move) -> None:
    want, got = expected(), difference(move, fused=False)
    for name, tolerance in (("difference", 0.02), ("significance", 5e-3), ("psf", 1e-6), ("mask", 0)):
        close(getattr(got, name), getattr(want, name), tolerance)
    close(got.noise, want.noise, 0.1, relative=3e-4)  # the misfits' scatter: what fluxes in float32 differ by beyond their errors


def test_detection_is_the_same_in_every_namespace(move: Move) -> None:
    want = expected()
    names = [f.name for f in dataclasses.fields(Difference) if isinstance(getattr(want, f.name), np.ndarray)]
    there = dataclasses.replace(want, **{name: move(getattr(want, name)) for name in names})
    a, b = detect(want, threshold=4), detect(there, threshold=4, fused=False)
    assert len(a.y) > 3
    for name in ("y", "x", "snr", "flux", "flux_err", "reasons"):
        np.testing.assert_allclose(getattr(b, name), getattr(a, name), rtol=1e-6)
    for key, value in a.shape.items():
        np.testing.assert_allclose(b.shape[key], value, rtol=1e-6)
    yx = np.array([[20.3, 30.7], [-5, 3], [np.nan, 4], [223.4, 223.2], [100.2, 99.8]])
    for x, y in zip(forced(want, yx), forced(there, yx), strict=True):
        np.testing.assert_allclose(y, x, rtol=1e-6)
    close(cut(there.difference, yx[[0, 1, 3]]), cut(want.difference, yx[[0, 1, 3]]), 0)


@pytest.mark.parametrize("affine", [AFFINE, CURVED], ids=["affine", "curved"])
def test_resampling_is_the_same_in_every_namespace(move: Move, affine: np.ndarray) -> None:
    new, mask, _, _ = scene()
    image = filled(new, mask)
    want = resample(image, affine, shape=(200, 230))
    close(resample_array(move(image), affine, shape=(200, 230)), want, 0.05)
    close(resample(move(image), affine, shape=(200, 230)), want, 0.05)
    assert np.isnan(want).any()
    for a, b in zip(
        aligned(move(new), move(mask), affine=affine, shape=(200, 230)), aligned(new, mask, affine=affine, shape=(200, 230)), strict=True
    ):
        close(a, b, 0.05)
    np.testing.assert_array_equal(np.asarray(to_host(resample_mask(move(mask), affine, shape=(200, 230)))) == 8, np.isnan(want))


@pytest.mark.parametrize("box", [64, 50])
def test_the_sky_is_the_same_in_every_namespace(move: Move, box: int) -> None:
    new, mask, _, _ = scene()
    want, got = background(new, mask, box=box), background(move(new), move(mask), box=box)
    close(got[0], want[0], 1e-3)
    assert got[1] == pytest.approx(want[1], rel=1e-5)
    close(got[2], want[2], 1e-3)


def test_equal_peaks_count_once() -> None:
    plane = np.zeros((40, 40), np.float32)
    plane[10, 10] = plane[10, 11] = plane[11, 9] = 7
    plane[20:24, 20:24] = -6
    want = [[10, 10], [20, 20]]
    for form in (detecting.peaks, detecting.peaks_array):
        assert form(plane, 5.0).tolist() == want
