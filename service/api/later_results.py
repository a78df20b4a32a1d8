"""Scores that are fetched later: a file a result, so that every process of a machine finds it; bounded, private, gone after an hour.

`Results.add(owner, work)` → a name that cannot be guessed; `Results.of(name, owner)` → `Later`: waiting, or what is to be answered
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import structlog

from errors import one_line
from service.api.problems import PROBLEM, ProblemError
from settings.private import private_file, private_folder

log = structlog.get_logger(__name__)

KEPT_S = 3600.0
"""How long a result is kept once it is there [s]."""
WAITING_S = 900.0
"""How long one may wait for it; what takes longer was lost with its process [s]."""
MOST_BYTES = 256 * 2**20
"""Of all results together [bytes]."""
MOST_WAITING = 64
"""Requests that a process works on or has in hand; a caller may have a quarter of them."""
MOST_HEAD = 65_536
_NAME = re.compile(r"[A-Za-z0-9_-]{24}")


class Done(NamedTuple):
    """What is to be answered."""

    status: int
    media_type: str
    body: bytes
    headers: dict[str, str]


class Later(NamedTuple):
    """A request that is answered later."""

    name: str
    packets: int
    accepted: float
    """[s since 1970]"""
    done: Done | None
    """None: it is not there yet."""

    @property
    def expires(self) -> float:
        """When it goes at the latest, from now on [s since 1970]."""
        return self.accepted + WAITING_S + KEPT_S


class Results:
    """The store.

    Parameters
    ----------
    folder : Path
        Of this service alone; other processes of it use the same.
    clock : callable
        Seconds since 1970.
    most_bytes : int
        Of all results: the oldest goes first.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time, *, most_bytes: int = MOST_BYTES) -> None:
        self._folder, self._clock, self._most = folder, clock, most_bytes
        self._tasks: dict[str, tuple[str, asyncio.Task[None]]] = {}

    def add(self, owner: str, work: Callable[[], Awaitable[Done]], *, packets: int) -> Later:
        """Begin to work on a request.

        Parameters
        ----------
        owner : str
            Who may fetch it.
        work : callable
            Gives the answer.
        packets : int
            Of the request.

        Raises
        ------
        ProblemError
            503: too many wait already, or there is no room to keep results in.
        """
        own = sum(who == owner for who, _ in self._tasks.values())
        if len(self._tasks) >= MOST_WAITING or own >= MOST_WAITING // 4:
            raise ProblemError(503, "too many requests are to be answered later already", headers={"Retry-After": "10"})
        later = Later(secrets.token_urlsafe(18), packets, self._clock(), None)
        self._expire()
        try:
            self._write(later, owner)
        except OSError as error:
            log.error("a result cannot be kept", why=str(error))
            raise ProblemError(503, "results cannot be kept at present", headers={"Retry-After": "60"}) from None
        task = asyncio.ensure_future(self._work(later, owner, work=work))
        self._tasks[later.name] = owner, task
        task.add_done_callback(lambda _: self._tasks.pop(later.name, None))
        return later

    def of(self, name: str, owner: str) -> Later:
        """A result; reads its file.

        Raises
        ------
        ProblemError
            404: there is none of that name, another caller's, or not any more; 503: it was lost with its process.
        """
        nothing = ProblemError(404, "there is no such result, or not any more")
        if not _NAME.fullmatch(name):
            raise nothing
        try:
            with (self._folder / name).open("rb") as file:
                head, body = orjson.loads(file.readline(MOST_HEAD)), file.read()
        except (OSError, orjson.JSONDecodeError):
            raise nothing from None
        if head["owner"] != owner or self._clock() > head["accepted"] + WAITING_S + KEPT_S:
            raise nothing
        if head["status"] is None:
            if self._clock() > head["accepted"] + WAITING_S:
                raise ProblemError(503, "the result was lost with the process that worked on it: ask again", headers={"Retry-After": "1"})
            return Later(name, head["packets"], head["accepted"], None)
        return Later(name, head["packets"], head["accepted"], Done(head["status"], head["media_type"], body, head["headers"]))

    def drop(self, name: str, owner: str) -> None:
        """Give a result up; what this process has not scored yet is not scored.

        Raises
        ------
        ProblemError
            404.
        """
        self.of(name, owner)
        if name in self._tasks:
            self._tasks[name][1].cancel()
        (self._folder / name).unlink(missing_ok=True)

    async def stop(self) -> None:
        """End; what is not scored yet is given up."""
        held = dict(self._tasks)
        for _, task in held.values():
            task.cancel()
        for name, (_, task) in held.items():
            with suppress(asyncio.CancelledError):
                await task
            (self._folder / name).unlink(missing_ok=True)

    async def _work(self, later: Later, owner: str, *, work: Callable[[], Awaitable[Done]]) -> None:
        try:
            done = await work()
        except ProblemError as problem:
            done = Done(problem.status, PROBLEM, problem.body(), dict(problem.headers))
        except Exception as error:
            log.error("a request that is answered later failed", why=one_line(f"{type(error).__name__}: {error}", 300), exc_info=error)
            done = Done(500, PROBLEM, ProblemError(500, "a fault of ours; it is in the log").body(), {})
        try:
            if (self._folder / later.name).exists():  # else it was given up
                await asyncio.to_thread(self._write, later._replace(done=done), owner)
                await asyncio.to_thread(self._expire)
        except OSError as error:
            log.error("a result cannot be kept", why=str(error))

    def _write(self, later: Later, owner: str) -> None:
        private_folder(self._folder)
        done = later.done
        head: dict[str, Any] = {"owner": owner, "packets": later.packets, "accepted": later.accepted, "status": None}
        if done is not None:
            head |= {"status": done.status, "media_type": done.media_type, "headers": done.headers}
        part = self._folder / f".{later.name}.{os.getpid()}"
        with open(private_file(part), "wb") as file:
            file.write(orjson.dumps(head) + b"\n" + (b"" if done is None else done.body))
        part.replace(self._folder / later.name)

    def _expire(self) -> None:
        """Let go what is too old, and the oldest of what is too much."""
        found: list[tuple[float, int, Path]] = []
        with suppress(OSError):
            for path in self._folder.iterdir():
                with suppress(OSError):  # another process took it away
                    facts = path.stat()
                    found.append((facts.st_mtime, facts.st_size, path))
        found.sort()
        total, now = sum(size for _, size, _ in found), self._clock()
        for at, size, path in found:
            if total > self._most or now - at > WAITING_S + KEPT_S:
                path.unlink(missing_ok=True)
                total -= size
