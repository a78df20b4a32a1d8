"""The flags of ``protonova fetch``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from console.broker import with_broker
from console.flags.shared import Kafka, Report, State, settings_of
from errors import usage


def fetch(
    source: Annotated[str | None, typer.Argument(metavar="SOURCE", help="An archive; without it they are listed.")] = None,
    query: Annotated[list[str] | None, typer.Argument(metavar="QUERY…", help="What of it: a night, RA,DEC, an object, key=value.")] = None,
    *,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FOLDER", help="Where files go (default: fetched/SOURCE of the state).")
    ] = None,
    publish: Annotated[bool, typer.Option("--publish", help="Put their packets into the alert topics, as `publish` does.")] = False,
    rate: Annotated[str | None, typer.Option("--rate", metavar="N/s", help="With --publish: packets a second.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask nothing: what an earlier run of the query left, verified.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Fetch what is there anew: an object's light curve grows.")] = False,
    mirror: Annotated[str | None, typer.Option("--from", metavar="URL", help="Another address of the same archive.")] = None,
    token_file: Annotated[Path | None, typer.Option("--token-file", metavar="FILE", help="File with the token (Lasair).")] = None,
    dust_map: Annotated[
        list[Path] | None,
        typer.Option("--dust-map", metavar="FITS", help="For E(B-V) in enriched.jsonl: HEALPix, or SFD's north and south (twice)."),
    ] = None,
    dvc: Annotated[bool, typer.Option("--dvc", help="Make a DVC pointer of the folder.")] = False,
    report: Report = None,
    kafka: Kafka = None,
    state: State = None,
) -> None:
    """Fetch from archives on the web: whole, verified files, or none; a cut-off download goes on."""
    from console.commands.fetch import Wanted, list_sources, query_of
    from console.commands.fetch import fetch as run

    if source is None:
        raise typer.Exit(list_sources())
    if offline and again:
        raise usage("--offline and --again exclude each other: give one")
    if rate is not None and not publish:
        raise usage("--rate goes with --publish")
    asked = query_of(source, query or [], mirror=mirror, token_file=token_file, publish=publish)
    found = settings_of(kafka=kafka, state=state)
    pace = None
    if publish:
        from console.commands.publish import Pace

        pace = Pace.parse(rate, None)
        found = with_broker(found)
    raise typer.Exit(
        run(found, asked, wanted=Wanted(to, offline, again, dvc, publish, dust=tuple(dust_map or ())), pace=pace, report=report)
    )
