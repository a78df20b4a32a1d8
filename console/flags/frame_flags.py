"""The flags of the commands that make and look after masters and reference images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.arguments import existing
from console.flags.shared import Kafka, Report, State, settings_of

if TYPE_CHECKING:
    from settings.model import Settings

FRAMES = "a FITS file of a raw frame, or a folder of them"
MASTERS = "a master file, as `protonova masters build` makes them"
CALIBRATED = "a calibrated file, as the calibrator writes them, or a folder of them"

Files = Annotated[list[Path], typer.Argument(metavar="FRAMES…", help="Raw frames: FITS files and folders.")]
To = Annotated[Path | None, typer.Option("--to", metavar="FOLDER", help="Default: the folder of the settings.")]
Since = Annotated[str | None, typer.Option("--valid-from", metavar="TIME", help="They hold from: 2026-11-30, or with a time (UTC).")]
Until = Annotated[str | None, typer.Option("--valid-to", metavar="TIME", help="Last moment; default: without an end.")]
Publish = Annotated[bool, typer.Option("--publish", help="Announce them on calibration.masters.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]

masters = typer.Typer(help="Masters: bias, dark, flat and bad pixels that raw frames are calibrated with.", rich_markup_mode=None)
references = typer.Typer(help="Reference images that calibrated frames are compared with.", rich_markup_mode=None)


def _settings(kafka: str | None, state: Path | None, *, broker: bool) -> Settings:
    found = settings_of(kafka=kafka, state=state)
    if broker:
        from console.broker import with_broker

        return with_broker(found)
    return found


@masters.command("build")
def masters_build(
    frames: Files,
    to: To = None,
    *,
    detector: Annotated[str | None, typer.Option("--detector", metavar="NAME", help="Only frames of this detector.")] = None,
    valid_from: Since = None,
    valid_to: Until = None,
    without_dark: Annotated[bool, typer.Option("--without-dark", help="Where there are no darks: a master of no dark current.")] = False,
    publish: Publish = False,
    report: Report = None,
    kafka: Kafka = None,
    state: State = None,
) -> None:
    """Combine raw bias, dark and flat frames with clipping; says what it left out and why."""
    existing(frames, FRAMES)
    from console.commands import masters as command

    found = _settings(kafka, state, broker=publish)
    period = command.validity(valid_from, valid_to)
    raise typer.Exit(
        command.build(found, frames, to=to, detector=detector, period=period, without_dark=without_dark, publish=publish, report=report)
    )


@masters.command("ls")
def masters_ls(
    folder: Annotated[Path | None, typer.Argument(metavar="[FOLDER]", help="Default: the folder of the settings.")] = None,
    json: Json = False,
    *,
    state: State = None,
) -> None:
    """The masters of a folder, and for when each holds."""
    existing([folder], "a folder of masters")
    from console.commands import masters as command

    raise typer.Exit(command.ls(_settings(None, state, broker=False), folder, as_json=json))


@masters.command("use")
def masters_use(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Master files.")],
    to: To = None,
    *,
    valid_from: Since = None,
    valid_to: Until = None,
    publish: Publish = False,
    kafka: Kafka = None,
    state: State = None,
) -> None:
    """Take master files into the folder that frames are calibrated from, for a time where one is given, and announce them."""
    existing(files, MASTERS)
    from console.commands import masters as command

    found = _settings(kafka, state, broker=publish)
    raise typer.Exit(command.use(found, files, to=to, period=command.validity(valid_from, valid_to), publish=publish))


@masters.command("check")
def masters_check(
    folder: Annotated[Path | None, typer.Argument(metavar="[FOLDER]", help="Default: the folder of the settings.")] = None,
    json: Json = False,
    *,
    state: State = None,
) -> None:
    """Whether every master is whole, unchanged and can be calibrated by, and which are missing; exit status 1 where not."""
    existing([folder], "a folder of masters")
    from console.commands import masters as command

    raise typer.Exit(command.check(_settings(None, state, broker=False), folder, as_json=json))


@references.command("build")
def references_build(
    frames: Annotated[list[Path], typer.Argument(metavar="FRAMES…", help="Calibrated files, and folders of them.")],
    to: To = None,
    *,
    most: Annotated[int, typer.Option("--most", min=3, max=200, help="Frames of a field and filter, the sharpest and deepest first.")] = 20,
    catalogue: Annotated[
        Path | None,
        typer.Option("--catalogue", metavar="FILE.csv", help="Stars for the zero point: ra, dec, AB magnitudes a filter."),
    ] = None,
    report: Report = None,
    state: State = None,
) -> None:
    """Register and combine calibrated frames into the reference image of each field, filter and detector; says what it left out."""
    existing(frames, CALIBRATED)
    existing([catalogue], "a CSV of stars")
    from console.commands import references as command

    found = _settings(None, state, broker=False)
    raise typer.Exit(command.build(found, frames, to=to, most=most, report=report, catalogue=catalogue))


@references.command("ls")
def references_ls(
    folder: Annotated[Path | None, typer.Argument(metavar="[FOLDER]", help="Default: the folder of the settings.")] = None,
    json: Json = False,
    *,
    state: State = None,
) -> None:
    """The reference images of a folder."""
    existing([folder], "a folder of reference images")
    from console.commands import references as command

    raise typer.Exit(command.ls(_settings(None, state, broker=False), folder, as_json=json))
