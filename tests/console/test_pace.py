"""When packets go, under a clock of our own; ranges of topics as they are written."""

from __future__ import annotations

import pytest

from console.commands.publish import Pace, Schedule
from console.inputs import Range
from errors import UserError


@pytest.mark.parametrize(
    ("rate", "speed", "pace"), [("200", None, Pace(200)), ("0.5/s", None, Pace(0.5)), (None, "10x", Pace(None, 10)), (None, None, Pace())]
)
def test_paces(rate: str | None, speed: str | None, pace: Pace) -> None:
    assert Pace.parse(rate, speed) == pace


@pytest.mark.parametrize(("rate", "speed"), [("0", None), ("-3", None), ("nan", None), (None, "fast"), ("1e99", None), ("", None)])
def test_what_is_not_a_pace(rate: str | None, speed: str | None) -> None:
    with pytest.raises(UserError) as caught:
        Pace.parse(rate, speed)
    assert caught.value.code == 2


def test_a_rate_is_kept_over_a_stall() -> None:
    now = 50.0
    schedule = Schedule(Pace(rate=200.0), lambda: now)
    due = [schedule.due(b"") for _ in range(401)]
    assert due[0] == 50.0
    assert due[-1] == pytest.approx(52.0)


def test_as_fast_as_it_goes() -> None:
    assert Schedule(Pace()).due(b"") is None


def test_ranges() -> None:
    assert Range.parse("kafka://alerts.ztf") == Range("alerts.ztf")
    assert Range.parse("kafka://alerts.ztf?from=10&to=20") == Range("alerts.ztf", 10, 20)
    assert Range.parse("kafka://a?from=2023-11-14T22:13:20&to=2023-11-14T23:13:20%2B01:00") == Range(
        "a", None, None, 1_700_000_000_000, 1_700_000_000_000
    )
    for wrong in ("kafka://", "kafka://a?form=3", "kafka://a?from=yesterday", "kafka://a/b"):
        with pytest.raises(UserError):
            Range.parse(wrong)
