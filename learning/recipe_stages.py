"""The stages of a training, each from files to files: what DVC runs (dvc.yaml), and runs again where something changed.

    start ──► simulate ──► train ──► calibrate ──► evaluate ──► export
    the bundle that the plan goes on from · sets · encoder.onnx · a bundle without figures · figures.json · the bundle

The stages call the functions of `learning.recipe.train` in its order, so that the bundle is the one that it makes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from errors import UserError, one_line
from gpu.ort import OrtSession
from learning.head_calibration import Calibrated
from learning.plan import SHA256, Plan, PlanError
from learning.recalibrate import DEMO, demo_alerts, demo_space, fit_head, golden_of, real_alerts
from learning.recipe import Sets, Trained, evaluate, held_out_size, held_space_size, initial_of, manifest_of, train_encoder
from learning.workplace import Progress, Workplace
from registry.bundle import MANIFEST, PUBLISHED, Bundle, Parts, load, refuse, save

BEFORE_EXPORT = ("start", "simulate", "train", "calibrate", "evaluate")
"""Stages whose entries in the lock say what a bundle was made of; the lock's entry of the last one holds the bundle itself."""
LOCK = Path("dvc.lock")
IN_GIT = "registry/published"
"""Folder of the bundle that ships, in every commit."""


class StageError(UserError):
    """A stage lacks what it needs. One line."""

    hint = "`dvc repro` runs the stages before it first"


@dataclass(frozen=True, slots=True)
class Places:
    """Where the stages' files lie.

    Parameters
    ----------
    folder : Path
        One folder for all of them.
    """

    folder: Path

    @property
    def start(self) -> Path:
        """The bundle that the plan goes on from; empty: it begins from its seed."""
        return self.folder / "start"

    @property
    def sets(self) -> Path:
        """The simulated sets."""
        return self.folder / "sets"

    @property
    def trained(self) -> Path:
        """Folder of the encoder and what is said of it."""
        return self.folder / "trained"

    @property
    def calibrated(self) -> Path:
        """A bundle without figures."""
        return self.folder / "calibrated"

    @property
    def figures(self) -> Path:
        """JSON of the figures."""
        return self.folder / "figures.json"

    @property
    def bundle(self) -> Path:
        """The bundle."""
        return self.folder / "bundle"


def read_params(path: Path) -> Plan:
    """Read a plan as DVC's parameters hold it.

    Raises
    ------
    PlanError
        It is not a plan.
    """
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise PlanError("params", f"{path} cannot be read: {one_line(error, 200)}") from None
    return Plan.from_record(record)


def start(plan: Plan, places: Places) -> None:
    """Fetch the bundle that the plan goes on from: from the folder it names, or by its sha256 from the repository's history.

    Raises
    ------
    StageError
        It is nowhere.
    """
    shutil.rmtree(places.start, ignore_errors=True)
    places.start.mkdir(parents=True)
    if plan.start_from is None:
        return
    folder = PUBLISHED if plan.start_from == "published" else Path(plan.start_from)
    if folder.is_dir():
        shutil.copytree(folder, places.start, dirs_exist_ok=True)
    elif SHA256.fullmatch(plan.start_from):
        _from_history(plan.start_from, places.start)
    else:
        raise StageError(f"start_from: {plan.start_from} is neither a bundle's folder nor its sha256")


def _from_history(sha256: str, to: Path) -> None:
    """The published bundle of the commit whose manifest has a sha256."""
    for commit in _git("log", "--format=%H", "--", f"{IN_GIT}/{MANIFEST}").decode().split():
        if hashlib.sha256(_git("show", f"{commit}:{IN_GIT}/{MANIFEST}")).hexdigest() == sha256:
            for name in _git("ls-tree", "--name-only", f"{commit}:{IN_GIT}").decode().split():
                (to / name).write_bytes(_git("show", f"{commit}:{IN_GIT}/{name}"))
            return
    raise StageError(f"no commit at hand has the bundle {sha256[:16]} under {IN_GIT}: clone the whole history (git fetch --unshallow)")


def _git(*words: str) -> bytes:
    try:
        return subprocess.run(["git", *words], check=True, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"") or b""
        raise StageError(f"git {' '.join(words[:2])}: {one_line(said.decode(errors='replace') or error, 200)}") from None


def placed(plan: Plan, places: Places) -> Plan:
    """The plan as `learning.recipe` takes it: what it goes on from is the folder that `start` filled."""
    return plan if plan.start_from is None else Plan.from_record({**plan.record(), "start_from": str(places.start)})


def simulate(plan: Plan, workplace: Workplace, *, progress: Progress) -> None:
    """Make every simulated set: to train on, to calibrate with, to report on."""
    Sets.of(plan, workplace, progress=progress)
    demo_alerts(min(DEMO, held_out_size(plan)), plan.seed, workplace=workplace)
    demo_space(held_space_size(plan) // 2, plan.seed, workplace=workplace)


def train(plan: Plan, workplace: Workplace, *, places: Places, progress: Progress) -> None:
    """Train the encoder and export it."""
    plan = placed(plan, places)
    data = Sets.of(plan, workplace, progress=progress)
    made = train_encoder(plan, workplace, data=data, initial=initial_of(plan), progress=progress)
    places.trained.mkdir(parents=True, exist_ok=True)
    (places.trained / "encoder.onnx").write_bytes(made.model)
    said = {name: value for name, value in asdict(made).items() if name != "model"}
    (places.trained / "encoder.json").write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(workplace.checkpoint, ignore_errors=True)  # a stage that is run again begins anew


def calibrate(plan: Plan, workplace: Workplace, *, places: Places, progress: Progress) -> Bundle:
    """Fit the head; what is written is a bundle without figures."""
    plan, made = placed(plan, places), _trained(places)
    data = Sets.of(plan, workplace, progress=progress)
    session = OrtSession(made.model)
    real = real_alerts(workplace, session, progress=progress)
    calibrated, reference = fit_head(data.held_out, data.held_curves, space=data.held_space, session=session, real=real)
    golden = golden_of(data.held_out, session, head=calibrated.head)
    manifest = manifest_of(plan, made, initial=initial_of(plan), created_on=workplace.created_on, figures={})
    return save(places.calibrated, Parts(manifest, made.model, calibrated.head, reference, golden, calibrated.unseen))


def report(plan: Plan, workplace: Workplace, *, places: Places, progress: Progress) -> dict[str, Any]:
    """Evaluate the calibrated bundle."""
    bundle, made = load(places.calibrated), _trained(places)
    session = OrtSession(bundle.encoder)
    real = real_alerts(workplace, session, progress=progress)
    head = Calibrated(bundle.head, bundle.unseen)
    found = evaluate(placed(plan, places), workplace, session=session, calibrated=head, real=real, progress=progress)
    figures = found | {"export": made.agreement}
    places.figures.write_text(json.dumps(figures, indent=1, default=float) + "\n", encoding="utf-8")
    return figures


def export(plan: Plan, workplace: Workplace, *, places: Places, lock: Path = LOCK) -> Bundle:
    """Write the bundle, with its figures and the hash of the lock."""
    refuse(places.bundle)
    plan, made, bundle = placed(plan, places), _trained(places), load(places.calibrated)
    try:
        figures: Mapping[str, Any] = json.loads(places.figures.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StageError(f"{places.figures} cannot be read: {one_line(error, 200)}") from None
    manifest = manifest_of(plan, made, initial=initial_of(plan), created_on=workplace.created_on, figures=figures)
    manifest["lock"] = lock_hash(lock)
    return save(places.bundle, Parts(manifest, bundle.encoder, bundle.head, bundle.reference, bundle.golden, bundle.unseen))


def lock_hash(lock: Path) -> str:
    """The sha256 of what DVC's lock says of the stages before the last; empty where there is no lock.

    Two locks with the same hash were made by the same commands from the same parameters, code and data.
    """
    try:
        found = yaml.safe_load(lock.read_text(encoding="utf-8"))
        stages = {name: found["stages"][name] for name in BEFORE_EXPORT}
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return ""
    return hashlib.sha256(json.dumps(stages, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _trained(places: Places) -> Trained:
    try:
        said = json.loads((places.trained / "encoder.json").read_text(encoding="utf-8"))
        return Trained((places.trained / "encoder.onnx").read_bytes(), **said)
    except (OSError, ValueError, TypeError) as error:
        raise StageError(f"{places.trained} holds no trained encoder: {one_line(error, 200)}") from None
