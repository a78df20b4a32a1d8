"""Calibrated frames become a reference: deeper than each, without what was there only once; frames that do not fit are named."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from console.commands import references as command
from data.frames import calibrated_file
from data.frames.calibrated_file import CalibratedFile
from data.frames.fits_image import read_frame
from data.frames.frame_error import FrameError
from data.frames.reference_build import build, build_reference
from data.frames.reference_file import ReferencesFolder
from operators.images.planes import BAD, COSMIC_RAY, NO_DATA, SATURATED, Calibrated, Masters, Quality
from settings.model import Settings
from tests.data.frames.made_frames import frame_file

H, W = 200, 240
SKY, NOISE = 400.0, 8.0
N_STARS = 60
TRANSIENT = (90.0, 130.0)
QUALITY = Quality(SKY, NOISE, 3.0, 1.0, N_STARS, 0.0, 0.0, 0.0, 25.0, 0.01, 5.0)


def sky(seed: int = 5) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Positions and fluxes of the field's stars."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.arange(6), np.arange(10), indexing="ij"), -1).reshape(-1, 2) * (30.0, 22.0) + 22.0
    return grid + rng.uniform(-3, 3, grid.shape), rng.uniform(3_000, 60_000, N_STARS)


def frame(
    k: int, *, shift: tuple[float, float] = (0.0, 0.0), scale: float = 1.0, fwhm: float = 3.0, extra: bool = False, wcs: bool = True,
    noise: float = NOISE, **cards: object,
) -> CalibratedFile:  # fmt: skip
    """A calibrated frame of the field, moved, dimmed and blurred, one in it with a transient."""
    rng = np.random.default_rng(1_000 + k)
    yx, flux = sky()
    if extra:
        yx, flux = np.concatenate([yx, [TRANSIENT]]), np.append(flux, 20_000)
    y, x = np.mgrid[:H, :W].astype(np.float64)
    light = np.zeros((H, W))
    sigma = fwhm / 2.3548
    for (a, b), f in zip(yx + shift, flux * scale, strict=True):
        light += f / (2 * np.pi * sigma**2) * np.exp(-((y - a) ** 2 + (x - b) ** 2) / (2 * sigma**2))
    science = SKY + light + rng.normal(0, 1, light.shape) * np.sqrt(noise**2 + light)
    mask = np.zeros((H, W), np.uint8)
    mask[k + 3, 50:60], mask[:, 7] = COSMIC_RAY, BAD
    science[k + 3, 50:60], science[:, 7] = 9_000, np.nan
    science[60 + k, 200] += 5_000  # a cosmic ray that was not found
    pointed = {"CRPIX1": 30.5 + shift[1], "CRPIX2": 20.5 + shift[0]} if wcs else {"CTYPE1": None, "CTYPE2": None}
    zero = np.zeros((H, W), np.uint16)
    raw = read_frame(frame_file(zero, FRAMEID=f"e{k}", TRIMSEC=None, BIASSEC=None, **{**pointed, **cards}))
    bare = dataclasses.replace(raw, data=np.empty((0, 0), np.float32))
    planes = Calibrated(science.astype(np.float32), (light + noise**2).astype(np.float32), mask)
    return CalibratedFile(planes, QUALITY, bare, (), (), f"{k:064x}")


SHIFTS = ((0.0, 0.0), (4.3, -6.7), (-8.1, 2.2), (12.5, 9.5), (-3.3, -11.9), (6.6, 7.7))


def dithered(**changed: object) -> list[CalibratedFile]:
    return [frame(k, shift=shift, scale=1 - 0.1 * k, extra=k == 2, **changed) for k, shift in enumerate(SHIFTS)]  # type: ignore[arg-type]


@pytest.mark.parametrize("wcs", [True, False])
def test_a_reference_is_the_field_without_what_was_there_once(wcs: bool) -> None:
    built = build(dithered(wcs=wcs))
    r = built.reference
    assert built.left_out == {}
    assert len(built.used) == 6
    yx, flux = sky()
    shift = SHIFTS[int(next(name for name in built.used if r.wcs == read_wcs(name, wcs))[1])] if wcs else None
    image = np.asarray(r.image)
    assert r.noise < 0.65 * NOISE, "deeper than a frame"
    assert 3.5 < r.depth < 6
    found = np.stack([r.stars.y, r.stars.x], 1)
    if shift is not None:
        apart = np.hypot(*(found[:, None] - (yx + shift)[None]).transpose(2, 0, 1))
        assert np.sum(apart.min(0) < 0.15) > 0.9 * N_STARS
        a, b = (round(v) for v in np.array(TRANSIENT) + shift)
        assert abs(image[a - 1 : a + 2, b - 1 : b + 2].mean()) < 5 * r.noise, "the transient of one frame"
    assert abs(float(np.median(image))) < r.noise
    assert np.asarray(r.psf).sum() == pytest.approx(1, abs=0.02)
    assert np.median(r.stars.fwhm[r.stars.flags == 0]) == pytest.approx(3.0, abs=0.3)
    covered = (np.asarray(r.mask) & (NO_DATA | BAD)) == 0
    assert covered[20:-20, 20:-20].all(), "dithers fill bad pixels and cosmic rays"
    assert np.isfinite(image).all()
    assert (r.field, r.filter, r.detector, r.public) == ("F_12", "r", "ccd1", True)
    assert flux.sum() > 0


def read_wcs(name: str, wcs: bool) -> str | None:
    k = int(name[1])
    return frame(k, shift=SHIFTS[k], wcs=wcs).raw.wcs


def test_frames_that_do_not_fit_are_left_out_with_why() -> None:
    yx_of_another = [frame(k, shift=(500.0, 500.0)) for k in (7,)]
    frames = [*dithered(), frame(6, fwhm=8.0), *yx_of_another, frame(8, noise=90.0)]
    built = build(frames)
    said = {name[:2]: why for name, why in built.left_out.items()}
    assert set(said) == {"e6", "e7", "e8"}
    assert "8." in said["e6"]
    assert "isolated stars" in said["e7"]
    assert "noisy" in said["e8"] or "isolated" in said["e8"]
    assert any("left out e6" in line for line in built.history())


def test_a_saturated_core_stays_so() -> None:
    frames = dithered()
    for file, shift in zip(frames, SHIFTS, strict=True):
        y, x = (round(v) for v in sky()[0][30] + shift)
        np.asarray(file.calibrated.mask)[y - 3 : y + 4, x - 3 : x + 4] = SATURATED
    mask = np.asarray(build_reference(frames).mask)
    assert ((mask & SATURATED) != 0).sum() >= 9


def test_one_private_frame_makes_it_private() -> None:
    assert build([*dithered(), frame(9, PROPRIET=True)]).reference.public is False


def test_too_few_or_of_other_kinds() -> None:
    with pytest.raises(FrameError) as caught:
        build(dithered()[:2])
    assert (caught.value.reason, "a reference needs 3" in str(caught.value)) == ("bad_frame", True)
    with pytest.raises(FrameError) as caught:
        build([])
    assert caught.value.reason == "bad_frame"
    with pytest.raises(FrameError) as caught:
        build([*dithered(), frame(9, FILTER="g")])
    assert caught.value.reason == "wrong_shape"
    blank = frame(9)
    np.asarray(blank.calibrated.mask)[:] = SATURATED
    built = build([*dithered(), blank])
    assert "sky" in next(iter(built.left_out.values()))


def test_the_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    one, other = (ReferencesFolder(tmp_path / name).put(build_reference(dithered()))[1] for name in "ab")
    assert one.id == other.id


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "calibrated"
    folder.mkdir()
    nothing = np.zeros((1, 1), np.float32)
    for k, file in enumerate([*dithered(), *(frame(20 + n, shift=SHIFTS[n], FILTER="g") for n in range(2))]):
        calibrated_file.write(folder / f"{k}.fits", file.calibrated, file.quality, file.raw, Masters(nothing, nothing, nothing, nothing))
    (folder / "torn.fits").write_bytes((folder / "1.fits").read_bytes()[:50_000])
    settings, report = Settings(state=tmp_path / "state"), tmp_path / "report.json"
    assert command.build(settings, [folder], to=None, most=5, report=report) == 0
    printed = capsys.readouterr().out
    assert "1 reference images" in printed
    figures = json.loads(report.read_text())
    assert len(figures["written"][0]["frames"]) == 5
    assert len(figures["left_out"]) == 3
    assert "2 frames can be combined" in figures["left_out"]["F_12 g ccd1"]
    assert command.ls(settings, None, as_json=False) == 0
    assert "F_12" in capsys.readouterr().out
    found = ReferencesFolder(tmp_path / "state" / "frames" / "references")
    assert found.of("F_12", "r", detector="ccd1", wcs=None).zero_point == 25.0
    assert command.build(settings, [folder / "torn.fits"], to=None, most=5, report=None) == 1
