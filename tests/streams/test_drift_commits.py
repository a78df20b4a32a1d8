"""What the drift process writes: alarms, states and position in one go, each record under its key; other records are passed over."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from schemas.records import codec
from schemas.records.drift_alarm import DriftAlarm
from schemas.records.drift_state import DriftState
from streams.agents import drift
from streams.bad_records import BadRecords
from streams.kafka import topics
from streams.kafka.batches import Fault, Unreadable
from tests.streams.drift_stream import reference, summaries
from tests.streams.test_drift_monitor import ZERO_POINT, monitor


class Reader:
    """Hands out messages, and keeps what is committed."""

    def __init__(self, values: Sequence[bytes]) -> None:
        self.left = [SimpleNamespace(topic=topics.TELEMETRY, partition=0, offset=i, timestamp=1000 * i, key=b"w", value=value)
                     for i, value in enumerate(values)]  # fmt: skip
        self.read_over = asyncio.Event()
        self.commits: list[tuple[list[Any], dict[int, int]]] = []

    async def same_topic(self) -> bool:
        return True

    async def next(self, most: int, *, wait_ms: int) -> list[Any]:
        if not self.left:
            self.read_over.set()
            await asyncio.sleep(3600)
        taken, self.left = self.left[:most], self.left[most:]
        return taken

    async def commit(self, records: Any, upto: dict[int, int]) -> None:
        self.commits.append((list(records), dict(upto)))


async def test_each_commit_holds_what_was_raised_the_states_and_the_position() -> None:
    lost = Unreadable.of(b"x", Fault("corrupt_batch", "a checksum"), first=0, records=1)
    stable, moved = summaries(8_000, seed=1, model="m"), summaries(20_000, seed=2, model="m", moved=ZERO_POINT, night=43)
    values = [lost, b"not ours", *map(codec.encode, stable), *map(codec.encode, moved)]
    reader, bad = Reader(values), BadRecords(log=lambda line: None)
    task = asyncio.ensure_future(drift._follow(reader, monitor(reference()), bad=bad, done=[0]))  # type: ignore[arg-type]
    await reader.read_over.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bad.total == 1
    assert reader.commits[-1][1] == {0: len(values)}, "the end of what was read, also where it is asked to end"
    written = [record for records, _ in reader.commits for record in records]
    assert {record.topic for record in written} == {topics.ALARMS, topics.DRIFT_STATES}
    for record in written:
        found = codec.decode(record.value)
        assert isinstance(found, DriftAlarm if record.topic == topics.ALARMS else DriftState)
        assert record.key == (f"{found.statistic}:{found.stratum}".encode() if isinstance(found, DriftAlarm) else found.key)
    for records, _ in reader.commits:
        assert b"m/charts" in {record.key for record in records}, "never without the state behind it"
