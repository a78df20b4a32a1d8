"""The ledger of a partition: every committed offset has an outcome, through marks, aborted records, kills and redeliveries."""

from __future__ import annotations

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from streams.kafka.broker_requests import mark_in
from streams.kafka.consumer import CheckedConsumer
from streams.kafka.offset_ledger import Accounted, Ledger, Ledgers, Noted, Skip, ledger_of

PLACE = TopicPartition("alerts.ztf", 0)


def committed(ledgers: Ledgers) -> tuple[int, Ledger]:
    """What a commit now would say."""
    offset = ledgers.committable(PLACE)
    assert isinstance(offset, Accounted)
    found = ledger_of(f"topic-id:abc {offset.ledger}", offset)
    assert found is not None
    return int(offset), found


def begun(offset: int = 0) -> Ledgers:
    noted = Noted()
    noted.fetched(PLACE, offset)
    return Ledgers(noted)


def test_every_offset_has_an_outcome() -> None:
    ledgers = begun()
    ledgers.acknowledge(PLACE, 0, outcome="detections")
    ledgers.noted.skip(PLACE, Skip(1, 2, "control"))
    ledgers.noted.skip(PLACE, Skip(2, 7, "aborted"))
    ledgers.acknowledge(PLACE, 7, outcome="duplicates")
    ledgers.acknowledge(PLACE, 10, outcome="rejected", count=3)
    offset, ledger = committed(ledgers)
    assert (offset, ledger) == (11, Ledger(0, 1, 3, 1, 1, 5))
    assert ledger.unaccounted(offset) == 0


@pytest.mark.parametrize("lost", [{3}, {0, 1}, {2, 5}])
def test_a_packet_that_is_passed_without_an_outcome_is_missing_for_ever(lost: set[int]) -> None:
    ledgers = begun()
    for i in range(10):
        if i not in lost:
            ledgers.acknowledge(PLACE, i, outcome="detections")
    offset, ledger = committed(ledgers)
    assert ledger.unaccounted(offset) == len(lost)
    again = Ledgers(Noted())
    again.noted.resume(PLACE, offset, metadata=ledger.text())
    again.acknowledge(PLACE, 10, outcome="detections")
    offset, ledger = committed(again)
    assert ledger.unaccounted(offset) == len(lost)


def test_what_comes_again_after_a_kill_is_counted_once() -> None:
    first = begun()
    for i in range(5):
        first.acknowledge(PLACE, i, outcome="detections")
    offset, ledger = committed(first)
    for i in range(5, 8):
        first.acknowledge(PLACE, i, outcome="detections")  # delivered, and killed before the commit
    second = Ledgers(Noted())
    second.noted.resume(PLACE, offset, metadata=f"topic-id:abc {ledger.text()}")
    for i in range(5, 8):
        second.acknowledge(PLACE, i, outcome="duplicates")
    assert committed(second) == (8, Ledger(0, 5, 0, 3))


def test_what_is_read_again_by_the_same_worker_is_counted_once() -> None:
    """A rebalance has it go back to what is committed, while it keeps the partition."""
    ledgers = begun()
    ledgers.noted.skip(PLACE, Skip(0, 1, "control"))
    for i in range(1, 5):
        ledgers.acknowledge(PLACE, i, outcome="detections")
    ledgers.noted.resume(PLACE, 2, metadata=committed(ledgers)[1].text())
    for i in range(2, 4):
        ledgers.acknowledge(PLACE, i, outcome="duplicates")
    ledgers.noted.skip(PLACE, Skip(5, 6, "control"))
    ledgers.acknowledge(PLACE, 6, outcome="detections")
    assert committed(ledgers) == (7, Ledger(0, 5, 0, 0, 2))


def test_marks_behind_the_last_packet_are_committed_once_nothing_is_in_hand() -> None:
    ledgers = begun(4)
    ledgers.acknowledge(PLACE, 4, outcome="detections")
    ledgers.noted.skip(PLACE, Skip(6, 7, "control"))
    ledgers.read_over(PLACE, 7, handed=6)
    assert committed(ledgers)[0] == 5, "the packet at 5 is in hand"
    ledgers.acknowledge(PLACE, 5, outcome="detections")
    ledgers.read_over(PLACE, 7, handed=6)
    assert committed(ledgers) == (7, Ledger(4, 2, 0, 0, 1))
    ledgers.read_over(PLACE, 7, handed=6)
    assert committed(ledgers) == (7, Ledger(4, 2, 0, 0, 1))


def test_a_partition_of_marks_alone_is_read_over() -> None:
    ledgers = begun()
    ledgers.noted.skip(PLACE, Skip(0, 9, "aborted"))
    ledgers.noted.skip(PLACE, Skip(9, 10, "control"))
    assert ledgers.noted.waiting() == [PLACE]
    ledgers.read_over(PLACE, 10, handed=0)
    assert committed(ledgers) == (10, Ledger(0, control=1, aborted=9))
    assert ledgers.noted.waiting() == []


def test_records_that_retention_took_before_they_were_read_are_missing() -> None:
    ledgers = Ledgers(Noted())
    ledgers.noted.resume(PLACE, 10, metadata=Ledger(0, 10).text())
    ledgers.noted.fetched(PLACE, 50)
    ledgers.acknowledge(PLACE, 50, outcome="detections")
    offset, ledger = committed(ledgers)
    assert ledger.unaccounted(offset) == 40


@pytest.mark.parametrize(
    "metadata",
    [
        "",
        "topic-id:abc",
        "ledger:",
        "ledger:1,2",
        "ledger:" + ",".join(["9" * 25] * 8),
        "ledger:0,-1,0,0,0,0,0,0",
        "ledger:99,0,0,0,0,0,0,0",
        "ledger:0,1,0,0,0,0,0,²",
        "ledger:" + "1," * 5000,
    ],
)
def test_metadata_of_others_has_none_of_our_ledgers(metadata: str) -> None:
    assert ledger_of(metadata, 50) is None


def test_a_commit_carries_mark_and_ledger_of_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    from aiokafka import AIOKafkaConsumer

    sent = {}

    async def commit(self: object, offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
        sent.update(offsets)

    monkeypatch.setattr(AIOKafkaConsumer, "commit", commit)
    ledgers = begun()
    ledgers.acknowledge(PLACE, 0, outcome="detections")
    offset = ledgers.committable(PLACE)
    assert offset is not None
    ledgers.acknowledge(PLACE, 1, outcome="rejected")
    consumer = CheckedConsumer.__new__(CheckedConsumer)
    consumer._closed = True
    consumer.marks = {"alerts.ztf": "topic-id:abc"}
    asyncio.run(consumer.commit({PLACE: OffsetAndMetadata(offset, "")}))
    at = sent[PLACE]
    assert (type(at.offset), at.offset, mark_in(at.metadata)) == (int, 1, "topic-id:abc")
    assert ledger_of(at.metadata, at.offset) == Ledger(0, 1)
