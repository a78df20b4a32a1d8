"""Liveness and telemetry: bookkeeping without a broker."""

from __future__ import annotations

from schemas.records import codec
from schemas.records.rejected import Rejected
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
    assert scores == [], "one alert waits for more"
    assert outcome_counts.take(2.0) == ([], [])
    (alive,), (stratum,) = outcome_counts.take(6.5)
    assert alive.total == 0
    assert codec.decode_summary(codec.encode(stratum)).n == 1
    outcome_counts.of(StandIn()).packet("ztf", detection, latency_ms=12.0)
    _, (stratum,) = outcome_counts.take(7.0, all_of_it=True)
    assert stratum.n == 1, "the last report of a worker that ends leaves nothing"
