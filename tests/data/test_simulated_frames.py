"""Simulated raw frames: the file is one that astropy reads, and the truth is what is in it."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest

from data.simulate.classes import CLASSES, MEMBERS
from data.simulate.frames import optics
from data.simulate.frames.ccd import Ccd, bias_map, bleed
from data.simulate.frames.exposure_plan import WITHOUT_MASTER, Plan
from data.simulate.frames.observing_run import ObservingRun, SimulatedFrame
from data.simulate.frames.particles import particles

PLAN = Plan(seed=3, side=256, nights=3, references=2, objects=10)


@pytest.fixture(scope="module")
def run() -> ObservingRun:
    return ObservingRun(PLAN)


@pytest.fixture(scope="module")
def night(run: ObservingRun) -> list[SimulatedFrame]:
    return list(run.science())


def test_a_run_holds_what_its_plan_says(run: ObservingRun, night: list[SimulatedFrame]) -> None:
    assert len(night) == PLAN.nights * 2 * 2 * 2
    assert {f.exposure.mishap for f in night} == {"", *PLAN.mishaps}
    assert [f.detector for f in night if f.exposure.mishap == "no_master"] == [WITHOUT_MASTER]
    kinds = [e.kind for e in run.exposures()]
    assert kinds.count("bias") == 18
    assert kinds.count("dark") == 10
    assert kinds.count("flat") == 20
    assert sum(e.kind == "science" and e.night < 0 for e in run.exposures()) == 2 * 2 * 2 * PLAN.references
    assert len({f.name for f in night}) == len(night)
    truth = [row for f in night for row in f.truth]
    assert {row.label for row in truth} <= set(CLASSES)
    assert all(row.kind in MEMBERS[row.label] for row in truth)


def test_a_frame_is_a_function_of_the_plan_and_its_number(run: ObservingRun, night: list[SimulatedFrame]) -> None:
    again = ObservingRun(PLAN).frame(night[5].exposure)
    assert again.file == night[5].file
    assert again.truth == night[5].truth
    other = ObservingRun(replace(PLAN, seed=4))
    assert other.frame(other.exposures()[-1]).file != run.frame(run.exposures()[-1]).file


@pytest.mark.parametrize("detector", [0, 1])
def test_files_are_read_by_astropy_and_positions_agree_with_the_header(
    run: ObservingRun, night: list[SimulatedFrame], detector: int
) -> None:
    fits, wcs = pytest.importorskip("astropy.io.fits"), pytest.importorskip("astropy.wcs")
    frame = next(f for f in night if f.exposure.detector == detector and not f.exposure.mishap)
    ccd = run.ccds[detector]
    with fits.open(io.BytesIO(frame.file)) as units:
        units.verify("exception")
        header, data = units[0].header, units[0].data
    assert data.dtype == np.uint16
    assert data.shape == ccd.raw_shape
    sky = wcs.WCS(header)
    for row in frame.truth:
        x, y = sky.all_world2pix(row.ra, row.dec, 0)
        assert y - ccd.origin[0] == pytest.approx(row.y, abs=0.01)
        assert x - ccd.origin[1] == pytest.approx(row.x, abs=0.01)
    x, y = (part.split(":") for part in header["BIASSEC"][1:-1].split(","))
    overscan = data[int(y[0]) - 1 : int(y[1]), int(x[0]) - 1 : int(x[1])]
    assert overscan.mean() == pytest.approx(ccd.bias_level, abs=10)
    assert overscan.std() == pytest.approx(ccd.read_noise / ccd.gain, rel=0.5)


def test_an_injected_object_has_its_flux_and_place(run: ObservingRun, night: list[SimulatedFrame]) -> None:
    """The same frame with and without its objects differs by their light alone, since both draw the same random numbers."""
    found = 0
    bare = ObservingRun(PLAN)
    bare.__dict__["star_fields"] = {key: replace(value, injected=()) for key, value in run.star_fields.items()}  # hosts stay
    for frame in night:
        if frame.exposure.mishap:
            continue
        ccd = run.ccds[frame.exposure.detector]
        with_, without = (_image(f, ccd) for f in (frame, bare.frame(frame.exposure)))
        flat = ccd.flat(frame.exposure.filter)
        change = (with_ - without) * ccd.gain / flat
        field = run.star_fields[frame.exposure.field, frame.exposure.detector]
        for row, o in zip(frame.truth, field.injected, strict=True):
            if row.snr < 100 or not row.measurable or o.source.star is not None or row.label == "asteroid":
                continue
            y, x = np.mgrid[:256, :256]
            near = np.hypot(y - row.y, x - row.x) < 9
            total = change[near].sum()
            assert total == pytest.approx(row.electrons, rel=0.08)
            core = np.hypot(y - row.y, x - row.x) < 5
            assert (change * y)[core].sum() / change[core].sum() == pytest.approx(row.y, abs=0.2)
            assert (change * x)[core].sum() / change[core].sum() == pytest.approx(row.x, abs=0.2)
            found += 1
    assert found >= 2


def _image(frame: SimulatedFrame, ccd: Ccd) -> np.ndarray:
    start = len(frame.file) - -(-2 * int(np.prod(ccd.raw_shape)) // 2880) * 2880
    raw = np.frombuffer(frame.file, ">i2", int(np.prod(ccd.raw_shape)), start).reshape(ccd.raw_shape).astype(np.float64) + 32768
    y0, x0 = ccd.origin
    measured = raw[y0:, x0 : x0 + ccd.shape[1]] - ccd.bias_level - bias_map(ccd)
    return np.asarray(measured * (1 + ccd.nonlinearity * measured))


def test_gaussians_make_a_moffat_function() -> None:
    psf = optics.PointSpread((101, 101), 4.0, 3.2, (0.0, 0.0), curvature=0.0, radial=0.0)
    image, y0, x0 = psf.stamp(50.0, 50.0, half=50)
    assert (y0, x0) == (0, 0)
    assert image.sum() == pytest.approx(1, abs=0.01)
    r = np.hypot(*(np.mgrid[:101, :101] - 50))
    alpha = 4.0 / (2 * np.sqrt(2 ** (1 / 3.2) - 1))
    moffat = 2.2 / (np.pi * alpha**2) * (1 + (r / alpha) ** 2) ** -3.2
    near = (r > 1) & (r < 20)
    assert np.abs(image[near] / moffat[near] - 1).max() < 0.12


def test_the_point_spread_function_varies_over_the_frame() -> None:
    psf = optics.PointSpread((400, 400), 3.0, 3.0, (0.0, 0.0), tilt=(0.05, 0.0))
    middle, corner, bottom = (psf.stamp(*at)[0].max() for at in ((200, 200), (395, 395), (5, 200)))
    assert corner < 0.9 * middle < middle < bottom


def test_full_pixels_bleed_along_their_column_and_lose_nothing() -> None:
    electrons = np.full((40, 7), 100.0, np.float32)
    electrons[20, 3] = 5_000.0
    total = electrons.sum()
    full = bleed(electrons, 1_000.0)
    assert electrons.sum() == pytest.approx(total)
    assert electrons.max() <= 1_000
    assert full[:, 3].sum() in (4, 5)
    assert not full[:, :3].any()
    assert not full[:, 4:].any()
    assert full[20, 3]
    assert full[19, 3]
    assert full[21, 3]


def test_the_converter_bends_as_the_header_says() -> None:
    ccd = Ccd("a", (32, 32), seed=1)
    true = np.array([100.0, 10_000.0, 55_000.0], np.float32)
    measured = ccd.measured(true)
    np.testing.assert_allclose(measured * (1 + ccd.nonlinearity * measured), true, rtol=1e-3)
    assert measured[2] < 0.98 * true[2]


def test_particles_leave_tracks_and_worms() -> None:
    electrons, struck = particles(np.random.default_rng(2), (300, 300), number=60)
    ndimage = pytest.importorskip("scipy.ndimage")
    _, n = ndimage.label(struck, np.ones((3, 3)))
    assert 20 <= n <= 90
    sizes = np.sort(ndimage.sum_labels(struck, *ndimage.label(struck, np.ones((3, 3)))[:1], np.arange(1, n + 1)))
    assert sizes[0] <= 4
    assert sizes[-1] >= 25
    assert np.median(electrons[struck]) > 300


def test_expected_noise_is_that_of_the_readout(run: ObservingRun) -> None:
    """A matched filter over many readouts of one flat sky scatters as `snr` assumes."""
    from data.simulate.frames.observing_run import noise_of

    ccd = Ccd("a", (64, 64), seed=1, dark_rate=0.0)
    psf = optics.PointSpread((64, 64), 2.5, 3.0, (0.0, 0.0))
    sky = np.full((64, 64), 500.0, np.float32)
    flat = np.ones((64, 64), np.float32)
    stated = noise_of(psf, sky, ccd=ccd, flat=flat, y=32.0, x=32.0, references=10**9)
    stamp, y0, x0 = psf.stamp(32.0, 32.0)
    rng = np.random.default_rng(1)
    got = []
    for _ in range(300):
        raw, _full = ccd.read_out(rng, sky)
        level = np.median(raw[:, ccd.shape[1] :], axis=1, keepdims=True)
        image = (raw[:, : ccd.shape[1]] - level - bias_map(ccd)) * ccd.gain - 500.0
        got.append((image[y0 : y0 + 31, x0 : x0 + 31] * stamp).sum() / (stamp**2).sum())
    assert np.std(got) == pytest.approx(stated, rel=0.15)
