"""The command line in a child of a process that has imported it already: `protonova …` for tests, without a second of imports each.

arguments, folder, environment → exit status, standard output, standard error

One server a test process is started at the first call; each call is a fork of it, with its own arguments, folder, environment and standard
streams, that runs `console.cli.main` and ends.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
OFTEN_NEEDED = ("console.cli", "console.report", "numpy", "registry.bundle", "rich.progress", "rich.table", "settings.model")
_server: subprocess.Popen[str] | None = None


def protonova(arguments: Sequence[str], *, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str
    folder : Path
        Where it runs.
    environment : dict
        All of it.
    """
    global _server
    if any("\0" in text for text in arguments):  # no process can be started so either
        raise ValueError("embedded null byte")
    if _server is None:
        _server = subprocess.Popen(
            [sys.executable, __file__], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        atexit.register(_server.kill)
    assert _server.stdin is not None
    assert _server.stdout is not None
    with tempfile.TemporaryDirectory() as streams:
        call = {"arguments": list(arguments), "folder": str(folder), "environment": environment, "streams": streams}
        _server.stdin.write(json.dumps(call) + "\n")
        _server.stdin.flush()
        status = int(_server.stdout.readline())
        out, err = ((Path(streams) / name).read_bytes().decode(errors="surrogateescape") for name in ("out", "err"))
    return subprocess.CompletedProcess(list(arguments), status, out, err)


def _child(call: dict[str, object]) -> None:
    """Become the command: never returns."""
    for number, name in ((1, "out"), (2, "err")):
        file = os.open(f"{call['streams']}/{name}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        os.dup2(file, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(str(call["folder"]))
    os.environ.clear()
    os.environ.update(call["environment"])  # type: ignore[call-overload]
    sys.argv = ["protonova", *call["arguments"]]  # type: ignore[misc]
    status = 1
    try:
        from console.cli import main

        main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _serve() -> None:
    for name in OFTEN_NEEDED:
        importlib.import_module(name)
    for line in sys.stdin:
        call = json.loads(line)
        child = os.fork()
        if child == 0:
            _child(call)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
