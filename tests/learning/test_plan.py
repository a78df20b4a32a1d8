"""A plan is checked when it is made, says what is wrong in one line, and comes back from JSON as it was."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import Any

import pytest

from learning.augment import GONE, Strength
from learning.hyperparameters import LAST_LAYERS, EncoderConfig, Hyperparameters
from learning.plan import FINE_TUNING, Plan, PlanError, steps_for

RICH = Plan(
    alerts=5_000,
    curves=0,
    steps=300,
    seed=7,
    without=("TDE", "KN"),
    start_from="artifacts/bundle",
    trainable=LAST_LAYERS,
    hyperparameters={"learning_rate": 1e-3, "half": False, "batch": 64},
    augmentation={"no_stamps": 0.5},
    missing={"redshift": 0.6},
)


def test_the_defaults_are_those_of_the_parts() -> None:
    plan = Plan()
    assert plan.numbers() == Hyperparameters(steps=23_000)
    assert plan.strength() == Strength()
    assert plan.config() == EncoderConfig(classes=plan.config().classes)
    assert plan.record() == {}


@pytest.mark.parametrize("plan", [Plan(), RICH, Plan(minutes=7.5, encoder={"width": 16, "channels": (4, 8)}), Plan(steps=3, minutes=2)])
def test_a_plan_comes_back_from_json(plan: Plan) -> None:
    assert Plan.from_json(plan.to_json()) == plan
    assert Plan.from_record(json.loads(json.dumps(plan.record()))) == plan
    assert set(plan.record()) <= {f.name for f in fields(Plan)}


def test_what_differs_is_what_is_used() -> None:
    numbers = RICH.numbers()
    assert (numbers.steps, numbers.seed, numbers.batch, numbers.half) == (300, 7, 64, False)
    assert numbers.learning_rate == 1e-3  # stated, so it is not that of fine-tuning
    assert numbers.warm_up == FINE_TUNING["warm_up"]
    assert Plan(start_from="published").numbers().learning_rate == FINE_TUNING["learning_rate"]
    assert RICH.strength().no_stamps == 0.5
    assert RICH.strength().missing == {**GONE, "redshift": 0.6}
    assert Plan(encoder={"channels": [4, 8], "width": 16}).config().channels == (4, 8)  # type: ignore[dict-item]


def test_a_manifests_plan_holds_steps_and_no_folder() -> None:
    kept = RICH.resolved("ab" * 32).record()
    assert kept["start_from"] == "ab" * 32
    assert Plan(minutes=20).resolved(None).record() == {"steps": steps_for(20, 60_000, curves=240_000, space=16_000)}
    assert asdict(Plan(minutes=20).resolved(None).numbers()) == asdict(Plan(minutes=20).numbers())


def test_a_plan_of_an_earlier_version_takes_the_defaults_and_one_of_a_later_version_is_refused() -> None:
    assert Plan.from_record({"steps": 10}) == Plan(steps=10)
    with pytest.raises(PlanError, match="telescope is not a field of a plan; there are alerts, curves"):
        Plan.from_record({"telescope": "VLT"})


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("alerts", 10, "alerts must be 360 at least: 20 a class"),
        ("alerts", 1e5, "alerts must be"),
        ("alerts", True, "alerts must be"),
        ("curves", -1, "curves must be 0 or more"),
        ("steps", 0, "steps must be above 0"),
        ("minutes", float("nan"), "minutes must be above 0"),
        ("minutes", float("inf"), "minutes must be above 0"),
        ("minutes", "an hour", "minutes must be above 0"),
        ("seed", -1, "seed must be from 0 to 4,294,967,295"),
        ("seed", 1 << 32, "seed must be"),
        ("without", ["dragon"], "not 'dragon'"),
        ("without", "TDE", "a list of names"),
        ("start_from", " ", "must name a bundle"),
        ("trainable", ["fuse"], "needs start_from"),
        ("hyperparameters", {"shards": 0}, "shards must be above 0"),
        ("hyperparameters", {"shards": 3}, "batch must be a multiple of the 3 shards"),
        ("hyperparameters", {"batch": 32.5}, "batch must be a whole number"),
        ("hyperparameters", {"learning_rate": float("nan")}, "learning_rate must be a number"),
        ("hyperparameters", {"learning_rate": -1}, "learning_rate must be above 0"),
        ("hyperparameters", {"label_smoothing": 2}, "label_smoothing must be between 0 and 1"),
        ("hyperparameters", {"half": 7}, "half must be 0 or 1"),
        ("hyperparameters", {"steps": 7}, "not 'steps'"),
        ("hyperparameters", [1], "must be numbers by name"),
        ("augmentation", {"no_stamps": 1.5}, "no_stamps must be a chance between 0 and 1"),
        ("augmentation", {"scatter": -1}, "scatter must be 0 or more"),
        ("augmentation", {"missing": 1}, "not 'missing'"),
        ("missing", {"host_galaxy_mood": 0.5}, "not 'host_galaxy_mood'"),
        ("missing", {"redshift": 2}, "redshift must be a chance"),
        ("encoder", {"width": 0}, "width must be a number from 1 to 4096"),
        ("encoder", {"channels": [8, "a"]}, "channels must be numbers from 1 to 4096"),
        ("encoder", {"features": 5}, "not 'features'"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_the_field(field: str, value: Any, words: str) -> None:
    with pytest.raises(PlanError) as caught:
        Plan.from_record({field: value})
    assert caught.value.name == field
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_contradicts_start_from_is_refused() -> None:
    with pytest.raises(PlanError, match="encoder follows from start_from"):
        Plan(start_from="published", encoder={"width": 8})
    with pytest.raises(PlanError, match="parts of the encoder, not 'tail'"):
        Plan(start_from="published", trainable=("tail",))


@pytest.mark.parametrize("text", ["", "[]", "3", "{", "[" * 100_000, '{"steps": NaN}'])
def test_what_is_not_a_plan_is_one_line(text: str) -> None:
    with pytest.raises(PlanError) as caught:
        Plan.from_json(text)
    assert "\n" not in str(caught.value)


def test_minutes_become_steps() -> None:
    assert steps_for(20, 120_000) > 2000
    assert steps_for(20, 120_000) == steps_for(20, 120_000)
    assert steps_for(1, 120_000) == 50
