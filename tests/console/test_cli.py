"""Every expected failure of a command is one line that says what to do, with the right exit status."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from console.arguments import class_named, existing
from errors import UserError
from schemas.taxonomy import SLUGS
from tests.console import forked_cli

ROOT = Path(__file__).parents[2]
COMMANDS = (
    "run", "demo", "replay", "publish", "watch", "topics", "status", "doctor", "worker", "drift", "evaluate", "describe", "curves",
    "rejects", "train", "fetch",
)  # fmt: skip


def protonova(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PROTONOVA_")}
    return forked_cli.protonova(arguments, folder=folder, environment={**clean, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", **environment})


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


def test_help_loads_nothing_that_a_command_needs() -> None:
    """It answers at once because of this, on any machine."""
    heavy = "('aiokafka', 'numpy', 'rich.table', 'pydantic', 'onnxruntime', 'starlette', 'httpx', 'faust')"
    program = "import sys, typer; from console.cli import app; typer.main.get_command(app); "
    program += f"print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("flags", [("--version",), ("--version", "run"), ("--version", "--help")])
def test_the_version_is_one_line(flags: tuple[str, ...], tmp_path: Path) -> None:
    done = protonova(*flags, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"protonova \d+\.\d+\S*\n", done.stdout)


MISSING = ("nowhere.avro", "no/such/folder", "a\0b", "x" * 5000)


@pytest.mark.parametrize("missing", MISSING[:2])
@pytest.mark.parametrize(
    "arguments",
    [
        ("publish", "{}"),
        ("publish", "x", "{}"),
        ("replay", "{}", "--out", "new/s.parquet"),
        ("replay", "x", "--out", "new/s.parquet", "--labels", "{}"),
        ("replay", "x", "--out", "new/s.parquet", "--bundle", "{}"),
        ("evaluate", "--task", "{}", "--labels", "x"),
        ("evaluate", "--task", "x", "--labels", "{}"),
        ("evaluate", "--task", "x", "--labels", "x", "--table", "{}"),
        ("evaluate", "--task", "x", "--labels", "x", "--packets", "{}", "--report", "new/r.json"),
        ("describe", "kilonova", "--against", "{}", "--out", "new/p.json"),
        ("describe", "{}.yaml"),
        ("run", "--bundle", "{}"),
        ("demo", "--bundle", "{}", "--report", "new/r.json"),
    ],
)
def test_a_path_that_is_not_there_is_one_line_and_nothing_is_written(arguments: tuple[str, ...], missing: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("not a packet")
    done = protonova(*(a.format(missing) for a in arguments), folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert missing in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("path", MISSING)
def test_a_name_that_no_file_can_have_is_one_line_too(path: str) -> None:
    with pytest.raises(UserError) as caught:
        existing([path], "a file")
    assert caught.value.code == 2
    assert str(caught.value).isprintable()
    existing([None, "-", "kafka://alerts.ztf?from=1", __file__], "a file")


@pytest.mark.parametrize(
    ("text", "slug"),
    [("tde", "tde"), ("TDE", "tde"), (" Tde ", "tde"), ("SN Ia", "sn-ia"), ("2243", "tde"), ("RRLyrae", "rr-lyrae"), ("KN", "kilonova"),
     ("Kilonova candidate", "kilonova"), ("SOLAR SYSTEM MPC", "asteroid"), ("my-flare", "my-flare"), ("MY-FLARE", "my-flare")],
)  # fmt: skip
def test_any_name_of_a_class_is_understood(text: str, slug: str) -> None:
    assert class_named(text, [*SLUGS, "my-flare"]) == slug


@pytest.mark.parametrize(
    ("text", "near"), [("TDEE", "tde"), ("kilonva", "kilonova"), ("SN 1a", "sn-ia"), ("MyFlare", "my-flare"), ("\x1b[2J", "")]
)
def test_an_unknown_class_is_refused_with_the_nearest(text: str, near: str) -> None:
    with pytest.raises(UserError) as caught:
        class_named(text, [*SLUGS, "my-flare", "private"])
    assert caught.value.code == 2
    assert f"did you mean {near}" in str(caught.value)
    assert "private" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


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
        (("replay", "x", "--out", "x/s.parquet"), {}, 2, "not a folder"),
        (("publish", "x"), {"PROTONOVA_BUNDLE": "nowhere"}, 2, "nowhere"),
        (("publish", "x"), {"PROTONOVA_QQQ": "1"}, 2, "PROTONOVA_QQQ is not a setting"),
        (("publish", "x"), {"PROTONOVA_BATCH_SIZE": "many"}, 2, "PROTONOVA_BATCH_SIZE"),
        (("publish", "x"), {"PROTONOVA_KAFKKA": "a:1"}, 2, "PROTONOVA_KAFKA"),
        (("watch", "--count", "0"), {}, 2, "--count"),
        (("watch",), {}, 1, "start `protonova run`"),
        (("topics",), {}, 1, "start `protonova run`"),
        (("status",), {}, 1, "start `protonova run`"),
        (("demo", "--packets", "3"), {}, 2, "--packets"),
        (("replay", "x"), {}, 2, "--out"),
        (("replay", "x", "--out", "."), {}, 2, "folder"),
        (("replay", "x", "--out", "s.parquet", "--labels", "none.csv"), {}, 2, "none.csv"),
        (("replay", "kafka://t?form=3", "--out", "s.parquet", "--kafka", "127.0.0.1:1"), {}, 2, "write kafka://topic"),
        (("replay", "kafka://t?from=3", "--out", "s.parquet", "--kafka", "127.0.0.1:1"), {}, 1, "127.0.0.1:1"),
        (("replay", "x", "--out", "s.parquet", "--bundle", "nowhere"), {}, 2, "nowhere"),
        (("replay", "x", "--out", "s.parquet", "--engine", "steam"), {}, 2, "engine"),
    ],
)
def test_a_failure_is_one_line(arguments: tuple[str, ...], environment: dict[str, str], code: int, words: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("not a packet")
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
