"""Settings → Kafka (if none is configured), workers, drift and the status page under one parent that keeps them up.

A child that ends is started again: at once after an orderly end, after half a second where it was killed or failed at its work, and after a
pause that grows where it never became ready. The parent ends all of them in order, and they end by themselves when the parent is killed
(`console.child`).
"""

from __future__ import annotations

import math
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from console.broker import ONE_NODE
from console.child import Child
from console.claim import claim
from console.commands.run_trainer import missing
from console.kafka_node.node import LocalKafka
from console.room import check_room, low
from errors import UserError, one_line, say
from settings.private import private_file, private_folder

if TYPE_CHECKING:
    from settings.model import Settings

READY_WITHIN = 180.0
"""How long workers may take until they are ready [s]: numba compiles and an engine builds on the very first run, on a busy machine too."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Before an ended child is started again [s]; twice as long each time in a row that it ends before it was ready."""
STEADY = 10.0
"""A child that writes no ready file counts as ready after so long [s]."""
LOOK_AT_DISK = 30.0
"""How often the free space is looked at, and reported while it is low [s]."""
ENGINE_FAILED = 70
HALTED = 65
WRONG_SETTINGS = 2


@dataclass(slots=True)
class Place:
    """A child's place, whichever process has it."""

    name: str
    command: list[str]
    log: Path
    child: Child | None = None
    started: float = 0.0
    due: float = 0.0
    early: int = 0
    """How often in a row it ended before it was ready."""
    engine_failures: int = 0


class Supervisor:
    """Everything `protonova run` runs.

    Parameters
    ----------
    settings : Settings
    fresh : bool
        Throw away what an earlier run left of Kafka's data.
    report : callable
        Called with one line about everything that happens.

    Attributes
    ----------
    settings : Settings
        With the broker that is used.
    failed : str
        Why it gave up; empty: it has not.
    """

    def __init__(self, settings: Settings, fresh: bool = False, *, report: Callable[[str], None] = say) -> None:
        self.settings = settings
        self.failed = ""
        self._fresh, self._report = fresh, report
        self._kafka: LocalKafka | None = None
        self._places: list[Place] = []
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._guard: IO[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything and wait until the workers are ready.

        Raises
        ------
        UserError
            Something does not come up; nothing is left running.
        """
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End everything, the broker last."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        for place in self._places:
            if place.child is not None:
                place.child.ask()
        for place in self._places:
            if place.child is not None:
                place.child.stop()
                place.child = None
        if self._kafka is not None:
            self._kafka.stop()
            self._kafka = None
        if self._guard is not None:
            self._guard.close()
            self._guard = None

    def end(self) -> None:
        """Let `wait` and `start` return; `stop` ends the processes."""
        self._ending.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it ends or gives up; True if it did."""
        return self._ending.wait(timeout)

    def worker(self, slot: int = 0) -> Child | None:
        """The process of a worker, for tests and measurements."""
        return next((p.child for p in self._places if p.name == f"worker {slot}"), None)

    @property
    def status_page(self) -> str | None:
        """Address of the status page, once it is written."""
        place = next((p for p in self._places if p.name == "status page"), None)
        found = re.findall(r"^status page: (\S+)", place.log.read_text(errors="replace"), re.M) if place and place.log.exists() else []
        return found[-1] if found else None

    def _start(self) -> None:
        import asyncio

        from registry.bundle import load
        from streams.kafka.topics import declare

        classes = load(self.settings.bundle).classes  # before anything is started: a damaged bundle is reported at once
        check_room(self.settings.state)
        run = self.settings.state / "run"
        self._guard = claim(run, self.settings.state)  # two on one folder would have workers of the same names, which throw each other out
        if self.settings.kafka is None:
            self._kafka = LocalKafka()
            with fetching() as progress:
                self._kafka.start(self.settings.state, self._fresh, progress=progress)
            self.settings = self.settings.model_copy(update={"kafka": self._kafka.bootstrap, **ONE_NODE})
        for line in asyncio.run(declare(self.settings, classes)):
            if not line.startswith("made "):
                self._report(line)
        python, logs = [sys.executable, "-m"], self.settings.state / "logs"
        for slot in range(self.settings.workers):
            self._places.append(Place(f"worker {slot}", [*python, "streams.worker", "--slot", str(slot)], logs / f"worker-{slot}.log"))
        if self.settings.source:
            self._places.append(Place("mirror", [*python, "console.cli", "mirror"], logs / "mirror.log"))
        if self.settings.increments:
            self._places.append(Place("increments", [*python, "console.cli", "increments"], logs / "increments.log"))
        if self.settings.frames:
            self._places.append(Place("calibrator", [*python, "console.cli", "calibrator"], logs / "calibrator.log"))
        if self.settings.shadow:
            self._places.append(Place("shadow", [*python, "console.cli", "shadow"], logs / "shadow.log"))
        if self.settings.trainer:
            if found := missing():
                self._report(f"no trainer is started: it needs {', '.join(found)} (pip install 'protonova[train]')")
            else:
                self._places.append(Place("trainer", [*python, "console.cli", "trainer"], logs / "trainer.log"))
        if self.settings.history:
            self._places.append(Place("historian", [*python, "console.cli", "historian"], logs / "historian.log"))
        if self.settings.filters:
            self._places.append(Place("filters", [*python, "console.cli", "filters"], logs / "filters.log"))
        self._places.append(Place("drift", [*python, "streams.agents.drift"], logs / "drift.log"))
        if self.settings.api:
            self._places.append(Place("HTTP API", [*python, "console.cli", "api"], logs / "http-api.log"))
        self._places.append(Place("status page", [*python, "console.cli", "status", "--serve"], logs / "status.log"))
        for place in self._places:
            private_folder(logs)
            os.close(private_file(place.log))  # one log a run, empty
            self._launch(place)
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + READY_WITHIN
        while not all(self._ready(slot) for slot in range(self.settings.workers)):
            if self._ending.wait(0.05):
                raise UserError(self.failed or "ended before it was ready")
            if time.monotonic() > deadline:
                raise UserError(f"the workers were not ready within {READY_WITHIN:.0f} s; their logs are in {logs}")

    def _ready(self, slot: int) -> bool:
        """Whether the worker that now sits in a slot has taken its place in the group."""
        child = self.worker(slot)
        return child is not None and ready_pid(self.settings.state, slot) == child.pid

    def _launch(self, place: Place) -> None:
        # One thread a process: scale is processes, and two that share a core's threads get in each other's way.
        environment = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"), "PYTHONUNBUFFERED": "1", **self.settings.environment()}
        place.child = Child(place.command, place.log, environment=environment)
        place.started = time.monotonic()

    def _watch(self) -> None:
        """Until the end: start again what ended."""
        looked = -math.inf
        try:
            while not self._ending.wait(0.2):
                if time.monotonic() - looked > LOOK_AT_DISK:
                    looked = time.monotonic()
                    if (warning := low(self.settings.state)) is not None:
                        self._report(warning)
                if self._kafka is not None and (status := self._kafka.poll()) is not None:
                    self._report(f"Kafka ended with status {status}; it is started again on its data")
                    self._kafka.restart()
                    self._report("Kafka answers again")
                for place in self._places:
                    self._look_after(place)
        except UserError as error:
            self._give_up(str(error))
        except OSError as error:
            self._give_up(f"a process cannot be started: {error}")
        except Exception as error:  # a watch that ended unseen would leave everything alone for ever
            self._give_up(f"unexpected {type(error).__name__} while watching over the processes: {one_line(error, 200)}")

    def _look_after(self, place: Place) -> None:
        now = time.monotonic()
        if place.child is None:
            if now >= place.due:
                self._launch(place)
            return
        status = place.child.poll()
        if status is None:
            return
        place.child.wait()
        slot = place.name.removeprefix("worker ")
        was_ready = ready_pid(self.settings.state, int(slot)) == place.child.pid if slot.isdecimal() else now - place.started > STEADY
        place.child = None
        line = last_line_of(place.log)
        place.early = 0 if was_ready else place.early + 1
        place.engine_failures = place.engine_failures + 1 if status == ENGINE_FAILED else 0
        if place.engine_failures >= self.settings.max_engine_failures:
            raise UserError(f"the engine failed {place.engine_failures} times in a row ({line}): try --engine onnxruntime; {place.log}")
        if status == HALTED:
            raise UserError(f"{place.name}: {last_reason(place.log)}")
        if status == WRONG_SETTINGS:
            raise UserError(f"{place.name}: {line.removeprefix('protonova: ')}")
        pause = pause_before(status, place.early)
        place.due = now + pause
        self._report(f"{place.name} ended with status {status} ({line}); it is started again in {pause:.1f} s, its log is {place.log}")

    def _give_up(self, why: str) -> None:
        self.failed = why
        self._ending.set()


def ready_pid(state: Path, slot: int) -> int | None:
    """The process that was the last to take a worker's place; None: none has."""
    try:
        line = orjson.loads((state / "run" / f"worker-{slot}.json").read_bytes())
    except (OSError, ValueError):
        return None
    return line.get("pid") if isinstance(line, dict) else None


def pause_before(status: int, early: int) -> float:
    """How long to wait before a child is started again [s].

    Parameters
    ----------
    status : int
        Its exit status; 0: it was asked to end, and not by us.
    early : int
        How often in a row it ended before it was ready, this time included.
    """
    if early:
        return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(early - 1, 16))
    return FIRST_PAUSE if status else 0.0


def last_line_of(log: Path) -> str:
    """The last line of a log outside a traceback's frames."""
    try:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip() and not line.startswith((" ", "Traceback"))]
    except OSError:
        lines = []
    return one_line(lines[-1], 200) if lines else "its log is empty"


def last_reason(log: Path) -> str:
    """The reason that a worker gave when it ended; its last line where it gave none."""
    try:
        found = re.findall(r'^\S+ error .*? why="((?:[^"\\]|\\.)*)"', log.read_text(errors="replace"), re.M)
    except OSError:
        found = []
    return one_line(found[-1]) if found else last_line_of(log)


def kcat_line(supervisor: Supervisor, patience: float = 5.0) -> str:
    """A whole command line that reads the detections, once the page that serves their schema has its address."""
    deadline = time.monotonic() + patience
    while supervisor.status_page is None and time.monotonic() < deadline and not supervisor.wait(0.05):
        pass
    found = supervisor.settings
    security = "" if found.kafka_security_protocol == "PLAINTEXT" else f" -X security.protocol={found.kafka_security_protocol} …"
    page = (supervisor.status_page or f"http://{found.status_host}:{found.status_port}").rstrip("/")
    decoded = f" -s value=avro -r {page}" if found.form_of("detections") == "confluent" else ""
    return f"kcat -b {found.kafka}{security} -t detections{decoded}"


@contextmanager
def fetching() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar for the first fetch of Kafka's jars; nothing where nothing is fetched."""
    console = Console(stderr=True)
    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("jars"), console=console) as bar:
        task = bar.add_task("", visible=False)

        def show(message: str, done: int, total: int) -> None:
            if console.is_terminal:
                bar.update(task, description=message, completed=done, total=total, visible=True)
            elif done in (0, total):
                say(f"{message}: {done} of {total} jars")

        yield show


def run(settings: Settings, fresh: bool = False) -> int:
    """The command: run until Ctrl-C or SIGTERM; the exit status."""
    supervisor = Supervisor(settings, fresh)
    asked_to_end = threading.Event()

    def end(number: int, frame: object) -> None:
        asked_to_end.set()
        supervisor.end()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        began = time.monotonic()
        try:
            supervisor.start()
        except UserError:
            if asked_to_end.is_set():
                return 0
            raise
        if not asked_to_end.is_set():
            workers = f"{settings.workers} worker{'s' if settings.workers != 1 else ''}"
            where = f"Kafka {supervisor.settings.kafka}, status page {supervisor.status_page or 'starting'}, state {settings.state}"
            say(f"ready after {time.monotonic() - began:.1f} s: {workers}, {where}; Ctrl-C ends it")
            say(f"to read along: {kcat_line(supervisor)}")
        supervisor.wait()
        if supervisor.failed:
            raise UserError(supervisor.failed)
        return 0
    finally:
        supervisor.stop()
        for number, handler in before.items():
            signal.signal(number, handler)
