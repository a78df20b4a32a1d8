"""The stages of a training under DVC: the bundle of `learning.recipe`, a second run does nothing, and a bundle says which lock made it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytest.importorskip("torch")
pytest.importorskip("dvc")

from learning import recipe_stages
from learning.plan import Plan, PlanError
from learning.recipe_stages import Places, StageError, lock_hash, read_params, start
from registry.bundle import MANIFEST, PUBLISHED, load

ROOT = Path(__file__).parents[2]
SMALL = {
    "alerts": 440, "curves": 0, "space": 0, "steps": 8, "seed": 3, "start_from": None, "trainable": [],
    "hyperparameters": {"batch": 16, "shards": 1},
    "encoder": {"width": 16, "channels": [4, 8, 8, 8], "image": 16, "context": 16, "fold": 16, "hidden": 32, "embedding": 32},
}  # fmt: skip
PACKAGES = (
    "console",
    "data",
    "errors",
    "evaluation",
    "gpu",
    "learning",
    "operators",
    "pipeline",
    "registry",
    "schemas",
    "settings",
    "streams",
    "tools",
)


def test_the_parameters_are_the_plan_of_the_bundle_that_ships() -> None:
    plan = read_params(ROOT / "params.yaml")
    assert plan.record() == load().manifest.plan
    text = yaml.safe_load((ROOT / "params.yaml").read_text())
    assert set(text) == set(Plan.__dataclass_fields__)  # DVC misses a parameter that is left to its default
    named = {name for stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values() for name in stage.get("params", ())}
    assert named == set(text)


@pytest.mark.parametrize("text", ["[1, 2]", "alerts: many", "nothing: 1", "a: [", "alerts: 10"])
def test_parameters_that_are_not_a_plan_are_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(PlanError) as refused:
        read_params(tmp_path / "params.yaml")
    assert "\n" not in str(refused.value)


def test_a_plan_begins_from_a_bundle_of_the_history(tmp_path: Path) -> None:
    places = Places(tmp_path / "repro")
    sha256 = hashlib.sha256((PUBLISHED / MANIFEST).read_bytes()).hexdigest()
    if not (ROOT / ".git").exists():
        pytest.skip("no git repository is here")
    committed = subprocess.run(["git", "show", "HEAD:registry/published/manifest.json"], cwd=ROOT, capture_output=True, check=True).stdout
    if hashlib.sha256(committed).hexdigest() == sha256:
        start(Plan(start_from=sha256), places)
        assert load(places.start).sha256 == sha256
    start(Plan(start_from="published"), places)
    assert load(places.start).sha256 == sha256
    start(Plan(), places)
    assert not any(places.start.iterdir())
    with pytest.raises(StageError, match="unshallow"):
        start(Plan(start_from="0" * 64), places)
    with pytest.raises(StageError, match="neither"):
        start(Plan(start_from=str(tmp_path / "nowhere")), places)


def test_the_hash_of_a_lock_is_of_the_stages_before_the_last(tmp_path: Path) -> None:
    lock = tmp_path / "dvc.lock"
    assert lock_hash(lock) == ""
    stages = {name: {"cmd": f"run {name}", "outs": [{"md5": name}]} for name in recipe_stages.BEFORE_EXPORT}
    lock.write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
    first = lock_hash(lock)
    lock.write_text(yaml.safe_dump({"stages": {**dict(reversed(stages.items())), "export": {"cmd": "x"}}, "schema": "2.0"}))
    assert lock_hash(lock) == first
    stages["train"]["outs"] = [{"md5": "another"}]
    lock.write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
    assert lock_hash(lock) not in ("", first)
    del stages["train"]
    lock.write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
    assert lock_hash(lock) == ""


def repository(folder: Path) -> None:
    """A clone with a small plan."""
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache", "config.local"))
    (folder / "params.yaml").write_text(yaml.safe_dump({**yaml.safe_load((ROOT / "params.yaml").read_text()), **SMALL}))
    (folder / ".gitignore").write_text("artifacts/\n__pycache__/\n")
    run(folder, "git", "init", "-q")


def run(folder: Path, *command: str) -> str:
    environment = {
        **os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(folder),
        "DVC_NO_ANALYTICS": "1", "PROTONOVA_SHARED": str(folder / "nothing"), "OMP_NUM_THREADS": "1",
        "NUMBA_CACHE_DIR": str(ROOT / "operators" / "kernels" / "__pycache__"),
    }  # fmt: skip
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_dvc_makes_a_bundle_once(tmp_path: Path) -> None:
    repository(tmp_path)
    dvc = (sys.executable, "-m", "dvc")
    run(tmp_path, *dvc, "repro")
    places = Places(tmp_path / "artifacts" / "repro")
    bundle = load(places.bundle)
    assert bundle.manifest.plan == read_params(tmp_path / "params.yaml").record()
    assert bundle.manifest.lock == lock_hash(tmp_path / "dvc.lock") != ""
    assert bundle.manifest.figures["demo"]["n"]
    assert json.loads(run(tmp_path, *dvc, "status", "--json")) == {}
    before = (tmp_path / "dvc.lock").read_bytes()
    assert "didn't change, skipping" in run(tmp_path, *dvc, "repro")
    assert (tmp_path / "dvc.lock").read_bytes() == before
    run(tmp_path, *dvc, "push")  # the local remote holds what the lock names: who deletes the files gets them back
    shutil.rmtree(places.bundle)
    shutil.rmtree(tmp_path / ".dvc" / "cache")
    run(tmp_path, *dvc, "pull")
    assert load(places.bundle).sha256 == bundle.sha256
    # A change of the head's code alone makes the head anew, and no network.
    with (tmp_path / "learning" / "head_calibration.py").open("a") as code:
        code.write("\n# changed\n")
    said = run(tmp_path, *dvc, "repro", "--dry")
    assert "Stage 'train' didn't change" in said
    assert "Running stage 'calibrate'" in said
