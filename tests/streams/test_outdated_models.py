"""Which bundles leave their topic: challengers that were only tried, the oldest; never one that scored for subscribers or is in use."""

from __future__ import annotations

from schemas.records import codec
from schemas.records.loop_event import ANNOUNCED, PROMOTED, ROLLED_BACK, TAUGHT, LoopEvent
from schemas.records.model_announced import ModelAnnounced
from streams.models import AT_ONCE, outdated


def step(event: str, digit: str) -> LoopEvent:
    alias = "challenger" if event == ANNOUNCED else "champion"
    record = ModelAnnounced(alias, digit * 64, digit * 16, 1, "ada", "", "", 1)
    return LoopEvent(event, record.model, 1, "ada", "", codec.encode(record), 1)


def test_only_the_oldest_that_were_never_champion_leave() -> None:
    events = [step(ANNOUNCED, digit) for digit in "0123456789"]
    events += [step(PROMOTED, "0"), step(ROLLED_BACK, "a"), LoopEvent(TAUGHT, "fast-blue", 1, "ada", "", b"", 1), step(ANNOUNCED, "1")]
    assert outdated(events, (), most=9) == []
    assert outdated(events, (), most=7) == ["1" * 64, "2" * 64]
    assert outdated(events, {"1" * 64}, most=7) == ["2" * 64]
    assert outdated(events, (), most=0) == [digit * 64 for digit in "56789"]
    assert AT_ONCE == 5
