"""Machine code on disk is that of the sources as they are now, and is read from no folder that others may write."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from operators.kernels import compiled as kept

HELPER = """
from operators.kernels.compiled import compiled

RATE = 2.0
TABLE = (1.0, 2.0)

@compiled
def helped(x):
    return x * 10.0
"""
CALLER = """
import sys
from operators.helper import RATE, TABLE, helped
from operators.kernels.compiled import cache_folder, compiled

@compiled
def called(x):
    return helped(x) + RATE + TABLE[1]

print(called(1.0), sum(called.stats.cache_hits.values()), cache_folder())
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout with a helper in one file and its caller in another."""
    kernels = tmp_path / "tree" / "operators" / "kernels"
    kernels.mkdir(parents=True)
    for folder in (kernels, kernels.parent):
        (folder / "__init__.py").write_text("")
    shutil.copy(kept.__file__, kernels / "compiled.py")
    (kernels.parent / "helper.py").write_text(HELPER)
    (kernels.parent / "caller.py").write_text(CALLER)
    return tmp_path / "tree"


def run(tree: Path, **environment: str) -> tuple[float, int, str]:
    """What a new process computes, how much of it came from the cache, and which folder that is."""
    where = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA")}
    where |= {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    ran = subprocess.run([sys.executable, "-m", "operators.caller"], cwd=tree, env=where, capture_output=True, text=True, check=True)
    value, hits, folder = ran.stdout.split()
    return float(value), int(hits), folder


def codes(folder: str) -> list[Path]:
    return sorted(Path(folder).glob("*.code"))


def test_a_second_process_reads_what_the_first_compiled(tree: Path) -> None:
    value, hits, folder = run(tree)
    assert (value, hits) == (14.0, 0)
    assert Path(folder).is_relative_to(tree)
    assert run(tree) == (14.0, 1, folder)


@pytest.mark.parametrize(
    ("old", "new", "value"),
    [("x * 10.0", "x * 20.0", 24.0), ("RATE = 2.0", "RATE = 3.0", 15.0), ("TABLE = (1.0, 2.0)", "TABLE = (2.0, 1.0)", 13.0)],
    ids=["function", "constant", "order of constants"],
)
def test_a_change_in_another_file_reaches_its_callers(tree: Path, old: str, new: str, value: float) -> None:
    run(tree)
    helper = tree / "operators" / "helper.py"
    helper.write_text(HELPER.replace(old, new))
    assert run(tree)[:2] == (value, 0)
    helper.write_text(HELPER)
    assert run(tree)[:2] == (14.0, 1)  # back on the old branch: its code is still there


def test_damaged_machine_code_is_compiled_anew(tree: Path) -> None:
    _, _, folder = run(tree)
    for path in codes(folder):
        path.write_bytes(path.read_bytes()[:-100])
    assert run(tree)[:2] == (14.0, 0)
    assert run(tree)[:2] == (14.0, 1)


def test_a_folder_that_others_may_write_is_not_read(tree: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    _, _, folder = run(tree, NUMBA_CACHE_DIR=str(shared))
    assert Path(folder).parent == shared
    Path(folder).chmod(0o777)
    assert run(tree, NUMBA_CACHE_DIR=str(shared)) == (14.0, 0, "None")


def test_a_place_that_cannot_be_made_costs_only_the_compilation(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert run(tree, NUMBA_CACHE_DIR=str(tmp_path / "file" / "below")) == (14.0, 0, "None")


def test_old_variants_are_removed(tree: Path) -> None:
    folder = Path(run(tree)[2])
    named = next(path for path in codes(str(folder)) if path.name.startswith("helped"))
    for k in range(40):
        shutil.copy(named, named.with_name(f"{named.name.removesuffix('.code')[:-24]}{k:024d}.code"))
    for k in range(9):
        (folder.parent / f"{kept.PREFIX}{k}").mkdir()
    (tree / "operators" / "helper.py").write_text(HELPER.replace("10.0", "30.0"))
    run(tree)
    assert len([path for path in codes(str(folder)) if path.name.startswith("helped")]) == kept.KEPT_OF_ONE
    shutil.rmtree(folder)
    run(tree)
    assert len(list(folder.parent.glob(f"{kept.PREFIX}*"))) == kept.KEPT + 1


def test_every_compiled_function_has_a_key_of_its_own_parts() -> None:
    from numba.core.dispatcher import Dispatcher

    import evaluation.forest
    import pipeline.warm
    from data.simulate import images

    assert pipeline.warm
    assert evaluation.forest
    found = [
        item.py_func
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] in ("operators", "schemas", "data", "evaluation")
        for item in vars(module).values()
        if isinstance(item, Dispatcher) and item.py_func.__module__ == name
    ]
    assert images._paint.py_func in found
    assert len({kept.source_key(function) for function in found}) == len(found) > 30
