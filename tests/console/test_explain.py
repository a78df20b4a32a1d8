"""Which score `protonova explain` explains, and which steps it says led to the model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from console.commands.explain import clock
from errors import UserError
from schemas.records.codec import encode
from schemas.records.detection import Detection, TaughtClass
from schemas.records.drift_alarm import DriftAlarm
from schemas.records.loop_event import TAUGHT, LoopEvent
from schemas.records.retrain_command import RetrainCommand
from streams.loop_history import Score, steps_of
from streams.score_explanation import chosen, origin

DETECTION = Detection(
    detection_id="d", survey="ztf", candid=7, object_id="ZTF25aaa", programid=1, ra=1.0, dec=2.0, mjd=60000.0, band="g", flux=1.0,
    flux_err=0.1, n_detections=3, classes=(), top_class="sn-ia", top_probability=0.9, conformal_set=("sn-ia",), novelty=0.1,
    nearest_prototype="sn-ia", prototype_distance=0.2, real_bogus=None, star_galaxy=None, solar_system_distance=None, features=(),
    model="m", engine="e", scoring_id="s", taxonomy="t",
)  # fmt: skip


def score(scoring_id: str, *, role: str, at_ms: int) -> Score:
    return Score("detections", role, at_ms, at_ms - 5, replace(DETECTION, scoring_id=scoring_id))


SCORES = [score("aa", role="champion", at_ms=10), score("bb", role="champion", at_ms=20), score("cc", role="challenger", at_ms=30)]


def test_the_last_published_score_is_explained_unless_another_is_named() -> None:
    assert chosen(SCORES, None).detection.scoring_id == "bb"
    assert chosen(SCORES, "cc").role == "challenger"
    assert chosen(SCORES[2:], None).role == "challenger"
    with pytest.raises(UserError, match="never scored by ff, but by aa, bb, cc"):
        chosen(SCORES, "ff")


def test_a_models_origin_is_its_own_and_that_of_the_classes_beside_it() -> None:
    detection: Detection = replace(DETECTION, model="0123456789abcdef", taught=(TaughtClass("my-class", 2, 5),))
    alarm = DriftAlarm("a1", "panel", "entropy", "ztf/g/high", 0.4, 0.7, 512, "x", 100)
    order = RetrainCommand("c1", detection.model, "entropy moved", "a1", 101)
    steps = steps_of(
        [alarm, order, LoopEvent(TAUGHT, "my-class", 2, "ada", "", b"", 50), LoopEvent(TAUGHT, "my-class", 1, "ada", "", b"", 40),
         LoopEvent("promoted", "ffffffffffffffff", 1, "bob", "", encode(alarm), 500)]
    )  # fmt: skip
    assert [(step.kind, step.at_ms) for step in origin(steps, detection)] == [("taught", 50), ("alarm", 100), ("command", 101)]


def test_times_are_of_one_clock() -> None:
    assert clock(0) == "1970-01-01 00:00:00"
