"""A simulated night of ZTF, or a sector of TESS, through everything → tables, and exit status 0 if nothing vanished.

Kafka, topics, a worker, drift and the status page are started as `protonova run` starts them, in a state folder of the demo's own; a
process beside makes the packets meanwhile. Part of them is published at a steady pace, where latency is measured, the rest as fast as
it goes, where throughput is. Everything that is printed is counted on the topics.
"""

from __future__ import annotations

import asyncio
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from console import night_file, night_tables, sector_tables
from console import report as reports
from console.commands.publish import Pace, Publisher
from console.commands.run import Supervisor
from console.commands.watch import table as live_table
from console.night_file import Made
from console.outcome_counts import Latency, Listener, Outcome, OutcomeCounts, rate_of
from errors import UserError, one_line
from settings.private import private_folder

if TYPE_CHECKING:
    from settings.model import Settings

PATIENCE = 45.0
"""How long the demo waits while nothing comes out [s]."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What is shown."""

    what: night_file.What
    topic: str
    pace: float
    """Of the first part [packets/s]."""
    share: float
    most: int
    """The first part: so much of all packets, and never more of them than this."""
    tables: Callable[[Console, Outcome], dict[str, Any]]
    """Prints what came out beside the truth; its figures for the report."""

    def paced(self, packets: int) -> int:
        """Packets of the first part."""
        return min(int(packets * self.share), self.most)


NIGHT = Scene("night", "alerts.ztf", 100.0, 0.5, 1200, night_tables.show)
SECTOR = Scene("sector", "alerts.tess", 10.0, 0.15, 100, sector_tables.show)


@dataclass(slots=True)
class Clock:
    """Wall time by phase."""

    phases: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    @contextmanager
    def phase(self, name: str, console: Console) -> Iterator[None]:
        """Measure a phase and say when it is over."""
        began = time.monotonic()
        yield
        self.phases[name] = time.monotonic() - began
        console.print(f"[dim]{time.monotonic() - self.started:6.1f} s[/dim]  {name} ({self.phases[name]:.1f} s)", highlight=False)


def demo(settings: Settings, *, packets: int, seed: int, report: Path | None, keep: bool, scene: Scene = NIGHT) -> int:
    """Run the command; 1 if a packet vanished."""
    reports.check_writable(report)
    console = reports.output()
    clock = Clock()
    with own_settings(settings, keep=keep) as own:
        counts, made = _run(own, packets, seed=seed, scene=scene, console=console, clock=clock)
        balanced = report_all(console, Outcome(own, counts, made), scene=scene, clock=clock, report=report)
    return 0 if balanced else 1


@contextmanager
def own_settings(settings: Settings, *, keep: bool) -> Iterator[Settings]:
    """Settings with a broker, a state folder and one worker of the demo's own; the folder is removed at the end unless it is to be kept."""
    folder = settings.state / "demo"
    if folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
    private_folder(folder)
    try:
        yield settings.model_copy(
            update={"kafka": None, "state": folder, "workers": 1, "status_host": "127.0.0.1", "status_port": 0},
        )
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _run(settings: Settings, packets: int, *, seed: int, scene: Scene, console: Console, clock: Clock) -> tuple[OutcomeCounts, list[Made]]:
    """Start everything, publish the packets, collect what comes out."""
    path = settings.state / f"{scene.what}.parquet"
    supervisor = Supervisor(settings, fresh=True, report=lambda line: console.print(line, style="yellow", highlight=False, soft_wrap=True))
    with making(path, packets, seed=seed, what=scene.what) as maker:
        try:
            with clock.phase("Apache Kafka, topics, a worker, drift and the status page are up", console):
                supervisor.start()
            console.print(f"          status page: {supervisor.status_page}", highlight=False, soft_wrap=True)
            with clock.phase(f"a simulated {scene.what} is made: {packets:,} packets, seed {seed}", console):
                made = finished(maker, path, what=scene.what)
            counts = asyncio.run(_flow(supervisor.settings, made, scene=scene, console=console, clock=clock))
        finally:
            with clock.phase("everything is ended", console):
                supervisor.stop()
    return counts, made


async def _flow(settings: Settings, made: Sequence[Made], *, scene: Scene, console: Console, clock: Clock) -> OutcomeCounts:
    async with Listener(settings) as listener:
        with showing(listener.counts, console):
            await publish(settings, made, scene=scene, listener=listener, console=console, clock=clock)
        # The workers' summaries come once a second: the last one may still be on its way when its detections are here.
        await listener.until(len(made), 5.0, count=lambda counts: counts.reported)
        return listener.counts


async def publish(settings: Settings, made: Sequence[Made], *, scene: Scene, listener: Listener, console: Console, clock: Clock) -> None:
    """First at a pace, then as fast as it goes; each part until all of it came out."""
    paced = scene.paced(len(made))
    for part, pace, what in (
        (made[:paced], Pace(rate=scene.pace), f"{paced:,} packets at {scene.pace:.0f}/s"),
        (made[paced:], Pace(), f"{len(made) - paced:,} packets as fast as it goes"),
    ):
        before = listener.counts.total
        with clock.phase(f"{what}: published and scored", console):
            async with Publisher(settings, pace, headers=[("_test", b"true"), ("alert_tense", b"demo")]) as publisher:
                for n, item in enumerate(part):
                    await publisher.send(f"{scene.what}#{before + n}", item.packet, topic=scene.topic, key=item.object_id.encode() or None)
            if not await listener.until(before + len(part), PATIENCE):
                return


@contextmanager
def making(path: Path, packets: int, *, seed: int, what: night_file.What) -> Iterator[subprocess.Popen[bytes]]:
    """The process that makes the packets; ended if we end before it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "console.night_file", str(path), str(packets), str(seed), what],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C is ours to pass on
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def finished(process: subprocess.Popen[bytes], path: Path, *, what: night_file.What) -> list[Made]:
    """The packets, when they are made."""
    _, printed = process.communicate()
    if process.returncode:
        last = printed.decode(errors="replace").strip().splitlines()[-1:]
        raise UserError(f"the {what} could not be simulated: {one_line(last[0] if last else f'status {process.returncode}', 200)}")
    return list(night_file.read(path))


@contextmanager
def showing(counts: OutcomeCounts, console: Console) -> Iterator[None]:
    """Detections as they come, where we write to a terminal."""
    if not console.is_terminal:
        yield
        return
    since = time.monotonic()

    def now() -> Any:
        rows = [(a.appended_ms / 1000, a.detection) for a in list(counts.recent)[-12:]]
        return live_table("detections", rows, total=len(counts.arrivals), since=since, width=console.width)

    with Live(get_renderable=now, console=console, refresh_per_second=6, transient=True):
        yield


def report_all(console: Console, outcome: Outcome, *, scene: Scene, clock: Clock, report: Path | None) -> bool:
    """Print the tables and write the report; True if every packet is accounted for."""
    counts, made = outcome.counts, outcome.made
    published = len(made)
    balanced = published == counts.total == counts.reported
    paced = {m.candid for m in made[: scene.paced(published)]}
    latency = Latency.of([a.latency_ms for a in counts.arrivals if a.detection.candid in paced])
    per_second, seconds = rate_of([a for a in counts.arrivals if a.detection.candid not in paced])
    broken, duplicates = (sum(m.kind == kind for m in made) for kind in ("broken", "duplicate"))

    console.print()
    console.print(
        Text.assemble(
            (f"{published:,} packets published", "bold"),
            f" {'=' if balanced else '≠'} {len(counts.arrivals):,} detections + {counts.rejected.total():,} rejected",
            f" + {counts.duplicates:,} duplicates",
            (
                "  nothing vanished" if balanced else f"  {published - counts.total:,} MISSING; the workers report {counts.reported:,}",
                "green" if balanced else "bold red",
            ),
        ),
        soft_wrap=True,
    )
    console.print(f"the {scene.what} held {duplicates:,} duplicates and {broken:,} broken packets", highlight=False)
    if counts.rejected:
        reports.show(console, "Rejected by reason", reports.count_table(counts.rejected))
    figures = scene.tables(console, outcome)
    flow = reports.table()
    flow.show_header = False
    flow.add_column()
    flow.add_column(justify="right")
    flow.add_row(f"latency at {scene.pace:.0f}/s, append to append: p50", f"{latency.p50:.0f} ms")
    flow.add_row("p99", f"{latency.p99:.0f} ms")
    flow.add_row(f"as fast as it goes, one worker ({seconds:.1f} s)", f"{per_second:,.0f} alerts/s" if not math.isnan(per_second) else "–")
    reports.show(console, "Flow", flow)
    if scene is NIGHT:
        figures["real"] = night_tables.real_packets(console, outcome.settings)
    wall = time.monotonic() - clock.started
    console.print(
        f"wall time {wall:.1f} s: " + ", ".join(f"{name} {t:.1f} s" for name, t in clock.phases.items()), soft_wrap=True, highlight=False
    )
    reports.write(
        report,
        {
            "command": "demo",
            "packets": published,
            "detections": len(counts.arrivals),
            "duplicates": counts.duplicates,
            "skipped": {},
            "rejected": counts.rejected,
            "balanced": balanced,
            "made": {"duplicates": duplicates, "broken": broken},
            "latency": {"pace_per_second": scene.pace, **latency.figures()},
            "alerts_per_second": per_second,
            **figures,
            "scoring_id": counts.arrivals[0].detection.scoring_id if counts.arrivals else None,
            "engine": counts.arrivals[0].detection.engine if counts.arrivals else None,
            "phases_s": clock.phases,
            "wall_s": wall,
        },
    )
    return balanced
