"""``protonova references build | ls``: reference images out of calibrated frames, and those there are."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from console.commands.masters import SHOWN, frame_files
from console.progress import progress
from console.report import cell, show, table, write
from data.frames.calibrated_file import CalibratedFile, read
from data.frames.frame_error import FrameError
from data.frames.reference_file import ReferencesFolder
from errors import one_line, say

if TYPE_CHECKING:
    from settings.model import Settings

Group = tuple[str, str, str]


def folder_of(settings: Settings, given: Path | None) -> Path:
    """The folder of reference images that is meant."""
    from settings.raw_frames import references_folder

    return given or references_folder(settings)


def build(
    settings: Settings, frames: Sequence[Path], *, to: Path | None, most: int, report: Path | None, catalogue: Path | None = None
) -> int:
    """Combine the calibrated frames of each field, filter and detector; exit status 1 where no reference was made."""
    from data.frames.reference_build import Built, build
    from data.frames.star_catalogue import calibrated_by, read_catalogue

    stars = None if catalogue is None else read_catalogue(catalogue)

    folder = ReferencesFolder(folder_of(settings, to))
    left_out: dict[str, str] = {}
    groups = _groups(frame_files(frames), left_out, most=most)
    made: dict[Group, tuple[Path, Built]] = {}
    for group, files in sorted(groups.items()):
        name = " ".join(part or "unnamed" for part in group)
        with progress(name, "steps", total=2 * len(files)) as bar:
            try:
                held = [file for path in files if (file := _read(path, left_out)) is not None]
                built = build(held, progress=lambda done, total: bar.advance())
            except FrameError as error:
                left_out[name] = f"{error.reason}: {error}"
                continue
            del held
        left_out |= built.left_out
        history = built.history()
        if stars is not None:
            reference, said = calibrated_by(built.reference, stars)
            built, history = replace(built, reference=reference), (*history, said)
        made[group] = (folder.put(built.reference, history=history)[0], built)
    _show(made, left_out)
    write(report, {"written": [_row(group, path, built=built) for group, (path, built) in made.items()], "left_out": left_out})
    return 0 if made else 1


def _read(path: Path, left_out: dict[str, str]) -> CalibratedFile | None:
    try:
        return read(path)
    except FrameError as error:
        left_out[str(path)] = f"{error.reason}: {error}"
        return None


def _groups(paths: Sequence[Path], left_out: dict[str, str], *, most: int) -> dict[Group, list[Path]]:
    """Files by field, filter and detector: the best of each, by seeing and noise."""
    found: dict[Group, list[tuple[float, Path]]] = defaultdict(list)
    with progress("reading", "files", total=len(paths)) as bar:
        for path in paths:
            file = _read(path, left_out)
            bar.advance()
            if file is None:
                continue
            if file.raw.kind != "science":
                left_out[str(path)] = f"a {file.raw.kind} frame"
                continue
            q = file.quality
            worth = q.seeing * q.noise / math.sqrt(file.raw.exposure) if file.raw.exposure > 0 else math.nan
            found[file.raw.field, file.raw.filter, file.raw.detector].append((worth if math.isfinite(worth) else math.inf, path))
    for group, files in found.items():
        files.sort(key=lambda one: (one[0], str(one[1])))
        for _, path in files[most:]:
            left_out[str(path)] = f"{most} better frames of {' '.join(part or 'unnamed' for part in group)} (--most)"
    return {group: [path for _, path in files[:most]] for group, files in found.items()}


def _row(group: Group, path: Path, *, built: Any) -> dict[str, Any]:
    r = built.reference
    return {
        "field": group[0], "filter": group[1], "detector": group[2], "file": str(path), "frames": list(built.used),
        "left_out": built.left_out,
        "clipped": built.clipped, "noise": r.noise, "zero_point": r.zero_point if math.isfinite(r.zero_point) else None, "depth": r.depth,
        "stars": len(r.stars.y), "public": r.public,
    }  # fmt: skip


def _show(made: dict[Group, tuple[Path, Any]], left_out: dict[str, str]) -> None:
    console = Console()
    if made:
        rows = table()
        for column in ("field", "filter", "detector", "frames", "noise [e-]", "zero point", "stars", "file"):
            rows.add_column(column, overflow="fold")
        for (field, band, detector), (path, built) in made.items():
            r = built.reference
            zero = f"{r.zero_point:.3f}" if math.isfinite(r.zero_point) else "none: --catalogue"
            noise = f"{r.noise:.2f}"
            rows.add_row(cell(field), band, cell(detector), str(len(built.used)), noise, zero, f"{len(r.stars.y):,}", cell(path.name))
        show(console, f"{len(made)} reference images", rows)
    if left_out:
        rows = table()
        rows.add_column("left out", overflow="fold")
        rows.add_column("why", overflow="fold")
        for name, why in list(left_out.items())[:SHOWN]:
            rows.add_row(cell(Path(name).name), cell(why, limit=300))
        more = len(left_out) - SHOWN
        show(console, f"{len(left_out):,} left out{f', {more:,} not shown (--report has all)' if more > 0 else ''}", rows)
    if not made:
        say("no reference image was made")


def ls(settings: Settings, folder: Path | None, *, as_json: bool) -> int:
    """List the reference images of a folder."""
    found = ReferencesFolder(folder_of(settings, folder))
    if as_json:
        for entry in found.entries():
            print(json.dumps({"file": str(entry.path), "field": entry.field, "filter": entry.filter, "detector": entry.detector}))
        return 0
    if not len(found):
        print(f"No reference images in {one_line(found.path, 300)}: `protonova references build FRAMES…` makes them.")
        return 0
    rows = table()
    for column in ("field", "filter", "detector", "pixels", "world coordinates", "file"):
        rows.add_column(column, overflow="fold")
    for entry in found.entries():
        size = f"{entry.shape[1]} x {entry.shape[0]}"
        rows.add_row(cell(entry.field), entry.filter, cell(entry.detector), size, "yes" if entry.wcs else "none", cell(entry.path.name))
    show(Console(), f"{len(found)} reference images", rows)
    for name, why in found.rejects.items():
        say(f"{name}: {why}")
    return 0
