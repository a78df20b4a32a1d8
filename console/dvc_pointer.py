"""A folder of fetched files → a pointer that git keeps, by DVC's own ``dvc add``: the files lie in DVC's cache and remotes, not in git."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from errors import UserError, one_line, usage

IGNORED = "*.part\n*.part.json\n/rejected\n/rejected.jsonl\n"


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
        DVC refuses; with its last line.
    """
    ignored = folder / ".dvcignore"
    if not ignored.exists():
        ignored.write_text(IGNORED)
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "add", "--quiet", folder.name],
        cwd=folder.parent,
        env={**os.environ, "DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UserError(f"dvc add failed: {one_line((done.stderr or done.stdout).strip().splitlines()[-1:] or 'no message', 300)}")
    return folder.with_name(f"{folder.name}.dvc")
