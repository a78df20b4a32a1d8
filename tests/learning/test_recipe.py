"""A plan becomes a bundle that holds it: the same plan the same network, and a plan that starts from a bundle goes on from its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from data.simulate.classes import SLUGS  # noqa: E402
from learning import recipe  # noqa: E402
from learning.dataset import NAMES, SLUG_OF  # noqa: E402
from learning.export import restore  # noqa: E402
from learning.hyperparameters import LAST_LAYERS  # noqa: E402
from learning.plan import FINE_TUNING, Plan, PlanError  # noqa: E402
from learning.recipe import train  # noqa: E402
from learning.workplace import Step, Workplace  # noqa: E402
from registry import bundle as bundles  # noqa: E402
from registry.bundle import Bundle, BundleError, load  # noqa: E402
from registry.manifest import Manifest  # noqa: E402

SMALL: dict[str, Any] = {
    "width": 16, "channels": (4, 8, 8, 8), "image": 16, "context": 16, "fold": 16, "hidden": 32, "embedding": 32,
}  # fmt: skip
PLAN = Plan(
    alerts=360, curves=0, space=0, steps=30, seed=2, without=("TDE-slow",), hyperparameters={"batch": 32, "shards": 1}, encoder=SMALL
)


class Notes:
    """Who follows, and what was heard."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.steps: list[Step] = []
        self.titles: list[str] = []

    def stage(self, text: str) -> None:
        self.stages.append(text)

    def step(self, step: Step) -> None:
        self.steps.append(step)

    def figures(self, title: str, found: Mapping[str, Any]) -> None:
        self.titles.append(title)


def small(patch: pytest.MonkeyPatch) -> None:
    """Fewer alerts to calibrate with: the head is another test's."""
    patch.setattr(recipe, "LEAST_HELD_OUT", 20)
    patch.setattr(recipe, "HELD_CURVES", 200)
    patch.setattr(recipe, "LEAST_HELD_SPACE", 120)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    folder = tmp_path_factory.mktemp("recipe")
    return Workplace(out=folder / "bundle", created_on="2026-11-24", processes=1, sets=folder / "sets")


@pytest.fixture(scope="module")
def made(place: Workplace) -> tuple[Bundle, Notes]:
    with pytest.MonkeyPatch.context() as patch:
        small(patch)
        notes = Notes()
        return train(PLAN, place, progress=notes), notes


def continued(place: Workplace, plan: Plan, name: str) -> tuple[Bundle, Notes]:
    with pytest.MonkeyPatch.context() as patch:
        small(patch)
        notes = Notes()
        return train(plan, replace(place, out=place.out.with_name(name)), progress=notes), notes


@pytest.mark.slow
@pytest.mark.timeout(600)  # of a fixture that simulates, trains and exports
def test_a_plan_becomes_a_bundle_that_holds_it(made: tuple[Bundle, Notes], place: Workplace) -> None:
    bundle, notes = made
    assert bundle.classes == SLUGS
    assert bundle.kinds == NAMES
    assert load(place.out).sha256 == bundle.sha256
    assert Plan.from_record(bundle.manifest.plan) == PLAN
    assert bundle.manifest.created_on == "2026-11-24"
    assert "tmp" not in bundle.manifest.model_dump_json()  # no folder of this machine
    assert bundle.manifest.figures["recipe"]["steps"] == 30
    assert bundle.manifest.figures["export"]["bucket_difference"] == 0.0
    np.testing.assert_array_equal(bundle.head.zero_shot.argmax(axis=1)[SLUG_OF >= 0], SLUG_OF[SLUG_OF >= 0])
    assert [s.step for s in notes.steps] == list(range(1, 31))
    assert notes.titles == ["simulated alerts of the demo's population", "simulated light curves from space, of the demo's population"]
    assert any("training 30 steps of 32" in text for text in notes.stages)


@pytest.mark.slow
@pytest.mark.timeout(600)  # of a fixture that simulates, trains and exports
def test_the_same_plan_gives_the_same_bundle(made: tuple[Bundle, Notes], place: Workplace) -> None:
    again, _ = continued(place, PLAN, "again")
    assert again.encoder == made[0].encoder
    assert again.sha256 == made[0].sha256


@pytest.mark.slow
@pytest.mark.timeout(600)  # of a fixture that simulates, trains and exports
def test_a_plan_goes_on_from_a_bundle(made: tuple[Bundle, Notes], place: Workplace) -> None:
    plan = Plan(
        alerts=360, curves=0, space=0, steps=4, seed=2, start_from=str(place.out), trainable=LAST_LAYERS, hyperparameters={"batch": 32}
    )
    bundle, notes = continued(place, plan, "tuned")
    assert bundle.manifest.plan is not None
    assert bundle.manifest.plan["start_from"] == made[0].sha256
    assert bundle.manifest.figures["recipe"]["learning_rate"] == FINE_TUNING["learning_rate"]
    assert made[0].sha256 in bundle.manifest.command
    assert notes.steps[0].loss < 0.95 * made[1].steps[0].loss
    before, after = (restore(b.encoder).state_dict() for b in (made[0], bundle))
    changed = {name.partition(".")[0] for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == set(LAST_LAYERS)
    with pytest.raises(PlanError, match="by its sha256: give the folder"):
        train(Plan.from_record(bundle.manifest.plan), place)


def test_what_cannot_be_gone_on_from_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Workplace(out=tmp_path / "bundle", created_on="2026-11-24")
    (tmp_path / "empty").mkdir()
    for folder in (str(tmp_path / "nowhere"), str(tmp_path / "empty")):
        with pytest.raises(PlanError, match="start_from is not a bundle") as caught:
            train(Plan(start_from=folder), place)
        assert "\n" not in str(caught.value)
    monkeypatch.setattr(recipe, "NAMES", NAMES[1:])
    with pytest.raises(PlanError, match=f"knows kinds that are not simulated now .{len(NAMES)} and {len(NAMES) - 1}"):
        train(Plan(start_from="published"), place)
    assert not (tmp_path / "bundle.training").exists()


def test_a_folder_of_other_things_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(BundleError, match=r"thesis\.tex"):
        train(Plan(), Workplace(out=tmp_path, created_on="2026-11-24"))


def test_a_manifest_without_a_plan_is_read() -> None:
    text = load(bundles.PUBLISHED).manifest.model_dump(mode="json")
    text.pop("plan")
    assert Manifest.model_validate(text).plan is None
