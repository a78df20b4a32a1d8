"""Reports and the model card belong to the bundle that ships."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation import card
from evaluation.provenance import STREAM, TABLES, made_with, stale
from pipeline.state import load as load_state
from registry.bundle import Bundle, load
from tools import remake_reports

DOCS = Path(__file__).parents[2] / "docs"
REPORTS = sorted((DOCS / "reports").glob("*.json"))
REMAKE = "run: python -m tools.remake_reports"


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load()


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_a_report_is_of_the_bundle_that_ships(path: Path, bundle: Bundle) -> None:
    assert stale(json.loads(path.read_text(encoding="utf-8")), bundle) == [], REMAKE


def test_every_report_can_be_made_anew_and_none_is_missing(bundle: Bundle) -> None:
    assert {path.stem for path in REPORTS} == {recipe.name for recipe in remake_reports.RECIPES}
    assert remake_reports.outdated(bundle) == {}, REMAKE


@pytest.mark.parametrize("path", sorted((DOCS / "reports" / card.EARLIER).glob("*.json")), ids=lambda path: path.stem)
def test_what_is_of_an_earlier_bundle_says_so(path: Path, bundle: Bundle) -> None:
    found = json.loads(path.read_text(encoding="utf-8"))
    named = {found.get("bundle"), *(part.get("bundle") for part in found.get("tasks", {}).values() if isinstance(part, dict))} - {None}
    assert named
    assert bundle.sha256 not in named


def test_the_card_says_what_the_reports_say_and_of_which_bundle(bundle: Bundle) -> None:
    tasks, studies = card.read(DOCS / "reports")
    text = (DOCS / "model-card.md").read_text(encoding="utf-8")
    pictures = dict(line[2:-1].split("](") for line in text.splitlines() if line.startswith("!["))
    made = card.card(bundle, tasks, studies=studies, pictures=pictures, earlier=card.read_earlier(DOCS / "reports"))
    assert made == text, REMAKE
    ids = made_with(bundle)
    assert all(f"`{part}`" in text for part in (bundle.sha256[:12], ids["encoder"], ids["head"]))
    assert "reports are of other bundles" not in text


def test_the_ids_are_those_of_the_detections(bundle: Bundle) -> None:
    state = load_state(engine="onnxruntime")
    ids = made_with(bundle)
    assert (ids["encoder"], ids["head"]) == (state.encoder.id, state.head.id)
    assert ids["bundle"].startswith(state.model)


def changed(bundle: Bundle, part: str) -> Bundle:
    if part == "encoder":
        return replace(bundle, encoder=bundle.encoder + b"\0")
    name = {"centre": "centre", "prototype": "prototypes", "threshold": "thresholds"}[part]
    array = np.array(getattr(bundle.head, name))
    array.flat[0] += 0.01
    return replace(bundle, head=replace(bundle.head, **{name: array}))


@pytest.mark.parametrize(
    ("part", "tables", "stream"),
    [
        ("encoder", ["encoder"], ["encoder"]),
        ("centre", ["centre"], ["head"]),
        ("prototype", [], ["head"]),
        ("threshold", [], ["head"]),
    ],
)
def test_a_changed_part_makes_the_reports_outdated_that_depend_on_it(
    part: str, tables: list[str], stream: list[str], bundle: Bundle
) -> None:
    other = changed(bundle, part)
    reports: list[tuple[Any, list[str]]] = [(TABLES, tables), (STREAM, stream)]
    for depends, expected in reports:
        report = {"made_with": made_with(bundle, depends)}
        assert stale(report, bundle) == []
        assert stale(report, other) == expected
        assert stale({"made_with": made_with(other, depends)}, other) == []


def test_a_report_that_does_not_say_is_outdated(bundle: Bundle, tmp_path: Path) -> None:
    assert stale({}, bundle) == ["made_with"]
    (tmp_path / "stars.json").write_text("{}")
    found = remake_reports.outdated(bundle, tmp_path)
    assert found["stars"] == ["made_with"]
    assert found["ztf3"] == ["missing"]


def test_a_failed_report_leaves_the_former_one(tmp_path: Path) -> None:
    recipe = next(r for r in remake_reports.RECIPES if r.name == "real_alerts")
    (tmp_path / "real_alerts.json").write_text("former")
    with pytest.raises(remake_reports.UserError, match=r"real_alerts could not be made: .*is not there"):
        remake_reports.make(recipe, tmp_path / "nowhere", folder=tmp_path)
    assert (tmp_path / "real_alerts.json").read_text() == "former"


def test_an_unknown_report_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert remake_reports.main(["no_such"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no_such" in line
