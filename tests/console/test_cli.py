"""Every expected failure of a command is one line that says what to do, with the right exit status."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = ("run", "demo", "replay", "publish", "watch", "topics", "status", "doctor", "worker", "drift", "evaluate", "describe", "train")


def protonova(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PROTONOVA_")}
    return subprocess.run(
        [sys.executable, "-m", "console.cli", *arguments],
        cwd=folder,
        env={**clean, "PYTHONPATH": str(Path(__file__).parents[2]), "NO_COLOR": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_help_names_every_command(tmp_path: Path) -> None:
    done = protonova("--help", folder=tmp_path)
    assert done.returncode == 0
    assert [c for c in COMMANDS if f"\n  {c} " not in done.stdout] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command: str, tmp_path: Path) -> None:
    done = protonova(command, "--help", folder=tmp_path)
    assert done.returncode == 0
    assert "Usage: protonova " + command in done.stdout
    assert done.stderr == ""


def test_help_is_fast(tmp_path: Path) -> None:
    protonova("--help", folder=tmp_path)  # compiles the modules
    times = []
    for _ in range(3):  # processor time: the wall's depends on what else runs here
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        protonova("--help", folder=tmp_path)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(times) < 0.5


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "words"),
    [
        (("dance",), {}, 2, "No such command"),
        (("publish",), {}, 2, "PATH"),
        (("publish", "x", "--rate", "3", "--max"), {}, 2, "exclude each other"),
        (("publish", "x", "--rate", "fast"), {}, 2, "--rate 200/s"),
        (("publish", "x", "--speed", "0x"), {}, 2, "--speed 10x"),
        (("publish", "x"), {}, 1, "start `protonova run`"),
        (("publish", "x", "--kafka", "127.0.0.1:1"), {}, 1, "127.0.0.1:1"),
        (("publish", "x", "--kafka", "nonsense"), {}, 2, "host:port"),
        (("publish", "x"), {"PROTONOVA_BATCH_SIZE": "many"}, 2, "PROTONOVA_BATCH_SIZE"),
        (("publish", "x"), {"PROTONOVA_KAFKKA": "a:1"}, 2, "PROTONOVA_KAFKA"),
        (("watch", "--count", "0"), {}, 2, "--count"),
        (("watch",), {}, 1, "start `protonova run`"),
        (("topics",), {}, 1, "start `protonova run`"),
        (("status",), {}, 1, "start `protonova run`"),
        (("demo", "--packets", "3"), {}, 2, "--packets"),
        (("replay", "x"), {}, 2, "--out"),
        (("replay", "x", "--out", "."), {}, 2, "folder"),
        (("replay", "x", "--out", "s.parquet", "--labels", "none.csv"), {}, 1, "none.csv"),
        (("replay", "kafka://t?form=3", "--out", "s.parquet", "--kafka", "127.0.0.1:1"), {}, 1, "127.0.0.1:1"),
        (("replay", "x", "--out", "s.parquet", "--bundle", "nowhere"), {}, 1, "nowhere"),
        (("replay", "x", "--out", "s.parquet", "--engine", "steam"), {}, 2, "engine"),
    ],
)
def test_a_failure_is_one_line(arguments: tuple[str, ...], environment: dict[str, str], code: int, words: str, tmp_path: Path) -> None:
    done = protonova(*arguments, folder=tmp_path, **environment)
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("protonova: ")
    assert words in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_an_unexpected_error_is_one_line_and_a_log(tmp_path: Path) -> None:
    from console.failures import guarded

    def broken() -> int:
        raise ZeroDivisionError("oops\nand more")

    assert guarded(broken, lambda: tmp_path) == 1
    logs = list((tmp_path / "logs").iterdir())
    assert len(logs) == 1
    assert "Traceback" in logs[0].read_text()


def test_what_the_broker_refuses_is_its_own_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from aiokafka.errors import InvalidReplicationFactorError

    from console.failures import guarded

    def refused() -> int:
        raise InvalidReplicationFactorError("topic alerts.ztf: replication factor 3, brokers 1")

    assert guarded(refused, lambda: tmp_path) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "the Kafka broker refuses" in said
    assert "brokers 1" in said
    assert list(tmp_path.iterdir()) == [], "nothing to send us"


def test_an_interrupt_is_130(tmp_path: Path) -> None:
    from console.failures import guarded

    def stopped() -> int:
        raise KeyboardInterrupt

    assert guarded(stopped, lambda: tmp_path) == 130
    assert list(tmp_path.iterdir()) == []


def test_what_a_packet_says_cannot_drive_a_terminal() -> None:
    from errors import one_line

    assert one_line("a\x1b[2J\nb\tc") == "a [2J b c"
    assert len(one_line("x" * 9999)) == 500
