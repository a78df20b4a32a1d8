"""The state folder: no other user reads it, and a full disk is reported, with nothing that would lose a packet."""

from __future__ import annotations

import errno
import shutil
import stat
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from console import room
from console.child import Child
from console.claim import claim
from console.commands.run import FIRST_PAUSE, LONGEST_PAUSE, Supervisor, pause_before
from console.failures import guarded
from console.kafka_node import node
from errors import UserError
from settings.model import Settings
from settings.private import private_file, private_folder


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_a_run_makes_is_ours_alone(tmp_path: Path) -> None:
    state = tmp_path / "state"
    claim(state / "run", state).close()
    child = Child([sys.executable, "-c", "print('private')"], state / "logs" / "worker-0.log")
    assert child.wait() == 0

    def fails() -> int:
        raise ZeroDivisionError

    guarded(fails, lambda: state)
    assert {mode(p) for p in (state, state / "run", state / "logs")} == {0o700}
    logs = list((state / "logs").iterdir())
    assert len(logs) == 2
    assert {mode(p) for p in logs} == {0o600}


def test_folders_of_an_earlier_release_are_closed_and_foreign_ones_are_left(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir(mode=0o755)
    (tmp_path / "shared" / "logs").mkdir(mode=0o755)
    (tmp_path / "shared" / "logs" / "old.log").write_text("x")
    (tmp_path / "shared" / "logs" / "old.log").chmod(0o644)
    private_folder(tmp_path / "shared" / "logs")
    assert mode(tmp_path / "shared" / "logs") == 0o700
    assert mode(tmp_path / "shared") == 0o755, "it may be anybody's: /tmp, a home"
    with open(private_file(tmp_path / "shared" / "logs" / "old.log", append=True), "ab") as log:
        log.write(b"y")
    assert mode(tmp_path / "shared" / "logs" / "old.log") == 0o600
    assert (tmp_path / "shared" / "logs" / "old.log").read_text() == "xy"


def harmless(message: str) -> bool:
    """Whether following it loses no packets."""
    return not any(word in message.lower() for word in ("--fresh", "delete", "rm ", "remove", "clear"))


def test_nothing_is_started_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**10, 10**10, 1_000_000))
    with pytest.raises(UserError, match="no space is left on the disk") as caught:
        Supervisor(Settings(state=tmp_path / "state")).start()
    assert "1 MB are free" in str(caught.value)
    assert harmless(str(caught.value))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_gets_full_is_reported_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert room.low(tmp_path) is None or shutil.disk_usage(tmp_path).free < room.LOW
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**10, 10**10, 300_000_000))
    assert "300 MB" in str(room.low(tmp_path / "not" / "yet" / "there"))


@pytest.mark.parametrize("words", ["java.io.IOException: No space left on device", "ERROR Disk quota exceeded (x)"])
def test_kafkas_end_on_a_full_disk_says_what_to_free(words: str, tmp_path: Path) -> None:
    kafka = node.LocalKafka()
    kafka._folder = tmp_path / "state" / "kafka"
    private_folder(kafka._folder)
    kafka._command = [sys.executable, "-c", f"print({words!r}); raise SystemExit(1)"]
    kafka.bootstrap = "127.0.0.1:1"
    with pytest.raises(node.KafkaError, match="no space is left") as caught:
        kafka._launch()
    assert harmless(str(caught.value))
    kafka.stop()
    kafka._command = [sys.executable, "-c", "print('FATAL other'); raise SystemExit(1)"]
    with pytest.raises(node.KafkaError, match="FATAL other") as caught:
        kafka._launch()
    assert harmless(str(caught.value)), "nor does any other end suggest it"
    kafka.stop()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_folder_that_cannot_be_made_for_want_of_room(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(number, "full")

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(UserError, match="no space is left"):
        claim(tmp_path / "state" / "run", tmp_path / "state")


def test_only_ends_before_ready_make_the_pause_grow() -> None:
    assert pause_before(0, 0) == 0, "it was ended in order, not by us: it comes back at once"
    assert pause_before(-9, 0) == FIRST_PAUSE <= 1
    assert pause_before(75, 0) == FIRST_PAUSE
    growing = [pause_before(1, n) for n in range(1, 12)]
    assert growing == sorted(growing)
    assert growing[0] == FIRST_PAUSE
    assert growing[-1] == LONGEST_PAUSE
    assert pause_before(0, 3) == growing[2], "one that ends in order before it was ready did not do its work either"
