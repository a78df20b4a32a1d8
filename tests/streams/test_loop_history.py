"""Records of the loop → steps in order, and what led to what."""

from __future__ import annotations

from schemas.records.codec import encode
from schemas.records.drift_alarm import DriftAlarm
from schemas.records.loop_event import TAUGHT, LoopEvent
from schemas.records.retrain_command import RetrainCommand
from streams.loop_history import led_to, of_model, plain, steps_of

OLD = "0123456789abcdef"
ALARM = DriftAlarm("a1", "panel", "entropy", "ztf/g/high", 0.4, 0.7, 512, OLD, 1000)
OTHER = DriftAlarm("a2", "panel", "zp", "ztf/r/high", 0.0, 0.1, 512, OLD, 900)
COMMAND = RetrainCommand("c1", OLD, "entropy moved", "a1", 1001)
MADE = LoopEvent("retrain_commanded", OLD, 1, "drift", "", encode(COMMAND), 1100)


def test_steps_come_in_order_and_know_what_led_to_them() -> None:
    taught = LoopEvent(TAUGHT, "my-class", 3, "ann", "five packets", b"", 50)
    steps = steps_of([MADE, COMMAND, ALARM, COMMAND, taught, OTHER])
    assert [step.kind for step in steps] == ["taught", "alarm", "alarm", "command", "retrain_commanded"]  # a command sent twice is one
    assert [step.id for step in led_to(steps, steps[-1])] == ["a1", "c1", ""]
    assert [step.id for step in led_to(steps, steps[1])] == ["a2"]
    assert led_to(steps, steps[0]) == [steps[0]]
    assert steps[0].author == "ann"
    assert "0.4 to 0.7" in steps[2].text


def test_steps_of_a_model_are_found_by_the_beginning_of_its_id() -> None:
    steps = steps_of([MADE, COMMAND, ALARM])
    assert {step.kind for step in of_model(steps, OLD)} == {"command", "retrain_commanded"}
    assert of_model(steps, OLD + "ff")
    assert not of_model(steps, "ffff")
    assert not of_model(steps, "")


def test_a_command_that_names_itself_as_its_cause_ends() -> None:
    circle = RetrainCommand("c2", OLD, "circle", "c2", 5)
    steps = steps_of([circle])
    assert led_to(steps, steps[0]) == steps


def test_a_record_as_json_holds_no_bytes() -> None:
    assert plain(MADE)["record"].endswith(" bytes")
    assert plain(ALARM)["after"] == 0.7
    assert plain(None) == {}
