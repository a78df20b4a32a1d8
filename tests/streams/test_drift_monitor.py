"""The drift process without a broker: what moves is one alarm with a diagnosis, and only a population commands a training."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import pytest

from operators.drift_reference import Reference
from schemas.records import codec
from schemas.records.drift_alarm import DriftAlarm
from schemas.records.drift_state import DriftState
from schemas.records.loop_event import RETRAIN_COMMANDED, LoopEvent
from schemas.records.retrain_command import RetrainCommand
from schemas.records.score_summary import ScoreSummary
from schemas.records.worker_summary import Outcomes, WorkerSummary
from streams.agents.drift_monitor import MOST_MODELS, Limits, Monitor
from streams.agents.drift_windows import MOST_STRATA
from tests.streams.drift_stream import reference, summaries

LIMITS = Limits(settle_alerts=3000, learn_windows=16, cooldown_ms=3_600_000, a_night=2, recipe="head")
POPULATION = {"entropy": 0.16, "energy": -0.16}
ZERO_POINT = {"zp": 0.2}
NOON = 1_700_000_000_000 // 86_400_000 * 86_400_000 + 43_200_000


@pytest.fixture(scope="module")
def shipped() -> Reference:
    return reference()


def monitor(shipped: Reference | None, **limits: Any) -> Monitor:
    return Monitor(LIMITS._replace(**limits), find=lambda model: shipped)


class Clock:
    """A second a record."""

    def __init__(self) -> None:
        self.now = NOON

    def feed(self, into: Monitor, records: Iterable[Any]) -> list[Any]:
        out = []
        for record in records:
            self.now += 1000
            out += into.take(record, at_ms=self.now, now_ms=self.now)
        return out


def of_kind(records: Iterable[Any], kind: type[Any]) -> list[Any]:
    return [one for one in records if isinstance(one, kind)]


def test_a_stable_stream_raises_nothing(shipped: Reference) -> None:
    found = monitor(shipped)
    assert Clock().feed(found, summaries(60_000, seed=1, model="m")) == []
    (watch,) = found.models.values()
    assert set(watch.baseline.usual) == {"ztf/g/sky", "ztf/r/sky"}


@pytest.mark.parametrize(
    ("moved", "nulls", "diagnosis", "statistic"),
    [
        (ZERO_POINT, (), "instrument: zero point", "zp"),
        ({"points": -0.3, "gap": 0.3, "entropy": 0.1}, (), "instrument: cadence", "points"),
        ({}, ("real_bogus",), "instrument: schema", "nulls:real_bogus"),
        (POPULATION, (), "population", "entropy"),
    ],
)
def test_what_moves_is_one_alarm_with_its_diagnosis(
    shipped: Reference, moved: dict[str, float], nulls: tuple[str, ...], diagnosis: str, statistic: str
) -> None:
    found, clock = monitor(shipped), Clock()
    assert clock.feed(found, summaries(20_000, seed=2, model="m")) == []
    begins = clock.now
    out = clock.feed(found, summaries(30_000, seed=23, model="m", moved=moved, nulls=nulls, night=45))
    alarms = of_kind(out, DriftAlarm)
    assert {alarm.alarm_id for alarm in alarms} == {alarms[0].alarm_id}, "one episode"
    last = alarms[-1]
    assert (last.diagnosis, last.model, last.detector) == (diagnosis, "m", "panel")
    assert statistic in last.moved
    assert begins - 20_000 <= last.since_ms <= clock.now, "since the change, within windows in hand"
    assert codec.expect(codec.encode(last), DriftAlarm) == last
    if statistic != "nulls:real_bogus":
        assert len(last.edges) == len(last.before_bins) + 1 == len(last.after_bins) + 1
        assert sum(last.after_bins) == pytest.approx(1)
        assert 4 <= len(last.examples) <= 8
    commands = of_kind(out, RetrainCommand)
    assert len(commands) == (diagnosis == "population")
    if commands:
        assert (commands[0].recipe, commands[0].alarm_id, commands[0].model) == ("head", last.alarm_id, "state")
        assert commands[0].from_ms == last.since_ms < commands[0].until_ms
        (event,) = of_kind(out, LoopEvent)
        assert (event.event, event.subject) == (RETRAIN_COMMANDED, "m")
        assert codec.expect(event.record, RetrainCommand) == commands[0]


def test_a_restart_at_any_record_changes_nothing(shipped: Reference) -> None:
    """The states are handed over every few records, by their bytes: what is raised is what one process raises."""
    records = [*summaries(12_000, seed=4, model="m"), *summaries(30_000, seed=5, model="m", moved=POPULATION, night=43)]
    whole = Clock().feed(monitor(shipped), records)
    assert of_kind(whole, RetrainCommand)
    parts, clock, states = [], Clock(), dict[str, dict[str, DriftState]]()
    for begin in range(0, len(records), 7):
        found = monitor(shipped)
        found.restore(states)
        parts += clock.feed(found, records[begin : begin + 7])
        for state in found.states(clock.now, all_of_it=True):
            read = codec.expect(codec.encode(state), DriftState)
            states.setdefault(read.model, {})[read.part] = read
    assert [dataclasses.replace(one, severity=0, before=0, after=0, before_bins=()) if isinstance(one, DriftAlarm) else type(one)
            for one in parts] == [dataclasses.replace(one, severity=0, before=0, after=0, before_bins=())
                                  if isinstance(one, DriftAlarm) else type(one) for one in whole]  # fmt: skip


def test_budget_and_cool_down_hold_and_what_they_held_back_is_commanded_then(shipped: Reference) -> None:
    found, clock = monitor(shipped, cooldown_ms=600_000), Clock()
    clock.feed(found, summaries(10_000, seed=6, model="m"))
    found.models["m"].commanded = [clock.now]
    since = clock.now
    out = clock.feed(found, summaries(80_000, seed=7, model="m", moved=POPULATION, night=43))
    (command,) = of_kind(out, RetrainCommand)
    assert command.since_ms - since >= 600_000, "as soon as the cool-down is over"
    found, clock = monitor(shipped, a_night=0), Clock()
    clock.feed(found, summaries(10_000, seed=6, model="m"))
    out = clock.feed(found, summaries(40_000, seed=7, model="m", moved=POPULATION, night=43))
    assert of_kind(out, DriftAlarm)
    assert not of_kind(out, RetrainCommand)


def test_what_stays_changed_is_the_base_of_the_next_alarm_and_a_return_ends_it(shipped: Reference) -> None:
    found, clock = monitor(shipped), Clock()
    clock.feed(found, summaries(10_000, seed=8, model="m"))
    first = clock.feed(found, summaries(40_000, seed=9, model="m", moved=ZERO_POINT, night=43))
    assert {alarm.diagnosis for alarm in of_kind(first, DriftAlarm)} == {"instrument: zero point"}
    second = clock.feed(found, summaries(40_000, seed=10, model="m", moved={**ZERO_POINT, **POPULATION}, night=53))
    assert {alarm.diagnosis for alarm in of_kind(second, DriftAlarm)} == {"population"}, "the zero point is as it was"
    assert len(of_kind(second, RetrainCommand)) == 1
    third = clock.feed(found, summaries(40_000, seed=11, model="m", night=63))
    assert third == [], "back to the reference"
    assert found.models["m"].episodes == []


def test_another_sky_than_the_shipped_ones_is_learned_without_an_alarm(shipped: Reference) -> None:
    found, clock = monitor(shipped), Clock()
    elsewhere = {"fwhm": 4.0, "entropy": -3.0}
    assert clock.feed(found, summaries(60_000, seed=12, model="m", moved=elsewhere)) == []
    (watch,) = found.models.values()
    assert set(watch.baseline.usual) == {"ztf/g/sky", "ztf/r/sky"}
    out = clock.feed(found, summaries(30_000, seed=13, model="m", moved={**elsewhere, "zp": 1.0}, night=60))
    assert {alarm.diagnosis for alarm in of_kind(out, DriftAlarm)} == {"instrument: zero point"}


def test_the_next_model_keeps_what_is_usual_of_the_survey(shipped: Reference) -> None:
    found, clock = Monitor(LIMITS, find=lambda model: shipped if model == "m" else None), Clock()
    clock.feed(found, summaries(20_000, seed=14, model="m"))
    scores = {"entropy": -2.0, "energy": 3.0, "novelty": 1.0}
    assert clock.feed(found, summaries(40_000, seed=15, model="next", moved=scores, night=46)) == [], "its scores are its own"
    out = clock.feed(found, summaries(30_000, seed=16, model="next", moved={**scores, **ZERO_POINT}, night=56))
    assert {alarm.diagnosis for alarm in of_kind(out, DriftAlarm)} == {"instrument: zero point"}
    out = clock.feed(found, summaries(30_000, seed=17, model="next", moved={**scores, **ZERO_POINT, "energy": 2.2}, night=64))
    assert {alarm.diagnosis for alarm in of_kind(out, DriftAlarm)} == {"population"}


@pytest.mark.parametrize("settled", [True, False])
def test_the_next_model_takes_a_settled_population_as_usual_and_nothing_else(shipped: Reference, settled: bool) -> None:
    found, clock = Monitor(LIMITS, find=lambda model: shipped if model == "m" else None), Clock()
    clock.feed(found, summaries(20_000, seed=14, model="m"))
    moved = {**POPULATION, "fwhm": 0.09}  # no seeing: the sources are as bright as before
    records = summaries(40_000, seed=24, model="m", moved=moved, night=45)
    out = clock.feed(found, records)
    assert {alarm.diagnosis for alarm in of_kind(out, DriftAlarm)} == {"population"}
    watch = found.models["m"]
    assert watch.baseline.changed
    watch.episodes[-1].settled = settled
    clock.feed(found, summaries(128, seed=25, model="next", moved=moved, night=55))
    taken = found.models["next"].baseline.shipped
    assert taken is not None
    for name, one in taken.strata.items():
        expected = watch.baseline.shifted if settled else watch.baseline.usual
        assert one is expected[name]


def test_invented_strata_models_and_surveys_take_bounded_memory(shipped: Reference) -> None:
    found, clock = monitor(shipped), Clock()
    (one, *_) = summaries(128, seed=18, model="m")
    clock.feed(found, (dataclasses.replace(one, band=f"b{i}") for i in range(3 * MOST_STRATA)))
    assert found.models["m"].windows.left_out == 2 * MOST_STRATA * 128
    clock.feed(found, (dataclasses.replace(one, model=f"m{i}", survey=f"s{i}") for i in range(5 * MOST_MODELS)))
    assert len(found.models) == MOST_MODELS
    assert len(found.counts.plain()) == 1
    assert clock.feed(found, [dataclasses.replace(one, statistics={})]) == [], "from before they were added up"


def test_a_state_that_is_not_ours_is_left_out(shipped: Reference) -> None:
    found, clock = monitor(shipped), Clock()
    clock.feed(found, summaries(8_000, seed=19, model="m"))
    states = {state.part: state for state in found.states(clock.now, all_of_it=True)}
    for part, body in (("charts", b"{}"), ("charts", b"x"), ("reference", b"\0" * 64), ("reference", b"")):
        again = monitor(shipped)
        again.restore({"m": {**states, part: dataclasses.replace(states[part], body=body)}})
        assert again.models == {}
    again.restore({"m": states})
    assert list(again.models) == ["m"]


def worker(rejected: int, detections: int, start: int) -> WorkerSummary:
    return WorkerSummary(
        "w", start, start + 1000, "s", "m", "e", surveys={"ztf": Outcomes(detections, 0, {"bad_value": rejected} if rejected else {})}
    )


def test_rejected_packets_alarm_and_do_not_train() -> None:
    found, clock = monitor(None), Clock()
    assert clock.feed(found, (worker(1, 99, i * 1000) for i in range(200))) == [], "a hundredth is usual here"
    out = clock.feed(found, (worker(20, 80, 200_000 + i * 1000) for i in range(200)))
    (alarm,) = out
    assert (alarm.detector, alarm.statistic, alarm.stratum, alarm.diagnosis) == ("rejects", "rejected_ratio", "ztf", "instrument: schema")
    assert alarm.before == pytest.approx(0.01, abs=0.005)
    assert alarm.after == pytest.approx(0.2)
    again = monitor(None)
    again.counts.restore(found.counts.plain())
    assert clock.feed(again, [worker(20, 80, 900_000)] * 20) == [], "a restart repeats nothing"


def test_a_schema_that_was_not_there_is_reported_once(shipped: Reference) -> None:
    found, clock = monitor(shipped), Clock()
    clock.feed(found, summaries(5_000, seed=20, model="m"))
    out = clock.feed(found, summaries(5_000, seed=21, model="m", schema="a1b2c3d4"))
    (alarm,) = out
    assert (alarm.detector, alarm.statistic, alarm.after) == ("schemas", "schema:a1b2c3d4", 1.0)


def test_summaries_are_read_back(shipped: Reference) -> None:
    for summary in summaries(512, seed=22, model="m", nulls=("redshift",)):
        assert codec.expect(codec.encode(summary), ScoreSummary) == summary
