"""`protonova train`: flags and files become a plan, what is wrong is one line, and a bundle lies where it was asked for."""

from __future__ import annotations

import io
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from console import cli
from console.commands.train import Followed, plan_of, table_of
from errors import UserError
from learning.plan import Plan
from learning.workplace import Step

WITHOUT: dict[str, Any] = {}


def protonova(arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["protonova", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert isinstance(stop.value.code, int)
    return stop.value.code


@pytest.mark.parametrize(
    "wrong",
    [
        ["--steps", "0"], ["--minutes", "nan"], ["--seed", "-1"], ["--out", ""], ["--processes", "0"], ["--set", "half=x"],
        ["--set", "hall=0"], ["--augment", "no_stamps=3"], ["--missing", "redshift=-1"], ["--size", "width=0"], ["--without", "dragon"],
        ["--trainable", "fuse"], ["--start-from", " "], ["--plan", "nowhere.json"],
    ],
)  # fmt: skip
def test_flags_that_make_no_sense_are_refused(
    wrong: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert protonova(["train", *wrong], monkeypatch) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert wrong[0] in line


def test_wrong_options_are_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert protonova(["train", "--alerts", "10"], monkeypatch) == 2
    assert "--alerts must be 360 at least" in capsys.readouterr().err


def test_a_folder_of_other_things_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    (tmp_path / "thesis.tex").write_text("years")
    assert protonova(["train", "--out", str(tmp_path)], monkeypatch) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "thesis.tex" in line


def test_the_command_in_a_manifest_is_the_plan(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = pytest.importorskip("learning.recipe", exc_type=ImportError)
    for plan in (
        Plan(steps=40, minutes=60.0),
        Plan(
            steps=40, alerts=400, curves=0, seed=9, without=("TDE", "KN"), start_from="ab" * 32, trainable=("fuse", "bias"),
            hyperparameters={"half": False, "learning_rate": 1e-3}, augmentation={"cut": 0.5}, missing={"redshift": 0.25},
        ),
        Plan(steps=40, encoder={"width": 16, "channels": (4, 8)}),
    ):  # fmt: skip
        program, *arguments = shlex.split(recipe.command_of(plan))
        assert program == "protonova"
        assert protonova([*arguments, "--dry-run"], monkeypatch) == 0
        shown = capsys.readouterr().out
        assert Plan.from_json(shown[: shown.rindex("}") + 1]) == plan


def test_flags_go_on_top_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    base = Plan(steps=40, seed=3, without=("TDE",), hyperparameters={"batch": 64, "coarse": 0.0})
    file.write_text(base.to_json())
    assert plan_of(file, WITHOUT) == base
    found = plan_of(file, {"seed": 0, "steps": None, "without": [], "hyperparameters": ["coarse=0.25"]})
    assert found == Plan(steps=40, seed=0, without=("TDE",), hyperparameters={"batch": 64, "coarse": 0.25})
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"files": {}, "plan": base.record()}))
    assert plan_of(manifest, WITHOUT) == base
    manifest.write_text(json.dumps({"files": {}}))
    with pytest.raises(UserError, match="without a plan"):
        plan_of(manifest, WITHOUT)
    file.write_text("[1, 2")
    with pytest.raises(UserError, match="cannot be read"):
        plan_of(file, WITHOUT)


def test_what_is_followed_is_printed() -> None:
    out = io.StringIO()
    with Followed(Console(file=out, width=140), 20) as followed:
        followed.stage("simulating [red]")
        for k in range(20):
            followed.step(Step(k + 1, 20, 2.0, 0.5))
    lines = out.getvalue().splitlines()
    assert lines[0].endswith("s] simulating [red]")
    assert [line for line in lines if "step 20 of 20: loss 2.000, 50% right" in line]
    assert len([line for line in lines if "step " in line]) == 10


def test_figures_become_a_table() -> None:
    from data.simulate.classes import SLUGS

    k = len(SLUGS)
    confusion = 8 * np.eye(k, dtype=int)
    confusion[0, 1] = 2
    recall = {name: dict.fromkeys(SLUGS, 0.5) for name in ("1", "2-4", "5+")}
    found = {
        "confusion": confusion.tolist(), "recall": recall, "macro": dict.fromkeys(recall, 0.5), "accuracy": {"5+": 0.75},
        "n": dict.fromkeys(recall, 100), "ece": 0.01, "coverage": 0.9, "set_size": 2.0,
    }  # fmt: skip
    out = io.StringIO()
    Console(file=out, width=140).print(table_of("all of them", found, classes=SLUGS))
    text = out.getvalue()
    assert f"{SLUGS[1]} 20%" in text
    assert "accuracy 75%" in text
    assert "90 % sets hold 90.0% with 2.0 classes" in text


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_the_whole_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    from registry.bundle import load

    out = tmp_path / "bundle"
    arguments = [
        "--steps",
        "60",
        "--alerts",
        "1500",
        "--curves",
        "600",
        "--space",
        "200",
        "--processes",
        "1",
        "--out",
        str(out),
        "--real",
        str(tmp_path),
    ]
    assert protonova(["train", *arguments], monkeypatch) == 0
    bundle = load(out)
    assert bundle.manifest.figures["export"]["bucket_difference"] == 0.0
    assert bundle.manifest.figures["demo"]["macro"]["5+"] > 0.1
    assert bundle.sha256[:16] in capsys.readouterr().out
