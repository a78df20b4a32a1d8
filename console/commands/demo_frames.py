"""Simulated nights of raw frames through everything → tables and a picture, and exit status 0 if no frame vanished.

Kafka, topics, a worker, the calibrator, drift and the status page are started as `protonova run` starts them with raw frames enabled; a
process beside makes the frames meanwhile. Masters and reference images are made by the same functions as `protonova masters build` and
`protonova references build`; then each night is published, and the next one when all of it is scored.
"""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from console import frame_files, frame_tables
from console import report as reports
from console.commands.demo import PATIENCE, Clock, own_settings
from console.commands.publish import Pace, Publisher
from console.commands.run import Supervisor
from console.frame_files import MadeFrame
from console.frame_outcome import FrameCounts, FrameListener
from console.frame_record import FrameRecord, frame_maker
from console.outcome_counts import OutcomeCounts
from data.connectors.archives import FrameFile, Skipped, packets_of
from errors import UserError, one_line
from evaluation.frame_truth import FrameScores
from streams.kafka import topics

if TYPE_CHECKING:
    from settings.model import Settings

FRAME_PATIENCE = 2 * PATIENCE
"""How long the demo waits while nothing comes out [s]: a frame's work is compiled first where it never ran."""


@dataclass(frozen=True, slots=True)
class Folders:
    """Where the run's files lie."""

    frames: Path
    masters: Path
    references: Path


def demo_frames(settings: Settings, *, nights: int, seed: int, report: Path | None, picture: Path | None, keep: bool) -> int:
    """Run the command; 1 if a frame or a candidate vanished."""
    from console.commands.run_calibrator import check_installed

    check_installed()
    reports.check_writable(report)
    reports.check_writable(picture)
    console, clock = reports.output(), Clock()
    with own_settings(settings, keep=keep) as own:
        state = own.state / "frames"
        folders = Folders(state / "raw", state / "masters", state / "references")
        own = own.model_copy(
            update={
                "frames": True, "frames_masters": folders.masters, "frames_references": folders.references,
                "frames_prefixes": (folders.frames.absolute().as_uri() + "/",),
            }
        )  # fmt: skip
        counts, made = _run(own, folders, nights=nights, seed=seed, console=console, clock=clock)
        drawn = picture or (report.with_suffix(".png") if report is not None else settings.state / "demo-frames.png")
        balanced = _report(console, counts, made=made, settings=own, seed=seed, nights=nights, clock=clock, report=report, picture=drawn)
    return 0 if balanced else 1


def _run(
    settings: Settings, folders: Folders, *, nights: int, seed: int, console: Console, clock: Clock
) -> tuple[FrameCounts, list[MadeFrame]]:
    supervisor = Supervisor(settings, fresh=True, report=lambda line: console.print(line, style="yellow", highlight=False, soft_wrap=True))
    folders.frames.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "console.frame_files", str(folders.frames), str(seed), str(nights)]
    maker = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    try:
        with clock.phase("Apache Kafka, topics, a worker, the calibrator, drift and the status page are up", console):
            supervisor.start()
        console.print(f"          status page: {supervisor.status_page}", highlight=False, soft_wrap=True)
        with clock.phase(f"{nights} nights of raw frames are made, seed {seed}", console):
            _, printed = maker.communicate()
            if maker.returncode:
                last = printed.decode(errors="replace").strip().splitlines()[-1:]
                raise UserError(f"the frames could not be simulated: {one_line(last[0] if last else maker.returncode, 200)}")
            made = frame_files.read(folders.frames)
        with clock.phase("masters of bias, dark and flat, and the reference images are made", console):
            build(folders, settings)
        return asyncio.run(_flow(supervisor.settings, made, console=console, clock=clock)), made
    finally:
        maker.kill()
        maker.wait()
        with clock.phase("everything is ended", console):
            supervisor.stop()


def build(folders: Folders, settings: Settings) -> None:
    """Masters, calibrated frames of the time before the nights, and of these the references, by the functions of the commands."""
    from console.commands import masters, references

    masters.build(
        settings, [folders.frames / "calibration"], to=folders.masters, detector=None, period=(None, math.inf), without_dark=False,
        publish=False, report=None,
    )  # fmt: skip
    before = folders.frames / "before"
    calibrate(sorted((folders.frames / "reference").glob("*.fits")), folders.masters, to=before)
    references.build(settings, [before], to=folders.references, most=20, report=None, catalogue=folders.frames / frame_files.CATALOGUE)


def calibrate(files: Sequence[Path], masters: Path, *, to: Path) -> None:
    """Calibrate raw frames as the stream does; references are made of what it wrote in earlier nights."""
    from data.frames.calibrated_file import write
    from data.frames.fits_image import read_frame
    from data.frames.masters_folder import MastersFolder
    from evaluation.studies.frame_nights import select
    from pipeline.frames import calibrated

    to.mkdir(parents=True, exist_ok=True)
    known = MastersFolder(masters)
    for path in files:
        raw = read_frame(path)
        own, flags = select(known, raw)
        planes, quality = calibrated(raw, own, flags=flags)
        write(to / path.name, planes, quality, raw, own)


async def _flow(settings: Settings, made: Sequence[MadeFrame], *, console: Console, clock: Clock) -> FrameCounts:
    by_night = {night: [m for m in made if m.night == night] for night in sorted({m.night for m in made})}
    maker, sent = frame_maker(settings), 0
    listener = FrameListener(settings)
    counts = listener.frames
    async with listener:
        with clock.phase(f"{len(made)} frames of {len(by_night)} nights: published, calibrated, subtracted, scored", console):
            for frames in by_night.values():
                await _publish(settings, frames, maker=maker)
                sent += len(frames)
                if not await _until(listener, frames=sent):
                    break
    return counts


async def _publish(settings: Settings, frames: Sequence[MadeFrame], *, maker: Callable[[FrameFile], FrameRecord | Skipped]) -> None:
    async with Publisher(settings, Pace(), headers=[("_test", b"true"), ("alert_tense", b"demo")]) as publisher:
        for item in packets_of([m.path for m in frames]):
            record = maker(item) if isinstance(item, FrameFile) else item
            if not isinstance(record, FrameRecord):
                raise UserError(f"{item.origin} is not taken as a frame")
            await publisher.send(record.origin, record.packet, topic=topics.FRAMES_RAW, key=record.key)


async def _until(listener: FrameListener, *, frames: int) -> bool:
    """Wait until so many frames are through and all their candidates scored; False: nothing came for a while."""
    counts = listener.frames

    def progress(_: OutcomeCounts) -> int:
        done = counts.frames_done >= frames and counts.total >= counts.alerts
        return 1 if done else -counts.frames_done - counts.total - len(counts.announced)

    return await listener.until(1, FRAME_PATIENCE, count=progress)


def _report(
    console: Console, counts: FrameCounts, *, made: Sequence[MadeFrame], settings: Settings, seed: int, nights: int, clock: Clock,
    report: Path | None, picture: Path,
) -> bool:  # fmt: skip
    lost = len(made) - counts.frames_done
    balanced = lost == 0 and counts.total == counts.alerts
    scores = FrameScores.of([row for m in made for row in m.truth], counts.found())
    frame_tables.show_frames(console, len(made), announced=counts.frames_done - counts.frames_rejected, rejected=counts.refused)
    console.print(
        f"{counts.alerts} candidates {'=' if counts.total == counts.alerts else '≠'} {len(counts.arrivals)} detections + "
        f"{counts.rejected.total()} rejected + {counts.duplicates} duplicates",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    frame_tables.show_scores(console, scores)
    drawn = _draw(console, counts, scores=scores, made=made, settings=settings, seed=seed, nights=nights, path=picture)
    wall = time.monotonic() - clock.started
    phases = ", ".join(f"{name} {t:.1f} s" for name, t in clock.phases.items())
    console.print(f"wall time {wall:.1f} s: {phases}", soft_wrap=True, highlight=False)
    reports.write(
        report,
        {
            "command": "demo --frames", "packets": counts.alerts, "detections": len(counts.arrivals), "duplicates": counts.duplicates,
            "skipped": {}, "rejected": counts.rejected, "balanced": balanced, "frames": len(made),
            "frames_rejected": {reason: len(said) for reason, said in counts.refused.items()}, **scores.figures(),
            "classes": reports.confusion(scores.classes().elements()).figures(), "picture": str(drawn) if drawn else None,
            "phases_s": clock.phases, "wall_s": wall,
        },
    )  # fmt: skip
    return balanced


def _draw(
    console: Console, counts: FrameCounts, *, scores: FrameScores, made: Sequence[MadeFrame], settings: Settings, seed: int, nights: int,
    path: Path,
) -> Path | None:  # fmt: skip
    """The picture; None where there is nothing to draw, or nothing to draw with."""
    from console.frame_panels import panels_of

    try:
        from evaluation.frame_picture import draw

        panels = panels_of(counts, scores, made=made, settings=settings, plan=frame_files.plan_of(seed, nights))
        if panels is None:
            return None
        draw(panels, path)
    except ImportError:
        console.print("no picture: pip install 'protonova\\[plots]'", style="yellow", highlight=False)
        return None
    console.print(f"picture: {path}", highlight=False, soft_wrap=True)
    return path
