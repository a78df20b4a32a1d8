"""Raw calibration frames become masters: what went into them comes out, and every frame that does not belong is named with why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from console.commands import masters as command
from data.frames.fits_image import read_frame
from data.frames.frame_error import FrameError
from data.frames.masters_build import Report, build_masters
from data.frames.masters_folder import MastersFolder, night_of
from operators.images.calibrate import calibrate
from operators.images.planes import BAD
from settings.model import Settings
from tests.data.frames.made_frames import OVER, H, W, frame_file, master

LEVEL, NOISE = 1_000.0, 4.0
FIXED = np.random.default_rng(1).normal(0, 6, (H, W)).astype(np.float32)
DARK = np.full((H, W), 0.5, np.float32)
DARK[7, 9] = 90.0
FLAT = (1 + 0.2 * np.sin(np.arange(W) / 9)[None] * np.ones((H, 1))).astype(np.float32)
FLAT[11, 13] = 0.1


def raw(light: npt.NDArray[Any] | float, seed: int, **changed: Any) -> bytes:
    """A frame of a detector whose bias level wanders, with so much light and dark current in it [ADU]."""
    rng = np.random.default_rng(seed)
    data = np.full((H, W + OVER), LEVEL + rng.normal(0, 30))
    data[:, :W] += FIXED + light
    data += rng.normal(0, NOISE, data.shape)
    return frame_file(np.clip(np.rint(data), 0, 65_535).astype(np.uint16), **changed)


def night(folder: Path, n: int = 7) -> Path:
    """Biases, darks of two exposures and flats in two filters."""
    folder.mkdir()
    for k in range(n):
        (folder / f"bias{k}.fits").write_bytes(raw(0, k, IMAGETYP="bias", EXPTIME=0.0))
        (folder / f"dark{k}.fits").write_bytes(raw(DARK * 100, 100 + k, IMAGETYP="dark", EXPTIME=100.0))
        for band, light in (("g", 20_000), ("r", 30_000)):
            flat = FLAT * (light + 500 * k)
            (folder / f"flat{band}{k}.fits").write_bytes(
                raw(flat + DARK * 5, 200 + ord(band) + k, IMAGETYP="flat", EXPTIME=5.0, FILTER=band)
            )
    return folder


def build(folder: Path, to: Path, **how: Any) -> tuple[MastersFolder, Report]:
    found = MastersFolder(to)
    return found, build_masters(command.frame_files([folder]), found, **how)


def image(folder: MastersFolder, kind: str, band: str = "") -> npt.NDArray[Any]:
    entry = next(e for e in folder.entries() if (e.label.kind, e.label.filter) == (kind, band))
    return folder.load(entry).image


def test_what_went_in_comes_out(tmp_path: Path) -> None:
    folder, report = build(night(tmp_path / "n"), tmp_path / "m")
    assert report.left_out == {}
    assert report.notes == []
    labels = ["bad ccd1 1x1", "bias ccd1 1x1", "dark ccd1 1x1", "flat ccd1 g 1x1", "flat ccd1 r 1x1"]
    assert sorted(str(w.label) for w in report.written) == labels
    assert np.std(image(folder, "bias") - FIXED) < 1.3 * NOISE / np.sqrt(7)
    assert np.abs(image(folder, "dark") - DARK).max() < 0.2
    for band in "gr":
        flat = image(folder, "flat", band)
        assert np.abs(flat * np.median(FLAT) / FLAT - 1)[FLAT > 0.5].max() < 0.01
    assert [tuple(p) for p in np.argwhere(image(folder, "bad"))] == [(7, 9), (11, 13)]
    label = next(w.label for w in report.written if w.label.kind == "dark")
    assert (label.exposure, label.temperature, label.n_frames, night_of(label.valid_from)) == (100.0, -20.0, 7, "2026-10-31")


def test_a_science_frame_calibrated_with_them_is_the_light_that_fell(tmp_path: Path) -> None:
    folder, _ = build(night(tmp_path / "n", 15), tmp_path / "m")
    light = np.full((H, W), 400.0, np.float32)
    frame = read_frame(raw(light * FLAT + DARK * 30, 77))
    masters, flags = folder.select(detector="ccd1", filter="r", binning=(1, 1), mjd=frame.mjd, temperature=-20.0, exposure=30.0)
    made = calibrate(frame, masters, cosmic_rays=False)
    good = np.asarray(made.mask) == 0
    assert flags == ()
    assert good.mean() > 0.99
    assert np.all(np.asarray(made.mask)[~good] == BAD)
    ratio = np.asarray(made.science)[good] / (400 * 1.5)
    assert np.median(ratio) == pytest.approx(np.median(FLAT), rel=0.01)
    assert np.std(ratio) < 0.03


def test_cosmic_rays_in_calibration_frames_are_clipped(tmp_path: Path) -> None:
    folder = night(tmp_path / "n")
    struck = DARK * 100
    struck[20:24, 30:33] += 8_000
    (folder / "dark3.fits").write_bytes(raw(struck, 103, IMAGETYP="dark", EXPTIME=100.0))
    found, report = build(folder, tmp_path / "m")
    assert report.left_out == {}
    assert np.abs(image(found, "dark") - DARK).max() < 0.2


def test_what_does_not_belong_is_left_out_with_why(tmp_path: Path) -> None:
    folder = night(tmp_path / "n")
    stray = {
        "light.fits": (raw(200, 1), "a science frame"),
        "lit-bias.fits": (raw(900, 2, IMAGETYP="bias", EXPTIME=0.0), "outlier: its median is 9"),
        "lit-dark.fits": (raw(DARK * 100 + 700, 3, IMAGETYP="dark", EXPTIME=100.0), "outlier: its median is 7.4"),
        "faint-flat.fits": (raw(FLAT * 90, 4, IMAGETYP="flat", EXPTIME=5.0), "too faint"),
        "full-flat.fits": (raw(FLAT * 70_000, 5, IMAGETYP="flat", EXPTIME=5.0), "saturated"),
        "other-flat.fits": (raw(FLAT[:, ::-1] * 20_000, 6, IMAGETYP="flat", EXPTIME=5.0), "unlike the others"),
        "binned.fits": (raw(FLAT * 20_000, 7, IMAGETYP="flat", EXPTIME=5.0, CCDSUM="2 2"), "no bias of ccd1, binning 2x2"),
        "warm-dark.fits": (raw(DARK * 400, 8, IMAGETYP="dark", EXPTIME=100.0, CCD__TEMP=-5.0), "too few frames: 1 darks, 3 are needed"),
        "short-dark.fits": (raw(DARK * 3, 9, IMAGETYP="dark", EXPTIME=3.0), "too few frames"),
        "ccd2.fits": (raw(0, 10, IMAGETYP="bias", DETECTOR="ccd2"), "too few frames"),
        "torn.fits": (raw(0, 11, IMAGETYP="bias")[:-4000], "bad_frame: truncated"),
        "text.fits": (b"nothing", "bad_frame"),
        "nofilter.fits": (raw(FLAT * 20_000, 12, IMAGETYP="flat", FILTER="Q17"), "no_filter"),
    }
    for name, (data, _) in stray.items():
        (folder / name).write_bytes(data)
    found, report = build(folder, tmp_path / "m")
    said = {Path(name).name: why for name, why in report.left_out.items()}
    assert set(said) == set(stray)
    for name, (_, why) in stray.items():
        assert why in said[name], name
    assert len(report.written) == 5
    assert np.std(image(found, "bias") - FIXED) < 1.3 * NOISE / np.sqrt(7)


def test_another_detector_is_left_out_when_one_is_asked_for(tmp_path: Path) -> None:
    folder = night(tmp_path / "n", 3)
    for k in range(3):
        (folder / f"b{k}.fits").write_bytes(raw(0, k, IMAGETYP="bias", DETECTOR="ccd2"))
    _, both = build(folder, tmp_path / "a")
    assert {w.label.detector for w in both.written} == {"ccd1", "ccd2"}
    _, one = build(folder, tmp_path / "b", detector="ccd2")
    assert {w.label.detector for w in one.written} == {"ccd2"}
    assert set(one.left_out.values()) == {"wrong detector: of ccd1, not ccd2"}


def test_new_flats_use_the_bias_that_is_there(tmp_path: Path) -> None:
    folder = night(tmp_path / "n")
    whole, _ = build(folder, tmp_path / "m")
    wanted = image(whole, "flat", "r")
    for path in folder.glob("*.fits"):
        if not path.name.startswith("flatr"):
            path.unlink()
    for path in (tmp_path / "m").glob("flat*"):
        path.unlink()
    again, report = build(folder, tmp_path / "m")
    assert report.left_out == {}
    assert np.array_equal(image(again, "flat", "r"), wanted)


def test_darks_of_two_temperatures_are_two_masters_and_none_is_said(tmp_path: Path) -> None:
    folder = night(tmp_path / "n", 4)
    for k in range(4):
        (folder / f"warm{k}.fits").write_bytes(raw(DARK * 300, 50 + k, IMAGETYP="dark", EXPTIME=100.0, CCD__TEMP=-10 + 0.2 * k))
    found, _ = build(folder, tmp_path / "m")
    assert sorted(round(e.label.temperature) for e in found.entries() if e.label.kind == "dark") == [-20, -10]
    for path in [*folder.glob("dark*"), *folder.glob("warm*")]:
        path.unlink()
    bare, report = build(folder, tmp_path / "b")
    assert any("no darks" in note for note in report.notes)
    with pytest.raises(FrameError, match="no master dark"):
        bare.select(detector="ccd1", filter="r", binning=(1, 1), mjd=61_346.0)
    none, _ = build(folder, tmp_path / "c", without_dark=True)
    assert not np.asarray(none.select(detector="ccd1", filter="r", binning=(1, 1), mjd=61_346.0)[0].dark).any()


def test_a_build_gives_the_same_bytes_again(tmp_path: Path) -> None:
    folder = night(tmp_path / "n", 4)
    names = [sorted(p.name for p in build(folder, tmp_path / to)[0].path.iterdir()) for to in "ab"]  # type: ignore[union-attr]
    assert names[0] == names[1]
    assert len(names[0]) == 5


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(state=tmp_path / "state")
    to, report = tmp_path / "m", tmp_path / "report.json"
    folder = night(tmp_path / "n", 4)
    (folder / "torn.fits").write_bytes(b"SIMPLE")
    how: dict[str, Any] = {"detector": None, "without_dark": False, "publish": False}
    period = command.validity("2026-01-01", None)
    assert command.build(settings, [folder], to=to, period=period, report=report, **how) == 0
    printed = capsys.readouterr().out
    assert "5 masters" in printed
    assert "torn.fits" in printed
    figures = json.loads(report.read_text())
    assert len(figures["written"]) == 5
    assert all(why.startswith("bad_frame") for why in figures["left_out"].values())
    assert command.check(settings, to, as_json=False) == 0
    assert command.ls(settings, to, as_json=True) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert {row["kind"] for row in rows} == {"bias", "dark", "flat", "bad"}
    bias = next(Path(row["file"]) for row in rows if row["kind"] == "bias")
    assert command.use(settings, [bias], to=None, period=command.validity("2026-11-01", "2026-12-01"), publish=False) == 0
    taken = MastersFolder(tmp_path / "state" / "frames" / "masters").entries()
    assert [night_of(e.label.valid_to) for e in taken] == ["2026-11-30"]
    assert command.check(settings, None, as_json=False) == 1
    assert "no master dark or flat" in capsys.readouterr().out
    MastersFolder(to).put(master("flat", 0.0, filter="i"))
    assert command.check(settings, to, as_json=True) == 1
    assert "0 or nearly so" in capsys.readouterr().out
    assert command.build(settings, [folder / "torn.fits"], to=to, period=(None, np.inf), report=None, **how) == 1


@pytest.mark.parametrize(("start", "end"), [("yesterday", None), ("2026-13-01", None), ("2026-02-01", "2026-01-01")])
def test_periods_that_cannot_be(start: str, end: str | None) -> None:
    from errors import UserError

    with pytest.raises(UserError) as caught:
        command.validity(start, end)
    assert caught.value.code == 2


def test_what_is_announced_of_a_master_leads_to_it(tmp_path: Path) -> None:
    from schemas.records import codec
    from schemas.records.master_frame import MasterFrame

    made, _ = build(night(tmp_path / "n", 3), tmp_path / "m")
    other = MastersFolder(None, prefixes=[str(tmp_path / "m")])
    for entry in made.entries():
        record = codec.decode(codec.encode(command.record_of(Path(entry.uri), entry.label)))
        assert isinstance(record, MasterFrame)
        other.take(record)
    wanted: dict[str, Any] = {"detector": "ccd1", "filter": "r", "binning": (1, 1), "mjd": 61_345.2, "gain": 1.5, "overscan": True}
    assert np.array_equal(other.select(**wanted)[0].inverse_flat, made.select(**wanted)[0].inverse_flat)
    with pytest.raises(FrameError, match="overscan"):
        other.select(**{**wanted, "overscan": False})
