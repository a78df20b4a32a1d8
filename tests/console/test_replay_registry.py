"""`replay` asks a schema registry that does not answer a few times, and ends in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from console.commands import replay
from console.failures import guarded
from tests.flow.stand_in import packet
from tests.streams.test_waiting import Waits


def test_one_line_and_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scorer = Waits(10**9)

    def body() -> None:
        list(replay.outcomes([("a", packet(1)), ("b", packet(2))], scorer, batch_size=64, remembered=10))

    assert guarded(body, lambda: tmp_path) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "503" in said[0]
    assert len(scorer.calls) == replay.REGISTRY_TRIES + 1


def test_a_short_absence_is_not_seen() -> None:
    (batch,) = replay.outcomes([("a", packet(1)), ("b", packet(2))], Waits(2), batch_size=64, remembered=10)
    assert [type(result).__name__ for result in batch[1]] == ["Detection", "Detection"]
