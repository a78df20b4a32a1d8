"""Runs every case as a program of its own: exit status 0 right, 1 wrong, 3 it could not be run (a failure too, unless its README says when).

A folder ``NN-name`` with a ``make.py`` is a case. Those that start a Kafka node are marked `flow`.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CASES = sorted(path.parent for path in HERE.glob("[0-9][0-9]-*/make.py"))
CANNOT = 3
COMPILES = ("18-stale-machine-code",)
"""They compile loops anew."""
LIMIT_S = 600.0
_BROKER = re.compile(r"^from case import [^\n]*\bbroker\b", re.MULTILINE)
_EXCUSED = re.compile(r"^\*\*Skipped where\*\* (.+)$", re.MULTILINE)
"""A line of a case's README: what the reason has to say so that status 3 is a skip."""


def parameter(folder: Path) -> object:
    """A case as a test's parameter."""
    marks = [pytest.mark.timeout(LIMIT_S + 30)]
    if _BROKER.search((folder / "make.py").read_text()):
        marks += [pytest.mark.flow, pytest.mark.slow]  # each starts a Kafka of its own: together too long for `make test`
    elif folder.name in COMPILES:
        marks.append(pytest.mark.slow)
    return pytest.param(folder, id=folder.name, marks=marks)


def run(folder: Path) -> tuple[int, str]:
    """Exit status of a case, and what it printed; whatever it started ends with it."""
    where = {**os.environ, "PROTONOVA": str(ROOT), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(folder / "make.py")]
    with subprocess.Popen(
        command, cwd=ROOT, env=where, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True
    ) as child:
        try:
            printed, _ = child.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            printed, _ = child.communicate()
            printed += f"\nended by the test after {LIMIT_S:.0f} s"
        return child.returncode, printed


@pytest.mark.parametrize("folder", [parameter(folder) for folder in CASES])
def test_case(folder: Path) -> None:
    status, printed = run(folder)
    if status == CANNOT:
        reason = printed.strip().rpartition("\n")[2]
        excused = _EXCUSED.findall((folder / "README.md").read_text())
        if any(words in reason for words in excused):
            pytest.skip(reason)
    assert status == 0, f"{folder.name} ended with {status}\n{printed}"


def test_every_folder_is_a_case_with_a_description() -> None:
    folders = [path for path in HERE.iterdir() if path.is_dir() and path.name[:2].isdigit()]
    assert {path.name for path in folders} == {path.name for path in CASES}
    assert not [path.name for path in folders if not (path / "README.md").is_file()]
    numbers = [path.name[:2] for path in folders]
    assert len(set(numbers)) == len(numbers), "two cases of one number"
