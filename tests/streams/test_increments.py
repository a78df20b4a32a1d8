"""What becomes of increments, without a broker: outcomes, portions, increments that are read again, where rejects go when re-driven."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from data.joining.whole_curve import WholeCurve
from schemas.records.rejected import Rejected
from schemas.surveys import tess
from schemas.surveys.tess_increment import IncrementReader
from streams.agents import increments
from streams.agents.detector import Incoming
from streams.agents.increments import Portion, portions
from streams.agents.redrive import parse
from streams.kafka import topics
from streams.kafka.batches import Fault, Unreadable
from streams.kafka.producer import rejected_record
from tests.data.curve_parts import encode, part, record


def message(value: bytes | None, offset: int, partition: int = 0, headers: tuple[Any, ...] = ()) -> SimpleNamespace:
    return SimpleNamespace(
        value=value, offset=offset, partition=partition, topic=topics.INCREMENTS, timestamp=1000 + offset, headers=headers
    )


def take(
    messages: list[SimpleNamespace], kept: dict[tuple[int, int], WholeCurve] | None = None, *, each: bool = True, committed: int = 0
) -> list[Portion]:  # fmt: skip
    """All portions, each kept before the next is asked for, as the joiner does."""
    kept, out = {} if kept is None else kept, []
    places = {m.partition: committed for m in messages}
    for portion in portions(
        messages, lambda tic, sector: kept.get((tic, sector)), committed=places, each=each, reader=IncrementReader()
    ):  # fmt: skip
        kept.update(portion.curves)
        out.append(portion)
    return out


def values(found: list[Portion]) -> list[bytes]:
    return [whole for portion in found for _, _, whole in portion.packets.values()]


def test_each_increment_has_one_outcome() -> None:
    whole = record(n=90)
    parts = [encode(part(whole, at, at + 30)) for at in (0, 30, 60)]
    broken = encode(record(ra=400.0))
    found = take([message(v, i) for i, v in enumerate([parts[0], parts[0], None, parts[2], broken, parts[1], parts[0]])])
    [portion] = found
    assert [outcome for outcome, _, _ in portion.outcomes] == [
        "joined",
        "duplicate",
        "rejected",
        "joined",
        "rejected",
        "joined",
        "duplicate",
    ]
    assert portion.counts() == {"joined": 3, "duplicate": 2, "rejected": 2}
    assert [(origin.offset, origin.value, why.error_class) for origin, why in portion.rejects] == [
        (2, b"", "not_avro"),
        (4, broken, "bad_value"),
    ]
    assert values(found)[-1] == tess.encode(whole)
    assert portion.next == {0: 7}


def test_one_packet_a_target_where_it_may_wait() -> None:
    stars = [record(tic, n=60) for tic in (1, 2)]
    messages = [message(encode(part(star, at, at + 20)), i) for i, (at, star) in enumerate((at, s) for at in (0, 20, 40) for s in stars)]
    found = take(messages, each=False)
    assert values(found) == [tess.encode(star) for star in stars]
    assert found[0].counts() == {"joined": 6}


def test_what_was_committed_is_joined_again_and_not_sent() -> None:
    whole = record(n=60)
    messages = [message(encode(part(whole, at, at + 20)), i) for i, at in enumerate((0, 20, 40))]
    messages.insert(1, message(b"broken", 0))
    kept: dict[tuple[int, int], WholeCurve] = {}
    found = take(messages, kept, committed=2)
    assert values(found) == [tess.encode(whole)]
    assert found[0].counts() == {"joined": 1}
    assert not found[0].rejects
    # And all of it once more: nothing at all is sent.
    assert not values(take(messages, kept, committed=3))


@pytest.mark.parametrize("each", [True, False])
def test_portions_are_bounded_and_say_the_same(monkeypatch: pytest.MonkeyPatch, each: bool) -> None:
    stars = [record(tic, n=300) for tic in range(5)]
    messages = [message(encode(part(star, at, at + 100)), i) for i, (at, star) in enumerate((at, s) for at in (0, 100, 200) for s in stars)]
    monkeypatch.setattr(increments, "IN_HAND", 20_000)
    found = take(messages, each=each)
    assert len(found) > 3
    assert max(portion.size for portion in found) < 20_000 + 300 * 48
    assert sum(len(portion.outcomes) for portion in found) == len(messages)
    assert set(values(found)) >= {tess.encode(star) for star in stars}
    assert found[-1].next == {0: len(messages)}


def test_records_that_cannot_be_read_are_rejected_with_their_number() -> None:
    value = Unreadable.of(b"raw", Fault("corrupt_batch", "the checksum is wrong"), first=3, records=4)
    [portion] = take([message(value, 6)])
    assert portion.counts() == {"rejected": 4}
    [(origin, why)] = portion.rejects
    assert (origin.offset, why) == (3, Rejected("corrupt_batch", "the checksum is wrong", "tess"))
    assert portion.next == {0: 7}


def test_a_rejected_increment_is_re_driven_to_where_it_came_from() -> None:
    origin = Incoming(b"broken", topics.INCREMENTS, 1, 5, 1000, [("_test", b"1")])
    sent = rejected_record(origin, Rejected("bad_value", "why", "tess"), scored_ms=2000)
    found = parse(SimpleNamespace(headers=sent.headers, value=sent.value, partition=0, offset=9, timestamp=1))
    assert found.target == topics.INCREMENTS
