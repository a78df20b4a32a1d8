"""Which masters a frame gets, what is said where one is missing, and that a master that cannot be is never used."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from data.frames.claims import claim_of
from data.frames.frame_error import FrameError
from data.frames.masters_folder import MastersFolder, night_of
from operators.images.planes import BAD, Masters
from schemas.records.master_frame import MasterFrame
from tests.data.frames.made_frames import MJD, H, W, fill, frame_file, master

FRAME = {"detector": "ccd1", "filter": "r", "binning": (1, 1), "mjd": MJD, "temperature": -20.0, "exposure": 30.0, "gain": 1.5}


def select(folder: MastersFolder, **changed: object) -> tuple[Masters, tuple[str, ...]]:
    return folder.select(**{**FRAME, **changed})  # type: ignore[arg-type]


def refused(folder: MastersFolder, **changed: object) -> tuple[str, str]:
    with pytest.raises(FrameError) as caught:
        select(folder, **changed)
    return caught.value.reason, str(caught.value)


def test_a_frame_gets_its_masters(tmp_path: Path) -> None:
    bad = np.eye(H, W, dtype=np.uint8) * BAD
    folder = fill(MastersFolder(tmp_path), master("flat", 0.5 + np.arange(W) / W, filter="g"), master("bad", bad))
    masters, flags = select(MastersFolder(tmp_path))
    assert flags == ()
    assert np.all(np.asarray(masters.bias) == 5)
    assert np.all(np.asarray(masters.inverse_flat) == 1)
    assert np.array_equal(np.asarray(masters.bad), bad)
    assert len(masters.ids) == 4
    assert {len(digest) for digest in masters.ids} == {64}
    other = select(folder, filter="g")[0]
    assert np.allclose(np.asarray(other.inverse_flat)[0], 1 / (0.5 + np.arange(W) / W))
    assert select(folder)[0].ids == masters.ids


def test_the_latest_valid_one_counts(tmp_path: Path) -> None:
    folder = fill(
        MastersFolder(tmp_path), master("bias", 6.0, valid_from=61_300.0), master("bias", 7.0, valid_from=61_340.0, valid_to=61_344.0)
    )
    assert float(np.asarray(select(folder)[0].bias)[0, 0]) == 6
    assert float(np.asarray(select(folder, mjd=61_343.0)[0].bias)[0, 0]) == 7
    assert float(np.asarray(select(folder, mjd=61_200.0)[0].bias)[0, 0]) == 5


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"detector": "ccd2"}, "no master bias for detector ccd2, binning 1x1, night 2026-10-31 (of another detector: ccd1)"),
        ({"binning": (2, 1)}, "no master bias for detector ccd1, binning 1x2, night 2026-10-31 (of another binning: 1x1)"),
        ({"filter": "g"}, "no master flat for detector ccd1, filter g, binning 1x1, night 2026-10-31 (of another filter: r)"),
        ({"gain": 3.0}, "of another gain: 1.5"),
        ({"overscan": False}, "of another overscan: with overscan"),
        ({"temperature": 5.0}, "darks are of -20 deg C, the frame of 5"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, changed: dict[str, object], said: str) -> None:
    why, text = refused(fill(MastersFolder(tmp_path)), **changed)
    assert why == "no_master"
    assert said in text


def test_the_night_is_said(tmp_path: Path) -> None:
    folder = MastersFolder(tmp_path)
    for kind in ("bias", "dark", "flat"):
        folder.put(master(kind, 1.0, valid_from=61_000.0, valid_to=61_001.0))
    assert refused(folder)[1].endswith("(of another night: 2025-11-20 to 2025-11-21)")
    assert refused(MastersFolder(None))[1].endswith("(none of that kind)")


@pytest.mark.parametrize(
    ("changed", "flags"),
    [({"temperature": -20.9}, ()), ({"temperature": -15.0}, ("dark_temperature",)), ({"temperature": math.nan}, ("temperature_unknown",)),
     ({"exposure": 300.0}, ("dark_exposure",)), ({"exposure": 300.0, "temperature": -28.0}, ("dark_temperature", "dark_exposure"))],
)  # fmt: skip
def test_a_dark_that_is_not_quite_the_frames_is_flagged(tmp_path: Path, changed: dict[str, object], flags: tuple[str, ...]) -> None:
    assert select(fill(MastersFolder(tmp_path)), **changed)[1] == flags


def test_the_nearest_dark_is_taken(tmp_path: Path) -> None:
    folder = fill(MastersFolder(tmp_path), master("dark", 0.2, temperature=-10.0), master("dark", 0.3, temperature=-12.0))
    masters, flags = select(folder, temperature=-13.5)
    assert (float(np.asarray(masters.dark)[0, 0]), flags) == (pytest.approx(0.3), ("dark_temperature",))
    assert select(folder, temperature=-10.5)[1] == ()


def test_a_pixel_without_flat_is_bad_and_not_divided_by(tmp_path: Path) -> None:
    flat = np.ones((H, W), np.float32)
    flat[2, 3], flat[4, 5], flat[6, 7] = 0, np.nan, -1
    folder = MastersFolder(tmp_path)
    for one in (master("bias"), master("dark"), master("flat", flat)):
        folder.put(one)
    masters = select(folder)[0]
    bad = np.asarray(masters.bad)
    assert [tuple(place) for place in np.argwhere(bad)] == [(2, 3), (4, 5), (6, 7)]
    assert np.all(bad[bad > 0] == BAD)
    assert np.isfinite(np.asarray(masters.inverse_flat)).all()


@pytest.mark.parametrize(
    ("kind", "value"),
    [("bias", np.nan), ("dark", np.inf), ("flat", 0.0), ("flat", np.nan), ("flat", 20_000.0), ("flat", -1.0), ("bad", 1)],
)
def test_a_master_that_cannot_be_is_refused(tmp_path: Path, kind: str, value: float) -> None:
    folder = fill(MastersFolder(tmp_path))
    folder.put(master(kind, value, valid_from=61_345.0))
    why, text = refused(folder)
    assert why == "bad_master"
    assert kind in text


def test_masters_of_different_shapes_and_a_frame_of_another(tmp_path: Path) -> None:
    folder = fill(MastersFolder(tmp_path))
    assert refused(folder, shape=(H, W + 8)) == (
        "wrong_shape",
        f"the image has {W + 8} x {H} pixels, the masters of detector ccd1 {W} x {H}",
    )
    assert select(folder, shape=(H, W))
    wide = master("flat", 1.0, valid_from=61_345.0)
    object.__setattr__(wide, "image", np.ones((H, W + 1), np.float32))
    folder.put(wide)
    assert refused(folder)[0] == "bad_master"


def test_a_file_that_was_changed_is_not_used(tmp_path: Path) -> None:
    folder = fill(MastersFolder(tmp_path))
    path, _ = folder.put(master("bias", 6.0, valid_from=61_345.0))
    data = bytearray(path.read_bytes())
    for sum_too in (False, True):
        at = data.index(b"DATASUM = '") + 11 if sum_too else len(data) - 2880
        data[at] ^= 1
        path.write_bytes(bytes(data))
        why, text = refused(MastersFolder(tmp_path))
        assert why == "bad_master"
        assert "bias" in text
    path.write_bytes(frame_file())
    assert path.name in MastersFolder(tmp_path).rejects


def test_a_file_that_was_taken_away_is_missing_not_an_error(tmp_path: Path) -> None:
    folder = fill(MastersFolder(tmp_path))
    path, _ = folder.put(master("bias", 6.0, valid_from=61_345.0))
    path.unlink()
    assert float(np.asarray(select(folder)[0].bias)[0, 0]) == 5
    other = MastersFolder(tmp_path)
    for one in tmp_path.glob("flat*"):
        one.unlink()
    assert refused(other)[0] == "no_master"


def record(path: Path, **changed: object) -> MasterFrame:
    uri, length, sha256 = claim_of(path)
    figures = {"gain": 1.5, "temperature": None, "exposure": None, "valid_from": 61_000.0, "valid_to": None, "n_frames": 9, "made_ms": 1}
    label = {"kind": "bias", "detector": "ccd1", "filter": "", "binning": (1, 1)}
    return MasterFrame(**{**label, **figures, "uri": uri, "length": length, "sha256": sha256, **changed})  # type: ignore[arg-type]


def test_an_announced_bias_is_for_frames_with_an_overscan_or_without_one(tmp_path: Path) -> None:
    path, _ = MastersFolder(tmp_path / "store").put(master("bias", 8.0))
    for overscan in (False, True):
        folder = fill(MastersFolder(tmp_path / f"{overscan}", prefixes=[str(tmp_path / "store")]))
        folder.take(record(path, overscan=overscan, valid_from=61_100.0))
        found, _ = select(folder, overscan=True)
        assert float(np.asarray(found.bias)[0, 0]) == (8 if overscan else 5)


def test_announced_masters_are_checked_before_use(tmp_path: Path) -> None:
    store, here = tmp_path / "store", tmp_path / "here"
    path, label = MastersFolder(store).put(master("bias", 8.0))
    folder = MastersFolder(here, prefixes=[str(store)])
    folder.put(master("dark"))
    folder.put(master("flat", 1.0))
    assert refused(folder)[0] == "no_master"
    folder.take(record(path))
    masters, _ = select(folder)
    assert float(np.asarray(masters.bias)[0, 0]) == 8
    assert masters.ids[0] == label.digest
    newer, _ = MastersFolder(store).put(master("bias", 9.0))
    folder.take(record(newer, made_ms=2))
    assert float(np.asarray(select(folder)[0].bias)[0, 0]) == 9, "the same key: the later record"
    folder.withdraw(record(newer).key)
    assert refused(folder)[0] == "no_master"
    folder.take(record(path, sha256="0" * 64))
    assert refused(folder)[0] == "bad_master"
    outside = MastersFolder(here, prefixes=[str(tmp_path / "elsewhere")])
    outside.take(record(path))
    assert "none of the configured prefixes" in refused(outside)[1]


def test_add_takes_files_of_one_kind(tmp_path: Path) -> None:
    path, label = MastersFolder(tmp_path / "a").put(master("bias", 5.0))
    folder = MastersFolder(tmp_path / "b")
    assert folder.add("bias", path)[0].digest == label.digest
    assert len(folder) == 1
    with pytest.raises(FrameError, match="is a master bias, not flat"):
        folder.add("flat", path)


@pytest.mark.parametrize(("mjd", "night"), [(MJD, "2026-10-31"), (61_345.6, "2026-11-01"), (math.nan, "unknown"), (math.inf, "unknown")])
def test_nights(mjd: float, night: str) -> None:
    assert night_of(mjd) == night
