"""A folder of fetched files → a pointer that git keeps, by DVC's own ``dvc add``: the files lie in DVC's cache and remotes, not in git."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from errors import UserError, one_line, usage


def check_repository(folder: Path) -> None:
    """Refuse before anything is fetched where a pointer could not be made.

    Raises
    ------
    UserError
    """
    if find_spec("dvc") is None:
        raise usage("--dvc needs DVC: pip install 'protonova[train]', or pip install dvc")
    if not any((parent / ".dvc").is_dir() for parent in folder.absolute().parents):
        raise usage(f"--dvc: {folder} is not in a DVC repository: run `dvc init` there, or name another folder by --to")


def add(folder: Path) -> Path:
    """Make or renew ``FOLDER.dvc``, and return it.

    Raises
    ------
    UserError
        DVC refuses, with its own words; or a file of the folder is there by half.
    """
    half = next(folder.glob("*.part"), None)
    if half is not None:
        raise UserError(f"no DVC pointer is made while {half} is there: run the query that it is of to its end, or delete it")
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "add", folder.name],
        cwd=folder.absolute().parent,
        env={**os.environ, "DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        why = next((line for line in said if line.startswith("ERROR")), said[-1] if said else "it says nothing")
        raise UserError(f"dvc add {folder}: {one_line(why, 300)}")
    return folder.with_name(f"{folder.name}.dvc")
