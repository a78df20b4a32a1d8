"""Folders and files that only we may read: what lies in a state folder may be of alerts that are not public."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER_MODE, FILE_MODE = 0o700, 0o600


def private_folder(path: Path) -> Path:
    """Make a folder of ours that no other user can enter, and return it.

    Folders above it are made likewise where they are missing, and left as they are where they are not: they may be anybody's.
    """
    for missing in reversed([p for p in path.parents if not p.exists()]):
        missing.mkdir(FOLDER_MODE, exist_ok=True)
    path.mkdir(FOLDER_MODE, exist_ok=True)
    if path.stat().st_mode & 0o077 and path.stat().st_uid == os.geteuid():
        path.chmod(FOLDER_MODE)  # of an earlier release
    return path


def private_file(path: Path, *, append: bool = False) -> int:
    """Open a file of ours for writing that no other user can read; its descriptor."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_APPEND if append else os.O_TRUNC), FILE_MODE)
    if os.fstat(descriptor).st_mode & 0o077:
        os.fchmod(descriptor, FILE_MODE)
    return descriptor
