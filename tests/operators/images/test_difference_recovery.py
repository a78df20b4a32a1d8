"""What changed on simulated skies is found, what did not is not, and the errors hold."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest

from operators.images.background import background
from operators.images.detect import detect, forced
from operators.images.planes import Candidates, Difference
from operators.images.psf import psf_grid
from operators.images.register import aligned, apply, map_between, match, offset_between
from operators.images.stars import positions, stars, take
from operators.images.subtract import prepare, subtract
from operators.images.zero_point import flux_scale, zero_point
from tests.operators.images.scenes import Field, Optics, expose, field_of, reference_of, spoil

DITHER = np.array([[1.0, 2e-4, 3.37], [-2e-4, 1.0, -5.21]])
GAIN = 0.8
SIZE = 768


def night(
    what: Field, seed: int, *, optics: Optics, reference_optics: Optics, depth: int = 8, dither: np.ndarray = DITHER
) -> tuple[Difference, Candidates, float]:
    """All steps from two images with sky to candidates; the flux that an electron of the sky's is measured as."""
    rng = np.random.default_rng(seed + 1000)
    image, mask = expose(what, reference_optics, size=SIZE, sky=250, depth=depth, rng=rng)
    level, noise, _ = background(image, mask)
    reference = reference_of(image - level, mask, noise, depth=depth)
    prepared = prepare(reference)
    new, new_mask = expose(what, optics, size=SIZE, sky=250, rng=rng, affine=dither, gain=GAIN, transients=True)
    spoil(new, new_mask, rng)
    level, noise, _ = background(new, new_mask)
    new = new - level
    found = stars(new, noise, mask=new_mask)
    there, here = positions(reference.stars), positions(found)
    j, i = match(there + offset_between(there, here, within=20), here, radius=3.0)
    affine = map_between(there[j], here[i])
    moved = dataclasses.replace(take(found, i), y=there[j, 0], x=there[j, 1])
    moved = take(moved, np.argsort(-moved.flux))
    image, mask = aligned(new, new_mask, affine=affine, shape=new.shape)
    psf = psf_grid(image, moved, tiles=prepared.grid)
    scale, _ = flux_scale(found, reference.stars, pairs=(i, j), psf=psf.mean((0, 1)), reference_psf=prepared.psf.mean((0, 1)))
    difference = subtract(image, mask, psf=psf, noise=noise, scale=scale, prepared=prepared)
    known = apply(dither, what.stars[:, :2])
    zp, _, _ = zero_point(found, known, catalogue_mag=-2.5 * np.log10(what.stars[:, 2]), psf=psf.mean((0, 1)))
    return difference, detect(difference), 10 ** (0.4 * zp)


@dataclasses.dataclass
class Score:
    found: int
    sought: int
    true: int
    false: int
    pulls: np.ndarray
    apart: np.ndarray  # of accepted candidates from the truth [pixel], of S/N 10 and more


def score(what: Field, difference: Difference, candidates: Candidates, gain: float) -> Score:
    at, flux = what.transients[:, :2], what.transients[:, 2] * gain
    got, err = forced(difference, at)
    measured = np.isfinite(got)
    accepted = np.stack([candidates.y, candidates.x], 1)[candidates.accepted]
    apart = np.hypot(*(at[:, None] - accepted[None]).transpose(2, 0, 1)) if len(accepted) else np.full((len(at), 1), np.inf)
    sought = measured & (flux > 10 * np.where(measured, err, np.inf))
    real = apart.min(0) < 2
    hit = apart.min(1) < 2
    return Score(
        int(hit[sought].sum()),
        int(sought.sum()),
        int(real.sum()),
        int((~real).sum()),
        ((got - flux) / err)[measured],
        apart.min(1)[sought & hit],
    )


@cache
def scenes(kind: str) -> Score:
    total: list[Score] = []
    for seed in (1, 2):
        crowd = 2500 if kind == "crowded" else 300
        what = field_of(seed, size=SIZE, n=crowd, hosts=40 if kind == "hosts" else 0, transients=50, flux=(900.0, 8000.0),
                        brightest=5e6 if kind == "bleeding" else 4e5)  # fmt: skip
        varying = kind == "varying"
        optics = Optics(3.6, 2.6 if kind == "winged" else 3.0, 0.25 if varying else 0.05, 1.2 if varying else 1.05)
        total.append(score(what, *night(what, seed, optics=optics, reference_optics=Optics(3.0, widening=0.05))))
    found, sought, true, false = (sum(getattr(s, n) for s in total) for n in ("found", "sought", "true", "false"))
    pulls, apart = (np.concatenate([getattr(s, n) for s in total]) for n in ("pulls", "apart"))
    return Score(found, sought, true, false, pulls, apart)


KINDS = ("sparse", "hosts", "crowded", "winged", "varying", "bleeding")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_what_changed_is_found_and_little_else(kind: str) -> None:
    got = scenes(kind)
    assert got.sought > 15
    assert got.found >= 0.9 * got.sought
    assert got.true >= 0.9 * (got.true + got.false)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_errors_of_fluxes_hold(kind: str) -> None:
    pulls = scenes(kind).pulls
    assert 0.6 < 1.4826 * np.median(np.abs(pulls)) < 1.5
    assert np.std(pulls) < 1.6


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_positions_hold_beside_steep_light(kind: str) -> None:
    assert np.quantile(scenes(kind).apart, 0.9) < 0.5  # at S/N 10: 2.15 × 0.6 × FWHM / 10 = 0.46, most are brighter


@pytest.mark.parametrize("seed", [1, 2])
def test_empty_sky_has_unit_variance_and_no_candidates(seed: int) -> None:
    what = field_of(seed, size=SIZE, n=300)
    difference, candidates, _ = night(what, seed, optics=Optics(3.4), reference_optics=Optics(3.0))
    assert np.std(difference.significance[np.abs(difference.significance) < 4]) == pytest.approx(1, abs=0.05)
    assert candidates.accepted.sum() <= 2
