"""The flags of `protonova catalogue`."""

from __future__ import annotations

from typing import Annotated

import typer

from console.flags.shared import State, settings_of
from errors import usage

Names = Annotated[list[str], typer.Argument(metavar="NAME…", help="Catalogues: NAME, or NAME-DIGEST.")]

catalogue = typer.Typer(help="Catalogues of stars and galaxies that alerts are matched with.", rich_markup_mode=None, no_args_is_help=True)


@catalogue.command("add")
def catalogue_add(
    file: Annotated[str, typer.Argument(metavar="FILE|URL", help="CSV, FITS table, Parquet, VOTable; OpenNGC's ongc.db, hip2.dat.")],
    kind: Annotated[
        str, typer.Option("--as", metavar="KIND", help="Whose it is: gaia, legacy, ned, glade, simbad, vsx, openngc, hipparcos, own.")
    ],
    *,
    name: Annotated[str | None, typer.Option("--name", help="Its name in detections (default: KIND).")] = None,
    radius: Annotated[float | None, typer.Option("--radius", metavar="ARCSEC", help="It matches so far (default: its kind's).")] = None,
    epoch: Annotated[float | None, typer.Option("--epoch", metavar="YEAR", help="Julian year of its places (default: its kind's).")] = None,
    column: Annotated[
        list[str] | None, typer.Option("--column", metavar="ROLE=NAME", help="What a column is: ra=RA_J2000, mag:G=gmag, photo_z=zp…")
    ] = None,
    hours: Annotated[bool, typer.Option("--hours", help="Its right ascensions are decimal hours.")] = False,
    degrees: Annotated[bool, typer.Option("--degrees", help="They are degrees, though they look like hours.")] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out rows that cannot be used, and say how many.")] = False,
    state: State = None,
) -> None:
    """Make a catalogue of a table. Alerts are matched with it once PROTONOVA_CATALOGUES names it."""
    given = {}
    for pair in column or ():
        role, equals, column_name = pair.partition("=")
        if not (role and equals and column_name):
            raise usage(f"--column is ROLE=NAME, not {pair!r}")
        given[role] = column_name
    if hours and degrees:
        raise usage("--hours and --degrees say opposite things")
    from console.commands import catalogues as command

    how = command.How(name, radius, epoch, given, hours, degrees, skip_bad)
    raise typer.Exit(command.add(settings_of(state=state), file, kind_name=kind, how=how))


@catalogue.command("ls")
def catalogue_ls(json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False, *, state: State = None) -> None:
    """The catalogues there are, and which of them alerts are matched with."""
    from console.commands.catalogues import ls

    raise typer.Exit(ls(settings_of(state=state), as_json=json))


@catalogue.command("rm")
def catalogue_rm(names: Names, *, state: State = None) -> None:
    """Remove catalogues; a worker that has one open goes on with it to its end."""
    from console.commands.catalogues import remove

    raise typer.Exit(remove(settings_of(state=state), names))


@catalogue.command("check")
def catalogue_check(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME…]", help="Catalogues; default: all.")] = None, *, state: State = None
) -> None:
    """Compare every byte of catalogues with their digests."""
    from console.commands.catalogues import check

    raise typer.Exit(check(settings_of(state=state), names or []))
