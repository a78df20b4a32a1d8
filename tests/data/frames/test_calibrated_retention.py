"""Old calibrated frames are removed, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from data.frames.calibrated_retention import remove_older

NAME = "science-1_" + "0123456789abcdef" + ".fits"


def _file(path: Path, *, written: float, size: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (written, written))
    return path


def test_old_files_go_with_their_empty_folders(tmp_path: Path) -> None:
    old = [_file(tmp_path / "61000" / detector / NAME, written=1_000.0) for detector in ("ccd-1", "ccd-2")]
    young = _file(tmp_path / "61001" / "ccd-1" / NAME, written=3_000.0)
    removed = remove_older(tmp_path, 2_000.0)
    assert removed == (2, 200)
    assert not any(path.exists() for path in old)
    assert not (tmp_path / "61000").exists()
    assert young.exists()
    assert remove_older(tmp_path, 2_000.0) == (0, 0)


def test_a_night_keeps_the_folder_that_holds_a_younger_file(tmp_path: Path) -> None:
    _file(tmp_path / "61000" / "ccd-1" / NAME, written=1_000.0)
    young = _file(tmp_path / "61000" / "ccd-1" / NAME.replace("science-1", "science-2"), written=3_000.0)
    assert remove_older(tmp_path, 2_000.0) == (1, 100)
    assert young.exists()


@pytest.mark.parametrize(
    "where", ["notes.txt", "61000/notes.txt", "61000/ccd-1/notes.txt", "61000/ccd-1/master.fits", f"archive/ccd-1/{NAME}", f"61000/{NAME}"]
)
def test_files_of_others_stay(tmp_path: Path, where: str) -> None:
    file = _file(tmp_path / where, written=1_000.0)
    assert remove_older(tmp_path, 2_000.0) == (0, 0)
    assert file.exists()


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside = _file(tmp_path / "outside" / "ccd-1" / NAME, written=1_000.0)
    folder = tmp_path / "calibrated"
    folder.mkdir()
    (folder / "61000").symlink_to(tmp_path / "outside")
    _file(folder / "61001" / "ccd-1" / NAME, written=3_000.0)
    (folder / "61001" / "ccd-1" / NAME.replace("1_", "2_")).symlink_to(outside)
    os.utime(folder / "61001" / "ccd-1" / NAME.replace("1_", "2_"), (1_000.0, 1_000.0), follow_symlinks=False)
    assert remove_older(folder, 2_000.0) == (0, 0)
    assert outside.exists()


def test_a_folder_that_is_not_there_does_no_harm(tmp_path: Path) -> None:
    assert remove_older(tmp_path / "none", 2_000.0) == (0, 0)
