"""The flags of `protonova positions`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from console.arguments import existing
from console.broker import with_broker
from console.flags.shared import Kafka, State, settings_of
from errors import usage

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]

positions = typer.Typer(help="Positions that are measured on every raw frame that covers them.", rich_markup_mode=None)


@positions.callback(invoke_without_command=True)
def positions_ls(
    context: typer.Context,
    *,
    every: Annotated[bool, typer.Option("--all", help="Those that were found by detection, too.")] = False,
    json: Json = False,
    kafka: Kafka = None,
    state: State = None,
) -> None:
    """Positions that are measured on every raw frame that covers them; without a command: a list of them."""
    if context.invoked_subcommand is not None:
        return
    from console.commands.positions import ls

    raise typer.Exit(ls(with_broker(settings_of(kafka=kafka, state=state)), every=every, as_json=json))


@positions.command("add")
def positions_add(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Its alerts' object id: letters, digits, + - . _")] = None,
    *,
    ra: Annotated[float | None, typer.Option("--ra", metavar="DEG", help="Right ascension, ICRS [deg].")] = None,
    dec: Annotated[float | None, typer.Option("--dec", metavar="DEG", help="Declination, ICRS [deg].")] = None,
    detector: Annotated[str | None, typer.Option("--detector", metavar="NAME", help="Detector that --y and --x are of.")] = None,
    field: Annotated[str | None, typer.Option("--field", metavar="NAME", help="Pointing that they are of; default: every one.")] = None,
    y: Annotated[float | None, typer.Option("--y", help="Row of the trimmed image, counted from 0 [pixel].")] = None,
    x: Annotated[float | None, typer.Option("--x", help="Column of the trimmed image, counted from 0 [pixel].")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="A table with the columns name, ra, dec or name, detector, y, x.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Measured on private frames only.")] = False,
    kafka: Kafka = None,
    state: State = None,
) -> None:
    """Measure a place on every raw frame from the next one on, whether anything is found there or not."""
    if (name is None) == (file is None):
        raise usage("give a name with --ra and --dec (or --detector, --y and --x), or a table with --file")
    existing([file], "a table with the columns name, ra and dec")
    from console.commands import positions as command

    if file is not None:
        given = command.of_file(file, public=not private)
    else:
        place = {"ra": ra, "dec": dec, "detector": detector, "field": field, "y": y, "x": x}
        given = [command.one(str(name), place, public=not private)]
    raise typer.Exit(command.add(with_broker(settings_of(kafka=kafka, state=state)), given))


@positions.command("remove")
def positions_remove(
    names: Annotated[list[str], typer.Argument(metavar="NAME…", help="Positions.")], kafka: Kafka = None, *, state: State = None
) -> None:
    """Measure positions no longer; what was measured stays on photometry.measured."""
    from console.commands.positions import remove

    raise typer.Exit(remove(with_broker(settings_of(kafka=kafka, state=state)), names))
