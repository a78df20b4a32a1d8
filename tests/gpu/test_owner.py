"""One process owns a GPU: by a lock that names it and ends with it, whatever its end was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu.owner import VISIBLE, Owned, devices, own, owners, release
from gpu.session import EngineError

ROOT = Path(__file__).parents[2]
HOLD = """
import sys
from pathlib import Path
from gpu.owner import own
print(own(Path(sys.argv[1]), among=sys.argv[2:]), flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _free(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(VISIBLE, "0,1")  # put back behind the test: a claim changes both
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    yield
    release()


def holder(state: Path, *among: str) -> subprocess.Popen[str]:
    """A process that owns a device until its input ends."""
    command = [sys.executable, "-c", HOLD, str(state), *among]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == among[0]
    return process


def test_a_process_takes_the_first_free_device_and_sees_no_other(tmp_path: Path) -> None:
    assert list(owners(tmp_path)) == [Owned("0", None), Owned("1", None)]
    other = holder(tmp_path, "0")
    try:
        assert list(owners(tmp_path)) == [Owned("0", other.pid), Owned("1", None)]
        assert own(tmp_path) == "1"
        assert os.environ[VISIBLE] == "1"
        assert own(tmp_path) == "1", "the same again: a state that is swapped keeps its device"
        assert list(owners(tmp_path, among=["0", "1"])) == [Owned("0", other.pid), Owned("1", os.getpid())]
    finally:
        other.kill()
        other.wait()


def test_where_each_is_another_process_s_it_is_said_whose(tmp_path: Path) -> None:
    other = holder(tmp_path, "0")
    try:
        with pytest.raises(EngineError, match=rf"^GPU 0 is process {other.pid}'s \(") as caught:
            own(tmp_path, among=["0"])
        assert "\n" not in str(caught.value)
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        assert own(tmp_path, among=["0"]) == "0", "a killed process owns nothing"
    finally:
        other.kill()
        other.wait()


def test_two_flows_do_not_know_of_each_other(tmp_path: Path) -> None:
    assert own(tmp_path / "a", among=["0"]) == "0"
    assert list(owners(tmp_path / "b", among=["0"])) == [Owned("0", None)]


def test_a_folder_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(EngineError, match="the GPU cannot be claimed in"):
        own(tmp_path, among=["0"])
    with pytest.raises(EngineError, match="no CUDA device"):
        own(tmp_path, among=[])


def test_devices_are_those_that_are_visible_else_the_drivers_files(tmp_path: Path) -> None:
    assert devices({VISIBLE: "1, GPU-7f"}) == ("1", "GPU-7f")
    assert devices({VISIBLE: ""}) == devices({VISIBLE: "-1"}) == ()
    for name in ("nvidia10", "nvidia2", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert devices({}, tmp_path) == ("2", "10")
    assert devices({}, tmp_path / "none") == ()
    (tmp_path / "wsl").mkdir()
    (tmp_path / "wsl" / "dxg").touch()
    assert devices({}, tmp_path / "wsl") == ("0",)
