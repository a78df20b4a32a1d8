"""Messages of our topics → rows of the history, whatever their headers state."""

from __future__ import annotations

from collections import Counter

import pytest
from aiokafka import TopicPartition

from data.history.nights import night_of
from streams.agents.history_rows import portion_of
from tests.service.past_night import NIGHT_MS, alert, message


@pytest.mark.parametrize(
    ("stated", "timestamp", "arrived"),
    [
        (b"%d" % NIGHT_MS, 5, NIGHT_MS),
        (b"soon", NIGHT_MS, NIGHT_MS),
        (b"999999999999999999", NIGHT_MS, 0),  # a year that no date has
        (b"", -1, 0),
        (b"", 1 << 62, 0),
    ],
)
def test_a_time_that_is_none_is_unknown_and_has_a_night(stated: bytes, timestamp: int, arrived: int) -> None:
    one = message(alert(1), offset=0)
    one.headers = [("ingested_at", stated), *one.headers[1:]]
    one.timestamp = timestamp
    bad: Counter[tuple[str, str]] = Counter()
    portion = portion_of({TopicPartition("detections", 0): [one]}, {}, bad=bad)
    assert not bad
    assert portion.alerts[0].arrived_ms == arrived
    assert night_of(arrived, "lsst") > 0
