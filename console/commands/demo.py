"""A simulated night through everything → tables, and exit status 0 if nothing vanished.

Kafka, topics, a worker, drift and the status page are started as `protonova run` starts them, in a state folder of the demo's own; a
process beside makes the night meanwhile. Part of the night is published at a steady pace, where latency is measured, the rest as fast as
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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from console import night_file
from console import report as reports
from console.commands.publish import Pace, Publisher
from console.commands.run import Supervisor
from console.commands.watch import table as live_table
from console.night_file import Made
from console.outcome_counts import Arrival, Latency, Listener, OutcomeCounts, rate_of
from console.progress import progress
from errors import UserError, one_line
from settings.private import private_folder

if TYPE_CHECKING:
    from settings.model import Settings

RATE = 100.0
"""Pace of the first part [1/s]."""
PACED_SHARE, PACED_MOST = 0.5, 1200
"""The first part: so much of the night, and never more packets than this."""
PATIENCE = 45.0
"""How long the demo waits while nothing comes out [s]."""
TOPIC = "alerts.ztf"


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


def demo(settings: Settings, *, packets: int, seed: int, report: Path | None, keep: bool) -> int:
    """Run the command; 1 if a packet vanished."""
    reports.check_writable(report)
    folder = settings.state / "demo"
    own = settings.model_copy(
        update={
            "kafka": None,
            "state": folder,
            "workers": 1,
            "status_host": "127.0.0.1",
            "status_port": 0,
        }
    )
    console = reports.output()
    clock = Clock()
    if folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
    private_folder(folder)
    try:
        counts, made = _run(own, packets, seed=seed, console=console, clock=clock)
        balanced = report_night(console, own, counts=counts, made=made, clock=clock, report=report)
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    return 0 if balanced else 1


def _run(settings: Settings, packets: int, *, seed: int, console: Console, clock: Clock) -> tuple[OutcomeCounts, list[Made]]:
    """Start everything, publish the night, collect what comes out."""
    path = settings.state / "night.parquet"
    supervisor = Supervisor(settings, fresh=True, report=lambda line: console.print(line, style="yellow", highlight=False, soft_wrap=True))
    with making(path, packets, seed=seed) as maker:
        try:
            with clock.phase("Apache Kafka, topics, a worker, drift and the status page are up", console):
                supervisor.start()
            console.print(f"          status page: {supervisor.status_page}", highlight=False, soft_wrap=True)
            with clock.phase(f"a simulated night is made: {packets:,} packets, seed {seed}", console):
                made = finished(maker, path)
            counts = asyncio.run(_flow(supervisor.settings, made, console=console, clock=clock))
        finally:
            with clock.phase("everything is ended", console):
                supervisor.stop()
    return counts, made


async def _flow(settings: Settings, made: Sequence[Made], *, console: Console, clock: Clock) -> OutcomeCounts:
    async with Listener(settings) as listener:
        with showing(listener.counts, console):
            await publish(settings, made, listener=listener, console=console, clock=clock)
        # The workers' summaries come once a second: the last one may still be on its way when its detections are here.
        await listener.until(len(made), 5.0, count=lambda counts: counts.reported)
        return listener.counts


async def publish(settings: Settings, made: Sequence[Made], *, listener: Listener, console: Console, clock: Clock) -> None:
    """First at a pace, then as fast as it goes; each part until all of it came out."""
    paced = min(int(len(made) * PACED_SHARE), PACED_MOST)
    for part, pace, what in (
        (made[:paced], Pace(rate=RATE), f"{paced:,} packets at {RATE:.0f}/s"),
        (made[paced:], Pace(), f"{len(made) - paced:,} packets as fast as it goes"),
    ):
        before = listener.counts.total
        with clock.phase(f"{what}: published and scored", console):
            async with Publisher(settings, pace, headers=[("_test", b"true"), ("alert_tense", b"demo")]) as publisher:
                for n, item in enumerate(part):
                    await publisher.send(f"night#{before + n}", item.packet, topic=TOPIC, key=item.object_id.encode() or None)
            if not await listener.until(before + len(part), PATIENCE):
                return


@contextmanager
def making(path: Path, packets: int, *, seed: int) -> Iterator[subprocess.Popen[bytes]]:
    """The process that makes the night; ended if we end before it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "console.night_file", str(path), str(packets), str(seed)],
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


def finished(process: subprocess.Popen[bytes], path: Path) -> list[Made]:
    """The night, when it is made."""
    _, printed = process.communicate()
    if process.returncode:
        last = printed.decode(errors="replace").strip().splitlines()[-1:]
        raise UserError(f"the night could not be simulated: {one_line(last[0] if last else f'status {process.returncode}', 200)}")
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


def report_night(
    console: Console, settings: Settings, *, counts: OutcomeCounts, made: Sequence[Made], clock: Clock, report: Path | None
) -> bool:
    """Print the tables and write the report; True if every packet is accounted for."""
    published = len(made)
    balanced = published == counts.total == counts.reported
    paced = {m.candid for m in made[: min(int(published * PACED_SHARE), PACED_MOST)]}
    first = [a for a in counts.arrivals if a.detection.candid in paced]
    rest = [a for a in counts.arrivals if a.detection.candid not in paced]
    latency = Latency.of([a.latency_ms for a in first])
    per_second, seconds = rate_of(rest)
    compared = against_truth(counts.arrivals, made)
    broken = sum(m.kind == "broken" for m in made)
    duplicates = sum(m.kind == "duplicate" for m in made)

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
    console.print(f"the night held {duplicates:,} duplicates and {broken:,} broken packets", highlight=False)
    if counts.rejected:
        reports.show(console, "Rejected by reason", reports.count_table(counts.rejected))
    reports.show(console, "Classes found against the simulated truth, by the number of detections", reports.strata_table(compared.strata()))
    many = compared.strata()["≥ 5"]
    reports.show(console, "Alerts with 5 detections or more, by class", reports.class_table(many))
    reports.show_confusion(console, many, title="Their confusion: rows the truth, columns the prediction")
    reports.show(console, "The simulated night beside the bars", bars_of_the_night(compared))
    flow = reports.table()
    flow.show_header = False
    flow.add_column()
    flow.add_column(justify="right")
    flow.add_row(f"latency at {RATE:.0f}/s, append to append: p50", f"{latency.p50:.0f} ms")
    flow.add_row("p99", f"{latency.p99:.0f} ms")
    flow.add_row(f"as fast as it goes, one worker ({seconds:.1f} s)", f"{per_second:,.0f} alerts/s" if not math.isnan(per_second) else "–")
    reports.show(console, "Flow", flow)
    real = real_packets(console, settings)
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
            "latency": {"pace_per_second": RATE, **latency.figures()},
            "alerts_per_second": per_second,
            "truth": compared.figures(),
            "real": real,
            "scoring_id": counts.arrivals[0].detection.scoring_id if counts.arrivals else None,
            "engine": counts.arrivals[0].detection.engine if counts.arrivals else None,
            "phases_s": clock.phases,
            "wall_s": wall,
        },
    )
    return balanced


def bars_of_the_night(compared: reports.Comparison) -> Table:
    """What a simulated night is to show, beside what this one does."""
    bogus, many = compared.matrix().score("bogus"), compared.strata()["≥ 5"]
    shown = reports.table()
    shown.add_column("figure")
    for name in ("bar", "this night"):
        shown.add_column(name, justify="right")
    for name, bar, value in (
        ("bogus recall, any number of detections", 0.95, bogus.recall),
        ("bogus precision, any number of detections", 0.97, bogus.precision),
        ("macro recall, 5 detections or more", 0.88, many.macro_recall),
    ):
        text = "–" if math.isnan(value) else f"{100 * value:.1f} %"
        shown.add_row(name, f"≥ {100 * bar:.0f} %", Text(text, "green" if value >= bar else "red"))
    return shown


def against_truth(arrivals: Sequence[Arrival], made: Sequence[Made]) -> reports.Comparison:
    """Detections beside the simulated truth."""
    truth = {m.candid: m for m in made if m.kind == "alert"}
    compared = reports.Comparison()
    for a in arrivals:
        known = truth.get(a.detection.candid)
        if known is not None:
            compared.pairs.append((known.label, a.detection.shown_class[0], known.n_detections))
    return compared


def real_packets(console: Console, settings: Settings) -> dict[str, Any] | None:
    """Score the labelled real packets by the same function and print them beside the simulated ones; None: there are none."""
    from console.labels import Judge
    from data.label_table import TABLE, labels_of
    from evaluation.labelled_packets import scored_folder
    from streams.worker import configure_logging, published

    folder = settings.shared / "data" / "real" / "ztf_alerts"
    if not (folder / TABLE).is_file():
        console.print(f"simulated packets only: no labelled real ones under {folder} (PROTONOVA_SHARED sets where to look)", soft_wrap=True)
        return None
    configure_logging("warning")
    judge = Judge(labels_of(folder))
    with progress("real packets", "packets") as bar:
        state = published(settings).state
        judge.alerts += scored_folder(folder, state, progress=bar.advance)
        judge.cross_fitted = bool(state.unseen)
    judge.show(console, f"Real ZTF packets ({len(judge.alerts):,} of {folder})", brief=True)
    return {"packets": len(judge.alerts), **judge.figures()}
