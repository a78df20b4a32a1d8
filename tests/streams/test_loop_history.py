"""Records of the loop → steps in order, and what led to what."""

from __future__ import annotations

from types import SimpleNamespace

from schemas.records.codec import encode
from schemas.records.drift_alarm import DriftAlarm
from schemas.records.loop_event import TAUGHT, LoopEvent
from schemas.records.retrain_command import RetrainCommand
from streams.loop_history import figures_of, led_to, of_model, plain, steps_of

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


def test_a_model_has_the_steps_that_led_to_it() -> None:
    new = "fedcba9876543210"

    def event(name: str, subject: str, at_ms: int, *, record: bytes = b"", note: str = "") -> LoopEvent:
        return LoopEvent(name, subject, 1, "someone", note, record, at_ms)

    steps = steps_of(
        [
            ALARM,
            COMMAND,
            event("challenger_made", new, 2000, record=encode(COMMAND)),
            event("announced", new, 2100),
            event("labels_wanted", new, 2200, note="20 labels"),
            event("promoted", new, 2300),
            event("rolled_back", OLD, 2400, note="surely worse"),
        ]
    )
    promoted, rolled_back = steps[-2:]
    assert [step.kind for step in led_to(steps, promoted)] == ["alarm", "command", "challenger_made", "promoted"]
    assert [step.kind for step in led_to(steps, rolled_back)][-2:] == ["promoted", "rolled_back"]
    assert [step.kind for step in led_to(steps, steps[3])][-2:] == ["challenger_made", "announced"]
    by_hand = steps_of([event("announced", new, 1), event("promoted", new, 2)])
    assert [step.kind for step in led_to(by_hand, by_hand[1])] == ["announced", "promoted"]


def test_gates_are_shown_with_figure_interval_and_threshold() -> None:
    gates = [
        SimpleNamespace(name="macro", figure=0.01, low=-0.02, high=0.04, threshold=-0.03, passed=True, failed=False),
        SimpleNamespace(name="brier", figure=None, low=None, high=None, threshold=0.01, passed=False, failed=False),
        SimpleNamespace(name="gap", figure=0.1, low=None, high=None, threshold=0.04, passed=False, failed=True),
    ]
    assert figures_of(gates) == "macro 0.01 [-0.02, 0.04] (-0.03), brier – (0.01) open, gap 0.1 (0.04) FAILED"


def test_a_command_that_names_itself_as_its_cause_ends() -> None:
    circle = RetrainCommand("c2", OLD, "circle", "c2", 5)
    steps = steps_of([circle])
    assert led_to(steps, steps[0]) == steps


def test_a_record_as_json_holds_no_bytes() -> None:
    assert plain(MADE)["record"].endswith(" bytes")
    assert plain(ALARM)["after"] == 0.7
    assert plain(None) == {}
