"""Broker against ledgers: balanced where all is counted, a loss where offsets were passed, unknown where nothing is known."""

from __future__ import annotations

import pytest

from service.status.balance import Balance, Partition
from streams.kafka.offset_ledger import Ledger

TOPIC = "alerts.ztf"


def partition(
    committed: int | None, end: int, ledger: Ledger | None, *, start: int = 0, identity: str = "a", marked: bool = True
) -> Partition:
    return Partition(TOPIC, 0, identity, start, end, committed, ledger, marked)


def looked(*looks: Partition) -> Balance:
    balance = Balance()
    for i, look in enumerate(looks):
        balance.observe([look], 1000.0 + i)
    return balance


def state(*looks: Partition) -> tuple[str, int]:
    s = looked(*looks).snapshot()
    return s["state"], s["unaccounted"]


def test_the_sum_is_the_broker_s_span() -> None:
    s = looked(partition(100, 130, Ledger(0, 60, 20, 5, 10, 5))).snapshot()
    assert s["state"] == "balanced"
    assert {k: s[k] for k in ("in", "detections", "rejected", "duplicates", "in_hand")} == {
        "in": 115, "detections": 60, "rejected": 20, "duplicates": 5, "in_hand": 30,
    }  # fmt: skip
    assert (s["marks"], s["aborted"]) == (10, 5)


def test_nothing_seen_is_unknown_and_nothing_committed_is_in_hand() -> None:
    assert Balance().snapshot()["state"] == "unknown"
    s = looked(partition(None, 7, None)).snapshot()
    assert (s["state"], s["in"], s["in_hand"]) == ("balanced", 7, 7)


@pytest.mark.parametrize("missing", [1, 40])
def test_packets_that_the_worker_did_not_count_are_a_loss(missing: int) -> None:
    """Also for a page that was not there."""
    assert state(partition(100, 100, Ledger(0, 100 - missing))) == ("loss", missing)
    balance = looked(partition(50, 100, Ledger(0, 50)), partition(100, 100, Ledger(0, 100 - missing)))
    assert [(x.first, x.next, x.packets) for x in balance.losses] == [(50, 100, missing)]
    assert balance.losses[0].since == 1001.0


def test_more_outcomes_than_packets_are_not_balanced() -> None:
    s = looked(partition(100, 100, Ledger(0, 101))).snapshot()
    assert s["state"] == "loss"
    assert "1 outcomes more than packets" in s["why"]


def test_an_offset_that_was_moved_forward_is_a_loss_and_stays_one() -> None:
    moved = partition(120, 130, None, marked=False)
    taken_up = partition(125, 130, Ledger(120, 5))
    assert state(partition(80, 130, Ledger(0, 80)), moved) == ("loss", 40)
    assert state(partition(80, 130, Ledger(0, 80)), moved, moved, taken_up, taken_up) == ("loss", 40)
    s = looked(partition(80, 130, Ledger(0, 80)), taken_up).snapshot()  # the page did not look in between
    assert (s["state"], s["unaccounted"], s["detections"], s["in"]) == ("loss", 40, 85, 130)


def test_one_moved_forward_before_the_page_was_there_is_unknown_until_retention_took_it() -> None:
    assert state(partition(120, 130, None, marked=False))[0] == "unknown"
    s = looked(partition(125, 130, Ledger(120, 5))).snapshot()
    assert (s["state"], s["uncounted"]) == ("unknown", 120)
    assert state(partition(125, 130, Ledger(120, 5)), partition(140, 140, Ledger(120, 20), start=121))[0] == "balanced"


def test_one_moved_back_is_read_again_and_what_was_lost_with_it() -> None:
    lost = partition(80, 130, Ledger(0, 75))
    back = partition(0, 130, None, marked=False)
    assert state(lost) == ("loss", 5)
    assert state(lost, back) == ("balanced", 0)
    assert state(lost, back, partition(130, 130, Ledger(0, 130))) == ("balanced", 0)
    middle = partition(50, 130, None, marked=False)
    s = looked(partition(80, 130, Ledger(0, 80)), middle, partition(60, 130, Ledger(50, 10))).snapshot()
    assert (s["state"], s["detections"], s["in_hand"]) == ("balanced", 10, 70)


def test_commits_of_an_earlier_release_are_unknown_and_no_loss() -> None:
    looks = [partition(n, 200, None) for n in (50, 100, 150)]
    assert state(*looks) == ("unknown", 0)
    assert state(*looks, partition(200, 200, Ledger(150, 50))) == ("unknown", 0)


def test_what_retention_took_unread_is_a_loss_once() -> None:
    before = partition(80, 130, Ledger(0, 80))
    assert state(before, partition(80, 130, Ledger(0, 80), start=100)) == ("loss", 20)
    assert state(before, partition(80, 130, Ledger(0, 80), start=100), partition(130, 130, Ledger(0, 110), start=100)) == ("loss", 20)
    assert state(before, partition(130, 130, Ledger(0, 130), start=130)) == ("balanced", 0)
    assert state(partition(None, 50, None), partition(None, 90, None, start=30)) == ("loss", 30)


def test_a_topic_made_anew_begins_anew() -> None:
    assert state(partition(80, 80, Ledger(0, 75)), partition(None, 3, None, identity="b")) == ("balanced", 0)
    assert state(partition(80, 80, Ledger(0, 80)), partition(3, 3, Ledger(0, 3), identity="b")) == ("balanced", 0)


def test_compaction_is_unknown_and_what_headers_count_holds_none() -> None:
    s = looked(partition(100, 100, Ledger(0, 60, compacted=30, absent=10))).snapshot()
    assert (s["state"], s["unaccounted"], s["gone"]) == ("unknown", 0, 40)


def test_topics_are_judged_one_by_one() -> None:
    balance = Balance()
    balance.observe([partition(10, 10, Ledger(0, 10)), Partition("alerts.lsst", 0, "b", 0, 10, 10, Ledger(0, 9)),
                     Partition("alerts.lsst", 1, "b", 0, 10, 10, Ledger(0, 11))], 0.0)  # fmt: skip
    s = balance.snapshot()
    assert {row["topic"]: row["state"] for row in s["topics"]} == {TOPIC: "balanced", "alerts.lsst": "loss"}
    assert s["state"] == "loss"
