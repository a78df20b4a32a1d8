"""Liveness, telemetry and drift: bookkeeping without a broker."""

from __future__ import annotations

from dataclasses import replace

from schemas.records import codec
from schemas.records.drift_alarm import DriftAlarm
from schemas.records.rejected import Rejected
from schemas.records.retrain_command import RetrainCommand
from schemas.records.score_summary import ScoreSummary
from schemas.records.worker_summary import WorkerSummary
from streams.agents.drift import MOST_STATES, MOST_STRATA, OTHER, Watch, observe
from streams.kafka.liveness import Stall
from streams.kafka.spans import Span
from streams.scorer import StateHolder
from streams.telemetry import FIRST_MS, GROWTH, TelemetryCounts, latency_bin
from tests.flow.stand_in import StandIn, packet


def test_a_worker_with_lag_that_commits_nothing_is_stuck() -> None:
    stall = Stall(10)
    assert stall.observe(0, {"p": (5, 9)}) is None
    assert stall.observe(9, {"p": (5, 9)}) is None
    assert stall.observe(11, {"p": (5, 12)}) == "p"


def test_what_is_not_a_packet_is_done_when_it_was_read() -> None:
    assert Span(start=0, read=12, handed=11, end=12).done(11) == 12, "a mark of a transaction at the end"
    assert Span(start=0, read=12, handed=11, end=12).done(10) == 10, "the last packet is not committed"
    assert Span(start=0, read=12, handed=0, end=12).done(11) == 12, "after a restart, nothing handed out yet"
    assert Span(start=0, read=11, handed=0, end=12).done(11) == 11, "not read yet"
    assert Span(start=0, read=None, handed=0, end=12).done(None) == 0
    assert Span(start=7, read=None, handed=0, end=7).done(3) == 7, "retention took the rest"


def test_packets_that_retention_took_are_not_stall() -> None:
    stall = Stall(10)  # never committed, and everything is gone: the first that is there is the end
    assert [stall.observe(now, {"p": (1000, 1000)}) for now in (0, 20, 40)] == [None] * 3


def test_progress_idleness_and_a_lost_partition_are_not_stall() -> None:
    stall = Stall(10)
    stall.observe(0, {"p": (5, 9), "idle": (3, 3), "gone": (1, 2)})
    assert stall.observe(9, {"p": (6, 9), "idle": (3, 3)}) is None
    assert stall.observe(18, {"p": (7, 9), "idle": (3, 3), "gone": (1, 2)}) is None
    assert stall.observe(27, {"p": (9, 9), "idle": (3, 4), "gone": (1, 2)}) is None


def test_latency_bins_end_where_they_say() -> None:
    for ms in (0.1, 0.5, 1, 20, 100, 5000, 1e9):
        where = latency_bin(ms)
        assert ms <= FIRST_MS * GROWTH**where * 1.0001 or where == 400


def test_a_counts_states_what_happened_once_and_is_quiet_then() -> None:
    outcome_counts = TelemetryCounts("w", StateHolder(StandIn()), now=0.0)
    detection = StandIn().one(packet(1))
    window = outcome_counts.of(StandIn())
    window.batch(3, 0.01)
    for result in (detection, None, Rejected("bad_avro", "no")):
        window.packet("ztf", result, latency_ms=12.0)
    (summary,), scores = outcome_counts.take(1.0)
    assert codec.decode(codec.encode(summary)) == summary
    assert (summary.total, summary.packets, summary.surveys["ztf"].rejected) == (3, 3, {"bad_avro": 1})
    (stratum,) = scores
    assert codec.decode_summary(codec.encode(stratum)).n == 1
    assert outcome_counts.take(2.0) == ([], [])
    (alive,), _ = outcome_counts.take(6.5)
    assert alive.total == 0


def seconds(outcome_counts: TelemetryCounts, count: int, probability: float, start: int) -> list[bytes]:
    out = []
    for second in range(count):
        window = outcome_counts.of(StandIn())
        for i in range(25):
            window.packet("ztf", StandIn().one(packet(i, probability=probability + 0.002 * (i % 5))), latency_ms=5.0)
        window.batch(25, 0.01)
        (summary,), scores = outcome_counts.take(float(start + second))
        out += [codec.encode(summary), *(codec.encode(s) for s in scores)]
    return out


def record(value: bytes) -> ScoreSummary | WorkerSummary:
    found = codec.decode(value)
    assert isinstance(found, (ScoreSummary, WorkerSummary))
    return found


def test_drift_raises_an_alarm_and_one_command_in_the_cool_down() -> None:
    watch, outcome_counts = Watch(3600.0), TelemetryCounts("w", StateHolder(StandIn()), now=0.0)
    quiet = [a for i, m in enumerate(seconds(outcome_counts, 300, 0.9, 0)) for a in observe(watch, record(m), now_ms=i)]
    assert quiet == []
    alarms = [a for i, m in enumerate(seconds(outcome_counts, 300, 0.4, 300)) for a in observe(watch, record(m), now_ms=1000 + i)]
    assert {a.statistic for a in alarms} == {"top_probability"}
    assert alarms[0].before > alarms[0].after
    assert alarms[0].stratum.startswith("ztf/g/")
    commands = [c for a in alarms if (c := watch.command(a)) is not None]
    assert len(commands) == 1
    again = Watch(3600.0)
    again.resume(codec.expect(codec.encode(commands[0]), RetrainCommand))
    assert again.command(alarms[-1]) is None, "a restart does not forget the cool-down"


def test_rejected_packets_alarm_but_do_not_train() -> None:
    alarm = DriftAlarm("a", "adwin", "rejected_ratio", "ztf", 0.0, 0.5, 9, "id", 1)
    assert Watch(0.0).command(alarm) is None


def invented(band: str, scoring_id: str, n: int = 25) -> ScoreSummary:
    """Scores of a stratum and a state that a record names."""
    counts = TelemetryCounts("w", StateHolder(StandIn()), now=0.0)
    found = next(r for r in map(record, seconds(counts, 1, 0.9, 1)) if isinstance(r, ScoreSummary))
    return replace(found, band=band, scoring_id=scoring_id, n=n, novelty_sum=0.1 * n, top_probability_sum=0.9 * n)


def test_invented_strata_and_states_take_bounded_memory() -> None:
    watch, model = Watch(3600.0), invented("g", "a")
    for i in range(3 * MOST_STRATA):
        assert observe(watch, replace(model, band=f"band{i}"), now_ms=i) == []
    assert len(watch._detectors) == 2 * (MOST_STRATA + 1), "two statistics; the rest is one stratum"
    for i in range(5 * MOST_STATES):
        observe(watch, replace(model, scoring_id=f"state{i}"), now_ms=i)
        observe(watch, replace(model, scoring_id=f"state{i}", n=1), now_ms=i)
    assert {key[2] for key in watch._detectors} == {f"state{i}" for i in range(4 * MOST_STATES, 5 * MOST_STATES)}
    assert len(watch._pending) <= 2 * MOST_STATES
    assert len(watch._states) == MOST_STATES


def test_what_is_beyond_the_bound_is_watched_together() -> None:
    watch, model = Watch(3600.0), invented("g", "a")
    for i in range(MOST_STRATA):
        observe(watch, replace(model, band=f"band{i}"), now_ms=i)
    alarms = []
    for i in range(600):
        novelty = 2.5 if i < 300 else 20.0
        alarms += observe(watch, replace(model, band=f"late{i % 7}", novelty_sum=novelty), now_ms=i)
    assert {(a.statistic, a.stratum) for a in alarms} == {("novelty", OTHER)}
