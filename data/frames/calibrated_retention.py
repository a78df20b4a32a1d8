"""Calibrated frames whose announcement is no longer on the topic: their files are removed.

folder of calibrated frames, a time → files removed, their bytes

Only what the calibrator itself wrote, by its own form of name: night/detector/frame_digest.fits. Links are not followed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

_NIGHT = re.compile(r"-?\d{1,7}")
_FILE = re.compile(r".+_[0-9a-f]{16,64}\.fits")


class Removed(NamedTuple):
    """What was removed."""

    files: int
    size: int
    """[bytes]"""


def remove_older(folder: Path, written_before: float) -> Removed:
    """Remove calibrated frames, and the folders that are empty then.

    Parameters
    ----------
    folder : Path
        It need not be there.
    written_before : float
        Seconds since 1970: files that were written later stay.

    Raises
    ------
    OSError
        A file cannot be removed.
    """
    files = size = 0
    for night in _folders(folder):
        if _NIGHT.fullmatch(night.name) is None:
            continue
        for detector in _folders(night):
            for file in sorted(detector.iterdir()):
                if _FILE.fullmatch(file.name) is None or file.is_symlink() or not file.is_file():
                    continue
                facts = file.stat()
                if facts.st_mtime < written_before:
                    file.unlink(missing_ok=True)
                    files, size = files + 1, size + facts.st_size
            _remove_if_empty(detector)
        _remove_if_empty(night)
    return Removed(files, size)


def _folders(folder: Path) -> list[Path]:
    if folder.is_symlink() or not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())


def _remove_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()
