"""A folder → how much room its disk has, and what to say where it runs out."""

from __future__ import annotations

import shutil
from pathlib import Path

from console.failures import full_disk
from errors import UserError

NEEDED = 200_000_000
"""Free space below which nothing is started [bytes]: Kafka ends at the first write that fails."""
LOW = 2_000_000_000
"""Free space below which it is reported [bytes]."""
FULL_WORDS = ("no space left on device", "disk quota exceeded", "not enough space")
"""Words of a log that mean a full disk."""


def free(folder: Path) -> int:
    """Free space of the disk that a folder lies on, or will lie on [bytes]."""
    there = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    return shutil.disk_usage(there).free


def check_room(folder: Path) -> None:
    """Refuse to start on a full disk.

    Raises
    ------
    UserError
        There is less than `NEEDED`.
    """
    left = free(folder)
    if left < NEEDED:
        raise UserError(f"{full_disk(folder)}: {left / 1e6:.0f} MB are free, {NEEDED / 1e6:.0f} MB are needed to start")


def low(folder: Path) -> str | None:
    """What to say of a disk that is nearly full; None: it is not."""
    left = free(folder)
    return f"only {left / 1e6:,.0f} MB are free on the disk of {folder}: free some before Kafka ends on it" if left < LOW else None


def reports_full(text: str) -> bool:
    """Whether a log's words are those of a full disk."""
    return any(words in text.lower() for words in FULL_WORDS)
