"""A command → a child process that ends when we end, however we end.

A child is in a session of its own, so that a terminal's Ctrl-C reaches us alone and we end our children in order. Beside it runs a
shell that waits for a line from us: an end of file instead means that we are gone (kill -9 too), and it ends the child by its id.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from settings.private import private_file, private_folder

# $0 is the child's id. The line is the all-clear; without it: SIGTERM, ten seconds, SIGKILL.
WATCHDOG = (
    'if read -r line; then exit 0; fi; kill -TERM "$0" 2>/dev/null; i=0; '
    'while kill -0 "$0" 2>/dev/null && [ $i -lt 50 ]; do sleep 0.2; i=$((i+1)); done; kill -KILL "$0" 2>/dev/null'
)


class Child:
    """A child process.

    Parameters
    ----------
    command : sequence of str
    log : Path
        Where its standard output and error are appended.
    environment : mapping, optional
        Variables on top of ours.
    """

    def __init__(self, command: Sequence[str], log: Path, *, environment: Mapping[str, str] | None = None) -> None:
        private_folder(log.parent)
        with open(private_file(log, append=True), "ab") as out:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                env={**os.environ, **(environment or {})},
            )
        self._watchdog = subprocess.Popen(
            ["/bin/sh", "-c", WATCHDOG, str(self._process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.log = log

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def poll(self) -> int | None:
        """Its exit status; None: it runs."""
        return self._process.poll()

    def kill(self) -> None:
        """End it as a power cut would (tests)."""
        self._process.kill()
        self.wait()

    def ask(self) -> None:
        """Ask it to end (SIGTERM), without waiting."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)

    def stop(self, timeout: float = 15.0) -> int:
        """Ask it to end, and end it if it does not within `timeout` [s]; its exit status."""
        self.ask()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
        return self.wait()

    def wait(self) -> int:
        """Wait for its end, and let its watchdog go; its exit status."""
        status = self._process.wait()
        if self._watchdog.stdin is not None and not self._watchdog.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._watchdog.stdin.write(b"\n")
                self._watchdog.stdin.flush()
            with contextlib.suppress(BrokenPipeError):
                self._watchdog.stdin.close()
        self._watchdog.wait()
        return status


def end_stray(pid: int, mark: str, *, timeout: float = 15.0) -> bool:
    """End a process that an earlier run left behind.

    Parameters
    ----------
    pid : int
        Its id as written down then; by now another process may carry it.
    mark : str
        A word of its command line by which it is known to be ours.
    timeout : float
        How long it may take to end by itself [s].
    """
    try:
        process = psutil.Process(pid)
        if mark not in process.cmdline():
            return False
        process.terminate()
        try:
            process.wait(timeout)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(timeout)
    except psutil.NoSuchProcess:
        return False
    return True
