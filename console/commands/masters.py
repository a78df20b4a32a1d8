"""``protonova masters build | ls | use | check``: masters out of raw frames, those there are, and whether they can be used."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from console.progress import progress
from console.report import cell, show, table, write
from data.frames.claims import claim_of
from data.frames.fits_units import bytes_of
from data.frames.frame_error import FrameError
from data.frames.master_file import MasterLabel, decode_master
from data.frames.masters_folder import MasterEntry, MastersFolder, night_of
from errors import UserError, one_line, say, usage
from schemas.records.master_frame import MasterFrame
from schemas.surveys.times import utc_to_tai

if TYPE_CHECKING:
    from data.frames.masters_build import Report
    from settings.model import Settings

SUFFIXES = (".fits", ".fit", ".fts", ".fz", ".fits.gz", ".fit.gz", ".fts.gz")
"""Of files that a folder's frames are looked for by."""
SHOWN = 40
"""Lines of what was left out; --report has all."""
_EPOCH = date(1858, 11, 17).toordinal()

Period = tuple[float | None, float]


def frame_files(paths: Iterable[Path]) -> list[Path]:
    """FITS files: those named, and those in named folders, by name."""
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            found |= dict.fromkeys(
                p for p in sorted(path.rglob("*")) if p.name.lower().endswith(SUFFIXES) and p.is_file() and p.name[0] != "."
            )
        else:
            found[path] = None
    if not found:
        raise UserError("no FITS file lies there (.fits, .fit, .fts, .fz, also .gz)")
    return list(found)


def validity(start: str | None, end: str | None) -> Period:
    """Two times as they were typed → MJD TAI; None and infinity where none was given.

    Raises
    ------
    UserError
        One cannot be read, or the end comes first.
    """
    first = None if start is None else _mjd(start, "--valid-from")
    last = math.inf if end is None else _mjd(end, "--valid-to")
    if first is not None and last <= first:
        raise usage("--valid-to comes before --valid-from")
    return first, last


def _mjd(text: str, flag: str) -> float:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise usage(f"{flag} takes a time such as 2026-11-30 or 2026-11-30T12:00:00 (UTC), not {one_line(text, 60)!r}") from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    day = (at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() / 86_400 + 40_587
    return float(utc_to_tai(day))


def folder_of(settings: Settings, given: Path | None) -> Path:
    """The folder of masters that is meant."""
    from settings.raw_frames import masters_folder

    return given or masters_folder(settings)


def build(
    settings: Settings, frames: Sequence[Path], *, to: Path | None, detector: str | None, period: Period, without_dark: bool, publish: bool,
    report: Path | None,
) -> int:  # fmt: skip
    """Combine raw frames; exit status 1 where no master was made."""
    from data.frames.masters_build import build_masters

    files = frame_files(frames)
    folder = MastersFolder(folder_of(settings, to))
    with progress("reading", "frames", total=len(files)) as bar:
        last: list[Any] = ["", 0]

        def shown(message: str, done: int, total: int) -> None:
            if message != last[0]:
                bar.describe(message)
                bar.total(total)
                bar.advance(-last[1])
                last[:] = [message, 0]
            bar.advance(done - last[1])
            last[1] = done

        made = build_masters(
            files, folder, detector=detector, valid_from=period[0], valid_to=period[1], without_dark=without_dark, progress=shown
        )
    _show_report(made, files)
    write(report, _figures(made))
    if publish and made.written:
        _announce(settings, [(w.path, w.label) for w in made.written])
    return 0 if made.written else 1


def _show_report(made: Report, files: Sequence[Path]) -> None:
    console = Console()
    if made.written:
        rows = table()
        for column in ("master", "frames", "left out", "of temperature", "from", "file"):
            rows.add_column(column, overflow="fold")
        for one in made.written:
            rows.add_row(
                cell(one.label, limit=60), f"{one.label.n_frames}", f"{one.left_out:.2%}", _degrees(one.label.temperature),
                night_of(one.label.valid_from), cell(one.path.name),
            )  # fmt: skip
        show(console, f"{len(made.written)} masters of {len(files) - len(made.left_out):,} frames", rows)
    if made.left_out:
        rows = table()
        rows.add_column("left out", overflow="fold")
        rows.add_column("why", overflow="fold")
        for path, why in list(made.left_out.items())[:SHOWN]:
            rows.add_row(cell(Path(path).name), cell(why, limit=300))
        more = len(made.left_out) - SHOWN
        show(
            console,
            f"{len(made.left_out):,} frames left out" + (f", {more:,} more than are shown (--report has all)" if more > 0 else ""),
            rows,
        )
    for note in made.notes:
        say(note)
    if not made.written:
        say("no master was made")


def _degrees(temperature: float) -> str:
    return f"{temperature:.1f} C" if math.isfinite(temperature) else "unknown"


def _figures(made: Report) -> dict[str, Any]:
    written = [{"file": str(w.path), "left_out_share": w.left_out, **_row(w.label)} for w in made.written]
    return {"written": written, "left_out": made.left_out, "notes": made.notes}


def _row(label: MasterLabel) -> dict[str, Any]:
    def known(figure: float) -> float | None:
        return figure if math.isfinite(figure) else None

    return {
        "kind": label.kind, "detector": label.detector, "filter": label.filter, "binning": list(label.binning), "overscan": label.overscan,
        "gain": known(label.gain), "temperature": known(label.temperature), "exposure": known(label.exposure),
        "valid_from": known(label.valid_from), "valid_to": known(label.valid_to), "n_frames": label.n_frames, "sha256": label.digest,
    }  # fmt: skip


def ls(settings: Settings, folder: Path | None, *, as_json: bool) -> int:
    """List the masters of a folder."""
    found = MastersFolder(folder_of(settings, folder))
    if as_json:
        for entry in found.entries():
            print(json.dumps({"file": entry.uri, **_row(entry.label)}))
        return 0
    if not len(found):
        print(f"No masters in {one_line(found.path, 300)}: `protonova masters build FRAMES…` makes them.")
        return 0
    _list(found.entries())
    for name, why in found.rejects.items():
        say(f"{name}: {why}")
    return 0


def _list(entries: Sequence[MasterEntry]) -> None:
    rows = table()
    for column in ("detector", "kind", "filter", "binning", "frames", "temperature", "exposure", "from", "to", "file"):
        rows.add_column(column, overflow="fold")
    for entry in entries:
        label = entry.label
        rows.add_row(
            cell(label.detector, limit=40), label.kind, label.filter, f"{label.binning[1]}x{label.binning[0]}", str(label.n_frames),
            _degrees(label.temperature), f"{label.exposure:g} s" if math.isfinite(label.exposure) else "",
            night_of(label.valid_from) if math.isfinite(label.valid_from) else "ever",
            night_of(label.valid_to) if math.isfinite(label.valid_to) else "", cell(Path(entry.uri).name),
        )  # fmt: skip
    show(Console(), f"{len(entries)} masters", rows)


def use(settings: Settings, files: Sequence[Path], *, to: Path | None, period: Period, publish: bool) -> int:
    """Take master files into the folder, with another validity where one was given."""
    folder = MastersFolder(folder_of(settings, to))
    taken: list[tuple[Path, MasterLabel]] = []
    for file in files:
        master = decode_master(bytes_of(file))
        if period[0] is not None or math.isfinite(period[1]):
            start = master.label.valid_from if period[0] is None else period[0]
            master = replace(master, label=replace(master.label, valid_from=start, valid_to=period[1]))
            taken.append(folder.put(master, history=[f"validity changed; was {one_line(file.name, 80)}, sha256 {claim_of(file)[2]}"]))
        else:
            label = folder.add(master.label.kind, file)[0]
            taken.append((folder.path_of(label), label))
    _list([MasterEntry(label, str(path)) for path, label in taken])
    if publish:
        _announce(settings, taken)
    return 0


def check(settings: Settings, folder: Path | None, *, as_json: bool) -> int:
    """Read every master; exit status 1 where one cannot be used, or where one of a set is missing."""
    found = MastersFolder(folder_of(settings, folder))
    wrong = dict(found.rejects)
    kinds: dict[tuple[str, tuple[int, int]], set[str]] = defaultdict(set)
    shapes: dict[tuple[str, tuple[int, int]], dict[tuple[int, ...], str]] = defaultdict(dict)
    with progress("reading", "masters", total=len(found)) as bar:
        for entry in found.entries():
            name = Path(entry.uri).name
            try:
                image = found.load(entry).image
            except FrameError as error:
                wrong[name] = str(error)
            else:
                setup = (entry.label.detector, entry.label.binning)
                kinds[setup].add(entry.label.kind)
                shapes[setup].setdefault(image.shape, name)
            bar.advance()
    for (detector, binning), there in sorted(kinds.items()):
        what = f"{detector}, binning {binning[1]}x{binning[0]}"
        if missing := [kind for kind in ("bias", "dark", "flat") if kind not in there]:
            wrong[what] = f"no master {' or '.join(missing)}"
        if len(of := shapes[detector, binning]) > 1:
            wrong[f"{what} "] = "masters of different shapes: " + ", ".join(f"{name} {s[1]} x {s[0]}" for s, name in of.items())
    if as_json:
        print(json.dumps({"masters": len(found), "wrong": {name.strip(): why for name, why in wrong.items()}}))
    else:
        for name, why in wrong.items():
            print(one_line(f"{name.strip()}: {why}", 400))
        print(f"{len(found)} masters, {len(wrong)} faults" if len(found) or wrong else f"No masters in {one_line(found.path, 300)}.")
    return 1 if wrong or not len(found) else 0


def record_of(path: Path, label: MasterLabel) -> MasterFrame:
    """What is announced of a master file."""

    def known(figure: float) -> float | None:
        return figure if math.isfinite(figure) else None

    uri, length, sha256 = claim_of(path)
    return MasterFrame(
        kind=label.kind, detector=label.detector, filter=label.filter, binning=label.binning, overscan=label.overscan,
        gain=known(label.gain), temperature=known(label.temperature), exposure=known(label.exposure),
        valid_from=label.valid_from if math.isfinite(label.valid_from) else 0.0, valid_to=known(label.valid_to), uri=uri, length=length,
        sha256=sha256, n_frames=label.n_frames, made_ms=int(time.time() * 1000),
    )  # fmt: skip


def _announce(settings: Settings, taken: Sequence[tuple[Path, MasterLabel]]) -> None:
    from schemas.records import codec
    from streams.kafka import topics
    from streams.kafka.acknowledged import write_acknowledged

    records = [(record.key, codec.encode(record)) for record in (record_of(path, label) for path, label in taken)]
    asyncio.run(write_acknowledged(settings, topics.MASTERS, records=records))
    print(f"announced {len(taken)} masters on {topics.MASTERS}")
