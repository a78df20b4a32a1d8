"""A state folder → whether this process may use it: a lock that goes with the process that holds it."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

from console.failures import FULL, full_disk
from errors import UserError
from settings.private import private_folder


def claim(folder: Path, state: Path) -> IO[str]:
    """Take a folder for this process; closing what is returned lets it go.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    state : Path
        The state folder it belongs to, as the user knows it.

    Raises
    ------
    UserError
        Another process holds it, or it cannot be used.
    """
    try:
        private_folder(folder)
        guard = (folder / "lock").open("a")
    except OSError as error:
        if error.errno in FULL:
            raise UserError(full_disk(state)) from None
        raise UserError(f"the state folder {state} cannot be used: {error.strerror}") from None
    try:
        fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        guard.close()
        raise UserError(
            f"another protonova run uses the state folder {state}: end it, or give this one a folder of its own (--state)"
        ) from None
    return guard
