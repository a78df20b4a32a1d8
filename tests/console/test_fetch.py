"""``protonova fetch`` as it is typed, against a local archive server: killed in the middle it goes on, and no half file is ever there."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from data.simulate.night import night
from tests.data.archive_server import ArchiveServer, Step

ROOT = Path(__file__).parents[2]
NIGHT = "/ztf_public_20240617.tar.gz"


@pytest.fixture(scope="module")
def tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as archive:
        for k, (packet, _) in enumerate(night(5, 40, duplicates=0, broken=0)):
            info = tarfile.TarInfo(f"{k}.avro")
            info.size = len(packet)
            archive.addfile(info, io.BytesIO(packet))
    return out.getvalue()


@pytest.fixture
def server(tar: bytes) -> Iterator[ArchiveServer]:
    sums = f"{hashlib.md5(tar).hexdigest()}  {NIGHT[1:]}\n".encode()
    with ArchiveServer({NIGHT: tar, "/MD5SUMS": sums}) as server:
        yield server


def start(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PROTONOVA_") and k != "LASAIR_TOKEN"}
    return subprocess.Popen(
        [sys.executable, "-m", "console.cli", "fetch", *arguments],
        cwd=folder,
        env={**clean, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell starts what runs in the background with SIGINT ignored, and every child inherits that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def fetch(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    process = start(folder, *arguments, **environment)
    out, err = process.communicate(timeout=150)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_command_that_is_killed_in_the_middle_goes_on(server: ArchiveServer, tar: bytes, tmp_path: Path, how: signal.Signals) -> None:
    server.script[NIGHT].append(Step(pause=1.0))
    process = start(tmp_path, "ztf-nights", "20240617", "--from", server.url, "--to", "alerts")
    part = tmp_path / "alerts" / f"{NIGHT[1:]}.part"
    deadline = time.monotonic() + 120
    while not (part.exists() and part.stat().st_size >= 131_072):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert process.returncode == (130 if how == signal.SIGINT else -9)
    assert "Traceback" not in err
    assert not (tmp_path / "alerts" / NIGHT[1:]).exists()
    had = part.stat().st_size
    assert had < len(tar)
    done = fetch(tmp_path, "ztf-nights", "20240617", "--from", server.url, "--to", "alerts")
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 fetched" in done.stdout
    assert (tmp_path / "alerts" / NIGHT[1:]).read_bytes() == tar
    assert server.requests(NIGHT)[-1].headers["Range"] == f"bytes={had}-"
    assert sorted(p.name for p in (tmp_path / "alerts").iterdir()) == ["fetched.jsonl", "manifest.json", NIGHT[1:]]


def test_a_corrupt_file_is_refused_said_and_fetched_again(server: ArchiveServer, tar: bytes, tmp_path: Path) -> None:
    server.script[NIGHT].append(Step(body=tar[:-9] + bytes(9)))
    done = fetch(tmp_path, "ztf-nights", "20240617", "--from", server.url, "--to", "alerts", "--report", "r.json")
    assert done.returncode == 0
    assert done.stderr.count("\n") == 1
    assert "does not match its checksum" in done.stderr
    assert (tmp_path / "alerts" / NIGHT[1:]).read_bytes() == tar
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["files"] == {"fetched": 1}
    assert report["bytes"] == len(tar)


def test_a_server_that_asks_to_wait_is_waited_for_and_said(server: ArchiveServer, tar: bytes, tmp_path: Path) -> None:
    server.script[NIGHT].extend([Step(429, {"Retry-After": "1"}, b""), Step(503, {"Retry-After": "0"}, b"")])
    done = fetch(tmp_path, "ztf-nights", "20240617", "--from", server.url, "--to", "alerts")
    assert done.returncode == 0
    first, second = done.stderr.splitlines()
    assert "429" in first
    assert 1.0 <= float(re.search(r"again in ([0-9.]+) s", first)[1]) < 2.1  # type: ignore[index]
    assert "503" in second
    assert (tmp_path / "alerts" / NIGHT[1:]).read_bytes() == tar


@pytest.mark.slow
def test_a_terminal_sees_the_bytes_come(server: ArchiveServer, tmp_path: Path) -> None:
    server.always[NIGHT] = Step(pause=0.05)
    ours, theirs = pty.openpty()
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PROTONOVA_")} | {
        "PYTHONPATH": str(ROOT),
        "TERM": "xterm",
        "COLUMNS": "140",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "console.cli", "fetch", "ztf-nights", "20240617", "--from", server.url, "--to", "alerts"],
        cwd=tmp_path,
        env=clean,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            data = os.read(ours, 65_536)
        except OSError:  # the other end is closed
            break
        if not data:
            break
        seen += data
    os.close(ours)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"ztf-nights 1/1 " + NIGHT[1:20].encode() in seen
    shown = {float(n) for n in re.findall(rb"([0-9.]+)/[0-9.]+ [kMG]?B", seen)}
    assert len(shown) > 2, "the bar stands still"
    assert "1 fetched" in out
    assert "\x1b" not in out.split("rows")[0]


def test_what_fails_is_listed_and_the_status_says_so(server: ArchiveServer, tmp_path: Path) -> None:
    server.always[NIGHT] = Step(404, {}, b"")
    done = fetch(tmp_path, "ztf-nights", "20240617", "--from", server.url)
    assert done.returncode == 1
    assert "is not there (404)" in done.stdout.replace("\n", " ") or "not there" in done.stdout
    assert "Traceback" not in done.stderr + done.stdout


def test_the_sources_are_listed(tmp_path: Path) -> None:
    done = fetch(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("ztf-nights", "ztf-lightcurves", "tess", "kepler", "alerce", "fink", "lasair"):
        assert name in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("ztf-night", "20240617"), 2, "did you mean ztf-nights"),
        (("ztf-nights",), 2, "protonova fetch ztf-nights 20240617"),
        (("ztf-nights", "yesterday"), 2, "YYYYMMDD"),
        (("tess", "tic=1", "sectr=2"), 2, "sector="),
        (("tess", "tic=1", "--from", "http://example.org"), 1, "https only"),
        (("tess", "tic=1", "--token-file", "x"), 2, "needs no token"),
        (("lasair", "ZTF21aaxtctv"), 1, "LASAIR_TOKEN"),
        (("lasair", "ZTF21aaxtctv", "--token-file", "none"), 2, "none"),
        (("fink", "ZTF21aaxtctv", "--offline"), 1, "without --offline"),
        (("fink", "ZTF21aaxtctv", "--offline", "--again"), 2, "exclude each other"),
        (("fink", "ZTF21aaxtctv", "--rate", "3"), 2, "--publish"),
        (("alerce", "ZTF21aaxtctv", "--publish"), 2, "gives no packets (its record has a dozen of the fields of an alert; fink gives"),
        (("lasair", "ZTF21aaxtctv", "--publish"), 2, "gives no packets (its record"),
        (("ztf-lightcurves", "10,10", "--publish"), 2, "gives no packets (magnitudes"),
        (("fink", "ZTF21aaxtctv", "--publish"), 1, "start `protonova run`"),
        (("tess", "tic=1", "--dust-map", "none.fits", "--from", "http://127.0.0.1:9"), 1, "none.fits cannot be read"),
        (("ztf-nights", "20240617", "--publish"), 1, "start `protonova run`"),
        (("fink", "ZTF21aaxtctv", "--to", "file"), 1, "cannot be a folder"),
        (("ztf-nights", "20240617", "--dvc", "--to", "d"), 2, "dvc init"),
    ],
)
def test_a_bad_command_line_is_one_line(server: ArchiveServer, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    (tmp_path / "file").write_text("x")
    if "cannot be a folder" in words:
        arguments = (*arguments, "--from", server.url)
    done = fetch(tmp_path, *arguments)
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("protonova: ")
    assert words in done.stderr
    assert {p.name for p in tmp_path.iterdir()} <= {"file", "state"}


def test_a_dvc_pointer_is_made_and_the_files_come_back_from_its_cache(server: ArchiveServer, tar: bytes, tmp_path: Path) -> None:
    pytest.importorskip("dvc")

    def dvc(*arguments: str) -> None:
        environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    dvc("init", "--no-scm", "--quiet")
    done = fetch(tmp_path, "ztf-nights", "20240617", "--from", server.url, "--to", "alerts", "--dvc")
    assert (done.returncode, done.stderr) == (0, "")
    pointer = (tmp_path / "alerts.dvc").read_text()
    assert "path: alerts" in pointer
    # What git keeps is the pointer; the files are in DVC's cache.
    for path in (tmp_path / "alerts").iterdir():
        path.unlink()
    (tmp_path / "alerts").rmdir()
    dvc("checkout", "--quiet", "alerts.dvc")
    assert (tmp_path / "alerts" / NIGHT[1:]).read_bytes() == tar
    again = fetch(tmp_path, "ztf-nights", "20240617", "--from", server.url, "--to", "alerts", "--dvc")
    assert again.returncode == 0
    assert "1 kept" in again.stdout
    assert (tmp_path / "alerts.dvc").read_text() == pointer
